//! `wasm-bindgen` in the version of our lockfile. Trunk finds it on `PATH`.

fn main() -> anyhow::Result<()> {
    wasm_bindgen_cli::wasm_bindgen::run_cli_with_args(std::env::args_os())
}
