//! The corpus, seeded mutations of it, and junk of every length, on stable: what nightly's hunt has found stays found.

use std::fs;
use std::path::Path;

use adit_fuzz::Flood;

/// Mutations of each entry of the corpus. With the corpus as it is, all of this takes some seconds.
const MUTATIONS: u64 = 20;

#[test]
fn messages() {
    replay("message", adit_fuzz::message);
}

#[test]
fn control_text() {
    replay("uapi", adit_fuzz::uapi);
}

#[test]
fn inner_packets() {
    replay("ip_packet", adit_fuzz::ip_packet);
}

#[test]
fn a_device_under_attack() {
    replay("device_hostile", adit_fuzz::device_hostile);
}

#[test]
fn histories_of_devices() {
    replay("device_pair", adit_fuzz::device_pair);
}

#[test]
fn capture_files() {
    replay("capture", adit_fuzz::capture);
}

#[test]
fn captured_frames() {
    replay("frames", adit_fuzz::frames);
}

#[test]
fn hellos_of_tls() {
    replay("hellos", adit_fuzz::hellos);
}

#[test]
fn links() {
    replay("invite", adit_fuzz::invite);
}

#[test]
fn messages_of_who_joins() {
    replay("enrolment", adit_fuzz::enrolment);
}

#[test]
fn parsers_of_openvpn() {
    replay("openvpn_parsers", adit_fuzz::openvpn_parsers);
}

#[test]
fn an_openvpn_client_and_server_under_attack() {
    replay("openvpn_live", adit_fuzz::openvpn_live);
}

#[test]
fn configurations_of_openvpn() {
    replay("openvpn_options", adit_fuzz::openvpn_options);
}

/// Reference W-122.
#[test]
fn junk_of_every_length_is_met_with_silence_and_leaves_nothing_behind() {
    let mut flood = Flood::new();
    for len in 0..=65_507 {
        flood.send(len);
    }
    flood.finish();
}

fn replay(target: &str, run: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no corpus in {}", directory.display());
    let entries: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for (file, entry) in files.iter().zip(&entries) {
        guarded(run, entry, &format!("{}", file.display()));
        for n in 0..MUTATIONS {
            let other = &entries[random.below(entries.len())];
            let mutated = mutate(entry, other, &mut random);
            guarded(run, &mutated, &format!("mutation {n} of {}: {mutated:?}", file.display()));
        }
    }
}

/// Says which input it was, for the panic itself does not know.
fn guarded(run: fn(&[u8]), input: &[u8], what: &str) {
    assert!(std::panic::catch_unwind(|| run(input)).is_ok(), "{what}");
}

/// Bits turned, bytes changed, parts cut out, repeated or taken from another entry.
fn mutate(entry: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = entry.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = at + random.below((bytes.len() - at).min(64) + 1);
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            3 => {
                let from = random.below(other.len() + 1);
                let to = from + random.below(other.len() - from + 1);
                drop(bytes.splice(at..end, other[from..to].iter().copied()));
            }
            4 => bytes.insert(at, random.next() as u8),
            _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (random.next() % 8)),
        }
    }
    bytes.truncate(4_096);
    bytes
}

/// xorshift64*: the same numbers every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}
