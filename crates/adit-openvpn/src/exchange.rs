//! One key exchange of a session: reset, TLS, key messages, then control messages; and the data keys that came of it.
//!
//! Not here: envelopes and which exchange a packet is for (`session`), what control messages mean (`client`, `server`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

use crate::Role;
use crate::constants::{CONTROL_PAYLOAD, MAX_EVENTS, MAX_MESSAGE};
use crate::key_method::{KeyMessage, Parsed};
use crate::keyring::Data;
use crate::packet::Opcode;
use crate::reliable::Reliable;
use crate::tls::{Tls, TlsFailure};

/// Why a key exchange came to nothing.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ExchangeFailure {
    /// TLS, or a certificate.
    #[error(transparent)]
    Tls(#[from] TlsFailure),
    /// The peer said something that it never may.
    #[error("the peer breaks the protocol: {0}\n  hint: is it an OpenVPN peer with `key-method 2`?")]
    Protocol(&'static str),
}

/// One key exchange.
pub(crate) struct Exchange {
    pub(crate) key_id: u8,
    pub(crate) reliable: Reliable,
    pub(crate) begun: Instant,
    /// Somebody is asked meanwhile: it may take until then, if that is later than `hand-window`.
    pub(crate) patience: Option<Instant>,
    role: Role,
    tls: Tls,
    /// How our first bytes of TLS travel, and how many of them.
    first: Option<(Opcode, usize)>,
    stage: Stage,
    pub(crate) own: KeyMessage,
    pub(crate) peer: Option<KeyMessage>,
    /// Plain text before the peer's key message is whole: at most `MAX_KEY_METHOD` bytes and a record.
    plain: Zeroizing<Vec<u8>>,
    /// The key message is not whole before so many bytes.
    enough: usize,
    /// Control messages not yet looked at: at most `MAX_EVENTS`.
    messages: VecDeque<Zeroizing<String>>,
    pub(crate) data: Option<Data>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Our reset has not been acknowledged.
    Reset,
    /// TLS shakes hands.
    Handshake,
    /// Our key message has been sent.
    Sent,
    /// Both key messages are there.
    Complete,
}

impl Exchange {
    /// Begins with `reset`, which carries nothing.
    pub(crate) fn begin(
        role: Role,
        key_id: u8,
        reset: Opcode,
        tls: Tls,
        own: KeyMessage,
        now: Instant,
        again: Duration,
    ) -> Self {
        let mut reliable = Reliable::new(again);
        // The first that waits always has room.
        let queued = reliable.queue(reset, Vec::new());
        debug_assert!(queued.is_ok());
        Self::with(role, key_id, reliable, Stage::Reset, tls, own, now)
    }

    /// Goes on after resets that were exchanged without state.
    pub(crate) fn proven(role: Role, tls: Tls, own: KeyMessage, now: Instant, again: Duration) -> Self {
        Self::with(role, 0, Reliable::after_resets(again), Stage::Handshake, tls, own, now)
    }

    fn with(
        role: Role,
        key_id: u8,
        reliable: Reliable,
        stage: Stage,
        tls: Tls,
        own: KeyMessage,
        begun: Instant,
    ) -> Self {
        Self {
            key_id,
            reliable,
            begun,
            patience: None,
            role,
            tls,
            first: None,
            stage,
            own,
            peer: None,
            plain: Zeroizing::new(Vec::new()),
            enough: 0,
            messages: VecDeque::new(),
            data: None,
        }
    }

    /// Our first bytes of TLS travel as `opcode`, at most `payload` of them.
    pub(crate) const fn first_travels(&mut self, opcode: Opcode, payload: usize) {
        self.first = Some((opcode, payload));
    }

    /// Whether both key messages are there.
    pub(crate) fn is_complete(&self) -> bool {
        self.stage == Stage::Complete
    }

    /// The TLS connection, for exporting keys.
    pub(crate) const fn tls(&self) -> &Tls {
        &self.tls
    }

    /// Goes on as far as what has arrived allows.
    pub(crate) fn advance(&mut self) -> Result<(), ExchangeFailure> {
        let read = self.read_all();
        // Also after a failure: an alert tells the peer why.
        let written = self.write_all();
        read.and(written)
    }

    fn read_all(&mut self) -> Result<(), ExchangeFailure> {
        while let Some((opcode, payload)) = self.reliable.next_in_order() {
            match opcode {
                Opcode::Control | Opcode::ControlWkc => self.tls.read(&payload)?,
                // A reset is over when it has arrived.
                Opcode::SoftReset
                | Opcode::HardResetClientV2
                | Opcode::HardResetServerV2
                | Opcode::HardResetClientV3 => {}
                Opcode::Ack | Opcode::DataV1 | Opcode::DataV2 => {}
            }
            while let Some(record) = self.tls.next_record() {
                self.take(&record)?;
            }
        }
        Ok(())
    }

    /// Plain text of one record.
    fn take(&mut self, record: &[u8]) -> Result<(), ExchangeFailure> {
        if self.peer.is_some() {
            return self.take_messages(record);
        }
        append(&mut self.plain, record);
        if self.plain.len() < self.enough {
            return Ok(());
        }
        match KeyMessage::parse(self.role.other(), &self.plain) {
            Parsed::Partial(enough) => {
                self.enough = enough;
                Ok(())
            }
            Parsed::Wrong => Err(ExchangeFailure::Protocol("its key message cannot be read")),
            Parsed::Whole(message, taken) => {
                self.peer = Some(*message);
                let rest = std::mem::take(&mut self.plain);
                self.take_messages(rest.get(taken..).unwrap_or_default())
            }
        }
    }

    /// Messages end with NUL, or with their record.
    fn take_messages(&mut self, record: &[u8]) -> Result<(), ExchangeFailure> {
        for message in record.split(|byte| *byte == 0).filter(|message| !message.is_empty()) {
            let text = message.strip_suffix(b"\n").unwrap_or(message);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            // What cannot be printed has no place in a log, nor in an option: such messages are dropped.
            let Some(text) = std::str::from_utf8(text).ok().filter(|text| !text.chars().any(char::is_control)) else {
                continue;
            };
            if text.len() > MAX_MESSAGE || self.messages.len() == MAX_EVENTS {
                return Err(ExchangeFailure::Protocol("its control messages are too long, or too many"));
            }
            self.messages.push_back(Zeroizing::new(text.to_owned()));
        }
        Ok(())
    }

    fn write_all(&mut self) -> Result<(), ExchangeFailure> {
        if self.stage == Stage::Reset && self.reliable.is_idle() {
            self.stage = Stage::Handshake;
        }
        if self.stage == Stage::Reset {
            return Ok(());
        }
        let may_send = match self.role {
            Role::Client => true,
            Role::Server => self.peer.is_some(),
        };
        if self.stage == Stage::Handshake && !self.tls.is_handshaking() && may_send {
            self.tls.write(&self.own.emit())?;
            self.own.password.zeroize();
            self.stage = Stage::Sent;
        }
        if self.stage == Stage::Sent && self.peer.is_some() {
            self.stage = Stage::Complete;
        }
        self.flush()
    }

    /// Cuts what TLS has to send into control packets.
    fn flush(&mut self) -> Result<(), ExchangeFailure> {
        let mut bytes = Vec::new();
        self.tls.poll(&mut bytes);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (opcode, most) = self.first.take().unwrap_or((Opcode::Control, CONTROL_PAYLOAD));
            let (now, later) = rest.split_at(rest.len().min(most));
            self.reliable
                .queue(opcode, now.to_vec())
                .map_err(|_| ExchangeFailure::Protocol("it does not acknowledge what it is sent"))?;
            rest = later;
        }
        Ok(())
    }

    /// Sends a control message.
    pub(crate) fn send(&mut self, text: &str) -> Result<(), ExchangeFailure> {
        self.tls.write(&Zeroizing::new([text.as_bytes(), &[0]].concat()))?;
        self.flush()
    }

    /// The next control message of the peer.
    pub(crate) fn next_message(&mut self) -> Option<Zeroizing<String>> {
        self.messages.pop_front()
    }
}

/// Appends without leaving a copy behind where memory becomes too small.
fn append(to: &mut Zeroizing<Vec<u8>>, bytes: &[u8]) {
    let length = to.len() + bytes.len();
    if length > to.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(length.next_power_of_two()));
        larger.extend_from_slice(to);
        *to = larger;
    }
    to.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_is_there_and_has_room_before() {
        let (mut secret, mut expected) = (Zeroizing::new(Vec::new()), vec![]);
        for n in 0..100_u8 {
            let piece = vec![n; usize::from(n)];
            append(&mut secret, &piece);
            expected.extend(&piece);
            assert_eq!(*secret, expected);
            assert!(secret.capacity() < 2 * secret.len().max(1), "powers of two, not the growth of a `Vec`");
        }
    }
}
