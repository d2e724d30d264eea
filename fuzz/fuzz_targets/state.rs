//! Tidewatch's own files: state directories, progress logs, host files; and lines. The first byte chooses.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidewatch::testing::fuzz(bytes));
