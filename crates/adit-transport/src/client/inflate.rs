//! Compressed pages, read as far as they are looked at.
//!
//! Not here: what is done with them (`page`).

use std::io::Read;

/// The page inside, at most so many bytes of it. `None` if we cannot read it: nothing is lost but its parts.
pub(super) fn inflate(encoding: &str, bytes: &[u8], max: usize) -> Option<Vec<u8>> {
    let mut page = Vec::new();
    let max = max as u64;
    // What came before an error counts: a page that was cut short has its first parts.
    let read = match encoding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => bytes.take(max).read_to_end(&mut page),
        "gzip" => flate2::read::GzDecoder::new(bytes).take(max).read_to_end(&mut page),
        "br" => brotli_decompressor::Decompressor::new(bytes, 4096).take(max).read_to_end(&mut page),
        _ => return None,
    };
    if let Err(error) = read {
        tracing::trace!(%error, "a page ended in the middle");
    }
    Some(page)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn pages_come_out_as_they_were_and_no_longer_than_is_looked_at() {
        let page = b"<html>".repeat(100_000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&page).unwrap();
        let gzip = gzip.finish().unwrap();
        // A bomb: three orders of magnitude.
        assert!(gzip.len() < 6000);
        assert_eq!(inflate("gzip", &gzip, 1000).unwrap(), page[..1000]);
        assert_eq!(inflate("gzip", &gzip[..gzip.len() / 2], 1000).unwrap(), page[..1000]);
        assert_eq!(inflate("", &page, 1000).unwrap(), page[..1000]);
        assert_eq!(inflate("zstd", &page, 1000), None);
        assert_eq!(inflate("br", &[0x0b, 0x02, 0x80, b'h', b'e', b'l', b'l', b'o', 0x03], 1000).unwrap(), b"hello");
        assert!(inflate("br", &[0xff; 50], 1000).unwrap().len() <= 1000);
    }
}
