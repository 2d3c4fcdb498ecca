//! Name servers of the tunnel, from `dhcp-option` and `dns`.
//!
//! Not here: setting them (the host). Every name is checked letter by letter, for what comes here may come from a server
//! (CVE-2025-10680).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::catalogue::{BOTH, Entry, PUSHED, read};
use super::draft::Draft;
use super::finding::{Outcome, Refusal, Said, ignore, refuse};
use super::lexer::Directive;
use super::value::{add, address, text};

/// As many servers one line or one priority may name.
pub const MAX_SERVERS: usize = 16;
/// The longest name (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;

/// Name servers and domains.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dns {
    /// Servers of `dhcp-option`, in order.
    pub servers: Vec<IpAddr>,
    /// Domains that are added to names without dots, in order.
    pub search: Vec<String>,
    /// Domains that only these servers are asked about. Empty: all.
    pub only: Vec<String>,
    /// Servers of `dns`, by priority; where there are some, they count and those above do not.
    pub ranked: BTreeMap<i8, DnsServer>,
}

/// What `dns server` says of one priority.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DnsServer {
    /// Its addresses; port 53 where none is written.
    pub addresses: Vec<SocketAddr>,
    /// Domains that only it is asked about. Empty: all.
    pub domains: Vec<String>,
    /// How it is asked.
    pub transport: DnsTransport,
    /// The name in its certificate.
    pub sni: Option<String>,
    /// Answers must be signed.
    pub dnssec: bool,
}

/// How a name server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DnsTransport {
    /// In the clear, inside the tunnel.
    #[default]
    Plain,
    /// Over TLS.
    Tls,
    /// Over HTTPS.
    Https,
}

const HERE: u8 = BOTH | PUSHED;

/// The options of this area.
pub(super) const TABLE: &[Entry] =
    &[read("dhcp-option", HERE, 1, 3, dhcp_option).many(), read("dns", HERE, 2, 11, dns).many()];

fn domain(d: &Directive, n: usize) -> Result<String, Refusal> {
    let name = text(d, n)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.len() <= MAX_NAME && name.chars().all(fits) && !name.starts_with('-') {
        return Ok(name.to_owned());
    }
    refuse(n, "this is not a domain", "write it with letters, digits, dots and hyphens, as in example.com")
}

fn dhcp_option(draft: &mut Draft, d: &Directive) -> Outcome {
    let dns = &mut draft.dns;
    match text(d, 1)? {
        "DNS" | "DNS6" => add(&mut dns.servers, address(d, 2)?)?,
        "DOMAIN" | "ADAPTER_DOMAIN_SUFFIX" | "DOMAIN-SEARCH" => add(&mut dns.search, domain(d, 2)?)?,
        "DOMAIN-ROUTE" => add(&mut dns.only, domain(d, 2)?)?,
        "WINS" | "NBDD" | "NBT" | "NBS" | "DISABLE-NBT" => return ignore("this is for Windows alone"),
        "NTP" => return ignore("time servers are this machine's own affair"),
        "PROXY_HTTP" | "PROXY_HTTPS" | "PROXY_BYPASS" | "PROXY_AUTO_CONFIG_URL" => {
            return ignore("proxies of programs are not changed");
        }
        _ if draft.is_pushed() => return ignore("there is no such setting"),
        _ => return refuse(1, "there is no such setting", "write DNS, DOMAIN, DOMAIN-SEARCH or DOMAIN-ROUTE"),
    }
    Ok(Said::Accepted)
}

fn dns(draft: &mut Draft, d: &Directive) -> Outcome {
    match text(d, 1)? {
        "search-domains" => {
            for n in 2..=d.arguments() {
                add(&mut draft.dns.search, domain(d, n)?)?;
            }
            Ok(Said::Accepted)
        }
        "server" => dns_server(draft, d),
        _ => {
            refuse(1, "there is no such setting", "write `dns server N address ADDRESS`, or `dns search-domains NAME`")
        }
    }
}

fn dns_server(draft: &mut Draft, d: &Directive) -> Outcome {
    let Ok(rank) = text(d, 2)?.parse::<i8>() else {
        return refuse(2, "this is not a priority", "write a number from -128 to 127");
    };
    if d.arguments() < 4 {
        return refuse(0, "it does not say anything of the server", "write dns server 0 address 10.8.0.1");
    }
    let server = draft.dns.ranked.entry(rank).or_default();
    match text(d, 3)? {
        "address" => {
            for n in 4..=d.arguments() {
                if server.addresses.len() == MAX_SERVERS {
                    return refuse(
                        n,
                        format!("a priority has more than {MAX_SERVERS} addresses"),
                        "give some another priority",
                    );
                }
                server.addresses.push(address_and_port(d, n)?);
            }
        }
        "resolve-domains" => {
            for n in 4..=d.arguments() {
                add(&mut server.domains, domain(d, n)?)?;
            }
        }
        "exclude-domains" => {
            return ignore("OpenVPN has removed it again; other name servers answer for what `resolve-domains` leaves");
        }
        "dnssec" => {
            server.dnssec = match text(d, 4)? {
                "yes" | "optional" => true,
                "no" => false,
                _ => return refuse(4, "there is no such choice", "write `yes`, `optional` or `no`"),
            }
        }
        "transport" => {
            server.transport = match text(d, 4)? {
                "plain" => DnsTransport::Plain,
                "DoT" => DnsTransport::Tls,
                "DoH" => DnsTransport::Https,
                _ => return refuse(4, "there is no such choice", "write `plain`, `DoT` or `DoH`"),
            }
        }
        "sni" => server.sni = Some(domain(d, 4)?),
        _ => return refuse(3, "there is no such setting", "write address, resolve-domains, dnssec, transport or sni"),
    }
    Ok(Said::Accepted)
}

/// `192.0.2.1`, `192.0.2.1:53`, `2001:db8::1` or `[2001:db8::1]:53`.
fn address_and_port(d: &Directive, n: usize) -> Result<SocketAddr, Refusal> {
    let found = text(d, n)?;
    if let Ok(address) = found.parse::<IpAddr>() {
        return Ok((address, 53).into());
    }
    if let Some(Ok(address)) = found.strip_prefix('[').and_then(|f| f.strip_suffix(']')).map(str::parse::<IpAddr>) {
        return Ok((address, 53).into());
    }
    found.parse().or_else(|_| refuse(n, "this is not an address", "write 192.0.2.1, 192.0.2.1:53 or [2001:db8::1]:53"))
}
