//! OpenVPN as a state machine: bytes and [`Now`](adit_protocol::Now) go in; bytes, events and the next deadline come out.
//!
//! Not here: sockets, clocks, threads, files, TUN devices (the engine), routes and DNS (the host).
//!
//! | module | what it knows |
//! |---|---|
//! | `client` | the client role: begin, ask for settings, keep alive, begin again |
//! | `server` | the server role: cookies for strangers, sessions for the proven, settings for those let in |
//! | `session`, `exchange` | one session, its key exchanges in turn; one key exchange from reset to data keys |
//! | `reliable`, `tls` | the order of control packets; TLS over them |
//! | `verify`, `revoked` | who the peer must be; whose certificates are withdrawn |
//! | `key_method`, `prf` | what both ends tell each other, and the keys that come of it |
//! | `data`, `keyring` | the data channel: formats, the jobs that seal and open; the keys in use, from epoch to epoch |
//! | `inner` | what opened packets hold: an inner packet, a piece of one, a ping, a goodbye |
//! | `push`, `update` | a server's settings as text and as values; those that change later |
//! | `packet`, `frame` | control packets as views; packets in a stream of TCP |
//! | `wrap`, `key_file`, `mac` | the envelopes of control packets, their keys as files and as values |
//! | `cipher`, `constants` | the algorithms by the names that configurations use; every number |
//! | [`crowd`] | strangers who wait: how many there may be, and who goes when another comes |
//! | `words` | what strangers write, made fit to be shown |
//! | [`options`] | configurations: text in, typed values and a verdict on each line out |
//! | `assemble` | a client or a server as its configuration describes it, in the terms of the core |
//!
//! Static-key mode, which OpenVPN itself gives up, will not come.

mod assemble;
mod cipher;
mod client;
mod constants;
pub mod crowd;
mod data;
mod exchange;
mod frame;
mod inner;
mod key_file;
mod key_method;
mod keyring;
mod mac;
pub mod options;
mod packet;
mod prf;
mod push;
mod reliable;
mod revoked;
mod server;
mod session;
#[cfg(test)]
mod testing;
mod tls;
mod update;
mod verify;
mod words;
mod wrap;

pub use assemble::{
    Unusable, client as client_of, ends_on_silence, revoked as revoked_of, server as server_of, server_spoken, spoken,
};
pub use cipher::{Cipher, Digest};
pub use client::{AuthFailure, Client, ClientChange, ClientConfig, ClientEvent, ControlWrap, Ended, Remote};
pub use data::{Framing, MssFix, OpenJob, Opened, SealJob};
pub use exchange::ExchangeFailure;
pub use frame::{Deframer, MAX_FRAME, NotAFrame, frame_length};
pub use key_file::{ClientKey, KeyFileError, ServerKey, StaticKey};
pub use packet::{Body, First, Opcode, SessionId};
pub use push::{Pushed, Token};
pub use revoked::Revoked;
pub use server::{
    Answer, AuthRequest, Carried, ClientId, ClientSettings, Password, Server, ServerChange, ServerConfig, ServerEvent,
    ServerWrap, SharedWrap,
};
pub use session::{Credentials, SessionEnd, Times};
pub use tls::{TlsFailure, TlsSettings, TlsSettingsError};
pub use update::Update;
pub use verify::{NameRule, PeerRules, Refused, RulesError};
pub use words::shows;
pub use wrap::Direction;
pub use wrap::tls_crypt_v2::{Metadata, MetadataTooLong};

/// Which end of a connection one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Begins, and asks for its settings.
    Client,
    /// Answers, and gives them.
    Server,
}

impl Role {
    /// The other end's.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}
