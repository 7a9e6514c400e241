//! A message from a viewer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| joey_fuzz::command(bytes));
