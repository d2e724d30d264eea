//! JSON records: the specialised reader and the general parser must agree.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidewatch::codec::json::fuzz(bytes));
