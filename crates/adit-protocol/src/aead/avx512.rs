//! ChaCha20-Poly1305 (RFC 8439 §2.8) over many packets at once, with AVX-512.
//!
//! Packets are taken in groups of sixteen. All their ChaCha20 blocks, the one that makes the Poly1305 key included, are
//! one row of work, cut into steps of sixteen blocks whatever packet they belong to; then Poly1305 runs over eight
//! packets side by side. Opening computes all the tags first, and decrypts only what was authentic.

mod chacha;
mod poly1305;
mod sys;

use std::iter;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use self::chacha::{Step, Streams};
use self::poly1305::Message;
use super::{OpenItem, SealItem, TAG_LEN};

pub(crate) use self::sys::Avx512;

/// The most associated data that is worked on here; more is the library's.
pub(crate) const MAX_AAD: usize = 16;

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
        run(&streams, blocks_to_seal(group, &mut keys));
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
        run(&streams, blocks_of_keys(group.len(), &mut keys));
        for (set, keys) in group.chunks_mut(poly1305::LANES).zip(keys.0.chunks(poly1305::LANES)) {
            let tags =
                tags(set.iter().zip(keys).map(|(item, key)| Message { key, aad: item.aad, text: text(item.buffer) }));
            for (item, tag) in set.iter_mut().zip(tags) {
                item.authentic = split_tag(item.buffer).1[..].ct_eq(&tag).into();
            }
        }
        run(&streams, blocks_to_open(group));
    }
}

/// One ChaCha20 block's work: packet, counter, text.
type Block<'a> = (usize, u32, &'a mut [u8]);

fn blocks_to_seal<'a>(group: &'a mut [SealItem<'_>], keys: &'a mut OneTimeKeys) -> impl Iterator<Item = Block<'a>> {
    let packets = group.iter_mut().zip(&mut keys.0).enumerate();
    packets.flat_map(|(at, (item, key))| blocks(at, 0, key).chain(blocks(at, 1, split_tag(item.buffer).0)))
}

fn blocks_of_keys(packets: usize, keys: &mut OneTimeKeys) -> impl Iterator<Item = Block<'_>> {
    keys.0.iter_mut().take(packets).enumerate().flat_map(|(at, key)| blocks(at, 0, key))
}

fn blocks_to_open<'a>(group: &'a mut [OpenItem<'_>]) -> impl Iterator<Item = Block<'a>> {
    let authentic = group.iter_mut().enumerate().filter(|(_, item)| item.authentic);
    authentic.flat_map(|(at, item)| blocks(at, 1, split_tag(item.buffer).0))
}

/// The blocks of a text.
fn blocks(packet: usize, counter: u32, text: &mut [u8]) -> impl Iterator<Item = Block<'_>> {
    iter::repeat(packet)
        .zip(counter..)
        .zip(text.chunks_mut(64))
        .map(|((packet, counter), text)| (packet, counter, text))
}

/// Adds the keystream to all blocks, twice sixteen at a time.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512ifma")]
fn run<'a>(streams: &Streams, mut blocks: impl Iterator<Item = Block<'a>>) {
    loop {
        let (mut first, mut second) = (Step::new(), Step::new());
        match (fill(&mut first, &mut blocks), fill(&mut second, &mut blocks)) {
            (0, _) => return,
            (_, 0) => first.run(streams),
            _ => first.run_two(&mut second, streams),
        }
    }
}

/// Puts the next blocks into a step; how many there were.
#[inline]
fn fill<'a>(step: &mut Step<'a>, blocks: &mut impl Iterator<Item = Block<'a>>) -> usize {
    let mut filled = 0;
    for (lane, (packet, counter, text)) in blocks.take(chacha::LANES).enumerate() {
        (step.packet[lane], step.counter[lane], step.text[lane]) = (packet as u32, counter, text);
        filled = lane + 1;
    }
    filled
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
