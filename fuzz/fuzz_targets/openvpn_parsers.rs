//! libFuzzer's way into `adit_fuzz::openvpn_parsers`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adit_fuzz::openvpn_parsers(data));
