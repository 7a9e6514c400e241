//! A producer's bytes in Joey's own protocol, in chunks of any size.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| joey_fuzz::native(bytes));
