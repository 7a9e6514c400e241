//! Updates with arbitrary values, applied to windows.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| joey_fuzz::store(bytes));
