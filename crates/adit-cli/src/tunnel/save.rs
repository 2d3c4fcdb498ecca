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
            let name = before.filter(|endpoint| matches!(endpoint.host, Host::Name(_)));
            // Nor does the address of a visitor's connection.
            let seen = peer
                .endpoint
                .filter(|_| peer.link == UDP)
                .map(|at| Endpoint { host: Host::Ip(at.ip()), port: at.port() });
            Peer {
                public_key: peer.public_key,
                preshared_key: peer.preshared_key,
                allowed_ips: peer.allowed_ips,
                endpoint: name.or(seen).filter(|_| !https_only),
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
