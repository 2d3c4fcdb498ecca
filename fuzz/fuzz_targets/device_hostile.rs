//! libFuzzer's way into `adit_fuzz::device_hostile`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adit_fuzz::device_hostile(data));
