//! Replays the inputs that the fuzzers found, with the same functions but without a fuzzer.

use std::fs;
use std::panic::catch_unwind;

use joey_tests::checkout;

/// These are the fuzzers' own functions, built here with the workspace's usual profile.
#[expect(unreachable_pub, reason = "it is a library elsewhere")]
#[path = "../fuzz/src/lib.rs"]
mod fuzz;

#[test]
fn corpus_inputs_break_no_fuzz_target() {
    for (target, enter) in fuzz::TARGETS {
        let folder = checkout().join("fuzz/corpus").join(target);
        let files = fs::read_dir(&folder).expect("every target has a corpus");
        let mut read = 0;
        for file in files {
            let path = file.expect("folders can be read").path();
            let bytes = fs::read(&path).expect("files can be read");
            assert!(catch_unwind(|| enter(&bytes)).is_ok(), "{}", path.display());
            read += 1;
        }
        assert!(read > 0, "{} is empty", folder.display());
    }
}

#[test]
fn every_fuzz_target_has_a_binary() {
    let manifest = fs::read_to_string(checkout().join("fuzz/Cargo.toml")).expect("the fuzzers have a manifest");
    let built = manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\""));
    assert_eq!(built.collect::<Vec<_>>(), fuzz::TARGETS.map(|(target, _)| target));
}
