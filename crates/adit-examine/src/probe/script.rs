//! A probe as a value: what kind of connection, what is sent on it in which order, and when the answer is complete.
//!
//! Not here: how it is carried out (`observe`), which there are (`catalog`).

use std::time::Duration;

/// One question.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    /// The rule that it belongs to.
    pub(super) rule: &'static str,
    /// Its kind: the same in every round.
    pub(super) kind: &'static str,
    /// Its random parts, for the report.
    pub(super) detail: String,
    pub(super) channel: Channel,
    pub(super) steps: Vec<Step>,
    /// Who is asked first.
    pub(super) target_first: bool,
    pub(super) until: Until,
}

/// What the bytes go over.
#[derive(Debug, Clone)]
pub(super) enum Channel {
    /// TCP.
    Clear,
    /// A TLS session.
    Tls(Hello),
    /// TCP, with bytes of an earlier session of the same client to the same server, changed.
    Replay { hello: Hello, request: Vec<u8>, change: Change },
}

/// What a TLS session offers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Hello {
    pub(super) name: Option<String>,
    pub(super) alpn: &'static [&'static [u8]],
    pub(super) versions: Versions,
    pub(super) groups: Groups,
    /// The session before this one is taken up again.
    pub(super) resumes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Versions {
    Both,
    Only12,
    Only13,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Groups {
    All,
    X25519,
    P256,
    /// The first has no key with it, so that the server has to ask for another.
    P384First,
}

/// What is changed in captured bytes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    Nothing,
    /// Only so many thousandths are sent.
    Truncated(usize),
    /// One bit, so many thousandths from the beginning.
    Flipped {
        place: usize,
        bit: u32,
    },
    /// Everything twice.
    Doubled,
    /// After a pause.
    Later(Duration),
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Sends, through TLS if there is one.
    Send(Vec<u8>),
    /// Sends on the TCP connection, beneath TLS.
    Beneath(Vec<u8>),
    /// An HTTP/2 request with Concealed authorization, which depends on the session.
    Concealed(Concealed),
    Pause(Duration),
    /// Hears what the server has to say to what was sent: what follows arrives by itself.
    Hear,
    /// The end of TLS.
    CloseNotify,
    /// The end of what we send.
    HalfClose,
    /// The same record again and again, until the server has enough of it.
    UntilRefused(Vec<u8>),
}

/// A request whose authorization is made for the session (RFC 9729).
#[derive(Debug, Clone)]
pub(super) struct Concealed {
    pub(super) stream: u32,
    pub(super) fields: Vec<(String, String)>,
    pub(super) host: String,
    /// Of the Ed25519 key.
    pub(super) seed: [u8; 32],
    pub(super) fault: Fault,
    pub(super) ends: bool,
}

/// What is wrong with an authorization, besides that nobody knows the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Nothing,
    Verification,
    Signature,
    /// Bound to another session.
    Replayed,
}

/// When an answer is complete. It always is when the connection ends, or after silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Silence or the end.
    Quiet,
    /// So many HTTP/2 streams have ended, and our last ping was answered.
    Streams(usize),
    /// A long silence.
    Idle,
}
