//! What several tests of this crate use: bytes written as hexadecimal digits, a moment to begin with.

/// The bytes of a string of hexadecimal digits.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    assert_eq!(digits.len() % 2, 0, "an odd number of digits");
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Some moment to begin with.
#[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
pub(crate) fn start() -> std::time::Instant {
    std::time::Instant::now()
}
