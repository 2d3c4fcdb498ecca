//! What a tunnel is asked to be: a profile from a file, or from a process that decides about a network's peers.
//!
//! Not here: making it so (`running`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use adit::profile::file::{self, Loaded};
use adit::profile::wg_quick::{self, Interface, Peer, Profile, Table, WebSite};
use adit_host::Gateway;
use adit_wireguard::{PrivateKey, PublicKey};
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure, Result};
use crate::places::Places;
use crate::rpc::{Limit, PeersChange, Served, ServedPeers};
use crate::server;

/// What a tunnel is asked to be.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Keys, peers, addresses.
    pub(super) profile: Profile,
    /// What else it does for its peers, if it is a gateway.
    pub(super) gateway: Option<Gateway>,
    /// How fast some of its peers may be.
    pub(super) limits: Vec<Limit>,
    /// What a person should hear of it.
    pub(super) notes: Vec<String>,
    /// Whether peers that run already stay as they are.
    pub(super) keeps_peers: bool,
    /// Where `SaveConfig` writes to.
    pub(super) file: Option<PathBuf>,
}

/// Some peers of a network, and what they are asked to be.
#[derive(Debug)]
pub(crate) struct AskedPeers {
    pub(super) put: Vec<Peer>,
    pub(super) remove: BTreeSet<PublicKey>,
    pub(super) only: Option<BTreeSet<PublicKey>>,
    pub(super) limits: Option<Vec<Limit>>,
}

impl AskedPeers {
    /// By the process that decides about them.
    pub(crate) fn of(change: PeersChange) -> Result<Self> {
        let profile = format!("[Interface]\nTable = off\n{}", change.put);
        let served = Served { profile, ..Served::default() };
        let put = Asked::of_plan(served, None)?.profile.peers;
        let key = |text: &String| {
            PublicKey::from_base64(text).map_err(|e| Failure::usage(format!("the key of a peer that is to go: {e}")))
        };
        let remove = change.remove.iter().map(key).collect::<Result<_>>()?;
        let only = change.only.map(|only| only.iter().map(key).collect::<Result<_>>()).transpose()?;
        Ok(Self { put, remove, only, limits: change.limits })
    }

    /// Makes it so in a profile.
    pub(super) fn change(&mut self, profile: &mut Profile) {
        let gone: BTreeSet<_> =
            self.put.iter().map(|peer| peer.public_key).chain(self.remove.iter().copied()).collect();
        profile.peers.retain(|peer| !gone.contains(&peer.public_key));
        profile.peers.append(&mut self.put);
        if let Some(only) = &self.only {
            profile.peers.retain(|peer| only.contains(&peer.public_key));
        }
    }
}

impl Asked {
    /// By a file; one that is wrong says so.
    pub(crate) fn of_file(file: &Path) -> Result<Self> {
        let loaded = file::load(file).map_err(|e| {
            let denied = matches!(e, file::LoadError::Denied { .. });
            Failure::new(if denied { Exit::Privilege } else { Exit::Usage }, e)
        })?;
        Ok(Self::of_loaded(loaded))
    }

    /// By a file that was read.
    pub(crate) fn of_loaded(loaded: Loaded) -> Self {
        let notes = notes(&loaded);
        Self {
            profile: loaded.profile,
            gateway: None,
            limits: Vec::new(),
            notes,
            file: Some(loaded.file),
            keeps_peers: false,
        }
    }

    /// By the process that decides about the peers. It has fewer rights than we have, so nothing may come from it but
    /// addresses, port and peers: what names files or commands is read where it cannot write.
    pub(crate) fn of_served(served: Served, places: &Places) -> Result<Self> {
        let (key, site) = server::for_the_daemon(&places.server_state(), &served.names)?;
        Self::of_network(served, &key, site)
    }

    /// As [`of_served`](Self::of_served) before there is a key: enough to say what it would change.
    pub(crate) fn of_plan(served: Served, site: Option<WebSite>) -> Result<Self> {
        Self::of_network(served, &PrivateKey::new([1; 32]), site)
    }

    fn of_network(served: Served, key: &PrivateKey, site: Option<WebSite>) -> Result<Self> {
        let line = Zeroizing::new(format!("[Interface]\nPrivateKey = {}\n", &*Zeroizing::new(key.to_base64())));
        let text = Zeroizing::new(served.profile.replacen("[Interface]\n", &line, 1));
        let (mut profile, _) = wg_quick::parse(&text)
            .strict(Path::new("network"))
            .map_err(|e| Failure::usage(format!("the network's peers cannot be read: {e}")))?;
        let Interface { private_key: _, listen_port, addresses, .. } = &profile.interface;
        let plain = Interface {
            private_key: Some(key.duplicate()),
            listen_port: *listen_port,
            addresses: addresses.clone(),
            table: Table::Off,
            ..Interface::default()
        };
        if plain != profile.interface || profile.web_site.is_some() {
            return Err(Failure::usage("a network brings addresses, a port and peers along, and nothing else"));
        }
        profile.web_site = site;
        Ok(Self {
            profile,
            gateway: served.gateway,
            limits: served.limits,
            notes: Vec::new(),
            file: None,
            keeps_peers: served.peers != ServedPeers::Here,
        })
    }
}

/// What a person should hear of a file that is taken.
fn notes(loaded: &Loaded) -> Vec<String> {
    let trouble = loaded.findings.iter().filter(|f| f.is_trouble()).map(|f| f.in_file(&loaded.file).to_string());
    trouble.chain(loaded.exposed.as_ref().map(ToString::to_string)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(profile: &str) -> Result<Asked> {
        let served = Served {
            profile: profile.to_owned(),
            names: Vec::new(),
            gateway: None,
            limits: Vec::new(),
            peers: ServedPeers::Here,
        };
        Asked::of_plan(served, None)
    }

    const PLAIN: &str = "[Interface]\nAddress = 10.77.0.1/24\nListenPort = 51820\nTable = off\n";
    const PEER: &str =
        "\n[Peer]\nPublicKey = ugViDinrHVDhkpj9GJV9FBbxC39S5yL8NV5FvcVGwEE=\nAllowedIPs = 10.77.0.2/32\n";

    #[test]
    fn a_network_brings_addresses_a_port_and_peers() {
        let asked = network(&format!("{PLAIN}{PEER}")).unwrap();
        assert_eq!((asked.profile.peers.len(), asked.profile.interface.listen_port), (1, Some(51820)));
        assert_eq!(asked.profile.interface.private_key, Some(PrivateKey::new([1; 32])));
    }

    #[test]
    fn some_peers_of_a_network_change_and_the_others_stay() {
        let mut profile = network(&format!("{PLAIN}{PEER}")).unwrap().profile;
        let other = "\n[Peer]\nPublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\nAllowedIPs = 10.77.0.3/32\n";
        let change = |put: &str, remove: &[&str]| {
            let remove = remove.iter().map(|key| (*key).to_owned()).collect();
            AskedPeers::of(PeersChange { put: put.to_owned(), remove, only: None, limits: None })
        };
        change(other, &[]).unwrap().change(&mut profile);
        assert_eq!(profile.peers.len(), 2);
        change(&PEER.replace("10.77.0.2", "10.77.0.9"), &[]).unwrap().change(&mut profile);
        assert_eq!((profile.peers.len(), profile.peers[1].allowed_ips[0].to_string().as_str()), (2, "10.77.0.9/32"));
        change("", &["xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="]).unwrap().change(&mut profile);
        assert_eq!(profile.peers.len(), 1);
        change(other, &[]).unwrap().change(&mut profile);
        let only = Some(vec!["xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=".to_owned()]);
        AskedPeers::of(PeersChange { only, ..PeersChange::default() }).unwrap().change(&mut profile);
        assert_eq!(profile.peers[0].allowed_ips[0].to_string(), "10.77.0.3/32");
        assert_eq!(profile.peers.len(), 1);
        assert!(change("[Https]\nSite = /etc\nSelfSigned = a.example\n", &[]).is_err());
        assert!(change("", &["nonsense"]).is_err());
    }

    #[test]
    fn and_nothing_that_names_commands_or_files_or_changes_more_of_the_machine() {
        for line in [
            "PostUp = reboot",
            "PreDown = touch /etc/x",
            "SaveConfig = true",
            "DNS = 192.0.2.1",
            "FwMark = 7",
            "MTU = 600",
            "[Https]\nSite = /etc\nSelfSigned = a.example",
        ] {
            assert!(network(&format!("{PLAIN}{line}\n{PEER}")).is_err(), "{line}");
        }
        assert!(network(&PLAIN.replace("Table = off\n", "")).is_err(), "it would have routes");
        assert!(network("nonsense").is_err());
    }
}
