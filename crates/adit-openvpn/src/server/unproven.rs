//! Keys of clients that cannot send them again (`tls-crypt-v2 … allow-noncookie`): the little that a server keeps of somebody who has
//! not proved their address yet. So many, and the oldest goes.
//!
//! Not here: when a key is kept, and what comes of it (`gate`).

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::gate::Own;
use crate::constants::MAX_UNPROVEN;
use crate::packet::SessionId;

/// By the client's address and its name of the session, in the order in which they came.
#[derive(Default)]
pub(super) struct Unproven(VecDeque<(SocketAddr, SessionId, Own)>);

impl Unproven {
    pub(super) fn keep(&mut self, from: SocketAddr, session: SessionId, own: Own) {
        self.forget(from, session);
        while self.0.len() >= MAX_UNPROVEN {
            self.0.pop_front();
        }
        self.0.push_back((from, session, own));
    }

    pub(super) fn find(&self, from: SocketAddr, session: SessionId) -> Option<&Own> {
        self.0.iter().find(|(at, name, _)| (*at, *name) == (from, session)).map(|(.., own)| own)
    }

    pub(super) fn forget(&mut self, from: SocketAddr, session: SessionId) {
        self.0.retain(|(at, name, _)| (*at, *name) != (from, session));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use adit_protocol::{DropReason, Now, Output, Path, Protocol as _, Secret};
    use arrayvec::ArrayVec;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    use super::*;
    use crate::key_file::{ClientKey, ServerKey, StaticKey};
    use crate::packet::{Body, First, Opcode};
    use crate::server::{Server, ServerConfig, ServerWrap};
    use crate::testing::start;
    use crate::tls::TlsSettings;
    use crate::verify::PeerRules;
    use crate::wrap::replay::ReplayId;
    use crate::wrap::tls_crypt_v2::Metadata;
    use crate::wrap::{Envelope, Unwrapped};
    use crate::{Role, SessionId};

    const CLIENT: SessionId = SessionId([7; 8]);

    /// A server whose clients have keys of their own, and the key of one.
    fn server(allow_noncookie: bool) -> (Server, ClientKey, Now) {
        let now = Now { instant: start(), unix: Duration::from_secs(1_800_000_000) };
        let key = ServerKey::new(Secret::new([3; 128]));
        let client = key.wrap(StaticKey::new(Secret::new([5; 256])), &Metadata::Timestamp(0)).unwrap();
        let papers = rcgen::generate_simple_self_signed([]).unwrap();
        let tls = TlsSettings {
            certificates: vec![CertificateDer::from(papers.cert.der().to_vec())],
            key: Some(PrivateKeyDer::try_from(papers.signing_key.serialize_der()).unwrap()),
            peer: PeerRules { fingerprints: vec![[0; 32]], ..PeerRules::default() },
            ..TlsSettings::default()
        };
        let wrap = ServerWrap::Keyed { shared: None, clients: Some(Box::new(key)) };
        let server = Server::new(ServerConfig { wrap, tls, allow_noncookie, ..ServerConfig::default() }, [9; 32], now);
        (server.unwrap(), client, now)
    }

    fn at(n: u16) -> Path {
        Path::to(([192, 0, 2, 1], n).into())
    }

    /// What a client before OpenVPN 2.6 sends: its numbers begin with 1, so it cannot send its key again.
    fn reset(key: &ClientKey, session: SessionId) -> Vec<u8> {
        let first = First { opcode: Opcode::HardResetClientV3, key_id: 0 };
        let envelope = Envelope::tls_crypt(&key.key, Role::Client);
        let mut packet = envelope.wrap(first, session, ReplayId { id: 1, time: 1 }, &[0; 5]);
        packet.extend_from_slice(&key.wrapped);
        packet
    }

    /// What the server answers.
    fn answer(server: &mut Server, key: &ClientKey, now: Now) -> Option<Unwrapped> {
        match server.poll_output(now) {
            Output::Transmit { datagram, .. } => Envelope::tls_crypt(&key.key, Role::Client).unwrap(&datagram),
            Output::Seal { .. } | Output::Event(_) | Output::Timeout(..) => None,
        }
    }

    /// The packet that shows the answer's cookie.
    fn proof(key: &ClientKey, session: SessionId, cookie: SessionId) -> Vec<u8> {
        let body = Body { acks: ArrayVec::from_iter([0]), acked_session: Some(cookie), id: None, payload: &[] };
        let mut bytes = Vec::new();
        body.emit(&mut bytes);
        let first = First { opcode: Opcode::Ack, key_id: 0 };
        Envelope::tls_crypt(&key.key, Role::Client).wrap(first, session, ReplayId { id: 2, time: 1 }, &bytes)
    }

    #[test]
    fn a_client_that_cannot_send_its_key_again_comes_in_where_that_is_allowed() {
        for allowed in [false, true] {
            let (mut server, key, now) = server(allowed);
            server.plan_inbound(now, at(1), &mut reset(&key, CLIENT));
            let Some(said) = answer(&mut server, &key, now) else {
                assert!(!allowed && server.drops().of(DropReason::BadHandshake) == 1);
                continue;
            };
            assert!(allowed && said.body.len() == 1 + 4 + 8 + 4, "nothing asks it for its key: {said:?}");
            assert_eq!(server.sessions(), 0);
            let mut shown = proof(&key, CLIENT, said.session);
            server.plan_inbound(now, at(2), &mut shown.clone());
            assert_eq!(server.sessions(), 0, "from elsewhere it proves nothing");
            server.plan_inbound(now, at(1), &mut shown);
            assert_eq!((server.sessions(), server.unproven.0.len()), (1, 0), "it is kept no longer than that");
        }
    }

    #[test]
    fn of_those_who_have_proved_nothing_so_many_are_kept() {
        let (mut server, key, mut now) = server(true);
        let session = |n: u16| SessionId([[1; 6].as_slice(), &n.to_be_bytes()].concat().try_into().unwrap());
        for n in 0..2 * MAX_UNPROVEN as u16 {
            // No faster than one key is answered.
            now.instant += Duration::from_secs(1);
            server.plan_inbound(now, at(n), &mut reset(&key, session(n)));
            assert!(answer(&mut server, &key, now).is_some());
            // Sent again, it is the same.
            server.plan_inbound(now, at(n), &mut reset(&key, session(n)));
        }
        assert_eq!((server.sessions(), server.unproven.0.len()), (0, MAX_UNPROVEN));
        let last = 2 * MAX_UNPROVEN as u16 - 1;
        assert!(server.unproven.find(at(last).remote, session(last)).is_some());
        assert!(server.unproven.find(at(0).remote, session(0)).is_none());
    }
}
