//! libFuzzer's way into `adit_fuzz::ip_packet`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adit_fuzz::ip_packet(data));
