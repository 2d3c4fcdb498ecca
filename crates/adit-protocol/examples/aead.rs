//! How fast the AEAD is on this machine: ours in batches against the libraries, one line a packet size.
//!
//! `cargo run --release -p adit-protocol --example aead [rounds [name]]` prints GB/s of plaintext, medians over the
//! rounds, of all contestants or of those whose name holds `name`. All take turns within a round, so that a noisy machine
//! is noisy for each of them, and time is the thread's own, so that what else runs on the machine counts as little as it
//! can.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark on a terminal")]

use std::hint::black_box;
use std::time::Duration;

use adit_protocol::aead::{self, Key, OpenItem, SealItem, TAG_LEN};
use adit_protocol::{Checksum, Secret};
use chacha20poly1305::KeyInit;
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::aead::inout::InOutBuf;

const SIZES: [usize; 4] = [64, 512, 1420, 16_384];
const KEY: [u8; 32] = [0x42; 32];
/// How long one measurement lasts.
const SLICE: Duration = Duration::from_millis(20);

fn main() {
    let rounds = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(7);
    let only = std::env::args().nth(2).unwrap_or_default();
    let mut contestants = contestants();
    contestants.retain(|c| c.name.contains(&only));
    println!("GB/s seal / open, medians of {rounds}");
    print!("{:24}", "");
    SIZES.iter().for_each(|size| print!("{:>16}", format!("{size} B")));
    println!();
    let mut results = vec![vec![[vec![], vec![]]; SIZES.len()]; contestants.len()];
    for _ in 0..rounds {
        for (contestant, results) in contestants.iter_mut().zip(&mut results) {
            for (size, results) in SIZES.into_iter().zip(results) {
                for (way, results) in [Way::Seal, Way::Open].into_iter().zip(results) {
                    results.push(measure(contestant, size, way));
                }
            }
        }
    }
    for (contestant, results) in contestants.iter().zip(&mut results) {
        print!("{:24}", contestant.name);
        for [seal, open] in results {
            print!("{:>16}", format!("{:.2} / {:.2}", median(seal), median(open)));
        }
        println!();
    }
    key_agreement(rounds);
    checksum(rounds);
}

#[derive(Clone, Copy)]
enum Way {
    Seal,
    Open,
}

/// Works on a batch of buffers with room for tags, with nonces counted up from the given one.
type Work = Box<dyn FnMut(Way, u64, &mut [Vec<u8>])>;

struct Contestant {
    name: String,
    batch: usize,
    work: Work,
}

fn contestants() -> Vec<Contestant> {
    let one = |name: &str, work: Work| Contestant { name: name.to_owned(), batch: 1, work };
    let mut all = vec![one("ring", ring()), one("aws-lc-rs", aws_lc()), one("RustCrypto", rust_crypto())];
    all.extend([1, 2, 4, 8, 16, 32, 64].map(|batch| Contestant {
        name: format!("ours, {batch} at once"),
        batch,
        work: ours(),
    }));
    all
}

fn measure(contestant: &mut Contestant, size: usize, way: Way) -> f64 {
    let fresh = vec![vec![7_u8; size + TAG_LEN]; contestant.batch];
    let mut sealed = fresh.clone();
    (contestant.work)(Way::Seal, 0, &mut sealed);
    // Opening needs sealed input each time, so there are several batches to a clock reading; they stay in the cache.
    let repeats = (256 * 1024 / (size * contestant.batch)).clamp(1, 64);
    let mut batches = vec![fresh; repeats];
    let (mut bytes, mut spent) = (0, Duration::ZERO);
    while spent < SLICE {
        for batch in &mut batches {
            batch.iter_mut().zip(&sealed).for_each(|(to, from)| to.copy_from_slice(from));
        }
        let start = spent_so_far();
        for batch in &mut batches {
            (contestant.work)(way, 0, black_box(batch));
        }
        spent += spent_so_far() - start;
        bytes += size * contestant.batch * repeats;
    }
    bytes as f64 / spent.as_secs_f64() / 1e9
}

/// Processor time of this thread.
fn spent_so_far() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

fn ours() -> Work {
    let key = Key::new(&Secret::new(KEY));
    Box::new(move |way, first, buffers| {
        let numbered = (first..).map(nonce).zip(buffers);
        match way {
            Way::Seal => {
                let items = numbered.map(|(nonce, buffer)| SealItem { key: &key, nonce, aad: &[], buffer });
                aead::seal_batch(&mut items.collect::<Vec<_>>());
            }
            Way::Open => {
                let items =
                    numbered.map(|(nonce, buffer)| OpenItem { key: &key, nonce, aad: &[], buffer, authentic: false });
                let mut items: Vec<_> = items.collect();
                aead::open_batch(&mut items);
                assert!(items.iter().all(|i| i.authentic));
            }
        }
    })
}

/// The two libraries have one interface.
macro_rules! library {
    ($name:ident, $library:ident) => {
        fn $name() -> Work {
            use $library::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
            let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &KEY).unwrap());
            Box::new(move |way, first, buffers| {
                for (nonce, buffer) in (first..).map(nonce).zip(buffers) {
                    let nonce = Nonce::assume_unique_for_key(nonce);
                    match way {
                        Way::Seal => {
                            let (text, tag) = buffer.split_last_chunk_mut::<TAG_LEN>().unwrap();
                            let made = key.seal_in_place_separate_tag(nonce, Aad::empty(), text).unwrap();
                            tag.copy_from_slice(made.as_ref());
                        }
                        Way::Open => {
                            key.open_in_place(nonce, Aad::empty(), buffer).unwrap();
                        }
                    }
                }
            })
        }
    };
}

library!(ring, ring);
library!(aws_lc, aws_lc_rs);

fn rust_crypto() -> Work {
    let key = chacha20poly1305::ChaCha20Poly1305::new(&KEY.into());
    Box::new(move |way, first, buffers| {
        for (nonce, buffer) in (first..).map(nonce).zip(buffers) {
            let (text, tag) = buffer.split_last_chunk_mut::<TAG_LEN>().unwrap();
            let text = InOutBuf::from(text);
            match way {
                Way::Seal => *tag = key.encrypt_inout_detached(&nonce.into(), &[], text).unwrap().into(),
                Way::Open => key.decrypt_inout_detached(&nonce.into(), &[], text, &(*tag).into()).unwrap(),
            }
        }
    })
}

/// X25519 shared secrets per second.
fn key_agreement(rounds: usize) {
    let (private, public) = ([0x77; 32], x25519_dalek::x25519([9; 32], x25519_dalek::X25519_BASEPOINT_BYTES));
    let aws_private =
        aws_lc_rs::agreement::PrivateKey::from_private_key(&aws_lc_rs::agreement::X25519, &private).unwrap();
    let peer = aws_lc_rs::agreement::UnparsedPublicKey::new(&aws_lc_rs::agreement::X25519, public);
    let mut aws = || aws_lc_rs::agreement::agree(&aws_private, peer, (), |s| Ok(s[0])).unwrap();
    let mut dalek = || x25519_dalek::x25519(private, public)[0];
    println!("\nX25519 shared secrets a second, in thousands");
    per_second("aws-lc-rs", rounds, &mut aws);
    per_second("x25519-dalek", rounds, &mut dalek);
}

fn per_second(name: &str, rounds: usize, work: &mut dyn FnMut() -> u8) {
    let mut rates: Vec<f64> = (0..rounds)
        .map(|_| {
            let start = spent_so_far();
            (0..500).for_each(|_| {
                black_box(work());
            });
            0.5 / (spent_so_far() - start).as_secs_f64()
        })
        .collect();
    println!("{name:24}{:>8.1}", median(&mut rates));
}

fn checksum(rounds: usize) {
    println!("\ninternet checksum, GB/s");
    for size in [20, 1420, 65_536] {
        let data = vec![0xa5; size];
        let repeats = 20_000_000 / (size + 40);
        let mut rates: Vec<f64> = (0..rounds)
            .map(|_| {
                let start = spent_so_far();
                (0..repeats).for_each(|_| {
                    black_box(Checksum::new().with(black_box(&data)).finish());
                });
                (size * repeats) as f64 / (spent_so_far() - start).as_secs_f64() / 1e9
            })
            .collect();
        println!("{:24}{:>8.2}", format!("{size} B"), median(&mut rates));
    }
}
