//! Configuration files: parsing and checking must end in settings or in an error, never in a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidewatch::config::fuzz(bytes));
