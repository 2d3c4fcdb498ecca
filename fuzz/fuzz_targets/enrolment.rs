//! libFuzzer's way into `adit_fuzz::enrolment`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adit_fuzz::enrolment(data));
