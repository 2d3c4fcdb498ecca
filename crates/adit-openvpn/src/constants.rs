//! The table of constants: those of the wire, those that both ends must agree on, and our own limits, apart.

use std::time::Duration;

use crate::crowd::Crowd;

// The wire.

/// Acknowledgements that a peer may put into one packet; more and the packet is dropped.
pub(crate) const MAX_ACKS: usize = 8;
/// Acknowledgements that we put into one packet: SoftEther drops packets with more.
pub(crate) const ACKS_A_PACKET: usize = 4;
/// Packets sent and not yet acknowledged, at most.
pub(crate) const SEND_WINDOW: usize = 6;
/// Packets kept that arrived before one that is missing, and how far ahead of it they may be.
pub(crate) const RECEIVE_WINDOW: usize = 12;
/// First replay number of a client that can send its wrapped key again (early negotiation).
pub(crate) const EARLY_NEGOTIATION: u32 = 0x0f00_0001;
/// The highest key id; the one after it is 1.
pub(crate) const LAST_KEY_ID: u8 = 7;
/// The most bytes of a wrapped client key, metadata included.
pub(crate) const MAX_WRAPPED_KEY: usize = 1024;
/// The fewest: tag, key, metadata type, length.
pub(crate) const MIN_WRAPPED_KEY: usize = 32 + 256 + 2;
/// What a peer sends to say that it is alive; never enters the inside.
pub(crate) const PING: [u8; 16] =
    [0x2a, 0x18, 0x7b, 0xf3, 0x64, 0x1e, 0xb4, 0xcb, 0x07, 0xed, 0x2d, 0x0a, 0x98, 0x1f, 0xc7, 0x48];
/// What precedes messages about options and leaving, in the data channel.
pub(crate) const OCC: [u8; 16] =
    [0x28, 0x7f, 0x34, 0x6b, 0xd4, 0xef, 0x7a, 0x81, 0x2d, 0x56, 0xb8, 0xd3, 0xaf, 0xc5, 0x45, 0x9c];
/// The message after [`OCC`] that says goodbye.
pub(crate) const OCC_EXIT: u8 = 6;
/// A peer id that says nothing: the session is known by its address.
pub(crate) const NO_PEER_ID: u32 = 0x00ff_ffff;
/// From this packet number on new keys are asked for; numbers never wrap.
pub(crate) const LAST_COMFORTABLE_ID: u64 = 0xff00_0000;
/// The last packet number there is.
pub(crate) const LAST_ID: u64 = 0xffff_ffff;
/// The most that a packet grows by: header, MAC of SHA-512, vector, number, padding, framing, header of a fragment.
pub(crate) const OVERHEAD: usize = 4 + 64 + 16 + 4 + 16 + 1 + 4;

/// What peers say that `link-mtu` is above `tun-mtu`, when they compare their options.
pub(crate) const LINK_MTU_ADDED: u32 = 41;

/// GCM with one key stays below 2^36 blocks and packets; at seven eighths of it come other keys.
pub(crate) const WORN_BLOCKS: u64 = (1 << 36) / 8 * 7;
/// Without other keys nothing more is sealed after so many.
pub(crate) const MAX_BLOCKS: u64 = (1 << 36) - 1;
/// So many forged packets and a key is good for none any more; at seven eighths of it come other keys.
pub(crate) const MAX_FORGED: u64 = 1 << 36;
/// See [`MAX_FORGED`].
pub(crate) const WORN_FORGED: u64 = MAX_FORGED / 8 * 7;
/// Epochs after the present one whose packets are opened.
pub(crate) const EPOCHS_AHEAD: usize = 4;
/// From this epoch on new keys are asked for.
pub(crate) const LAST_COMFORTABLE_EPOCH: u16 = 0xf000;

// Times (defaults of OpenVPN).

/// `tls-timeout`: a control packet is sent again after this, and then after twice as long.
pub(crate) const RETRANSMIT: Duration = Duration::from_secs(2);
/// The longest pause between two transmissions of one packet.
pub(crate) const RETRANSMIT_MAX: Duration = Duration::from_secs(60);
/// `hand-window`: a key exchange must be over after this.
pub(crate) const HAND_WINDOW: Duration = Duration::from_secs(60);
/// `tran-window`: keys that were replaced are still good for opening.
pub(crate) const TRANSITION_WINDOW: Duration = Duration::from_secs(3600);
/// `reneg-sec`: keys are renewed after this.
pub(crate) const RENEGOTIATE: Duration = Duration::from_secs(3600);
/// A client asks for its settings this often until it has them.
pub(crate) const PUSH_REQUEST_EVERY: Duration = Duration::from_secs(5);

// Our own limits.

/// No server that is busy makes us wait longer than this.
pub(crate) const MAX_BACKOFF: Duration = Duration::from_secs(3600);

/// Payload of a control packet: with every envelope, IP and UDP header below 1250 bytes.
pub(crate) const CONTROL_PAYLOAD: usize = 1100;
/// Payload of a control packet that we take: OpenVPN's own buffer; it sends 1,250 bytes unless told otherwise.
pub(crate) const MAX_CONTROL_PAYLOAD: usize = 2048;
/// Bytes of TLS that may wait to be sent. A handshake with long chains of certificates has 30 000.
pub(crate) const MAX_TLS_QUEUED: usize = 128 * 1024;
/// Bytes of a key method message: user name and password may be long (SAML tokens).
pub(crate) const MAX_KEY_METHOD: usize = 64 * 1024;
/// Bytes of one control message.
pub(crate) const MAX_MESSAGE: usize = 16 * 1024;
/// Inner packets kept while there is no key; the oldest go first.
pub(crate) const MAX_STAGED: usize = 64;
/// Packets of one session of which pieces are missing; the oldest go first. Also how far behind the newest one may be.
pub(crate) const MAX_PARTIAL: usize = 25;
/// Bytes of all of them.
pub(crate) const MAX_PARTIAL_BYTES: usize = 128 * 1024;
/// A packet whose pieces take longer is given up.
pub(crate) const FRAGMENT_LIFE: Duration = Duration::from_secs(10);
/// Jobs that wait to be sealed: pieces of packets, most of all.
pub(crate) const MAX_SEALS: usize = 2048;
/// Packets put together of pieces that wait to enter the inside.
pub(crate) const MAX_ENTERING: usize = 256;
/// Datagrams of one call of the bulk ciphers.
pub(crate) const AEAD_BATCH: usize = 64;
/// Control messages that wait for their owner.
pub(crate) const MAX_EVENTS: usize = 256;
/// Resets that a server answers at once; as many again in [`RESETS_EVERY`] (`connect-freq-initial`).
pub(crate) const RESETS: u32 = 100;
/// In this time.
pub(crate) const RESETS_EVERY: Duration = Duration::from_secs(10);
/// One and the same reset is answered so often in [`RESETS_EVERY`]: a client sends it a few times, and more often somebody who has
/// heard it, and whom it would serve to use up all answers.
pub(crate) const REPEATS: usize = 8;
/// And so often one that comes under one client's own key (`tls-crypt-v2`), whatever its session: far fewer than there are
/// answers, so that a member keeps out nobody but itself.
pub(crate) const OF_ONE_KEY: usize = 30;
/// Answers that are remembered for it: in that time no more are given, but to those whose handshakes succeed.
pub(crate) const MAX_ANSWERED: usize = 1024;
/// Cookies that a session came of, and that would still be good. Resets are answered some thousand times in that time at most,
/// handshakes that succeed apart.
pub(crate) const MAX_SPENT: usize = 4096;
/// Clients that cannot send their key again, and whose key is kept before they have proved their address: resets are not answered
/// more often in fifteen seconds, in which an honest one has shown its cookie.
pub(crate) const MAX_UNPROVEN: usize = 256;
/// Sessions that have proved their address and are not let in yet, or are being let go.
pub(crate) const MAX_HALF_OPEN: Crowd = Crowd { of_host: 64, of_network: 128, of_all: 512 };
/// A session that is younger is not turned out for another: an honest one is in by then, and the other asks again. In this time fewer
/// resets are answered than one host may have sessions under way.
pub(crate) const SPARED: Duration = Duration::from_secs(5);
/// Clients of a server: sessions have numbers of 24 bits, and the last says nothing.
pub(crate) const MAX_PEERS: usize = 0x00ff_ffff - MAX_HALF_OPEN.of_all;
/// A client that was told to go is kept for this long, so that it hears it.
pub(crate) const LEAVE_AFTER: Duration = Duration::from_secs(5);
/// Bytes of one piece of a push reply.
pub(crate) const PUSH_PIECE: usize = 1000;
