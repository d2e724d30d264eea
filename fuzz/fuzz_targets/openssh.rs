//! Lines of an OpenSSH log: no input may panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidewatch::codec::openssh::fuzz(bytes));
