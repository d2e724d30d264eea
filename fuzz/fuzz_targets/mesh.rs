//! Frames of the mesh handshake, as any peer that reaches the port can send them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidewatch::runtime::mesh::fuzz(bytes));
