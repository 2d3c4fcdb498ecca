//! JA4 and JA4T: a client hello, and the first packet of a TCP connection, as short texts (FoxIO's published definitions).
//!
//! Not here: which texts belong to browsers (`reference`).

use aws_lc_rs::digest::{SHA256, digest};

use crate::flow::Syn;
use crate::flow::tls::{ClientHello, is_grease};

/// What carries the hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// TLS over TCP.
    Tcp,
    /// QUIC.
    Quic,
}

/// The JA4 of a client hello.
pub fn ja4(hello: &ClientHello, carrier: Carrier) -> String {
    let letter = match carrier {
        Carrier::Tcp => 't',
        Carrier::Quic => 'q',
    };
    let version = match hello.version() {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        _ => "00",
    };
    let name = if hello.server_name.is_some() { 'd' } else { 'i' };
    let ciphers: Vec<u16> = hello.ciphers.iter().copied().filter(|cipher| !is_grease(*cipher)).collect();
    let extensions: Vec<u16> =
        hello.extensions.iter().map(|(kind, _)| *kind).filter(|kind| !is_grease(*kind)).collect();
    let (cipher_count, extension_count) = (ciphers.len().min(99), extensions.len().min(99));
    let alpn = first_and_last(hello.alpn.first().map(Vec::as_slice));
    let cipher_hash = short_hash(&listed(ciphers, true));
    // The name and the protocols are told in the first part; their extensions are not in the hash.
    let hashed: Vec<u16> = extensions.into_iter().filter(|kind| !matches!(kind, 0x0000 | 0x0010)).collect();
    let mut extension_text = listed(hashed, true);
    let signatures = listed(hello.signatures.iter().copied().filter(|s| !is_grease(*s)).collect(), false);
    if !signatures.is_empty() {
        extension_text = format!("{extension_text}_{signatures}");
    }
    let extension_hash = short_hash(&extension_text);
    format!("{letter}{version}{name}{cipher_count:02}{extension_count:02}{alpn}_{cipher_hash}_{extension_hash}")
}

/// First and last letter of the first protocol; of its hexadecimal form, if one of them is no letter or digit.
fn first_and_last(protocol: Option<&[u8]>) -> String {
    let Some((first, last)) = protocol.and_then(|p| Some((*p.first()?, *p.last()?))) else { return "00".to_owned() };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return format!("{}{}", char::from(first), char::from(last));
    }
    format!("{:x}{:x}", first >> 4, last & 0xf)
}

fn listed(mut values: Vec<u16>, sorted: bool) -> String {
    if sorted {
        values.sort_unstable();
    }
    values.iter().map(|value| format!("{value:04x}")).collect::<Vec<_>>().join(",")
}

fn short_hash(text: &str) -> String {
    if text.is_empty() {
        return "0".repeat(12);
    }
    digest(&SHA256, text.as_bytes()).as_ref()[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The JA4T of a connection's first packet: window, options in order, maximum segment size, window scale.
pub fn ja4t(syn: &Syn) -> String {
    let options = syn.options.iter().map(u8::to_string).collect::<Vec<_>>().join("-");
    let options = if options.is_empty() { "00".to_owned() } else { options };
    let (size, scale) = (syn.max_segment.unwrap_or(0), syn.window_scale.unwrap_or(0));
    format!("{}_{options}_{size:02}_{scale:02}", syn.window)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hellos that were captured on loopback, and their JA4s as computed there by another program.
    const MEASURED: [(&str, Carrier, &str); 9] = [
        (include_str!("../tests/hellos/chromium156-tcp.hex"), Carrier::Tcp, "t13d1517h2_8daaf6152771_cb7bf5808d99"),
        (
            include_str!("../tests/hellos/boring54-default-tcp.hex"),
            Carrier::Tcp,
            "t13d171000_5b57614c22b0_8af51f2a06eb",
        ),
        (
            include_str!("../tests/hellos/boring54-chrome133like-tcp.hex"),
            Carrier::Tcp,
            "t13d1516h2_8daaf6152771_d8a2da3f94cd",
        ),
        (
            include_str!("../tests/hellos/boring54-chrome156like-tcp.hex"),
            Carrier::Tcp,
            "t13d1517h2_8daaf6152771_cb7bf5808d99",
        ),
        (include_str!("../tests/hellos/rustls023-ring-tcp.hex"), Carrier::Tcp, "t13d1012h2_61a7ad8aa9b6_69ed562cf35e"),
        (include_str!("../tests/hellos/chromium156-quic.hex"), Carrier::Quic, "q13d0312h3_55b375c5d22e_178839b6cec1"),
        (include_str!("../tests/hellos/quinn011-quic.hex"), Carrier::Quic, "q13d0312h3_55b375c5d22e_020f77d7262b"),
        (
            include_str!("../tests/hellos/quiche030-default-quic.hex"),
            Carrier::Quic,
            "q13d0308h3_55b375c5d22e_e1c78a2b8ec5",
        ),
        (
            include_str!("../tests/hellos/quiche030-chromelike-quic.hex"),
            Carrier::Quic,
            "q13d0312h3_55b375c5d22e_178839b6cec1",
        ),
    ];

    #[test]
    fn captured_hellos_have_the_measured_fingerprints() {
        for (hex, carrier, expected) in MEASURED {
            let message = unhex(hex);
            let hello = ClientHello::parse(&message[4..]).unwrap();
            assert_eq!(ja4(&hello, carrier), expected);
            assert_eq!(hello.length, message.len());
        }
    }

    #[test]
    fn a_hello_cut_anywhere_is_none_or_says_less() {
        let message = unhex(MEASURED[0].0);
        let whole = ClientHello::parse(&message[4..]).unwrap();
        for end in 4..message.len() {
            assert_ne!(ClientHello::parse(&message[4..end]), Some(whole.clone()));
        }
    }

    #[test]
    fn nothing_to_tell_is_told_by_zeros() {
        let hello = ClientHello { legacy_version: 0x0303, ..ClientHello::default() };
        assert_eq!(ja4(&hello, Carrier::Tcp), "t12i000000_000000000000_000000000000");
    }

    #[test]
    fn a_protocol_that_is_no_text_is_told_in_hexadecimal() {
        assert_eq!(first_and_last(Some(&[0xab, b'x', 0xcd])), "ad");
        assert_eq!(first_and_last(Some(b"http/1.1")), "h1");
    }

    #[test]
    fn the_first_packet_is_told_as_text() {
        let syn = Syn {
            window: 64_240,
            options: vec![2, 4, 8, 1, 3],
            max_segment: Some(1460),
            window_scale: Some(7),
            hop_limit: 64,
        };
        assert_eq!(ja4t(&syn), "64240_2-4-8-1-3_1460_07");
    }

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.trim().bytes().map(|d| char::from(d).to_digit(16).unwrap() as u8).collect();
        digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect()
    }
}
