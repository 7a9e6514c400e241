//! Embeds the built page, when the feature asks for it.

fn main() {
    #[cfg(feature = "embed-ui")]
    {
        let dist = std::env::var("JOEY_DIST").unwrap_or_else(|_| "../dist".to_owned());
        println!("cargo::rerun-if-env-changed=JOEY_DIST");
        println!("cargo::rerun-if-changed={dist}");
        assert!(
            std::path::Path::new(&dist).join("index.html").is_file(),
            "the feature embed-ui needs the built page in {dist}: `cargo xtask ui` makes it"
        );
        // The headers of the page are made from its text.
        let index = std::path::absolute(std::path::Path::new(&dist).join("index.html")).unwrap_or_default();
        println!("cargo::rustc-env=JOEY_INDEX={}", index.display());
        memory_serve::load_directory(dist);
    }
}
