//! Embeds the built page, if the feature `embed-ui` is enabled.

fn main() {
    #[cfg(feature = "embed-ui")]
    {
        let dist = std::env::var("JOEY_DIST").unwrap_or_else(|_| "../dist".to_owned());
        println!("cargo::rerun-if-env-changed=JOEY_DIST");
        println!("cargo::rerun-if-changed={dist}");
        assert!(
            std::path::Path::new(&dist).join("index.html").is_file(),
            "the feature embed-ui requires the built page in {dist}; build it with `cargo xtask ui`"
        );
        // The content security policy is derived from the text of `index.html`.
        let index = std::path::absolute(std::path::Path::new(&dist).join("index.html")).unwrap_or_default();
        println!("cargo::rustc-env=JOEY_INDEX={}", index.display());
        memory_serve::load_directory(dist);
    }
}
