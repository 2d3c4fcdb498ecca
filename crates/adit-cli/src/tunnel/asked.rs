//! What a tunnel is asked to be: a profile from a file, or from a process that decides about a network's peers.
//!
//! Not here: making it so (`running`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use adit::openvpn::network::{Member, MembersChange};
use adit::profile::file::{self, Loaded};
use adit::profile::wg_quick::{self, Interface, Peer, Profile, Table, WebSite};
use adit_host::Gateway;
use adit_wireguard::{PrivateKey, PublicKey};
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure, Result};
use crate::places::Places;
use crate::rpc::{self, Limit, PeersChange, Served, ServedPeers};
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
    /// OpenVPN clients beside the peers, if it admits any.
    pub(super) guests: Option<AskedGuests>,
}

/// OpenVPN clients of a network.
#[derive(Debug)]
pub(super) struct AskedGuests {
    /// The UDP port.
    pub(super) port: u16,
    /// Those who may come in, unless peers are said elsewhere.
    pub(super) members: Vec<Member>,
}

/// Some peers of a network, and what they are asked to be.
#[derive(Debug)]
pub(crate) struct AskedPeers {
    pub(super) put: Vec<Peer>,
    pub(super) members: Vec<Member>,
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
        let members = change.members.iter().map(member).collect::<Result<_>>()?;
        let remove = change.remove.iter().map(key).collect::<Result<_>>()?;
        let only = change.only.map(|only| only.iter().map(key).collect::<Result<_>>()).transpose()?;
        Ok(Self { put, members, remove, only, limits: change.limits })
    }

    /// What of it is about OpenVPN clients: of either kind of peer, some may be to go.
    pub(super) fn of_members(&mut self) -> MembersChange {
        let certificates = |keys: &BTreeSet<PublicKey>| keys.iter().map(|key| *key.as_bytes()).collect();
        MembersChange {
            put: std::mem::take(&mut self.members),
            remove: certificates(&self.remove),
            only: self.only.as_ref().map(certificates),
        }
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
            guests: None,
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
        let guests = served.openvpn.map(|openvpn| {
            let members = openvpn.members.iter().map(member).collect::<Result<_>>()?;
            Ok(AskedGuests { port: openvpn.port, members })
        });
        Ok(Self {
            profile,
            gateway: served.gateway,
            limits: served.limits,
            notes: Vec::new(),
            file: None,
            keeps_peers: served.peers != ServedPeers::Here,
            guests: guests.transpose()?,
        })
    }
}

fn member(said: &rpc::Member) -> Result<Member> {
    let certificate = PublicKey::from_base64(&said.certificate)
        .map_err(|e| Failure::usage(format!("the certificate of an OpenVPN client: {e}")))?;
    Ok(Member { certificate: *certificate.as_bytes(), v4: said.v4, v6: said.v6 })
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
        let served = Served { profile: profile.to_owned(), ..Served::default() };
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
            AskedPeers::of(PeersChange { put: put.to_owned(), remove, ..PeersChange::default() })
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
    fn openvpn_clients_change_with_the_others() {
        let certificate = |n: u8| PublicKey::new([n; 32]).to_string();
        let said = rpc::Member {
            certificate: certificate(7),
            v4: "10.77.0.4".parse().unwrap(),
            v6: "fd77::4".parse().unwrap(),
        };
        let change = |remove: Vec<String>, only| {
            AskedPeers::of(PeersChange { members: vec![said.clone()], remove, only, ..PeersChange::default() })
        };
        let changed = change(vec![certificate(8)], Some(vec![certificate(7), certificate(9)])).unwrap().of_members();
        assert_eq!((changed.put[0].certificate, changed.put[0].v4.to_string()), ([7; 32], "10.77.0.4".to_owned()));
        assert_eq!(changed.remove, [[8; 32]].into());
        assert_eq!(changed.only, Some([[7; 32], [9; 32]].into()));
        let bad = rpc::Member { certificate: "nonsense".into(), ..said.clone() };
        assert!(AskedPeers::of(PeersChange { members: vec![bad], ..PeersChange::default() }).is_err());
        let openvpn = Some(rpc::ServedOpenVpn { port: 1194, members: vec![said.clone()] });
        let served = Served { profile: format!("{PLAIN}{PEER}"), openvpn, ..Served::default() };
        let guests = Asked::of_plan(served, None).unwrap().guests.unwrap();
        assert_eq!((guests.port, guests.members.len()), (1194, 1));
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
