//! Every engine of this machine against the library, which is the oracle, and against RFC 8439.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use proptest::prelude::*;

use super::*;

/// RFC 8439 §2.8.2.
#[test]
fn the_vector_of_the_rfc() {
    let key = Key::new(&Secret::new(std::array::from_fn(|i| 0x80 + i as u8)));
    let nonce = [7, 0, 0, 0, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47];
    let aad = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
    let text =
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen \
                 would be it.";
    let tag = [0x1a, 0xe1, 0x0b, 0x59, 0x4f, 0x09, 0xe2, 0x6a, 0x7e, 0x90, 0x2e, 0xcb, 0xd0, 0x60, 0x06, 0x91];
    for engine in engines() {
        let mut buffer = [&text[..], &[0; TAG_LEN]].concat();
        engine.seal(&mut [SealItem { key: &key, nonce, aad: &aad, buffer: &mut buffer }]);
        assert_eq!(buffer[..16], *b"\xd3\x1a\x8d\x34\x64\x8e\x60\xdb\x7b\x86\xaf\xbc\x53\xef\x7e\xc2", "{engine:?}");
        assert_eq!(buffer[text.len()..], tag, "{engine:?}");
        let mut items = [OpenItem { key: &key, nonce, aad: &aad, buffer: &mut buffer, authentic: false }];
        engine.open(&mut items);
        assert!(items[0].authentic, "{engine:?}");
        assert_eq!(buffer[..text.len()], text[..], "{engine:?}");
    }
}

/// RFC 8439 Appendix A.5: a longer text, opened.
#[test]
fn the_decryption_vector_of_the_rfc() {
    let key = Key::new(&Secret::new(*b"\x1c\x92\x40\xa5\xeb\x55\xd3\x8a\xf3\x33\x88\x86\x04\xf6\xb5\xf0\x47\x39\x17\xc1\x40\x2b\x80\x09\x9d\xca\x5c\xbc\x20\x70\x75\xc0"));
    let nonce = [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let aad = *b"\xf3\x33\x88\x86\0\0\0\0\0\0\x4e\x91";
    let text = "Internet-Drafts are draft documents valid for a maximum of six months and may be updated, replaced, or \
                obsoleted by other documents at any time. It is inappropriate to use Internet-Drafts as reference \
                material or to cite them other than as /\u{201c}work in progress./\u{201d}";
    let tag = *b"\xee\xad\x9d\x67\x89\x0c\xbb\x22\x39\x23\x36\xfe\xa1\x85\x1f\x38";
    for engine in engines() {
        let mut buffer = [text.as_bytes(), &[0; TAG_LEN]].concat();
        engine.seal(&mut [SealItem { key: &key, nonce, aad: &aad, buffer: &mut buffer }]);
        assert_eq!(buffer[..16], *b"\x64\xa0\x86\x15\x75\x86\x1a\xf4\x60\xf0\x62\xc7\x9b\xe6\x43\xbd", "{engine:?}");
        assert_eq!(buffer[text.len()..], tag, "{engine:?}");
    }
}

#[test]
fn every_length_in_batches_of_every_size() {
    let keys = Keys::new();
    for engine in engines() {
        let mut length = 0;
        for size in 1..=70 {
            // Neighbouring lengths side by side; over all the sizes each comes in many lanes.
            let lengths: Vec<usize> = (0..size).map(|i| (length + i) % 301).collect();
            length += size;
            agree(engine, &keys, &lengths, |i| (i, i % 18));
        }
    }
}

#[test]
fn every_length_in_sets_of_equals() {
    let keys = Keys::new();
    for engine in engines() {
        for length in 0..=300 {
            agree(engine, &keys, &vec![length; 1 + length % 17], |_| (0, 0));
        }
    }
}

#[test]
fn long_and_short_side_by_side() {
    let keys = Keys::new();
    let lengths = [65_519, 0, 1420, 1, 9000, 1424, 64, 16_384, 1280, 65_503, 15, 1500, 576, 4096, 63, 65, 1420, 128];
    for engine in engines() {
        for size in 1..=lengths.len() {
            agree(engine, &keys, &lengths[..size], |i| (0, i % 3));
            agree(engine, &keys, &lengths[lengths.len() - size..], |i| (i, 0));
        }
    }
}

#[test]
fn full_packets_in_batches_of_every_size() {
    let keys = Keys::new();
    for engine in engines() {
        for size in 1..=70 {
            agree(engine, &keys, &vec![1408 + size % 32; size], |_| (1, 0));
        }
    }
}

#[test]
fn every_changed_byte_is_refused_and_the_neighbours_are_not() {
    let keys = Keys::new();
    let lengths = [100, 0, 200, 33, 64, 100, 1, 47, 90, 16];
    for engine in engines() {
        let sealed = sealed(&keys, &lengths, &|i| (i % 2, 7));
        for victim in 0..lengths.len() {
            for byte in 0..lengths[victim] + TAG_LEN {
                let mut changed = sealed.clone();
                changed[victim][byte] ^= 1 << (byte % 8);
                for (i, authentic) in open(engine, &keys, &mut changed, &|i| (i % 2, 7)).into_iter().enumerate() {
                    assert_eq!(authentic, i != victim, "{engine:?}: item {i} with byte {byte} of {victim} changed");
                    assert!(!authentic || changed[i][..lengths[i]] == plain(i, lengths[i]));
                }
            }
        }
    }
}

#[test]
fn another_nonce_key_or_associated_data_is_refused() {
    let keys = Keys::new();
    for engine in engines() {
        let sealed = sealed(&keys, &[70; 9], &|_| (0, 8));
        assert_eq!(open(engine, &keys, &mut sealed.clone(), &|_| (0, 8)), [true; 9]);
        assert_eq!(open(engine, &keys, &mut sealed.clone(), &|_| (1, 8)), [false; 9]);
        assert_eq!(open(engine, &keys, &mut sealed.clone(), &|_| (0, 7)), [false; 9]);
        assert_eq!(open(engine, &keys, &mut sealed.clone(), &|_| (0, 0)), [false; 9]);
        let mut shifted = sealed;
        shifted.rotate_left(1);
        assert_eq!(open(engine, &keys, &mut shifted, &|_| (0, 8)), [false; 9]);
    }
}

#[test]
fn a_forged_text_is_not_decrypted() {
    let keys = Keys::new();
    for engine in engines() {
        let mut forged = sealed(&keys, &[200; 3], &|_| (0, 0));
        forged[1][216 - 1] ^= 1;
        assert_eq!(open(engine, &keys, &mut forged, &|_| (0, 0)), [true, false, true]);
        assert_ne!(forged[1][..200], plain(1, 200));
    }
}

#[test]
fn a_buffer_shorter_than_a_tag_is_left_and_refused() {
    let keys = Keys::new();
    for engine in engines() {
        for short in 0..TAG_LEN {
            let mut buffers = [vec![7; 50], vec![9; short], vec![7; 16]];
            engine.seal(&mut items(&keys, &mut buffers, &|_| (0, 0)));
            assert_eq!(buffers[1], vec![9; short]);
            assert_eq!(open(engine, &keys, &mut buffers, &|_| (0, 0)), [true, false, true]);
        }
        engine.seal(&mut []);
        engine.open(&mut []);
    }
}

/// Whichever engine is chosen for a batch: at and around the sizes where the choice changes.
#[test]
fn the_choice_of_engine_does_not_show() {
    let keys = Keys::new();
    for size in 0..6 {
        for length in [0, 64, 500, 680, 1008, 1420] {
            let lengths = vec![length; size];
            let mut buffers: Vec<Vec<u8>> = (0..size).map(|i| [plain(i, length), vec![0; TAG_LEN]].concat()).collect();
            seal_batch(&mut items(&keys, &mut buffers, &|_| (0, 0)));
            assert_eq!(buffers, sealed(&keys, &lengths, &|_| (0, 0)));
            let mut opening: Vec<_> = items(&keys, &mut buffers, &|_| (0, 0)).into_iter().map(unsealed).collect();
            open_batch(&mut opening);
            assert!(
                opening.iter().all(|i| i.authentic && i.buffer[..length] == plain(i.nonce[4] as usize & 15, length))
            );
        }
    }
}

/// Sums close to the modulus: all ones in text and key make the carries run as far as they can.
#[test]
fn full_limbs_carry_through() {
    for bits in [0x00, 0xff, 0x80, 0x7f, 0xfe, 0x01] {
        let keys = Keys::new();
        for engine in engines() {
            // The ciphertext is chosen: opening hashes it as it is, whatever the text it stands for.
            let forged: Vec<Vec<u8>> = (0..40).map(|n| vec![bits; TAG_LEN * (n + 1)]).collect();
            let by_library: Vec<Vec<u8>> = forged.iter().enumerate().map(|(i, b)| keys.reseal(i, b)).collect();
            assert_eq!(open(engine, &keys, &mut by_library.clone(), &|i| (i, 0)), [true; 40]);
        }
    }
}

/// One by one, with chosen bytes as ciphertext.
impl Keys {
    /// The sealed form whose ciphertext is the front of `bytes`: keystream added twice leaves them alone.
    fn reseal(&self, i: usize, bytes: &[u8]) -> Vec<u8> {
        let mut keystream = vec![0; bytes.len()];
        self.oracle_seal(i, i, &[], &mut keystream);
        let text = bytes.len() - TAG_LEN;
        let mut out: Vec<u8> = bytes.iter().zip(&keystream).map(|(b, k)| b ^ k).collect();
        self.oracle_seal(i, i, &[], &mut out);
        assert_eq!(out[..text], bytes[..text]);
        out
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_batch_is_as_the_library_seals_it(
        lengths in prop::collection::vec(prop_oneof![0..200_usize, 1400..1500_usize, 0..5000_usize], 1..40),
        many_keys: bool,
        aad in 0..24_usize,
    ) {
        let keys = Keys::new();
        for engine in engines() {
            agree(engine, &keys, &lengths, |i| (if many_keys { i } else { 0 }, aad));
        }
    }
}

/// Which key an item has, and how much associated data.
type Choice<'a> = &'a dyn Fn(usize) -> (usize, usize);

struct Keys {
    ours: Vec<Key>,
    oracle: Vec<LessSafeKey>,
}

impl Keys {
    fn new() -> Self {
        let bytes = |n: u8| std::array::from_fn::<u8, 32, _>(|i| (i as u8).wrapping_mul(31) ^ n.wrapping_mul(73));
        let oracle = |n| LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &bytes(n)).unwrap());
        Self { ours: (0..5).map(|n| Key::new(&Secret::new(bytes(n)))).collect(), oracle: (0..5).map(oracle).collect() }
    }

    fn oracle_seal(&self, key: usize, item: usize, aad: &[u8], buffer: &mut [u8]) {
        let (text, tag) = buffer.split_last_chunk_mut::<TAG_LEN>().unwrap();
        let nonce = Nonce::assume_unique_for_key(nonce(item));
        tag.copy_from_slice(
            self.oracle[key % 5].seal_in_place_separate_tag(nonce, Aad::from(aad), text).unwrap().as_ref(),
        );
    }
}

fn engines() -> Vec<Engine> {
    #[cfg(target_arch = "x86_64")]
    let found = avx512::Avx512::detect().map(Engine::Avx512);
    #[cfg(not(target_arch = "x86_64"))]
    let found = None;
    std::iter::once(Engine::Library).chain(found).collect()
}

fn nonce(item: usize) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&(0xffff_fff0_u64 + item as u64).to_le_bytes());
    nonce
}

fn aad(len: usize) -> &'static [u8] {
    &b"associated data, of which some is too long for a block"[..len]
}

fn plain(item: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(7).wrapping_add(item as u8)).collect()
}

fn sealed(keys: &Keys, lengths: &[usize], choice: Choice<'_>) -> Vec<Vec<u8>> {
    let seal = |(i, len): (usize, &usize)| {
        let mut buffer = plain(i, *len);
        buffer.extend([0; TAG_LEN]);
        keys.oracle_seal(choice(i).0, i, aad(choice(i).1), &mut buffer);
        buffer
    };
    lengths.iter().enumerate().map(seal).collect()
}

fn items<'a>(keys: &'a Keys, buffers: &'a mut [Vec<u8>], choice: Choice<'_>) -> Vec<SealItem<'a>> {
    let item = |(i, buffer): (usize, &'a mut Vec<u8>)| {
        let (key, aad_len) = choice(i);
        SealItem { key: &keys.ours[key % 5], nonce: nonce(i), aad: aad(aad_len), buffer }
    };
    buffers.iter_mut().enumerate().map(item).collect()
}

fn open(engine: Engine, keys: &Keys, buffers: &mut [Vec<u8>], choice: Choice<'_>) -> Vec<bool> {
    let sealing = items(keys, buffers, choice).into_iter();
    let mut items: Vec<_> = sealing.map(unsealed).collect();
    engine.open(&mut items);
    items.iter().map(|i| i.authentic).collect()
}

/// The same item to be opened; one that is too short says beforehand what it must not be left at.
fn unsealed(s: SealItem<'_>) -> OpenItem<'_> {
    OpenItem { key: s.key, nonce: s.nonce, aad: s.aad, authentic: s.buffer.len() < TAG_LEN, buffer: s.buffer }
}

/// Seals as the oracle does, and opens what it sealed.
fn agree(engine: Engine, keys: &Keys, lengths: &[usize], choice: impl Fn(usize) -> (usize, usize)) {
    let expected = sealed(keys, lengths, &choice);
    let mut buffers: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(i, len)| plain(i, *len)).collect();
    buffers.iter_mut().for_each(|b| b.extend([0xaa; TAG_LEN]));
    engine.seal(&mut items(keys, &mut buffers, &choice));
    for (i, (ours, theirs)) in buffers.iter().zip(&expected).enumerate() {
        assert!(ours == theirs, "{engine:?} sealed item {i} of {lengths:?} differently");
    }
    let authentic = open(engine, keys, &mut buffers, &choice);
    for (i, len) in lengths.iter().enumerate() {
        assert!(
            authentic[i] && buffers[i][..*len] == plain(i, *len),
            "{engine:?} did not open item {i} of {lengths:?}"
        );
    }
}
