//! The table of constants: the whitepaper's (§6.1 and message sizes), and our own limits, apart.

use std::time::Duration;

// Of the protocol.

/// Bytes in front of the ciphertext of a data message (§5.4.6).
pub(crate) const DATA_HEADER: usize = 16;
/// Plain text is padded with zeros to a multiple of this (§5.4.6).
pub(crate) const PADDING: usize = 16;
/// Bytes of a handshake initiation (§5.4.2).
pub(crate) const INITIATION_LEN: usize = 148;
/// Bytes of a handshake response (§5.4.3).
pub(crate) const RESPONSE_LEN: usize = 92;
/// Bytes of a cookie reply (§5.4.7).
pub(crate) const COOKIE_REPLY_LEN: usize = 64;

/// §6.1: a session is renewed after this many messages sent.
pub(crate) const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
/// §6.1: a session sends and takes no counter from here on.
pub(crate) const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);
/// §6.1: an initiator asks for new keys after sending with a key this old.
pub(crate) const REKEY_AFTER_TIME: Duration = Duration::from_secs(120);
/// §6.1: no key is used, either way, once it is this old.
pub(crate) const REJECT_AFTER_TIME: Duration = Duration::from_secs(180);
/// §6.1: the least time between two handshake messages of ours to a peer.
pub(crate) const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
/// §6.1: data that is not answered for so long is answered by a keepalive.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// §6.2: an initiator that only receives asks for new keys at this age, so that both ends renew in time.
pub(crate) const REKEY_ON_RECEIVE: Duration =
    Duration::from_secs(REJECT_AFTER_TIME.as_secs() - KEEPALIVE_TIMEOUT.as_secs() - REKEY_TIMEOUT.as_secs());
/// §6.4: an attempt is repeated for REKEY_ATTEMPT_TIME, 90 s, which is so many times (as the kernel counts).
pub(crate) const MAX_RETRIES: u32 = 18;
/// When both ends begin at once, the one with the greater key gives the other so much time more to begin again: longer
/// than the jitter and any likely delay, so that their second attempts do not cross too.
pub(crate) const YIELD_AFTER_CROSSING: Duration = Duration::from_millis(2500);
/// §6.4: added to each retransmission delay; uniform in 0..=333 ms.
pub(crate) const JITTER_MAX_MS: u32 = 333;
/// §6.3: without a new session for so long, all secrets are wiped.
pub(crate) const WIPE_AFTER: Duration = Duration::from_secs(REJECT_AFTER_TIME.as_secs() * 3);
/// §5.1: the least time between two initiations taken from a peer, so that a flood of them costs little.
pub(crate) const INITIATION_SPACING: Duration = Duration::from_millis(20);
/// §5.4.7: how long a cookie, and the secret it is made of, is good.
pub(crate) const COOKIE_LIFETIME: Duration = Duration::from_secs(120);
/// A cookie is used for so much less than its lifetime, so that it does not expire on the way.
pub(crate) const COOKIE_LATENCY: Duration = Duration::from_secs(5);
/// Differentiated services of initiations and responses: AF41.
pub(crate) const HANDSHAKE_TOS: u8 = 0x88;

// Of ours.

/// The inside MTU of a device that was not told another.
pub(crate) const DEFAULT_MTU: usize = 1420;
/// Jobs whose AEAD runs as one batch; lives on the stack.
pub(crate) const AEAD_BATCH: usize = 64;
/// Packets that wait for one peer's handshake; the oldest go first (as in the kernel).
pub(crate) const MAX_STAGED: usize = 128;
/// Bytes of packets that wait for handshakes, all peers together.
pub(crate) const MAX_STAGED_BYTES: usize = 4 << 20;
/// The same for one peer: its 128 packets of the usual size, and no silent peer can take the room of all.
pub(crate) const MAX_STAGED_BYTES_OF_PEER: usize = 256 << 10;
/// Datagrams and events that wait for `poll_output`. Whoever drives a device drains it after each batch.
pub(crate) const MAX_OUTPUTS: usize = 1024;
/// Cookie replies are dropped while so many outputs wait: they are for strangers.
pub(crate) const MAX_OUTPUTS_FOR_COOKIES: usize = 256;

/// Handshake messages a second that the device reads without a cookie: at about 100 µs each, a fifth of one CPU.
pub(crate) const DEVICE_LOAD_RATE: u32 = 2000;
/// So many more at once (all peers of a large server come back together): a tenth of a second of one CPU.
pub(crate) const DEVICE_LOAD_MARK: u32 = 1024;
/// The same for one source: half of what the device has to give.
pub(crate) const SOURCE_LOAD_RATE: u32 = 1000;
/// The same for one source: half of what the device has to give.
pub(crate) const SOURCE_LOAD_MARK: u32 = 512;
/// How long the device stays under load after the last message above the mark (as in the kernel).
pub(crate) const LOAD_LINGERS: Duration = Duration::from_secs(1);
/// Handshake messages a second that are read from a source that has shown a cookie (as in the kernel).
pub(crate) const SOURCE_RATE: u32 = 20;
/// So many of them at once (as in the kernel).
pub(crate) const SOURCE_BURST: u32 = 5;
/// A source that was silent for so long is forgotten (as in the kernel).
pub(crate) const SOURCE_IDLE: Duration = Duration::from_secs(1);
/// Sources remembered at once, those that showed a cookie apart: some 400 KiB each. Beyond, a new source counts for the
/// device only, and under load one more that shows a cookie is not heard.
pub(crate) const MAX_SOURCES: usize = 4096;
