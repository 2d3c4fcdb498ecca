//! The servers of a configuration as addresses: names looked up, in the order in which they are tried.
//!
//! A server behind a proxy has none that we know: its name is the proxy's to resolve. In paths another address stands for it and
//! for one of its proxy's, to which nothing is ever sent. Not here: trying them (the core), when names are asked for anew (`attendant`).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use adit_openvpn::options::{Attempts, Family, Proxy, ProxyKind, Remote, Transport};
use adit_protocol::{LinkId, Path};
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::proxy::Dial;
use super::stream::{Dials, STREAM};

/// How long one name may take.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;
/// Addresses of all names.
const MAX_PATHS: usize = 256;

/// The remotes of a client, and what is known of their addresses.
#[derive(Debug)]
pub(super) struct Ways {
    remotes: Vec<Known>,
    random_hostname: bool,
}

#[derive(Debug)]
struct Known {
    /// Which of the configuration's it is.
    number: usize,
    remote: Remote,
    /// Of the last time that there was an answer: the server's, or its proxy's.
    addresses: Vec<SocketAddr>,
}

impl Known {
    /// The ways to it: by the addresses that paths name, each with where packets go.
    fn ways(&self) -> impl Iterator<Item = (Path, SocketAddr)> {
        let (link, proxied) = (link(&self.remote), self.remote.proxy.is_some());
        self.addresses.iter().zip(0..).map(move |(address, n)| {
            let remote = if proxied { stand_in(self.number, n, self.remote.port) } else { *address };
            (Path { link, remote, local: None }, *address)
        })
    }
}

/// What stands for a server behind a proxy, of which it has several addresses: in the network whose packets every router throws
/// away (RFC 6666).
fn stand_in(number: usize, address: u16, port: u16) -> SocketAddr {
    // There are fewer (`MAX_REMOTES`).
    let number = u16::try_from(number).unwrap_or(u16::MAX);
    SocketAddr::from((Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, number, address), port))
}

/// A server that is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tried {
    /// Where packets to it go: its own address, or its proxy's.
    pub(super) at: SocketAddr,
    /// How the configuration calls it.
    pub(super) name: String,
    /// What its packets travel in.
    pub(super) transport: Transport,
    /// The proxy on the way.
    pub(super) proxy: Option<ProxyKind>,
}

impl Ways {
    /// Those of a configuration; in another order each time, if that is asked for.
    pub(super) fn new(remotes: Vec<Remote>, attempts: &Attempts) -> Self {
        let mut remotes: Vec<_> = remotes.into_iter().enumerate().collect();
        if attempts.shuffled {
            shuffle(&mut remotes);
        }
        let remotes = remotes.into_iter().map(|(number, remote)| {
            let addresses = literal(&remote).into_iter().collect();
            Known { number, remote, addresses }
        });
        Self { remotes: remotes.collect(), random_hostname: attempts.random_hostname }
    }

    /// How many servers there are.
    pub(super) const fn count(&self) -> usize {
        self.remotes.len()
    }

    /// Whether a name has to be asked for.
    pub(super) fn has_names(&self) -> bool {
        self.remotes.iter().any(|known| literal(&known.remote).is_none())
    }

    /// The names to ask for, with the number of each.
    pub(super) fn questions(&self) -> Vec<(usize, Remote)> {
        let names = self.remotes.iter().enumerate().filter(|(_, known)| literal(&known.remote).is_none());
        names.map(|(number, known)| (number, self.asked(&known.remote))).collect()
    }

    /// What is looked up to reach this server.
    fn asked(&self, remote: &Remote) -> Remote {
        let mut remote = remote.clone();
        match &remote.proxy {
            Some(proxy) => (remote.host, remote.port) = (proxy.host.clone(), proxy.port),
            None => remote.host = self.labelled(&remote.host),
        }
        remote
    }

    /// A name with a random label before it, where that is asked for.
    fn labelled(&self, host: &str) -> String {
        let mut label = [0; 6];
        // Without randomness the name alone is asked for.
        if !self.random_hostname || host.parse::<IpAddr>().is_ok() || getrandom::fill(&mut label).is_err() {
            return host.to_owned();
        }
        let label: String = label.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{label}.{host}")
    }

    /// What was found for a name; an empty answer leaves what was known.
    pub(super) fn answered(&mut self, number: usize, found: Vec<SocketAddr>) {
        if let Some(known) = self.remotes.get_mut(number)
            && !found.is_empty()
        {
            known.addresses = found;
        }
    }

    /// All ways, in the order in which they are tried.
    pub(super) fn paths(&self) -> Vec<adit_openvpn::Remote> {
        let of = |known: &Known| {
            let wrap = known.number;
            known.ways().map(|(path, _)| adit_openvpn::Remote { path, wrap }).collect::<Vec<_>>()
        };
        self.remotes.iter().flat_map(of).take(MAX_PATHS).collect()
    }

    /// What is said to the proxies on them.
    pub(super) fn dials(&self) -> Dials {
        let of = |known: &Known| {
            let Remote { proxy, host, port, transport, .. } = &known.remote;
            let dial = |proxy: &Proxy, at| Dial {
                at,
                proxy: proxy.clone(),
                host: self.labelled(host),
                port: *port,
                transport: *transport,
            };
            let dials = known.ways().filter_map(|(path, at)| Some((path.remote, dial(proxy.as_ref()?, at))));
            dials.collect::<Vec<_>>()
        };
        self.remotes.iter().flat_map(of).take(MAX_PATHS).collect()
    }

    /// The addresses alone that packets to servers go to.
    pub(super) fn servers(&self) -> Vec<IpAddr> {
        let all = self.remotes.iter().flat_map(|known| known.addresses.iter().map(SocketAddr::ip));
        all.take(MAX_PATHS).collect()
    }

    /// The server that this path leads to.
    pub(super) fn tried(&self, path: &Path) -> Option<Tried> {
        let found = |known: &Known| {
            let (_, at) = known.ways().find(|(way, _)| way == path)?;
            let Remote { host, port, transport, proxy, .. } = &known.remote;
            let name = format!("{host}:{port}");
            Some(Tried { at, name, transport: *transport, proxy: proxy.as_ref().map(|proxy| proxy.kind) })
        };
        self.remotes.iter().find_map(found)
    }
}

const fn link(remote: &Remote) -> LinkId {
    match (remote.transport, &remote.proxy) {
        (Transport::Udp, None) => LinkId(0),
        (Transport::Tcp, _) | (Transport::Udp, Some(_)) => STREAM,
    }
}

fn fits(family: Family, address: &SocketAddr) -> bool {
    match family {
        Family::Any => true,
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    }
}

/// Where packets to a remote go, if that needs no question.
fn literal(remote: &Remote) -> Option<SocketAddr> {
    let (host, port) = remote.proxy.as_ref().map_or((&remote.host, remote.port), |proxy| (&proxy.host, proxy.port));
    Some(SocketAddr::new(host.parse().ok()?, port))
}

/// Asks for the name of a remote.
///
/// # Errors
/// In words: it is not known, or nobody answers.
pub(super) async fn look_up(remote: &Remote) -> Result<Vec<SocketAddr>, String> {
    let host = &remote.host;
    let found = timeout(LOOK_UP_WITHIN, lookup_host((host.as_str(), remote.port))).await;
    let found = found
        .map_err(|_| format!("the name {host} was not resolved in time"))?
        .map_err(|error| format!("the name {host} cannot be resolved: {error}"))?;
    let found: Vec<_> = found.filter(|address| fits(remote.family, address)).take(MAX_ADDRESSES).collect();
    if found.is_empty() {
        Err(format!("the name {host} has no address of the kind that `proto` asks for"))
    } else {
        Ok(found)
    }
}

/// Fisher and Yates.
fn shuffle(remotes: &mut [(usize, Remote)]) {
    for last in (1..remotes.len()).rev() {
        let mut dice = [0; 8];
        if getrandom::fill(&mut dice).is_err() {
            return;
        }
        let other = u64::from_ne_bytes(dice) % (last as u64 + 1);
        remotes.swap(last, usize::try_from(other).unwrap_or(last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(host: &str, transport: Transport) -> Remote {
        Remote { host: host.to_owned(), port: 1194, transport, ..Remote::default() }
    }

    fn ways() -> Ways {
        let remotes = vec![
            remote("192.0.2.1", Transport::Udp),
            remote("vpn.example", Transport::Tcp),
            remote("2001:db8::1", Transport::Tcp),
        ];
        Ways::new(remotes, &Attempts::default())
    }

    #[test]
    fn addresses_are_there_at_once_and_names_when_they_are_answered() {
        let mut ways = ways();
        let text = |ways: &Ways| {
            let paths = ways.paths().into_iter().map(|way| way.path);
            paths.map(|p| format!("{} {}", p.link.0, p.remote)).collect::<Vec<_>>()
        };
        assert_eq!(text(&ways), ["0 192.0.2.1:1194", "1 [2001:db8::1]:1194"]);
        assert!(ways.has_names());
        assert_eq!(ways.questions().len(), 1);
        ways.answered(1, vec!["192.0.2.7:1194".parse().unwrap()]);
        assert_eq!(text(&ways), ["0 192.0.2.1:1194", "1 192.0.2.7:1194", "1 [2001:db8::1]:1194"]);
        ways.answered(1, Vec::new());
        assert_eq!(ways.paths().len(), 3, "an answer that failed takes nothing away");
        assert_eq!(ways.tried(&ways.paths()[1].path).unwrap().name, "vpn.example:1194");
        assert!(ways.dials().is_empty());
    }

    /// What has to be looked up, and kept outside of the tunnel, is the proxy; each way through it is told apart.
    #[test]
    fn behind_a_proxy_servers_are_the_proxys_to_find() {
        let proxy = |host: &str| Proxy {
            kind: ProxyKind::Socks,
            host: host.to_owned(),
            port: 1080,
            login: None,
            ask: false,
            keeps_password: false,
            http_1_1: false,
            headers: Vec::new(),
        };
        let behind = |host: &str, proxy| Remote { proxy: Some(proxy), ..remote(host, Transport::Udp) };
        let remotes = vec![
            behind("vpn.example", proxy("192.0.2.9")),
            behind("198.51.100.7", proxy("proxy.example")),
            remote("192.0.2.1", Transport::Udp),
        ];
        let mut ways = Ways::new(remotes, &Attempts::default());
        let asked = ways.questions();
        assert_eq!((asked.len(), asked[0].1.host.as_str(), asked[0].1.port), (1, "proxy.example", 1080));
        ways.answered(1, vec!["192.0.2.9:1080".parse().unwrap(), "[2001:db8::9]:1080".parse().unwrap()]);
        let (paths, dials) = (ways.paths(), ways.dials());
        assert_eq!(
            paths.iter().map(|way| (way.path.link.0, way.wrap)).collect::<Vec<_>>(),
            [(1, 0), (1, 1), (1, 1), (0, 2)]
        );
        let through: Vec<_> = paths.iter().filter_map(|way| dials.get(&way.path.remote)).collect();
        assert_eq!(
            through.iter().map(|dial| dial.host.as_str()).collect::<Vec<_>>(),
            ["vpn.example", "198.51.100.7", "198.51.100.7"]
        );
        let servers: Vec<_> = ways.servers().iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.9", "192.0.2.9", "2001:db8::9", "192.0.2.1"]);
        let tried = ways.tried(&paths[0].path).unwrap();
        assert_eq!((tried.at.to_string(), tried.name.as_str()), ("192.0.2.9:1080".to_owned(), "vpn.example:1194"));
        assert_eq!(tried.proxy, Some(ProxyKind::Socks));
    }

    #[test]
    fn a_random_label_is_put_before_a_name_only() {
        let attempts = Attempts { random_hostname: true, ..Attempts::default() };
        let ways =
            Ways::new(vec![remote("vpn.example", Transport::Udp), remote("192.0.2.1", Transport::Udp)], &attempts);
        let asked = &ways.questions()[0].1.host;
        assert!(asked.ends_with(".vpn.example") && asked.len() == 12 + ".vpn.example".len(), "{asked}");
        assert_eq!(ways.paths().len(), 1);
    }

    #[tokio::test]
    async fn a_name_has_addresses_of_the_family_that_is_asked_for() {
        let with = |family| Remote { family, ..remote("127.0.0.1", Transport::Udp) };
        assert_eq!(look_up(&with(Family::V4)).await.unwrap().len(), 1);
        assert!(look_up(&with(Family::V6)).await.unwrap_err().contains("no address"));
    }

    #[test]
    fn shuffling_loses_nobody() {
        let remotes: Vec<_> = (0..40).map(|n| remote(&format!("192.0.2.{n}"), Transport::Udp)).collect();
        let attempts = Attempts { shuffled: true, ..Attempts::default() };
        let ways = Ways::new(remotes, &attempts);
        let mut all: Vec<_> = ways.paths().iter().map(|way| way.path.remote).collect();
        assert!(!all.is_sorted(), "forty in their old order would be a wonder");
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 40);
    }
}
