//! Updates of any values into the windows.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| joey_fuzz::store(bytes));
