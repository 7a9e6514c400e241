//! One OTLP request with metrics or traces.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| joey_fuzz::otlp(bytes));
