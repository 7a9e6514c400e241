//! A producer's bytes, in chunks of any size.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| joey_fuzz::stream(bytes));
