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
        memory_serve::load_directory(&dist);
        // A debug build reads the page from its folder. A release build contains it, and must not depend on where it
        // was built.
        if !cfg!(debug_assertions) {
            remove_paths(std::path::Path::new(&dist)).expect("the code of memory-serve can be changed");
        }
    }
}

/// Replaces the path of the page's folder in the code that memory-serve has generated, so that the same page gives
/// the same program wherever it is. The paths are only used without an embedded page.
#[cfg(feature = "embed-ui")]
fn remove_paths(dist: &std::path::Path) -> std::io::Result<()> {
    let folder = std::fs::canonicalize(dist)?;
    let generated =
        std::path::Path::new(&std::env::var_os("OUT_DIR").unwrap_or_default()).join("memory_serve_assets.rs");
    let code = std::fs::read_to_string(&generated)?;
    let field = |folder: &str| format!("path: r\"{folder}/");
    std::fs::write(&generated, code.replace(&field(&folder.display().to_string()), &field("/page")))
}
