//! OpenVPN in the benchmark: the real one and ours, each with the same files, over UDP and TCP.
//!
//! Not here: what is measured of them (`round`).

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use super::other::{Ended, Files, adit_up, start};
use crate::ns::{Family, Namespace, Side, World};
use crate::poll::PATIENCE;

/// Where the answering end is, inside: the server.
pub(super) const INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 7, 0, 1));

/// One way to speak OpenVPN, and who speaks it at both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenVpn {
    speaker: Speaker,
    proto: &'static str,
    cipher: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaker {
    Ours,
    Theirs,
}

/// Over UDP, with the cipher that both choose by themselves.
const UDP: OpenVpn = OpenVpn { speaker: Speaker::Ours, proto: "udp", cipher: "AES-256-GCM" };
/// Over UDP, with the other.
const CHACHA: OpenVpn = OpenVpn { cipher: "CHACHA20-POLY1305", ..UDP };
/// Over TCP.
const TCP: OpenVpn = OpenVpn { proto: "tcp", ..UDP };

impl OpenVpn {
    /// Each way of ours with theirs behind it.
    pub const ALL: [Self; 6] = [UDP, UDP.theirs(), CHACHA, CHACHA.theirs(), TCP, TCP.theirs()];

    /// Whether adit speaks it.
    pub const fn is_ours(&self) -> bool {
        matches!(self.speaker, Speaker::Ours)
    }

    /// The same way, spoken by the real one.
    pub const fn theirs(self) -> Self {
        Self { speaker: Speaker::Theirs, ..self }
    }

    /// Its name in the table.
    pub fn name(&self) -> &'static str {
        match (self.speaker, self.proto, self.cipher) {
            (Speaker::Ours, "udp", "AES-256-GCM") => "adit, OpenVPN/UDP",
            (Speaker::Ours, "udp", _) => "adit, OpenVPN/UDP, ChaCha20",
            (Speaker::Ours, ..) => "adit, OpenVPN/TCP",
            (Speaker::Theirs, "udp", "AES-256-GCM") => "openvpn, UDP",
            (Speaker::Theirs, "udp", _) => "openvpn, UDP, ChaCha20",
            (Speaker::Theirs, ..) => "openvpn, TCP",
        }
    }

    /// Starts both ends: a server at Bob's and a client at Alice's.
    #[track_caller]
    pub(super) fn start(&self, world: &World) -> (Vec<Ended>, Files) {
        let files = Files::new();
        files.certificate("openvpn.test");
        let server = self.end("server", &self.server(&files), &world.bob, &files);
        let client = self.client(world, &files);
        (vec![server, client], files)
    }

    /// Starts the client once more.
    #[track_caller]
    pub(super) fn client(&self, world: &World, files: &Files) -> Ended {
        let bob = world.address(Side::Bob, Family::V4);
        let file = format!("client\nremote {bob} 1194\nproto {}\nconnect-retry 1\n{}", self.proto, self.common(files));
        self.end("client", &file, &world.alice, files)
    }

    fn server(&self, files: &Files) -> String {
        let proto = if self.proto == "tcp" { "tcp-server" } else { self.proto };
        format!("server 10.7.0.0 255.255.255.0\nproto {proto}\nport 1194\ndh none\n{}", self.common(files))
    }

    fn common(&self, files: &Files) -> String {
        let (key, certificate) = (files.path("key.pem"), files.path("cert.pem"));
        format!(
            "dev tun\ntopology subnet\ntun-mtu 1420\nca {certificate}\ncert {certificate}\nkey {key}\n\
             data-ciphers {}\nverb 1\n",
            self.cipher
        )
    }

    #[track_caller]
    fn end(&self, name: &str, text: &str, host: &Namespace, files: &Files) -> Ended {
        match self.speaker {
            Speaker::Ours => adit_up(name, text, host, files),
            Speaker::Theirs => {
                let file = files.secret(&format!("{name}.ovpn"), text);
                start(host, &format!("openvpn --config {file}"), &[], &files.log(name))
            }
        }
    }
}

/// How long it takes from the start of a client until the first echo comes back, the server being there, in milliseconds.
#[track_caller]
pub(super) fn connect(from: &Namespace, client: impl FnOnce() -> Ended) -> (f64, Ended) {
    let begun = Instant::now();
    let client = client();
    while from.attempt(&format!("ping -n -c 1 -W 0.02 {INSIDE}")).is_err() {
        assert!(begun.elapsed() < PATIENCE, "no echo for the client that came again");
    }
    (begun.elapsed().as_secs_f64() * 1e3, client)
}
