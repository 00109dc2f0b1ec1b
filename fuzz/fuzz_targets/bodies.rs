//! Runs `bodies::bodies` on what libFuzzer makes up.
#![no_main]

#[path = "../bodies.rs"]
#[allow(dead_code, reason = "a target runs one of the bodies")]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::bodies(data));
