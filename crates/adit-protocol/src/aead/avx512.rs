//! ChaCha20-Poly1305 (RFC 8439 §2.8) over many packets at once, with AVX-512.
//!
//! Packets are taken in groups of sixteen. All their ChaCha20 blocks, the one that makes the Poly1305 key included, are
//! one row of work, cut into steps of sixteen blocks whatever packet they belong to; then Poly1305 runs over eight
//! packets side by side. Opening computes all the tags first, and decrypts only what was authentic.

mod chacha;
mod poly1305;
mod sys;

use std::mem::take;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use self::chacha::{Step, Streams};
use self::poly1305::Message;
use super::{OpenItem, SealItem, TAG_LEN};

pub(crate) use self::sys::Avx512;

/// The most associated data that is worked on here; more is the library's.
pub(crate) const MAX_AAD: usize = 16;

/// From so many packets on, all of this is faster than the library, however short they are,
pub(crate) const MANY: usize = 4;
/// and two or three are from so many bytes on (measured by `examples/aead.rs`).
pub(crate) const MUCH: usize = 2048;

/// One-time keys of a group: the first half of each packet's block 0. Wiped when dropped.
struct OneTimeKeys([[u8; 32]; chacha::LANES]);

impl Drop for OneTimeKeys {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Seals the items. Each has room for a tag, and at most [`MAX_AAD`] bytes of associated data.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512ifma")]
fn seal(items: &mut [SealItem<'_>]) {
    for group in items.chunks_mut(chacha::LANES) {
        let mut streams = Streams::new();
        let mut keys = OneTimeKeys([[0; 32]; chacha::LANES]);
        for (at, item) in group.iter().enumerate() {
            streams.set(at, item.key.raw.expose(), &item.nonce);
        }
        run(&streams, texts_to_seal(group, &mut keys));
        for (set, keys) in group.chunks_mut(poly1305::LANES).zip(keys.0.chunks(poly1305::LANES)) {
            let tags =
                tags(set.iter().zip(keys).map(|(item, key)| Message { key, aad: item.aad, text: text(item.buffer) }));
            for (item, tag) in set.iter_mut().zip(tags) {
                split_tag(item.buffer).1.copy_from_slice(&tag);
            }
        }
    }
}

/// Opens the items, which are as for [`seal`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512ifma")]
fn open(items: &mut [OpenItem<'_>]) {
    for group in items.chunks_mut(chacha::LANES) {
        let mut streams = Streams::new();
        let mut keys = OneTimeKeys([[0; 32]; chacha::LANES]);
        for (at, item) in group.iter().enumerate() {
            streams.set(at, item.key.raw.expose(), &item.nonce);
        }
        run(&streams, texts_of_keys(group.len(), &mut keys));
        for (set, keys) in group.chunks_mut(poly1305::LANES).zip(keys.0.chunks(poly1305::LANES)) {
            let tags =
                tags(set.iter().zip(keys).map(|(item, key)| Message { key, aad: item.aad, text: text(item.buffer) }));
            for (item, tag) in set.iter_mut().zip(tags) {
                item.authentic = split_tag(item.buffer).1[..].ct_eq(&tag).into();
            }
        }
        run(&streams, texts_to_open(group));
    }
}

fn texts_to_seal<'a>(group: &'a mut [SealItem<'_>], keys: &'a mut OneTimeKeys) -> impl Iterator<Item = Text<'a>> {
    let packets = (0..).zip(group.iter_mut().zip(&mut keys.0));
    packets.flat_map(|(packet, (item, key))| [(packet, 0, &mut key[..]), (packet, 1, split_tag(item.buffer).0)])
}

fn texts_of_keys(packets: usize, keys: &mut OneTimeKeys) -> impl Iterator<Item = Text<'_>> {
    (0..).zip(keys.0.iter_mut().take(packets)).map(|(packet, key)| (packet, 0, &mut key[..]))
}

fn texts_to_open<'a>(group: &'a mut [OpenItem<'_>]) -> impl Iterator<Item = Text<'a>> {
    let authentic = (0..).zip(group.iter_mut()).filter(|(_, item)| item.authentic);
    authentic.map(|(packet, item)| (packet, 1, split_tag(item.buffer).0))
}

/// What gets a packet's keystream: packet, block counter at the front, text.
type Text<'a> = (u32, u32, &'a mut [u8]);

/// Texts, cut into blocks.
struct Blocks<'a, I> {
    texts: I,
    /// Of the text begun, what is still to do.
    rest: Text<'a>,
}

impl<'a, I: Iterator<Item = Text<'a>>> Blocks<'a, I> {
    /// Puts the next blocks into a step; how many there were.
    #[inline]
    fn fill(&mut self, step: &mut Step<'a>) -> usize {
        let mut lane = 0;
        while lane < chacha::LANES {
            let (packet, counter, text) = take(&mut self.rest);
            if text.is_empty() {
                let Some(text) = self.texts.next() else { break };
                self.rest = text;
                continue;
            }
            let (block, rest) = text.split_at_mut(text.len().min(64));
            (step.packet[lane], step.counter[lane], step.text[lane]) = (packet, counter, block);
            self.rest = (packet, counter.wrapping_add(1), rest);
            lane += 1;
        }
        lane
    }
}

/// Adds the keystream to all texts, twice sixteen blocks at a time.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512ifma")]
fn run<'a>(streams: &Streams, texts: impl Iterator<Item = Text<'a>>) {
    let mut blocks = Blocks { texts, rest: Text::default() };
    loop {
        let (mut first, mut second) = (Step::new(), Step::new());
        match (blocks.fill(&mut first), blocks.fill(&mut second)) {
            (0, _) => return,
            (_, 0) => first.run(streams),
            _ => first.run_two(&mut second, streams),
        }
    }
}

/// The tags of up to eight messages.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512ifma")]
fn tags<'a>(messages: impl Iterator<Item = Message<'a>> + Clone) -> [[u8; TAG_LEN]; poly1305::LANES] {
    // Lanes to spare repeat the messages there are, so that a set of equal lengths stays one.
    let mut lanes = [Message { key: &[0; 32], aad: &[], text: &[] }; poly1305::LANES];
    for (lane, message) in lanes.iter_mut().zip(messages.cycle()) {
        *lane = message;
    }
    poly1305::tags(&lanes)
}

/// Text and tag of a buffer, which is at least as long as a tag.
fn split_tag(buffer: &mut [u8]) -> (&mut [u8], &mut [u8; TAG_LEN]) {
    let Some(parts) = buffer.split_last_chunk_mut() else { unreachable!("the caller sets shorter buffers aside") };
    parts
}

/// The text of a buffer.
fn text(buffer: &[u8]) -> &[u8] {
    &buffer[..buffer.len() - TAG_LEN]
}
