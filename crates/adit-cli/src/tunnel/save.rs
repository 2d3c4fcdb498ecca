//! `SaveConfig`: when a tunnel goes down, its file becomes what the tunnel was then.
//!
//! Not here: how a profile is written (`adit::profile`).

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use adit::profile::wg_quick::{Endpoint, Host, Peer, Profile};
use adit_protocol::LinkId;
use adit_wireguard::DeviceStatus;

/// The first carrier of every outside.
const UDP: LinkId = LinkId(0);

/// The profile with keys, peers, port and mark as they are now; everything else as it was.
pub(super) fn as_it_is(profile: &Profile, device: DeviceStatus, listen_port: Option<u16>, fwmark: u32) -> Profile {
    let mut now = profile.duplicate();
    now.interface.private_key = device.private_key;
    now.interface.listen_port = listen_port.or(profile.interface.listen_port);
    if profile.interface.fwmark.is_some() {
        now.interface.fwmark = Some(fwmark);
    }
    now.peers = device
        .peers
        .into_iter()
        .map(|peer| {
            let was = profile.peer(&peer.public_key);
            let before = was.and_then(|p| p.endpoint.clone());
            // Where its web site is says nothing of where it listens for UDP.
            let https_only = before.is_none() && was.is_some_and(|p| p.https.is_some());
            // A name stays a name: it is why the person wrote one.
            let name = before.clone().filter(|endpoint| matches!(endpoint.host, Host::Name(_)));
            // Which of several it is at the moment is no choice of anybody's.
            let fallback = was.map_or_else(Vec::new, |p| p.fallback.clone());
            // Nor does the address of a visitor's connection.
            let seen = peer
                .endpoint
                .filter(|_| peer.link == UDP && fallback.is_empty())
                .map(|at| Endpoint { host: Host::Ip(at.ip()), port: at.port() });
            Peer {
                public_key: peer.public_key,
                preshared_key: peer.preshared_key,
                allowed_ips: peer.allowed_ips,
                endpoint: name.or(seen).or(before).filter(|_| !https_only),
                fallback,
                persistent_keepalive: (peer.persistent_keepalive > 0).then_some(peer.persistent_keepalive),
                transport: was.and_then(|p| p.transport),
                https: was.and_then(|p| p.https.clone()),
                https_key: was.and_then(|p| p.https_key),
            }
        })
        .collect();
    now
}

/// Replaces a file in one step, readable by nobody but its owner.
pub(super) fn write(file: &Path, profile: &Profile) -> io::Result<()> {
    let new = file.with_extension("conf.new");
    let _leftover = std::fs::remove_file(&new);
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    out.write_all(profile.emit().as_bytes())?;
    out.sync_all()?;
    std::fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    use adit::profile::wg_quick::parse;
    use adit_protocol::Drops;
    use adit_wireguard::PeerStatus;

    use super::*;

    const A: &str = "mIFc94GTGTBuCbFfkFCEeLMAMMQGUd1NzCOqCm++OGM=";
    const B: &str = "vpXqGaZP9hHIhaseOUhKlIHZEBkVSPfX3W2cEUvtKE4=";
    const C: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    const PIN: &str = "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const WEB: LinkId = LinkId(1);

    /// Every key of adit's own, at a client.
    #[test]
    fn a_client_is_saved_with_all_its_https_keys() {
        let text = format!(
            "[Interface]\nPrivateKey = {A}\nListenPort = 7\nSaveConfig = true\n[Peer]\nPublicKey = {B}\nAllowedIPs = 10.0.0.0/8\n\
             Endpoint = vpn.example.org:51820\nPersistentKeepalive = 25\nTransport = https, udp\n\
             HttpsUrl = https://www.example.org:8443\nHttpsAddress = 192.0.2.1, 2001:db8::1\nHttpsPin = {PIN}\n\
             HttpsRoots = pin\nHttpsHello = plain\nHttpsPath = /updates.Feed/Watch\n"
        );
        saved_as_it_was(&text, WEB);
        saved_as_it_was(&text.replace("Endpoint = vpn.example.org:51820\n", "").replace("https, udp", "https"), WEB);
        for link in [UDP, WEB] {
            saved_as_it_was(&text.replace("vpn.example.org", "192.0.2.1"), link);
        }
    }

    /// Every key of [Https], whichever way the certificate comes, and of its users.
    #[test]
    fn a_web_site_is_saved_with_its_section_and_its_users() {
        let users = format!(
            "[Peer]\nPublicKey = {B}\nAllowedIPs = 10.0.0.2/32\nHttpsKey = {C}\n\
             [Peer]\nPublicKey = {C}\nAllowedIPs = 10.0.0.3/32\nHttpsKey = {A}\n"
        );
        for front in [
            "Acme = www.example.org, example.org\nAcmeDirectory = https://acme.example/dir\n\
             AcmeContact = me@example.org\nAcmeRoot = /etc/acme.pem",
            "Certificate = /etc/c.pem\nCertificateKey = /etc/k.pem",
            "SelfSigned = lab.example",
            "Behind = true",
        ] {
            for site in ["/var/www/html", "http://127.0.0.1:8080"] {
                let section = format!("[Https]\nListen = 443, 127.0.0.1:8443\nSite = {site}\n{front}\n");
                let interface =
                    format!("[Interface]\nPrivateKey = {A}\nListenPort = 7\nFwMark = 0x7\nSaveConfig = true\n");
                // A visitor's address is not where its WireGuard listens.
                saved_as_it_was(&format!("{interface}{section}{users}"), WEB);
            }
        }
    }

    /// What is known of a device with this profile, its peers seen by this carrier, is saved as a file that says the same.
    fn saved_as_it_was(text: &str, link: LinkId) {
        let (profile, _) = parse(text).strict(Path::new("f")).unwrap();
        for line in text.lines().filter(|line| line.contains('=')) {
            let key = line.split_once(" = ").unwrap().0;
            assert!(profile.emit().contains(&format!("{key} = ")), "{key} is not in\n{}", *profile.emit());
        }
        let was = profile.duplicate();
        let peers = was.peers.into_iter().map(|peer| PeerStatus {
            public_key: peer.public_key,
            preshared_key: None,
            endpoint: Some(([192, 0, 2, 1], 51820).into()),
            link,
            last_handshake: None,
            rx_bytes: 1,
            tx_bytes: 1,
            persistent_keepalive: peer.persistent_keepalive.unwrap_or(0),
            allowed_ips: peer.allowed_ips,
            has_session: true,
            staged: 0,
            deadline: None,
        });
        let device = DeviceStatus {
            private_key: was.interface.private_key,
            public_key: None,
            peers: peers.collect(),
            drops: Drops::default(),
            handshakes: 0,
            deadline: None,
            under_load: false,
        };
        let saved = as_it_is(&profile, device, Some(7), 7).emit();
        let (again, _) = parse(&saved).strict(Path::new("f")).unwrap();
        assert_eq!(again, profile, "{}", *saved);
    }
}
