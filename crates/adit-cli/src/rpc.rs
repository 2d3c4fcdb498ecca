//! What the commands and the daemon say to each other: one JSON object a line (docs/spec/daemon-protocol.md).
//!
//! Not here: the socket (`places`), who calls (`client`), who answers (`daemon::house`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use adit_host::Gateway;
use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};
use crate::secret::SecretText;

/// The version of this protocol. Another number on the other side means: refuse, and say so.
pub(crate) const PROTOCOL: u32 = 1;

/// The longest request line the daemon reads.
pub(crate) const MAX_REQUEST: usize = 64 * 1024;

/// The longest request line of a connection that serves a network: some fifty thousand peers.
pub(crate) const MAX_NETWORK: usize = 32 * 1024 * 1024;

/// The longest answer line a command reads: the status of some ten thousand peers.
pub(crate) const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// What the daemon can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", content = "params", rename_all = "snake_case")]
pub(crate) enum Method {
    /// Who are you?
    Info,
    /// Bring up the tunnel that this file describes.
    Up {
        /// The interface.
        name: String,
        /// The file, absolute.
        file: PathBuf,
        /// User and password, where the file leaves them to be asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        login: Option<Login>,
    },
    /// Take it down and undo what it changed.
    Down {
        /// The interface.
        name: String,
    },
    /// Read its file again and apply the difference.
    Reload {
        /// The interface.
        name: String,
    },
    /// Make again what was made for it and somebody has taken away since.
    Mend {
        /// The interface.
        name: String,
    },
    /// Run this network, about whose peers another process decides; one that runs already becomes as said, and the
    /// sessions of peers that stay are kept.
    Serve {
        /// The interface.
        name: String,
        /// The network.
        network: Box<Served>,
    },
    /// Change some peers of a network that runs; the others do not notice.
    Peers {
        /// The interface.
        name: String,
        /// What changes.
        change: Box<PeersChange>,
    },
    /// Certify a key for an OpenVPN client of this network: the private key for that is in the server's directory, where the
    /// daemon reads it itself. Whoever has such papers comes in only once the network says so.
    Certify {
        /// The interface.
        name: String,
        /// What the certificate is to call the device.
        device: String,
        /// Its public key: a point of P-256, in base64.
        public_key: String,
    },
    /// From now on, take nothing from this connection but what concerns this network: for a process that is about to
    /// give up its rights.
    Confine {
        /// The interface.
        name: String,
    },
    /// How is it?
    Status {
        /// The interface; all of them if it is not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
}

impl Method {
    /// Whether it is about this network and nothing else.
    pub(crate) fn concerns_only(&self, network: &str) -> bool {
        match self {
            Self::Info => true,
            Self::Serve { name, .. }
            | Self::Peers { name, .. }
            | Self::Certify { name, .. }
            | Self::Down { name }
            | Self::Confine { name } => name == network,
            Self::Status { name } => name.as_deref() == Some(network),
            Self::Up { .. } | Self::Reload { .. } | Self::Mend { .. } => false,
        }
    }
}

/// What a person was asked for an OpenVPN client: its user, the password of its key, a user of the proxy, or some of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Login {
    /// The user, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// The user's password, with the answer to a question in it where one goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<SecretText>,
    /// The password of the key, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key_password: Option<SecretText>,
    /// User and password of the proxy on the way, a line each, if they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) proxy: Option<SecretText>,
}

/// A network as its server wants it run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Served {
    /// Addresses, port and peers, as a profile with nothing else. Key and web site are in the server's directory, where the
    /// daemon reads them itself: no path comes from here.
    pub(crate) profile: String,
    /// The names of the web site.
    #[serde(default)]
    pub(crate) names: Vec<String>,
    /// What it does for its peers beyond carrying their packets.
    #[serde(default)]
    pub(crate) gateway: Option<Gateway>,
    /// How fast some of its peers may be.
    #[serde(default)]
    pub(crate) limits: Vec<Limit>,
    /// Where its peers are said.
    #[serde(default)]
    pub(crate) peers: ServedPeers,
    /// Its OpenVPN clients, if it admits any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) openvpn: Option<ServedOpenVpn>,
}

/// The OpenVPN clients of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServedOpenVpn {
    /// The UDP port.
    pub(crate) port: u16,
    /// Those who may come in, if peers are said here.
    #[serde(default)]
    pub(crate) members: Vec<Member>,
}

/// An OpenVPN client that may come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// SHA-256 of its certificate, in base64: what stands for a key with other peers.
    pub(crate) certificate: String,
    /// Its addresses in the network.
    pub(crate) v4: Ipv4Addr,
    /// The other one.
    pub(crate) v6: Ipv6Addr,
}

/// The answer to [`Method::Certify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Certified {
    /// The authority's certificate, in PEM.
    pub(crate) authority: String,
    /// The device's certificate, in PEM.
    pub(crate) certificate: String,
    /// SHA-256 of that, in base64.
    pub(crate) fingerprint: String,
    /// The device's key for `tls-crypt-v2`.
    pub(crate) wrapped: SecretText,
}

/// Where the peers of a network are said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ServedPeers {
    /// In the profile: whoever is not there goes.
    #[default]
    Here,
    /// They follow, in parts: those that run stay until the last part says which are all.
    Follow,
    /// Nowhere: those that run stay. Refused if it does not run.
    Stay,
}

/// Some peers of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeersChange {
    /// Those that are to be so, new ones and others, as sections `[Peer]`.
    #[serde(default)]
    pub(crate) put: String,
    /// OpenVPN clients that are to be so, new ones and others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) members: Vec<Member>,
    /// The keys of those that are to go, of either kind.
    #[serde(default)]
    pub(crate) remove: Vec<String>,
    /// The keys of all that there are to be; others go.
    #[serde(default)]
    pub(crate) only: Option<Vec<String>>,
    /// All limits there are, if they are others than before.
    #[serde(default)]
    pub(crate) limits: Option<Vec<Limit>>,
}

/// How fast a peer may be, known by its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limit {
    /// Its addresses in the network.
    pub(crate) addresses: Vec<IpAddr>,
    /// Bits a second towards it.
    pub(crate) down: Option<u64>,
    /// Bits a second from it.
    pub(crate) up: Option<u64>,
}

impl Limit {
    /// As the data plane has it.
    pub(crate) fn to_meter(&self) -> adit::meter::Limit {
        let host = |address: &IpAddr| IpNet::from(*address);
        adit::meter::Limit { addresses: self.addresses.iter().map(host).collect(), down: self.down, up: self.up }
    }
}

/// A request as it stands on the line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Request<M = Method> {
    /// [`PROTOCOL`].
    pub(crate) adit: u32,
    /// Chosen by the asker, repeated in the answer.
    pub(crate) id: u64,
    /// What is asked for.
    #[serde(flatten)]
    pub(crate) method: M,
}

/// What there is to say of a request that was done: written at once, for the status of ten thousand peers is long, and a
/// tree of it far longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Json(String);

/// An answer: which request (0 if that could not be read), and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) id: u64,
    pub(crate) outcome: Result<Json, Failure>,
}

/// A failure as it stands on the line.
#[derive(Serialize)]
struct Refused<'a> {
    adit: u32,
    id: u64,
    error: &'a Failure,
}

/// The part of an answer that every one has.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    error: Option<Failure>,
}

/// An answer to what was done.
#[derive(Deserialize)]
struct Tail<T> {
    result: T,
}

/// The answer to [`Method::Info`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Info {
    /// The version of the program.
    pub(crate) version: String,
    /// Its process.
    pub(crate) pid: u32,
    /// Its resident memory, in KiB.
    pub(crate) resident_kib: u64,
    /// The tunnels it owns.
    pub(crate) tunnels: Vec<String>,
}

/// The answer to [`Method::Up`], [`Method::Down`] and [`Method::Reload`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    /// What else there is to say, a sentence each.
    #[serde(default)]
    pub(crate) notes: Vec<String>,
}

/// What every request has, whatever its version.
#[derive(Deserialize)]
struct Envelope {
    adit: u32,
    #[serde(default)]
    id: u64,
}

/// Reads a request. What is wrong with it is an answer already.
pub(crate) fn parse_request<M: DeserializeOwned>(line: &[u8]) -> Result<(u64, M), Answer> {
    let envelope: Envelope = serde_json::from_slice(line).map_err(|e| {
        Answer::error(0, Failure::usage(format!("the request is not a JSON object with `adit` and `id`: {e}")))
    })?;
    let Envelope { adit, id } = envelope;
    if adit != PROTOCOL {
        return Err(Answer::error(id, other_version(adit, PROTOCOL)));
    }
    let method = serde_json::from_slice(line).map_err(|e| {
        Answer::error(id, Failure::usage(format!("the request is not one of protocol {PROTOCOL}: {e}")))
    })?;
    Ok((id, method))
}

/// The sentence for two sides of different versions.
pub(crate) fn other_version(command: u32, daemon: u32) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("the command speaks protocol {command} and the running daemon protocol {daemon}: they are of different versions"),
    )
    .hint("restart the daemon: `systemctl restart adit`, or take its tunnels down and up again")
}

/// A result as it stands in an answer.
pub(crate) fn value(result: &impl Serialize) -> crate::exit::Result<Json> {
    let text = serde_json::to_string(result);
    text.map(Json).map_err(|e| Failure::failed(format!("the answer cannot be written as JSON: {e}")))
}

/// Reads an answer: what was asked for, or why it was not done.
pub(crate) fn parse_answer<T: DeserializeOwned>(line: &[u8]) -> crate::exit::Result<T> {
    #[derive(Deserialize)]
    struct Version {
        adit: u32,
    }
    let unreadable = |e: serde_json::Error| Failure::failed(format!("the daemon's answer cannot be read: {e}"));
    let Version { adit } = serde_json::from_slice(line).map_err(unreadable)?;
    if adit != PROTOCOL {
        return Err(other_version(PROTOCOL, adit));
    }
    let Head { error } = serde_json::from_slice(line).map_err(unreadable)?;
    if let Some(failure) = error {
        return Err(failure);
    }
    let Tail { result } = serde_json::from_slice(line)
        .map_err(|e| Failure::failed(format!("the daemon's answer is not of protocol {PROTOCOL}: {e}")))?;
    Ok(result)
}

impl<M> Request<M> {
    /// A request of this version.
    pub(crate) const fn new(id: u64, method: M) -> Self {
        Self { adit: PROTOCOL, id, method }
    }
}

impl Answer {
    /// It was not done.
    pub(crate) const fn error(id: u64, failure: Failure) -> Self {
        Self { id, outcome: Err(failure) }
    }

    /// As it stands on the line.
    pub(crate) fn line(&self) -> Vec<u8> {
        match &self.outcome {
            Ok(Json(result)) => {
                format!("{{\"adit\":{PROTOCOL},\"id\":{},\"result\":{result}}}\n", self.id).into_bytes()
            }
            Err(error) => line(&Refused { adit: PROTOCOL, id: self.id, error }),
        }
    }
}

/// A value as one line.
pub(crate) fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec());
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error_of(line: &str) -> Failure {
        parse_request::<Method>(line.as_bytes()).unwrap_err().outcome.unwrap_err()
    }

    #[test]
    fn a_request_is_the_documented_line() {
        let request = Request::new(7, Method::Down { name: "home".to_owned() });
        let text = String::from_utf8(line(&request)).unwrap();
        assert_eq!(text, "{\"adit\":1,\"id\":7,\"method\":\"down\",\"params\":{\"name\":\"home\"}}\n");
    }

    #[test]
    fn an_answer_is_the_documented_line() {
        let done = Answer { id: 7, outcome: value(&Done { notes: vec!["one".to_owned()] }) };
        assert_eq!(done.line(), b"{\"adit\":1,\"id\":7,\"result\":{\"notes\":[\"one\"]}}\n");
        let failed = Answer::error(8, Failure::failed("no").hint("try"));
        let text = String::from_utf8(failed.line()).unwrap();
        assert_eq!(parse_answer::<Done>(&failed.line()), Err(Failure::failed("no").hint("try")));
        assert_eq!(parse_answer::<Done>(&done.line()), Ok(Done { notes: vec!["one".to_owned()] }));
        assert_eq!(parse_answer::<()>(&Answer { id: 1, outcome: value(&()) }.line()), Ok(()));
        assert_eq!(
            text,
            "{\"adit\":1,\"id\":8,\"error\":{\"kind\":\"failed\",\"message\":\"no\",\"hints\":[\"try\"]}}\n"
        );
    }

    #[test]
    fn every_method_can_be_read_back() {
        let name = || "home".to_owned();
        for method in [
            Method::Info,
            Method::Up { name: name(), file: "/etc/adit/home.conf".into(), login: None },
            Method::Up {
                name: name(),
                file: "/etc/adit/office.ovpn".into(),
                login: Some(Login {
                    user: Some("alice".to_owned()),
                    password: "secret".parse().ok(),
                    key_password: "another".parse().ok(),
                    proxy: "bob\nthird\n".parse().ok(),
                }),
            },
            Method::Up {
                name: name(),
                file: "/etc/adit/office.ovpn".into(),
                login: Some(Login { key_password: "another".parse().ok(), ..Login::default() }),
            },
            Method::Down { name: name() },
            Method::Reload { name: name() },
            Method::Status { name: None },
            Method::Status { name: Some(name()) },
        ] {
            assert_eq!(parse_request(&line(&Request::new(3, method.clone()))), Ok((3, method)));
        }
    }

    #[test]
    fn another_version_is_refused_with_a_sentence() {
        let failure = error_of(r#"{"adit":2,"id":5,"method":"teleport"}"#);
        assert!(failure.message.contains("different versions"), "{failure}");
        assert!(failure.hints[0].contains("restart"));
    }

    #[test]
    fn an_unknown_method_is_named() {
        assert!(error_of(r#"{"adit":1,"id":5,"method":"teleport"}"#).message.contains("teleport"));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "[]",
            "7",
            "{}",
            "{\"adit\":\"1\"}",
            "{\"adit\":1,\"id\":-1}",
            "\u{0}",
            "{\"adit\":1,\"method\":\"up\"}",
        ] {
            assert_eq!(error_of(text).kind, Exit::Usage, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_line_of_any_bytes_panics(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            drop(parse_request::<Method>(&bytes));
        }

        #[test]
        fn no_mangled_request_panics(at in 0_usize..64, byte in any::<u8>(), cut in 0_usize..80) {
            let mut bytes = line(&Request::new(1, Method::Up { name: "home".into(), file: "/x/home.conf".into(), login: None }));
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(cut);
            drop(parse_request::<Method>(&bytes));
        }
    }
}
