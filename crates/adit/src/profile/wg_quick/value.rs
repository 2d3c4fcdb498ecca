//! The values: one function a kind of value, from text to type or to the reason why not.

use std::net::{IpAddr, Ipv6Addr};

use adit_wireguard::{PresharedKey, PrivateKey, PublicKey};
use ipnet::IpNet;

use super::{Endpoint, Host, Table};

/// Why a value cannot be taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) why: String,
    pub(super) write_instead: Option<String>,
}

impl Fault {
    pub(super) fn new(why: impl Into<String>, write_instead: impl Into<String>) -> Self {
        Self { why: why.into(), write_instead: Some(write_instead.into()) }
    }
}

pub(super) fn private_key(text: &str) -> Result<PrivateKey, Fault> {
    let key = PrivateKey::from_base64(text)
        .map_err(|e| Fault::new(e.to_string(), "make one with `adit genkey` or `wg genkey`"))?;
    if key.is_none() {
        return Err(Fault::new("all zero stands for no key at all", "make one with `adit genkey` or `wg genkey`"));
    }
    Ok(key)
}

pub(super) fn public_key(text: &str) -> Result<PublicKey, Fault> {
    let key = PublicKey::from_base64(text).map_err(|e| {
        Fault::new(e.to_string(), "on the peer, `adit pubkey` or `wg pubkey` makes it of the private key")
    })?;
    if *key.as_bytes() == [0; 32] {
        return Err(Fault::new("all zero is nobody's public key", "ask the peer for the output of `adit pubkey`"));
    }
    Ok(key)
}

pub(super) fn preshared_key(text: &str) -> Result<PresharedKey, Fault> {
    PresharedKey::from_base64(text)
        .map_err(|e| Fault::new(e.to_string(), "make one with `adit genpsk` or `wg genpsk`, the same on both sides"))
}

pub(super) fn port(text: &str) -> Result<u16, Fault> {
    decimal(text)
        .and_then(|n| u16::try_from(n).ok())
        .ok_or_else(|| Fault::new("not a port", "a number from 1 to 65535, or 0 for any free one"))
}

/// `off`, decimal, or hexadecimal with `0x`.
pub(super) fn fwmark(text: &str) -> Result<u32, Fault> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(0);
    }
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let number = match hex {
        Some(hex) if !hex.is_empty() && hex.len() <= 8 && hex.bytes().all(|b| b.is_ascii_hexdigit()) => {
            u32::from_str_radix(hex, 16).ok()
        }
        Some(_) => None,
        None => decimal(text).and_then(|n| u32::try_from(n).ok()),
    };
    number.ok_or_else(|| Fault::new("not a firewall mark", "a number of 32 bits like 51820 or 0xca6c, or `off`"))
}

pub(super) fn keepalive(text: &str) -> Result<u16, Fault> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(0);
    }
    decimal(text)
        .and_then(|n| u16::try_from(n).ok())
        .ok_or_else(|| Fault::new("not a number of seconds", "a number from 1 to 65535 (25 suits most NATs), or `off`"))
}

pub(super) fn mtu(text: &str) -> Result<u16, Fault> {
    decimal(text).and_then(|n| u16::try_from(n).ok()).filter(|n| *n >= MIN_MTU).ok_or_else(|| {
        Fault::new("not an MTU", "a number from 576 to 65535 (1280 at least if IPv6 is used); 1420 is usual")
    })
}

pub(super) fn table(text: &str) -> Result<Table, Fault> {
    if text.eq_ignore_ascii_case("auto") {
        return Ok(Table::Auto);
    }
    if text.eq_ignore_ascii_case("off") {
        return Ok(Table::Off);
    }
    if let Some(number) = decimal(text).and_then(|n| u32::try_from(n).ok()) {
        return Ok(Table::Number(number));
    }
    let named = text.len() <= MAX_TABLE_NAME
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if named {
        return Ok(Table::Named(text.to_owned()));
    }
    Err(Fault::new("not a routing table", "`auto`, `off`, a number, or a name of /etc/iproute2/rt_tables"))
}

pub(super) fn boolean(text: &str) -> Result<bool, Fault> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Fault::new("neither true nor false", "`true` or `false`")),
    }
}

/// A network, and whether its prefix length was written out.
pub(super) fn network(text: &str) -> Result<(IpNet, bool), Fault> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let fault =
        |why: &str| Fault::new(why, "an address range like 10.0.0.0/24 or fd00::/64, or 10.0.0.7/32 for one host");
    let address: IpAddr = address.parse().map_err(|_| fault("not an address range"))?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => return Ok((IpNet::from(address), false)),
        Some(length) if length.contains('.') => {
            return Err(match length.parse().ok().and_then(|mask| ipnet::ip_mask_to_prefix(mask).ok()) {
                Some(n) => Fault::new("a netmask where a prefix length belongs", format!("{address}/{n}")),
                None => fault("not a prefix length"),
            });
        }
        Some(length) => decimal(length).and_then(|n| u8::try_from(n).ok()).filter(|n| *n <= most),
    };
    let length = length.ok_or_else(|| fault(&format!("a prefix length is a number from 0 to {most} here")))?;
    IpNet::new(address, length).map(|net| (net, true)).map_err(|_| fault("not a prefix length"))
}

/// An address range of a file: `+` adds, `-` takes away, nothing adds.
pub(super) fn allowed_ip(text: &str) -> Result<(bool, IpNet), Fault> {
    let (add, text) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => (true, text),
    };
    Ok((add, network(text)?.0))
}

pub(super) fn dns(text: &str) -> Result<Dns, Fault> {
    if let Ok(address) = text.parse() {
        return Ok(Dns::Server(address));
    }
    let fault = || {
        Fault::new("neither an address nor a search domain", "an address like 10.0.0.1, or a domain like corp.example")
    };
    let numeric = text.contains(':') || text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if numeric || !is_host_name(text.trim_start_matches('~')) {
        return Err(fault());
    }
    Ok(Dns::Search(text.to_owned()))
}

/// What may stand under `DNS`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Dns {
    Server(IpAddr),
    Search(String),
}

/// One more endpoint of a peer that has this many besides its first.
pub(super) fn fallback(text: &str, before: usize) -> Result<Endpoint, Fault> {
    if before >= MAX_FALLBACKS {
        return Err(Fault::new(format!("a peer has at most {MAX_FALLBACKS} of them"), "leave it out"));
    }
    endpoint(text)
}

/// Other endpoints of one peer.
const MAX_FALLBACKS: usize = 16;

pub(super) fn endpoint(text: &str) -> Result<Endpoint, Fault> {
    let example = "vpn.example.org:51820, 192.0.2.1:51820 or [2001:db8::1]:51820";
    let fault = |why: &str| Fault::new(why, example);
    let (host, port_text) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(|| fault("the bracket is not closed"))?;
        let port = rest.strip_prefix(':').ok_or_else(|| fault("the port is missing"))?;
        (v6_host(host).ok_or_else(|| fault("not an IPv6 address between the brackets"))?, port)
    } else {
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(Fault::new("the port is missing, and IPv6 is written in brackets", format!("[{text}]:51820")));
        }
        let (host, port) =
            text.rsplit_once(':').ok_or_else(|| Fault::new("the port is missing", format!("{text}:51820")))?;
        if host.contains(':') {
            return Err(Fault::new("IPv6 is written in brackets", format!("[{host}]:{port}")));
        }
        let host = match host.parse() {
            Ok(address) => Host::Ip(IpAddr::V4(address)),
            Err(_) if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') => {
                return Err(fault("not an IPv4 address"));
            }
            Err(_) if is_host_name(host) => Host::Name(host.to_owned()),
            Err(_) => return Err(fault("not a host name")),
        };
        (host, port)
    };
    match port(port_text) {
        Ok(0) => Err(fault("nobody can be reached at port 0")),
        Ok(port) => Ok(Endpoint { host, port }),
        Err(_) => Err(fault("a port is a number from 1 to 65535")),
    }
}

fn v6_host(text: &str) -> Option<Host> {
    let Some((address, zone)) = text.split_once('%') else { return Some(Host::Ip(IpAddr::V6(text.parse().ok()?))) };
    let zone_ok = (1..=15).contains(&zone.len()) && zone.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
    Some(Host::Zoned(address.parse().ok()?, zone_ok.then(|| zone.to_owned())?))
}

/// Letters of any script pass: such names are for the resolver to judge.
pub(crate) fn is_host_name(text: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
    };
    text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

/// Digits and nothing else, so that neither `+5` nor ` 5` pass.
fn decimal(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// The least MTU that any host must take for IPv4 (RFC 791).
const MIN_MTU: u16 = 576;
/// Longest name of a routing table.
const MAX_TABLE_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_decimal_or_hexadecimal_or_off() {
        assert_eq!(fwmark("off"), Ok(0));
        assert_eq!(fwmark("0xCA6C"), Ok(51820));
        assert_eq!(fwmark("51820"), Ok(51820));
        for wrong in ["", "0x", "0x1ffffffff", "-1", "4294967296", "0x+1"] {
            assert!(fwmark(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_endpoint_is_a_name_or_an_address_with_a_port() {
        let text = |t: &str| endpoint(t).unwrap().to_string();
        for good in [
            "a.example:1",
            "192.0.2.1:51820",
            "[2001:db8::1]:7",
            "[fe80::1%eth0]:7",
            "localhost:65535",
            "bücher.example:1",
        ] {
            assert_eq!(text(good), good);
        }
        for wrong in [
            "",
            ":1",
            "a.example",
            "a.example:0",
            "a.example:65536",
            "[::1]",
            "[::1:1",
            "[1.2.3.4]:1",
            "1.2.3:1",
            "a b:1",
            "x:y",
        ] {
            assert!(endpoint(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_of_ipv6_without_brackets_is_shown_with_them() {
        assert_eq!(endpoint("2001:db8::1").unwrap_err().write_instead.unwrap(), "[2001:db8::1]:51820");
        assert_eq!(endpoint("2001:db8::zz:99").unwrap_err().write_instead.unwrap(), "[2001:db8::zz]:99");
    }

    #[test]
    fn a_netmask_is_shown_as_a_prefix_length() {
        assert_eq!(network("10.0.0.0/255.255.255.0").unwrap_err().write_instead.unwrap(), "10.0.0.0/24");
        assert!(network("10.0.0.0/33").is_err());
        assert!(network("fd00::/129").is_err());
        assert!(network("10.0.0.0/").is_err());
    }
}
