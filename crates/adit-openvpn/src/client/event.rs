//! News of a client, and changes it can take.

use std::time::Duration;

use adit_protocol::Path;
use thiserror::Error;
use zeroize::Zeroizing;

use super::Remote;
use crate::constants::MAX_BACKOFF;
use crate::exchange::ExchangeFailure;
use crate::options::Rejected;
use crate::push::Pushed;
use crate::session::{Credentials, SessionEnd};
use crate::tls::TlsFailure;
use crate::update::Update;

/// News.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEvent {
    /// An attempt begins.
    Connecting(Path),
    /// Packets flow, with these settings.
    Connected(Box<Pushed>),
    /// New keys are in use.
    Renewed,
    /// Settings have changed.
    Updated(Vec<Update>),
    /// The server asks its user something by other means, and waits (`AUTH_PENDING`, `INFO_PRE`, `INFO`).
    Info(String),
    /// The session is over. A new attempt follows, unless [`Ended::is_final`].
    Ended(Ended),
}

/// Why a session is over.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The session itself.
    #[error(transparent)]
    Session(#[from] SessionEnd),
    /// The server refuses us.
    #[error(transparent)]
    Auth(#[from] AuthFailure),
    /// The server wants a cipher that we do not offer.
    #[error(
        "the server uses the cipher `{0}`, which is not among `data-ciphers`\n  hint: add it if you trust it, or ask the server's owner for AES-256-GCM"
    )]
    Cipher(String),
    /// The server changes packets in a way that we do not know.
    #[error(
        "the server changes packets in a way that adit does not know (`protocol-flags {0}`)\n  hint: ask its owner to turn that off"
    )]
    Flags(String),
    /// The server pushes what the configuration rejects (`pull-filter reject`).
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Nothing was heard for `ping-restart`.
    #[error("nothing was heard of the server for {0} s (`ping-restart`)")]
    Silent(u64),
    /// The server starts anew, or says goodbye.
    #[error("the server asks for a new connection: {0}")]
    Restart(String),
    /// The server wants us gone.
    #[error("the server ends the connection: {0}")]
    Halt(String),
    /// What carried the packets is gone.
    #[error("the connection is gone: {0}")]
    Carrier(String),
    /// We were asked to.
    #[error("disconnected as asked")]
    Asked,
}

/// `AUTH_FAILED`, taken apart.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum AuthFailure {
    /// Name, password or certificate are wrong.
    #[error("the server does not let us in: {0}\n  hint: are user name and password right?")]
    Denied(String),
    /// A session token is over; the password is asked for again.
    #[error("the server wants the password again: {0}")]
    SessionOver(String),
    /// Later, perhaps elsewhere.
    #[error("the server does not let us in now: {0}")]
    Temporary(String),
    /// A question whose answer is the next password.
    #[error("the server asks: {question}")]
    Challenge {
        /// What to show.
        question: String,
        /// What to send back: `CRV1::STATE::ANSWER` as the password.
        state: Zeroizing<String>,
        /// The user's name, as base64.
        user: String,
        /// Whether the answer may be shown while it is typed.
        echo: bool,
    },
}

/// A change.
#[derive(Debug)]
pub enum ClientChange {
    /// Use these from now on, and connect if stopped.
    Credentials(Credentials),
    /// Make new keys now.
    Renegotiate,
    /// Begin a new session now.
    Reconnect,
    /// Say goodbye, and stay so.
    Disconnect,
    /// Send a line to the server, such as `CR_RESPONSE,…`.
    Say(String),
    /// The servers are these from now on, tried in this order, again and again; one that is connected to stays. Where there
    /// were none, the first attempt begins.
    Remotes(Vec<Remote>),
    /// What carried the session is gone: a stream has ended.
    CarrierLost(String),
}

impl Ended {
    /// Whether it was we who did not accept the server: its certificate is not what the rules demand.
    pub const fn is_refused_by_us(&self) -> bool {
        matches!(self, Self::Session(SessionEnd::Failed(ExchangeFailure::Tls(TlsFailure::Refused(_)))))
    }

    /// Whether a new attempt must wait for a person.
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Auth(AuthFailure::Denied(_) | AuthFailure::Challenge { .. })
            | Self::Cipher(_)
            | Self::Flags(_)
            | Self::Rejected(_)
            | Self::Halt(_)
            | Self::Asked => true,
            Self::Auth(AuthFailure::SessionOver(_) | AuthFailure::Temporary(_))
            | Self::Session(_)
            | Self::Silent(_)
            | Self::Carrier(_)
            | Self::Restart(_) => false,
        }
    }
}

impl Ended {
    /// The shortest pause before the next attempt, as the server asks for it.
    pub(super) fn backoff(&self) -> Duration {
        let Self::Auth(AuthFailure::Temporary(said)) = self else { return Duration::ZERO };
        let seconds = flags(said).find_map(|flag| flag.strip_prefix("backoff ")?.trim().parse().ok());
        seconds.map_or(Duration::ZERO, Duration::from_secs).min(MAX_BACKOFF)
    }

    /// Whether the next attempt is with the same server.
    pub(super) fn stays(&self) -> bool {
        match self {
            Self::Auth(AuthFailure::Temporary(said)) => {
                !flags(said).any(|flag| matches!(flag, "advance addr" | "advance remote"))
            }
            Self::Auth(AuthFailure::SessionOver(_)) => true,
            Self::Auth(AuthFailure::Denied(_) | AuthFailure::Challenge { .. })
            | Self::Session(_)
            | Self::Cipher(_)
            | Self::Flags(_)
            | Self::Rejected(_)
            | Self::Silent(_)
            | Self::Carrier(_)
            | Self::Restart(_)
            | Self::Halt(_)
            | Self::Asked => false,
        }
    }
}

/// What is in brackets before the text of a temporary refusal.
fn flags(said: &str) -> impl Iterator<Item = &str> {
    let flags = said.strip_prefix('[').and_then(|said| said.split_once(']')).map_or("", |(flags, _)| flags);
    flags.split(',').map(str::trim)
}

impl AuthFailure {
    /// Reads what follows `AUTH_FAILED`.
    pub(crate) fn parse(text: &str) -> Self {
        let text = text.strip_prefix(',').unwrap_or(text);
        if let Some(rest) = text.strip_prefix("CRV1:") {
            let mut parts = rest.splitn(4, ':');
            if let (Some(flags), Some(state), Some(user), Some(question)) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            {
                return Self::Challenge {
                    question: question.to_owned(),
                    state: Zeroizing::new(state.to_owned()),
                    user: user.to_owned(),
                    echo: flags.split(',').any(|flag| flag == "E"),
                };
            }
        }
        if let Some(why) = text.strip_prefix("TEMP") {
            return Self::Temporary(why.to_owned());
        }
        if let Some(why) = text.strip_prefix("SESSION:") {
            return Self::SessionOver(why.to_owned());
        }
        Self::Denied(if text.is_empty() { "no reason given".to_owned() } else { text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_refusal_says_when_and_where_to_try_again() {
        let of = |text: &str| {
            let ended = Ended::from(AuthFailure::parse(text));
            (ended.backoff().as_secs(), ended.stays())
        };
        assert_eq!(of(",TEMP:busy"), (0, true));
        assert_eq!(of(",TEMP[backoff 42,advance no]:busy"), (42, true));
        assert_eq!(of(",TEMP[advance addr, backoff 7]:busy [backoff 9]"), (7, false));
        assert_eq!(of(",TEMP[advance remote]"), (0, false));
        assert_eq!(of(",TEMP[backoff 99999999999999999999]"), (0, true));
        assert_eq!(of(",TEMP[backoff 18446744073709551615]"), (3600, true));
        assert_eq!(of(",TEMP[backoff -1"), (0, true));
        assert_eq!(of(",wrong password"), (0, false));
    }

    #[test]
    fn refusals_are_told_apart() {
        assert_eq!(AuthFailure::parse(""), AuthFailure::Denied("no reason given".into()));
        assert_eq!(AuthFailure::parse(",account locked"), AuthFailure::Denied("account locked".into()));
        assert_eq!(AuthFailure::parse(",SESSION:expired"), AuthFailure::SessionOver("expired".into()));
        assert_eq!(AuthFailure::parse(",TEMP[backoff 42]:busy"), AuthFailure::Temporary("[backoff 42]:busy".into()));
        let AuthFailure::Challenge { question, state, echo, .. } =
            AuthFailure::parse(",CRV1:R,E:st:dXNlcg==:PIN: now?")
        else {
            panic!("no challenge")
        };
        assert_eq!((question.as_str(), state.as_str(), echo), ("PIN: now?", "st", true));
        assert_eq!(AuthFailure::parse(",CRV1:R"), AuthFailure::Denied("CRV1:R".into()));
    }
}
