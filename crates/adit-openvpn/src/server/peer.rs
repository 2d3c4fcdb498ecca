//! One client of a server: its session, what it can, what it was given, when something is due.

use std::time::{Duration, Instant};

use adit_protocol::{Path, Why};

use super::event::{Carried, ClientSettings};
use crate::data::Fragments;
use crate::key_file::StaticKey;
use crate::session::{Session, Times};
use crate::wrap::tls_crypt_v2::Metadata;
use crate::{Cipher, SessionId};

/// A client, from the packet that proved its address on.
pub(super) struct Peer {
    pub(super) session: Session,
    /// How the client names the session.
    pub(super) name: SessionId,
    /// Tells it from those who had its number before.
    pub(super) count: u64,
    pub(super) path: Path,
    pub(super) phase: Phase,
    pub(super) settings: ClientSettings,
    pub(super) can: Can,
    pub(super) fragments: Fragments,
    /// Who it was when it was asked about first.
    pub(super) identity: Identity,
    /// The name of its own key, and what was written into that.
    pub(super) own_key: Option<([u8; 32], Metadata)>,
    /// What the key of later key exchanges is mixed with.
    pub(super) static_key: Option<StaticKey>,
    /// Its data packets, as they are on the wire.
    pub(super) carried: Carried,
    pub(super) last_sent: Instant,
    pub(super) last_heard: Instant,
    /// When the server looks at it next.
    pub(super) agenda: Option<Instant>,
}

/// Who a client is: whoever renews keys must be the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) common_name: Option<String>,
    /// SHA-256 of its certificate.
    pub(super) certificate: Option<[u8; 32]>,
    pub(super) username: String,
}

/// How far a client has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Keys are being exchanged.
    Exchanging,
    /// It is asked whether it may come in. The client may have asked for its settings meanwhile.
    Asked {
        /// Whether it has.
        wants_settings: bool,
    },
    /// It may; it is to ask for its settings.
    Accepted,
    /// Packets flow.
    Up,
    /// It was told to go; gone at this time.
    Leaving(Instant),
}

/// What a client says that it can (`IV_…`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Can {
    proto: u32,
    ncp: bool,
    ciphers: Option<String>,
    /// The cipher it is configured with, as those say that negotiate none.
    configured: Option<Cipher>,
}

impl Can {
    pub(super) fn parse(peer_info: &str, configured: Option<Cipher>) -> Self {
        let mut can = Self { configured, ..Self::default() };
        for line in peer_info.lines() {
            match line.split_once('=') {
                Some(("IV_PROTO", value)) => can.proto = value.parse().unwrap_or(0),
                Some(("IV_NCP", value)) => can.ncp = value == "2",
                Some(("IV_CIPHERS", value)) => can.ciphers = Some(value.to_owned()),
                _ => {}
            }
        }
        can
    }

    const fn bit(&self, bit: u32) -> bool {
        self.proto >> bit & 1 == 1
    }

    pub(super) const fn long_header(&self) -> bool {
        self.bit(1)
    }

    pub(super) const fn wants_push(&self) -> bool {
        self.bit(2)
    }

    pub(super) const fn exported_keys(&self) -> bool {
        self.bit(3)
    }

    pub(super) const fn wait(&self) -> bool {
        self.bit(4)
    }

    pub(super) const fn control_exit(&self) -> bool {
        self.bit(7)
    }

    pub(super) const fn dynamic_envelope(&self) -> bool {
        self.bit(9)
    }

    pub(super) const fn epoch_keys(&self) -> bool {
        self.bit(10)
    }

    /// Comes again by itself when it is told that it cannot come in now.
    pub(super) const fn come_again(&self) -> bool {
        self.bit(8)
    }

    pub(super) const fn updates(&self) -> bool {
        self.bit(12)
    }

    /// The cipher that we both have.
    pub(super) fn cipher(&self, ours: &[Cipher], fallback: Option<Cipher>) -> Option<Cipher> {
        match (&self.ciphers, self.ncp) {
            (Some(theirs), _) => Cipher::choose(ours, theirs),
            (None, true) => Cipher::choose(ours, "AES-256-GCM:AES-128-GCM"),
            (None, false) => self.configured.filter(|cipher| ours.contains(cipher)).or(fallback),
        }
    }
}

impl Peer {
    /// When something is due, and why.
    pub(super) fn deadline(
        &self,
        times: &Times,
        keepalive: Option<(Duration, Duration)>,
        now: Instant,
    ) -> (Instant, Why) {
        if let Phase::Leaving(at) = self.phase {
            let again = self.session.control_deadline(now).filter(|due| *due < at);
            return again.map_or((at, Why("leaving")), |due| (due, Why("control packet")));
        }
        let ping = keepalive.filter(|_| self.phase == Phase::Up);
        let ping = ping.map(|(ping, _)| (self.last_sent + ping, Why("ping")));
        let silence = keepalive.map(|(_, restart)| (self.last_heard + 2 * restart, Why("ping-restart")));
        let all = self.session.deadline(times, now).into_iter().chain(ping).chain(silence);
        all.min_by_key(|(at, _)| *at).unwrap_or((now + times.hand_window, Why("hand-window")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_certificate_of_the_same_name_is_another_client() {
        let client = Identity { common_name: Some("a".into()), certificate: Some([1; 32]), username: "u".into() };
        for other in [
            Identity { common_name: Some("b".into()), ..client.clone() },
            Identity { certificate: Some([2; 32]), ..client.clone() },
            Identity { certificate: None, ..client.clone() },
            Identity { username: "v".into(), ..client.clone() },
        ] {
            assert_ne!(client, other);
        }
    }

    #[test]
    fn what_a_real_client_can_is_read() {
        let can = Can::parse(
            "IV_VER=2.6.14\nIV_NCP=2\nIV_CIPHERS=AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305\nIV_PROTO=990\n",
            None,
        );
        assert!(can.long_header() && can.wants_push() && can.exported_keys() && can.control_exit());
        assert!(can.dynamic_envelope());
        assert_eq!(can.cipher(&[Cipher::ChaCha20Poly1305], None), Some(Cipher::ChaCha20Poly1305));
        assert_eq!(can.cipher(&[Cipher::Aes256Cbc], Some(Cipher::Aes256Cbc)), None, "it names its ciphers");
    }

    #[test]
    fn old_clients_get_what_they_must_have() {
        let ncp = Can::parse("IV_NCP=2", None);
        assert_eq!(ncp.cipher(&Cipher::DEFAULT, None), Some(Cipher::Aes256Gcm));
        assert!(!ncp.long_header() && !ncp.exported_keys());
        let ancient = Can::parse("", None);
        assert_eq!(ancient.cipher(&Cipher::DEFAULT, None), None);
        assert_eq!(ancient.cipher(&Cipher::DEFAULT, Some(Cipher::Aes256Cbc)), Some(Cipher::Aes256Cbc));
        let configured = Can::parse("", Some(Cipher::Aes192Gcm));
        assert_eq!(configured.cipher(&[Cipher::Aes256Gcm, Cipher::Aes192Gcm], None), Some(Cipher::Aes192Gcm));
        assert_eq!(configured.cipher(&Cipher::DEFAULT, Some(Cipher::Aes256Cbc)), Some(Cipher::Aes256Cbc), "not ours");
    }
}
