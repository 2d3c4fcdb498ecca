//! libFuzzer's way into `adit_fuzz::openvpn_options`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adit_fuzz::openvpn_options(data));
