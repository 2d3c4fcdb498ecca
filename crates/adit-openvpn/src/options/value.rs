//! The values: one function a kind of value, from words to a type or to the reason why not.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};

use super::finding::{Refusal, refuse};
use super::lexer::Directive;
use super::material::Material;

/// The longest name of a host (RFC 1035 §2.3.4).
const MAX_HOST: usize = 253;
/// The longest time that a configuration can ask for: more is a slip of the hand.
const MAX_SECONDS: u64 = 10 * 366 * 86_400;
/// As many entries a list of routes, servers or filters may have.
pub const MAX_LIST: usize = 4096;

/// The `n`th word, which the number of words says is there.
pub(super) fn text(d: &Directive, n: usize) -> Result<&str, Refusal> {
    match d.word(n) {
        Some(text) if !text.is_empty() => Ok(text),
        Some(_) => refuse(n, "the value is empty", "write a value, or remove the line"),
        None => refuse(0, "a value is missing", "write a value after it, or remove the line"),
    }
}

/// A number in bounds.
pub(super) fn number(d: &Directive, n: usize, bounds: RangeInclusive<u64>) -> Result<u64, Refusal> {
    let (low, high) = (*bounds.start(), *bounds.end());
    let range = if high == u64::MAX { format!("of at least {low}") } else { format!("from {low} to {high}") };
    match text(d, n)?.parse::<u64>() {
        Ok(number) if bounds.contains(&number) => Ok(number),
        Ok(_) => refuse(n, format!("the number must be {range}"), format!("write a number {range}")),
        Err(_) => refuse(n, "this is not a number", format!("write a number {range}")),
    }
}

/// The same, as a `u32`.
pub(super) fn small(d: &Directive, n: usize, bounds: RangeInclusive<u32>) -> Result<u32, Refusal> {
    let wide = number(d, n, u64::from(*bounds.start())..=u64::from(*bounds.end()))?;
    Ok(u32::try_from(wide).unwrap_or(u32::MAX))
}

/// The same, as a `u16`.
pub(super) fn short(d: &Directive, n: usize, bounds: RangeInclusive<u16>) -> Result<u16, Refusal> {
    let wide = number(d, n, u64::from(*bounds.start())..=u64::from(*bounds.end()))?;
    Ok(u16::try_from(wide).unwrap_or(u16::MAX))
}

/// A number of seconds.
pub(super) fn seconds(d: &Directive, n: usize) -> Result<Duration, Refusal> {
    number(d, n, 0..=MAX_SECONDS).map(Duration::from_secs)
}

/// A port.
pub(super) fn port(d: &Directive, n: usize) -> Result<u16, Refusal> {
    match text(d, n)?.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        Ok(_) | Err(_) => refuse(n, "this is not a port", "write a number from 1 to 65535; OpenVPN's own port is 1194"),
    }
}

/// A host: a name or an address, whichever it is.
pub(super) fn host(d: &Directive, n: usize) -> Result<String, Refusal> {
    let host = text(d, n)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_name = host.len() <= MAX_HOST && host.chars().all(fits) && !host.starts_with('-');
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if is_name || bare.parse::<IpAddr>().is_ok() {
        return Ok(bare.to_owned());
    }
    if host.contains("://") {
        return refuse(n, "this is a web address, not a host", "write the name alone: vpn.example.com");
    }
    refuse(n, "this is neither a host's name nor an address", "write a name such as vpn.example.com, or an address")
}

/// An IPv4 address.
pub(super) fn v4(d: &Directive, n: usize) -> Result<Ipv4Addr, Refusal> {
    text(d, n)?.parse().or_else(|_| refuse(n, "this is not an IPv4 address", "write it as in 10.8.0.1"))
}

/// An address of either version.
pub(super) fn address(d: &Directive, n: usize) -> Result<IpAddr, Refusal> {
    text(d, n)?.parse().or_else(|_| refuse(n, "this is not an address", "write it as in 10.8.0.1 or fd00::1"))
}

/// An address of IPv4, and a mask in the next word (a single host without one), with the bits that the mask does not cover.
pub(super) fn network4_loosely(d: &Directive, n: usize) -> Result<Ipv4Net, Refusal> {
    if let Some((address, _)) = text(d, n)?.split_once('/') {
        let instead = format!("write the mask as its own word: {address} 255.255.255.0");
        return refuse(n, "the length stands after a slash", instead);
    }
    let mask = match d.word(n + 1) {
        None | Some("default") => Ipv4Addr::BROADCAST,
        Some(_) => v4(d, n + 1)?,
    };
    Ipv4Net::with_netmask(v4(d, n)?, mask)
        .or_else(|_| refuse(n + 1, "this is not a mask: its ones must come first", "write it as in 255.255.255.0"))
}

/// A network of IPv4: the same, and without bits that the mask does not cover.
pub(super) fn network4(d: &Directive, n: usize) -> Result<Ipv4Net, Refusal> {
    let network = network4_loosely(d, n)?;
    if network.network() == network.addr() {
        return Ok(network);
    }
    let fixed = format!("write {} {}", network.network(), network.netmask());
    refuse(n, "the address has bits that the mask does not cover", fixed)
}

/// An IPv6 address with the length of its network.
pub(super) fn prefix6(d: &Directive, n: usize) -> Result<Ipv6Net, Refusal> {
    text(d, n)?.parse().or_else(|_| refuse(n, "this is not an IPv6 network", "write it as in fd00:8::/64"))
}

/// A network of IPv6: without bits behind its length.
pub(super) fn network6(d: &Directive, n: usize) -> Result<Ipv6Net, Refusal> {
    let prefix = prefix6(d, n)?;
    if prefix.network() == prefix.addr() {
        return Ok(prefix);
    }
    refuse(n, "the address has bits behind the length", format!("write {}", prefix.trunc()))
}

/// A choice among words.
pub(super) fn choice<T: Copy>(d: &Directive, n: usize, choices: &[(&str, T)]) -> Result<T, Refusal> {
    let found = text(d, n)?;
    if let Some((_, value)) = choices.iter().find(|(name, _)| *name == found) {
        return Ok(*value);
    }
    let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
    refuse(n, "there is no such choice", format!("write one of: {}", names.join(", ")))
}

/// What a block holds, or the file that is named. `None` for `[inline]`, which announces a block.
pub(super) fn material(d: &Directive) -> Result<Option<Material>, Refusal> {
    if let Some(block) = &d.block {
        if block.text.expose().trim().is_empty() {
            return refuse(0, "the block is empty", "put the text of the file between its lines");
        }
        return Ok(Some(Material::Inline(block.text.clone())));
    }
    Ok(match text(d, 1)? {
        "[inline]" => None,
        name => Some(Material::File(name.to_owned())),
    })
}

/// Adds to a list, up to [`MAX_LIST`].
pub(super) fn add<T>(list: &mut Vec<T>, item: T) -> Result<(), Refusal> {
    if list.len() == MAX_LIST {
        return refuse(0, format!("there are more than {MAX_LIST} such lines"), "join several into one");
    }
    list.push(item);
    Ok(())
}
