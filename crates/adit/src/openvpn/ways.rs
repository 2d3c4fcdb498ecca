//! The servers of a configuration as addresses: names looked up, in the order in which they are tried.
//!
//! Not here: trying them (the core), when names are asked for anew (`attendant`).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use adit_openvpn::options::{Attempts, Family, Remote, Transport};
use adit_protocol::{LinkId, Path};
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::stream::STREAM;

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
    remote: Remote,
    /// Of the last time that there was an answer.
    addresses: Vec<SocketAddr>,
}

impl Ways {
    /// Those of a configuration; in another order each time, if that is asked for.
    pub(super) fn new(mut remotes: Vec<Remote>, attempts: &Attempts) -> Self {
        if attempts.shuffled {
            shuffle(&mut remotes);
        }
        let remotes = remotes.into_iter().map(|remote| {
            let addresses = literal(&remote).into_iter().collect();
            Known { remote, addresses }
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

    fn asked(&self, remote: &Remote) -> Remote {
        let mut remote = remote.clone();
        if self.random_hostname {
            let mut label = [0; 6];
            // Without randomness the name alone is asked for.
            if getrandom::fill(&mut label).is_ok() {
                let label: String = label.iter().map(|byte| format!("{byte:02x}")).collect();
                remote.host = format!("{label}.{}", remote.host);
            }
        }
        remote
    }

    /// What was found for a name; an empty answer leaves what was known.
    pub(super) fn answered(&mut self, number: usize, found: Vec<SocketAddr>) {
        if let Some(known) = self.remotes.get_mut(number)
            && !found.is_empty()
        {
            known.addresses = found;
        }
    }

    /// All addresses, in the order in which they are tried.
    pub(super) fn paths(&self) -> Vec<Path> {
        let of = |known: &Known| {
            let link = link(&known.remote);
            known.addresses.iter().map(move |remote| Path { link, remote: *remote, local: None }).collect::<Vec<_>>()
        };
        self.remotes.iter().flat_map(of).take(MAX_PATHS).collect()
    }

    /// Their addresses alone.
    pub(super) fn servers(&self) -> Vec<IpAddr> {
        self.paths().iter().map(|path| path.remote.ip()).collect()
    }

    /// How the server at this address is called in the configuration.
    pub(super) fn name_of(&self, path: &Path) -> Option<String> {
        let is_it = |known: &&Known| link(&known.remote) == path.link && known.addresses.contains(&path.remote);
        let known = self.remotes.iter().find(is_it)?;
        Some(format!("{}:{}", known.remote.host, known.remote.port))
    }
}

const fn link(remote: &Remote) -> LinkId {
    match remote.transport {
        Transport::Udp => LinkId(0),
        Transport::Tcp => STREAM,
    }
}

fn fits(family: Family, address: &SocketAddr) -> bool {
    match family {
        Family::Any => true,
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    }
}

/// The address of a remote that needs no question.
fn literal(remote: &Remote) -> Option<SocketAddr> {
    Some(SocketAddr::new(remote.host.parse().ok()?, remote.port))
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
fn shuffle(remotes: &mut [Remote]) {
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
        let text = |ways: &Ways| ways.paths().iter().map(|p| format!("{} {}", p.link.0, p.remote)).collect::<Vec<_>>();
        assert_eq!(text(&ways), ["0 192.0.2.1:1194", "1 [2001:db8::1]:1194"]);
        assert!(ways.has_names());
        assert_eq!(ways.questions().len(), 1);
        ways.answered(1, vec!["192.0.2.7:1194".parse().unwrap()]);
        assert_eq!(text(&ways), ["0 192.0.2.1:1194", "1 192.0.2.7:1194", "1 [2001:db8::1]:1194"]);
        ways.answered(1, Vec::new());
        assert_eq!(ways.paths().len(), 3, "an answer that failed takes nothing away");
        assert_eq!(ways.name_of(&ways.paths()[1]).as_deref(), Some("vpn.example:1194"));
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
        let mut all: Vec<_> = ways.paths().iter().map(|path| path.remote).collect();
        assert!(!all.is_sorted(), "forty in their old order would be a wonder");
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 40);
    }
}
