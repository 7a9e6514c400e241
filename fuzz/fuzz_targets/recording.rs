//! A file with a recording.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| joey_fuzz::recording(bytes));
