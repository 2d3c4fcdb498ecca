//! Datagrams that somebody throws at a port who has no business there.
//!
//! Not here: what a daemon should make of them (nothing; the story is in `tests/`).

use crate::dice::Dice;

/// Datagrams of every kind: each length, each message type, well-shaped and not, and damaged copies of `recorded` ones.
pub fn datagrams(recorded: &[Vec<u8>], seed: u64) -> Vec<Vec<u8>> {
    let mut dice = Dice::new(seed);
    let mut all: Vec<Vec<u8>> = Vec::new();
    for length in (0..=320).chain([1_280, 1_420, 1_472, 1_500, 9_000, 65_507]) {
        for kind in 0..=5 {
            all.push(shaped(&mut dice, kind, length));
        }
        all.push(noise(&mut dice, length));
    }
    for (kind, length) in [(1, 148), (2, 92), (3, 64), (4, 32), (4, 1_452)] {
        for _ in 0..200 {
            all.push(shaped(&mut dice, kind, length));
        }
    }
    for original in recorded {
        all.push(original.clone());
        all.push(damaged(&mut dice, original));
        all.push(original[..original.len() / 2].to_vec());
    }
    all
}

/// Random bytes under a header of the type given.
fn shaped(dice: &mut Dice, kind: u8, length: usize) -> Vec<u8> {
    let mut bytes = noise(dice, length);
    for (byte, header) in bytes.iter_mut().zip([kind, 0, 0, 0]) {
        *byte = header;
    }
    bytes
}

fn noise(dice: &mut Dice, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    dice.fill(&mut bytes);
    bytes
}

/// A copy with one bit turned.
fn damaged(dice: &mut Dice, original: &[u8]) -> Vec<u8> {
    let mut copy = original.to_vec();
    let bit = dice.below(8);
    let place = dice.below(copy.len().max(1) as u64) as usize;
    if let Some(byte) = copy.get_mut(place) {
        *byte ^= 1 << bit;
    }
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_thrown_at_its_own_length_and_at_others() {
        let all = datagrams(&[vec![4; 64]], 1);
        for (kind, length) in [(1, 148), (2, 92), (3, 64), (4, 32)] {
            assert!(all.iter().any(|datagram| datagram.len() == length && datagram.starts_with(&[kind, 0, 0, 0])));
            assert!(all.iter().any(|datagram| datagram.len() == length + 1 && datagram.starts_with(&[kind, 0, 0, 0])));
        }
        assert!(all.iter().any(Vec::is_empty) && all.iter().any(|datagram| datagram.len() == 65_507));
    }
}
