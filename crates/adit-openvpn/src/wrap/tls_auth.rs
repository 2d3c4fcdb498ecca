//! `tls-auth`: an HMAC before what a control packet says, which stays readable.

use super::replay::ReplayId;
use super::{Direction, Unwrapped};
use crate::Digest;
use crate::key_file::StaticKey;
use crate::mac::Mac;
use crate::packet::{First, SessionId};

#[derive(Debug)]
pub(crate) struct TlsAuth {
    sending: Mac,
    receiving: Mac,
    tag_len: usize,
}

impl TlsAuth {
    pub(super) fn new(key: &StaticKey, digest: Digest, direction: Option<Direction>) -> Self {
        let (sending, receiving) = match direction {
            None => (0, 0),
            Some(Direction::Normal) => (0, 1),
            Some(Direction::Inverse) => (1, 0),
        };
        let mac = |which| Mac::new(digest, key.hmac(which));
        Self { sending: mac(sending), receiving: mac(receiving), tag_len: digest.output_len() }
    }

    /// `op sid MAC id time body`, the MAC being over `id time op sid body`.
    pub(super) fn wrap(&self, first: First, session: SessionId, replay: ReplayId, body: &[u8]) -> Vec<u8> {
        let (op, id, time) = ([first.byte()], replay.id.to_be_bytes(), replay.time.to_be_bytes());
        let tag = self.sending.sign(&[&id, &time, &op, &session.0, body]);
        [&op, session.0.as_slice(), tag.as_ref(), &id, &time, body].concat()
    }

    pub(super) fn unwrap(&self, first: First, session: SessionId, rest: &[u8]) -> Option<Unwrapped> {
        let (tag, rest) = rest.split_at_checked(self.tag_len)?;
        let (id, rest) = rest.split_first_chunk::<4>()?;
        let (time, body) = rest.split_first_chunk::<4>()?;
        if !self.receiving.verify(&[id, time, &[first.byte()], &session.0, body], tag) {
            return None;
        }
        let replay = ReplayId { id: u32::from_be_bytes(*id), time: u32::from_be_bytes(*time) };
        Some(Unwrapped { first, session, replay: Some(replay), body: body.to_vec() })
    }
}
