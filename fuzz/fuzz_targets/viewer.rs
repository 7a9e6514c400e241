//! A whole conversation with a viewer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| joey_fuzz::viewer(bytes));
