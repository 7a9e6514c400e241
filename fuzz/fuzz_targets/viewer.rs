//! A sequence of messages to a viewer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| joey_fuzz::viewer(bytes));
