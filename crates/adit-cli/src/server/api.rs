//! What commands and the server of a network say to each other: the local API (docs/spec/network-api.md).
//!
//! Not here: how lines go to and fro (`socket`, `rpc`), what comes of a request (`desk`). Fields are only ever added.

use crate::secret::SecretText;
use serde::{Deserialize, Serialize};

/// What a server can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", content = "params", rename_all = "snake_case")]
pub(crate) enum Ask {
    /// What network is this?
    Network,
    /// Invite a device that runs adit.
    Invite {
        /// What it will be called; without it, it says so itself.
        name: Option<String>,
        /// How long the invite is good for, in seconds.
        seconds: u64,
        /// How many devices may use it.
        uses: u32,
        /// Groups of those devices.
        groups: Vec<String>,
    },
    /// Which invites are there?
    Invites,
    /// Close an invite.
    Revoke {
        /// Its number.
        invite: u64,
    },
    /// Admit a device that runs any WireGuard app.
    Admit {
        /// What it is called.
        name: String,
        /// Its public key, in base64.
        public_key: String,
        /// Its groups.
        groups: Vec<String>,
    },
    /// Admit a device that runs an OpenVPN client.
    AdmitOpenvpn {
        /// What it is called.
        name: String,
        /// Its public key, a point of P-256, in base64.
        public_key: String,
        /// Its groups.
        groups: Vec<String>,
    },
    /// Which devices are there?
    Peers,
    /// Change a device.
    Change {
        /// What it is called.
        name: String,
        /// What is to be different.
        change: PeerChange,
    },
    /// The rules in force.
    Policy,
    /// What would be different under these rules?
    CheckPolicy {
        /// Rules.
        text: String,
    },
    /// Put these rules into force.
    ApplyPolicy {
        /// Rules.
        text: String,
    },
    /// May one reach another?
    TestPolicy {
        /// The device that asks.
        from: String,
        /// DEVICE:PORT/PROTOCOL or ADDRESS:PORT/PROTOCOL.
        to: String,
    },
    /// The log of changes, the newest first.
    Audit {
        /// At most so many.
        most: u32,
    },
    /// Is the log of changes what was written?
    VerifyAudit {
        /// NUMBER:HASH of an entry, as somebody kept it.
        kept: Option<String>,
    },
    /// Write the state into a new file beside the database, and say its number: the asker moves it to where it belongs.
    Backup,
    /// Put the state of a backup in place of what is there.
    Restore {
        /// The file's name, beside the database.
        file: String,
        /// What people call it.
        called: std::path::PathBuf,
    },
}

/// What a backup with this number is called, beside the database.
pub(crate) fn backup_name(number: u64) -> String {
    format!("backup-{number}")
}

/// What is to be different about a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum PeerChange {
    /// Its name.
    Rename {
        /// The new one.
        to: String,
    },
    /// How fast it may be. What is absent stays; 0 lifts the limit.
    Rate {
        /// Bits a second towards it.
        down: Option<u64>,
        /// Bits a second from it.
        up: Option<u64>,
    },
    /// How much it may move.
    Quota {
        /// Both ways together; 0 lifts the limit.
        bytes: u64,
        /// `day`, `month` or `total`.
        per: String,
        /// `slow`, `block` or `notify`.
        then: String,
    },
    /// When it ends.
    Expire {
        /// Seconds from now; without it, never.
        seconds: Option<u64>,
    },
    /// Cut it off.
    Disable,
    /// Let it in again.
    Enable,
    /// Another key.
    Rotate {
        /// The new public key, in base64: as it was when the device was admitted.
        public_key: String,
    },
    /// Its groups, in place of those it has.
    Groups {
        /// The groups.
        groups: Vec<String>,
    },
    /// Gone for good.
    Remove,
}

/// The answer to [`Ask::Network`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkReport {
    /// What it is called.
    pub(crate) name: String,
    /// The interface on this machine.
    pub(crate) interface: String,
    /// Where devices reach it.
    pub(crate) hosts: Vec<String>,
    /// Its addresses.
    pub(crate) ranges: Vec<String>,
    /// The UDP port.
    pub(crate) udp_port: u16,
    /// The web site, as a URL.
    pub(crate) web: Option<String>,
    /// The UDP port for OpenVPN clients, if there may be any.
    #[serde(default)]
    pub(crate) openvpn_port: Option<u16>,
    /// Its public key.
    pub(crate) public_key: String,
    /// How many devices there are.
    pub(crate) peers: usize,
    /// How many invites are open.
    pub(crate) open_invites: usize,
    /// Where metrics are served, as a URL, if they are.
    #[serde(default)]
    pub(crate) metrics: Option<String>,
    /// Whether what is decided is what runs; if not, why.
    pub(crate) trouble: Option<String>,
}

/// The answer to [`Ask::Invite`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NewInvite {
    /// Its number, to revoke it by.
    pub(crate) invite: u64,
    /// What its device will be called, by the names that devices have now: another name than was asked for, if that is
    /// taken. Nothing if the device says itself.
    pub(crate) name: Option<String>,
    /// The link.
    pub(crate) link: SecretText,
    /// When it ends, in seconds since 1970.
    pub(crate) expires_unix: u64,
    /// How many devices may use it.
    pub(crate) uses: u32,
}

/// One invite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InviteRow {
    /// Its number.
    pub(crate) invite: u64,
    /// What its device will be called, if that is decided.
    pub(crate) name: Option<String>,
    /// `open`, `used`, `expired` or `revoked`.
    pub(crate) state: String,
    /// How often it may still be used.
    pub(crate) uses_left: u32,
    /// When it ends, in seconds since 1970.
    pub(crate) expires_unix: u64,
    /// The devices that came by it.
    pub(crate) redeemed_by: Vec<String>,
}

/// The answer to [`Ask::Admit`] and [`Ask::AdmitOpenvpn`]: everything of the device's configuration but its private key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Admitted {
    /// What it is called.
    pub(crate) name: String,
    /// A profile in which `PrivateKey` is missing, or an OpenVPN configuration in which `<key>` is. It may hold other secrets of
    /// the device.
    pub(crate) profile: SecretText,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerRow {
    /// What it is called.
    pub(crate) name: String,
    /// `adit`, `wireguard` or `openvpn`.
    pub(crate) kind: String,
    /// `connected`, `away`, `disabled`, `expired` or `over-quota`.
    pub(crate) state: String,
    /// Its addresses.
    pub(crate) addresses: Vec<String>,
    /// Its public key; SHA-256 of its certificate if it runs OpenVPN. In base64.
    pub(crate) public_key: String,
    /// Its groups.
    pub(crate) groups: Vec<String>,
    /// The words that `adit join` showed on it, as long as its invite is known.
    #[serde(default)]
    pub(crate) check_words: Option<String>,
    /// The carrier it was last heard over.
    pub(crate) transport: Option<String>,
    /// Where it was last heard from.
    pub(crate) endpoint: Option<String>,
    /// The last handshake, in seconds since 1970.
    pub(crate) last_handshake_unix: Option<u64>,
    /// Bytes from it, ever.
    pub(crate) received: u64,
    /// Bytes to it, ever.
    pub(crate) sent: u64,
    /// Bits a second towards it, if limited.
    pub(crate) down_limit: Option<u64>,
    /// Bits a second from it, if limited.
    pub(crate) up_limit: Option<u64>,
    /// Its quota, if it has one.
    pub(crate) quota: Option<QuotaRow>,
    /// When it ends, in seconds since 1970.
    pub(crate) expires_unix: Option<u64>,
    /// When it was admitted, in seconds since 1970.
    pub(crate) created_unix: u64,
}

/// How much a device may move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QuotaRow {
    /// Bytes, both ways together.
    pub(crate) bytes: u64,
    /// Bytes of it that are used.
    pub(crate) used: u64,
    /// `day`, `month` or `total`.
    pub(crate) per: String,
    /// `slow`, `block` or `notify`.
    pub(crate) then: String,
}

/// The answer to the questions about rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PolicyReport {
    /// The rules as text.
    pub(crate) text: String,
    /// What is different from the rules in force, a line each: `+ …` or `- …`.
    #[serde(default)]
    pub(crate) changes: Vec<String>,
}

/// The answer to [`Ask::TestPolicy`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PolicyTest {
    /// Whether it may.
    pub(crate) allowed: bool,
    /// By which rule, or why not.
    pub(crate) why: String,
}

/// One change, as the log has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditRow {
    /// When, in seconds since 1970.
    pub(crate) unix: u64,
    /// Who.
    pub(crate) who: String,
    /// From where.
    pub(crate) from: String,
    /// What, a sentence.
    pub(crate) what: String,
}

/// The answer to [`Ask::VerifyAudit`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditChain {
    /// How many entries the log has.
    pub(crate) entries: u64,
    /// The first entry that carries a hash; those before it are of an older adit.
    pub(crate) since: Option<u64>,
    /// When that was written, in seconds since 1970.
    pub(crate) since_unix: Option<u64>,
    /// NUMBER:HASH of the newest entry, to be kept elsewhere.
    pub(crate) newest: Option<String>,
    /// What is wrong, a sentence; nothing if the log is whole.
    pub(crate) broken: Option<String>,
}
