//! A packet of StatsD.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| joey_fuzz::statsd(bytes));
