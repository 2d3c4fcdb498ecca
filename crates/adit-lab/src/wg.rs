//! The real `wg` as the only way to configure and to look: keys, configuration text, `show dump`.
//!
//! Not here: which peers a story has (`tunnel`).

use std::fmt::Write as _;
use std::net::SocketAddr;

use base64ct::{Base64, Encoding};
use ipnet::IpNet;

use crate::shell::Run;

/// A private key and the public key that belongs to it, made by `wg`.
#[derive(Debug, Clone)]
pub struct KeyPair {
    /// Base64.
    pub private: String,
    /// Base64.
    pub public: String,
}

impl KeyPair {
    /// A new pair.
    #[track_caller]
    pub fn new() -> Self {
        let private = Run::line("wg genkey").ok().trim().to_owned();
        let public = Run::line("wg pubkey").input(private.clone()).ok().trim().to_owned();
        Self { private, public }
    }
}

impl Default for KeyPair {
    fn default() -> Self {
        Self::new()
    }
}

/// Thirty-two random bytes as base64: a pre-shared key, or the public key of somebody who will never call.
pub fn random_key() -> String {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).unwrap_or_else(|error| panic!("the system has no randomness: {error}"));
    Base64::encode_string(&bytes)
}

/// An interface as `wg setconf` takes it.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Its private key.
    pub private_key: String,
    /// Its UDP port.
    pub listen_port: Option<u16>,
    /// Its peers.
    pub peers: Vec<Peer>,
}

/// A peer as `wg setconf` takes it.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// Who.
    pub public_key: String,
    /// The secret shared beforehand.
    pub preshared_key: Option<String>,
    /// Where.
    pub endpoint: Option<SocketAddr>,
    /// Its networks.
    pub allowed_ips: Vec<IpNet>,
    /// Seconds between keepalives.
    pub persistent_keepalive: Option<u16>,
}

impl Config {
    /// The text of the file.
    pub fn text(&self) -> String {
        let mut text = format!("[Interface]\nPrivateKey = {}\n", self.private_key);
        if let Some(port) = self.listen_port {
            let _infallible = writeln!(text, "ListenPort = {port}");
        }
        for peer in &self.peers {
            text += &peer.text();
        }
        text
    }
}

impl Peer {
    fn text(&self) -> String {
        let networks = self.allowed_ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut text = format!("\n[Peer]\nPublicKey = {}\n", self.public_key);
        let lines = [
            ("AllowedIPs", (!networks.is_empty()).then_some(networks)),
            ("PresharedKey", self.preshared_key.clone()),
            ("Endpoint", self.endpoint.map(|endpoint| endpoint.to_string())),
            ("PersistentKeepalive", self.persistent_keepalive.map(|seconds| seconds.to_string())),
        ];
        for (name, value) in lines {
            if let Some(value) = value {
                let _infallible = writeln!(text, "{name} = {value}");
            }
        }
        text
    }
}

/// What `wg show INTERFACE dump` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// The UDP port.
    pub listen_port: u16,
    /// The firewall mark, 0 if off.
    pub fwmark: u32,
    /// The peers.
    pub peers: Vec<PeerDump>,
}

/// One peer of a [`Dump`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerDump {
    /// Who.
    pub public_key: String,
    /// The secret shared beforehand.
    pub preshared_key: Option<String>,
    /// Where it was last heard.
    pub endpoint: Option<SocketAddr>,
    /// Its networks.
    pub allowed_ips: Vec<IpNet>,
    /// Seconds since 1970 of the last handshake, 0 if none.
    pub latest_handshake: u64,
    /// Bytes received.
    pub rx: u64,
    /// Bytes sent.
    pub tx: u64,
    /// Seconds between keepalives.
    pub persistent_keepalive: Option<u16>,
}

impl Dump {
    /// Asks `wg` about an interface.
    #[track_caller]
    pub fn of(interface: &str) -> Self {
        let text = Run::line(&format!("wg show {interface} dump")).ok();
        Self::parse(&text).unwrap_or_else(|| panic!("`wg show {interface} dump` printed something else:\n{text}"))
    }

    /// Takes the text apart: one line of the interface, one of each peer, fields between tabs.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let interface: Vec<_> = lines.next()?.split('\t').collect();
        let [_private, _public, port, mark] = interface.as_slice() else { return None };
        let fwmark = match mark.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => 0,
        };
        let peers = lines.map(PeerDump::parse).collect::<Option<_>>()?;
        Some(Self { listen_port: port.parse().ok()?, fwmark, peers })
    }

    /// A peer by its key.
    #[track_caller]
    pub fn peer(&self, public_key: &str) -> &PeerDump {
        let found = self.peers.iter().find(|peer| peer.public_key == public_key);
        found.unwrap_or_else(|| panic!("no peer {public_key} in {self:?}"))
    }
}

impl PeerDump {
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<_> = line.split('\t').collect();
        let [public_key, secret, endpoint, networks, handshake, rx, tx, keepalive] = fields.as_slice() else {
            return None;
        };
        let given = |field: &str| (field != "(none)" && field != "off").then(|| field.to_owned());
        let networks = given(networks).unwrap_or_default();
        Some(Self {
            public_key: (*public_key).to_owned(),
            preshared_key: given(secret),
            endpoint: given(endpoint).map(|text| text.parse()).transpose().ok()?,
            allowed_ips: networks.split_terminator(',').map(|net| net.parse().ok()).collect::<Option<_>>()?,
            latest_handshake: handshake.parse().ok()?,
            rx: rx.parse().ok()?,
            tx: tx.parse().ok()?,
            persistent_keepalive: given(keepalive).map(|text| text.parse()).transpose().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_taken_apart() {
        let text = "priv\tpub\t51820\t0x1f\nkey\t(none)\t[fd18::1]:9\t10.7.0.1/32,fd07::/64\t1700000000\t12\t34\t25\n\
                    two\tsecret\t(none)\t(none)\t0\t0\t0\toff\n";
        let dump = Dump::parse(text).expect("parses");
        assert_eq!((dump.listen_port, dump.fwmark, dump.peers.len()), (51820, 0x1f, 2));
        let first = dump.peer("key");
        assert_eq!(first.endpoint, "[fd18::1]:9".parse().ok());
        assert_eq!((first.allowed_ips.len(), first.rx, first.tx, first.persistent_keepalive), (2, 12, 34, Some(25)));
        assert_eq!(dump.peer("two").preshared_key.as_deref(), Some("secret"));
        assert_eq!(Dump::parse("priv\tpub\t1"), None);
    }

    #[test]
    fn a_configuration_is_written_as_wg_reads_it() {
        let peer = Peer {
            public_key: "P".into(),
            allowed_ips: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            endpoint: "192.0.2.1:7".parse().ok(),
            persistent_keepalive: Some(1),
            ..Peer::default()
        };
        let config = Config { private_key: "K".into(), listen_port: Some(9), peers: vec![peer] };
        assert_eq!(
            config.text(),
            "[Interface]\nPrivateKey = K\nListenPort = 9\n\n[Peer]\nPublicKey = P\nAllowedIPs = 10.0.0.0/8, fd00::/8\n\
             Endpoint = 192.0.2.1:7\nPersistentKeepalive = 1\n"
        );
    }
}
