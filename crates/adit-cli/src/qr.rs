//! QR codes: a text as blocks in a terminal or as a PNG, and the text of one in a PNG.
//!
//! A link in capitals and a configuration file as it is: what phones scan. Not here: what is in the text.

use std::io::Cursor;

use qrcode::{Color, EcLevel, QrCode};
use zeroize::Zeroizing;

/// Empty modules around a code, which scanners need (ISO/IEC 18004 §5.3.8).
const QUIET: usize = 4;
/// Pixels of a module.
const SCALE: usize = 8;
/// The most bytes of an image, unpacked: a photograph of 64 million grey pixels, or 16 million with colours.
const MAX_PIXELS: usize = 64 << 20;
/// The first bytes of every PNG.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Why there is no code, or no text in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QrError {
    /// Too much text.
    #[error("{0} bytes are too many for a QR code")]
    TooLong(usize),
    /// It cannot be written.
    #[error("the image cannot be made: {0}")]
    Write(#[from] png::EncodingError),
    /// It cannot be read.
    #[error("the image cannot be read: {0}\n  hint: it must be a PNG, and may have 16 million pixels")]
    Read(#[from] png::DecodingError),
    /// It is too large.
    #[error("the image is too large\n  hint: cut it to the QR code")]
    TooLarge,
    /// No code, or none that can be read.
    #[error(
        "there is no QR code in the image that can be read\n  hint: a screenshot is best; a photograph must be sharp, straight, and show the white rim"
    )]
    NoCode,
    /// More than one.
    #[error("there are {0} QR codes in the image\n  hint: cut it to the one that is meant")]
    Several(usize),
}

/// Modules with their quiet zone, row by row; `true` is dark.
struct Modules {
    width: usize,
    dark: Zeroizing<Vec<bool>>,
}

impl Modules {
    fn of(text: &str) -> Result<Self, QrError> {
        // The least correction makes the least code, and a screen is not damaged as paper is.
        let code = QrCode::with_error_correction_level(text, EcLevel::L).map_err(|_| QrError::TooLong(text.len()))?;
        let (inner, width) = (code.width(), code.width() + 2 * QUIET);
        let mut dark = Zeroizing::new(vec![false; width * width]);
        for (at, colour) in code.to_colors().into_iter().enumerate() {
            let (x, y) = (at % inner + QUIET, at / inner + QUIET);
            dark[y * width + x] = colour == Color::Dark;
        }
        Ok(Self { width, dark })
    }

    /// Below the last row everything is light.
    fn is_dark(&self, x: usize, y: usize) -> bool {
        self.dark.get(y * self.width + x).copied().unwrap_or(false)
    }
}

/// The code in half blocks, two rows a line. With colours it is black on white whatever the terminal's colours are;
/// without, it is right on a dark terminal, and inverted on a light one, which most scanners read too.
pub(crate) fn terminal(text: &str, colours: bool) -> Result<Zeroizing<String>, QrError> {
    let modules = Modules::of(text)?;
    let mut out = Zeroizing::new(String::with_capacity(modules.width * modules.width * 2 + 64 * modules.width));
    for y in (0..modules.width).step_by(2) {
        if colours {
            // Black on white of the 256 colours, which themes leave alone.
            out.push_str("\x1b[38;5;16;48;5;231m");
        }
        for x in 0..modules.width {
            let (upper, lower) = (modules.is_dark(x, y), modules.is_dark(x, y + 1));
            // Drawn is what is dark, if black is the ink; without colours the ink is light.
            out.push(match (upper == colours, lower == colours) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        out.push_str(if colours { "\x1b[0m\n" } else { "\n" });
    }
    Ok(out)
}

/// The code as a PNG, black on white.
pub(crate) fn png(text: &str) -> Result<Zeroizing<Vec<u8>>, QrError> {
    let modules = Modules::of(text)?;
    let side = modules.width * SCALE;
    let mut pixels = Zeroizing::new(Vec::with_capacity(side * side));
    for y in 0..side {
        pixels.extend((0..side).map(|x| if modules.is_dark(x / SCALE, y / SCALE) { 0 } else { u8::MAX }));
    }
    let mut out = Zeroizing::new(Vec::new());
    let mut encoder = png::Encoder::new(&mut *out, side as u32, side as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(out)
}

/// Whether these bytes begin as a PNG does.
pub(crate) fn is_png(bytes: &[u8]) -> bool {
    bytes.starts_with(PNG)
}

/// The text of the one code in this PNG.
pub(crate) fn read_png(bytes: &[u8]) -> Result<Zeroizing<String>, QrError> {
    let grey = Grey::read(bytes)?;
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(grey.width, grey.height, |x, y| grey.at(x, y));
    let mut texts: Vec<_> = image
        .detect_grids()
        .iter()
        .filter_map(|grid| grid.decode().ok())
        .map(|(_, text)| Zeroizing::new(text))
        .collect();
    match texts.len() {
        0 => Err(QrError::NoCode),
        1 => texts.pop().ok_or(QrError::NoCode),
        several => Err(QrError::Several(several)),
    }
}

/// How light each pixel is.
struct Grey {
    width: usize,
    height: usize,
    light: Zeroizing<Vec<u8>>,
}

impl Grey {
    fn read(bytes: &[u8]) -> Result<Self, QrError> {
        let mut decoder = png::Decoder::new(Cursor::new(bytes));
        decoder.set_limits(png::Limits { bytes: MAX_PIXELS });
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info()?;
        let size = reader.output_buffer_size().filter(|size| *size <= MAX_PIXELS).ok_or(QrError::TooLarge)?;
        let mut pixels = Zeroizing::new(vec![0; size]);
        let frame = reader.next_frame(&mut pixels)?;
        let samples = frame.color_type.samples();
        let light = pixels[..frame.buffer_size()].chunks_exact(samples).map(luminance).collect();
        Ok(Self { width: frame.width as usize, height: frame.height as usize, light: Zeroizing::new(light) })
    }

    fn at(&self, x: usize, y: usize) -> u8 {
        self.light.get(y * self.width + x).copied().unwrap_or(u8::MAX)
    }
}

/// Of a pixel as grey, grey with alpha, colour, or colour with alpha; what is transparent lies on white paper.
fn luminance(pixel: &[u8]) -> u8 {
    let (grey, alpha) = match *pixel {
        [grey] => (u32::from(grey), 255),
        [grey, alpha] => (u32::from(grey), u32::from(alpha)),
        // Rec. 601, in 256ths.
        [r, g, b, ..] => {
            let grey = (77 * u32::from(r) + 150 * u32::from(g) + 29 * u32::from(b)) >> 8;
            (grey, pixel.get(3).map_or(255, |alpha| u32::from(*alpha)))
        }
        [] => (255, 255),
    };
    ((grey * alpha + 255 * (255 - alpha)) / 255) as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINK: &str = "ADIT:1:A4DQOBYHA4DQOBYHA4DQOBYHA4ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    const CONF: &str = "[Interface]\nPrivateKey = mIFc94GTGTBuCbFfkFCEeLMAMMQGUd1NzCOqCm++OGM=\nAddress = 10.0.0.2/24\n\n\
        [Peer]\nPublicKey = ugViDinrHVDhkpj9GJV9FBbxC39S5yL8NV5FvcVGwEE=\nEndpoint = vpn.example.org:51820\n";

    #[test]
    fn what_is_written_is_read() {
        for text in [LINK, CONF, &LINK.repeat(15)] {
            assert_eq!(read_png(&png(text).unwrap()).unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_a_terminal_shows_is_the_code_in_both_ways_to_draw_it() {
        for colours in [true, false] {
            let shown = terminal(LINK, colours).unwrap();
            assert_eq!(shown.contains('\x1b'), colours);
            assert_eq!(read_blocks(&shown, colours), LINK);
        }
    }

    #[test]
    fn a_link_in_capitals_makes_a_smaller_code() {
        let lines = |text: &str| terminal(text, false).unwrap().lines().count();
        assert!(lines(LINK) < lines(&LINK.to_lowercase()));
    }

    #[test]
    fn colours_and_transparency_are_read_as_they_look() {
        assert_eq!([luminance(&[7]), luminance(&[0, 0]), luminance(&[0, 255])], [7, 255, 0]);
        assert_eq!([luminance(&[255; 3]), luminance(&[0, 0, 0, 0]), luminance(&[0, 0, 0, 255])], [255, 255, 0]);
        assert!(luminance(&[0, 255, 0]) > luminance(&[255, 0, 0]));
    }

    #[test]
    fn an_image_without_a_code_with_two_or_with_junk_says_so() {
        let mut blank = Vec::new();
        let mut encoder = png::Encoder::new(&mut blank, 64, 64);
        encoder.set_color(png::ColorType::Rgba);
        encoder.write_header().unwrap().write_image_data(&[200; 64 * 64 * 4]).unwrap();
        assert!(matches!(read_png(&blank), Err(QrError::NoCode)));
        assert!(matches!(read_png(&two()), Err(QrError::Several(2))));
        assert!(matches!(read_png(b"\x89PNG\r\n\x1a\njunk"), Err(QrError::Read(_))));
        assert!(is_png(&blank) && !is_png(b"GIF89a"));
        assert!(matches!(png(&"x".repeat(4_000)), Err(QrError::TooLong(4_000))));
    }

    #[test]
    fn an_image_that_would_unpack_to_gigabytes_is_refused_before_it_does() {
        let mut huge = png(LINK).unwrap().to_vec();
        // Width and height of the header, and its checksum.
        huge[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
        let sum = crc(&huge[12..29]);
        huge[29..33].copy_from_slice(&sum.to_be_bytes());
        assert!(matches!(read_png(&huge), Err(QrError::TooLarge | QrError::Read(_))));
    }

    proptest! {
        #[test]
        fn no_damaged_image_panics(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let mut image = png("adit").unwrap().to_vec();
            let at = at.index(image.len());
            image[at] = byte;
            image.truncate(cut.index(image.len() + 1));
            drop(read_png(&image));
        }
    }

    /// Reads half blocks back, as a camera would.
    fn read_blocks(shown: &str, colours: bool) -> String {
        let rows: Vec<Vec<char>> =
            shown.lines().map(|line| line.chars().filter(|c| " █▀▄".contains(*c)).collect()).collect();
        let drawn = |x: usize, y: usize| match rows[y / 2][x] {
            '█' => true,
            '▀' => y.is_multiple_of(2),
            '▄' => y % 2 == 1,
            _ => false,
        };
        let (width, height) = (rows[0].len(), 2 * rows.len());
        let dark = |x: usize, y: usize| drawn(x / 4, y / 4) == colours;
        let mut image =
            rqrr::PreparedImage::prepare_from_greyscale(4 * width, 4 * height, |x, y| if dark(x, y) { 0 } else { 255 });
        image.detect_grids()[0].decode().unwrap().1
    }

    /// An image with two codes side by side.
    fn two() -> Vec<u8> {
        let [left, right] = [LINK, "something else"].map(|text| Grey::read(&png(text).unwrap()).unwrap());
        let (width, height) = (left.width + right.width, left.height.max(right.height));
        let pixel = |x: usize, y: usize| match x.checked_sub(left.width) {
            None => left.at(x, y),
            Some(x) if y < right.height => right.at(x, y),
            Some(_) => 255,
        };
        let pixels: Vec<_> = (0..width * height).map(|at| pixel(at % width, at / width)).collect();
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, width as u32, height as u32);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
        out
    }

    fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |sum, byte| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
        })
    }
}
