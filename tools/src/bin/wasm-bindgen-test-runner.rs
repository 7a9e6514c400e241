//! `wasm-bindgen-test-runner` in the version of our lockfile. Cargo runs the browser tests with it.

fn main() -> anyhow::Result<()> {
    wasm_bindgen_cli::wasm_bindgen_test_runner::run_cli_with_args(std::env::args_os())
}
