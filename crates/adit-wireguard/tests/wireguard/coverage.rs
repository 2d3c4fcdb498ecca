//! Which rule is tested where: every number of the behaviour list has a test that cites it, or is listed here with the
//! place where it is decided instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// First and last number of each section of the list.
const SECTIONS: [(u16, u16); 12] = [
    (1, 9),
    (10, 17),
    (20, 28),
    (30, 36),
    (40, 44),
    (50, 53),
    (60, 70),
    (80, 84),
    (90, 94),
    (100, 101),
    (110, 118),
    (120, 123),
];

/// What the state machine does not decide.
const ELSEWHERE: [(u16, &str); 3] = [
    (70, "a clock that runs in suspend: who reads the clock, `adit-engine`"),
    (83, "one port for both families, port 0, re-binding: `adit-engine` (the UDP link), asked by `adit`"),
    (84, "the firewall mark of sockets: `adit-engine` (the UDP link), asked by `adit`"),
];

/// Also decided elsewhere, in part: W-09 and W-94 (the don't-fragment bit, and congestion marks between inner and outer
/// header: `adit-engine`), W-110 (the control socket itself: `adit`), W-120 (constant time: `subtle` and the crypto library; this is a matter of reading).
#[test]
fn every_rule_has_a_test_or_a_place_where_it_is_decided() {
    let cited = cited();
    let elsewhere: BTreeSet<u16> = ELSEWHERE.iter().map(|(number, _)| *number).collect();
    let all: BTreeSet<u16> = SECTIONS.iter().flat_map(|(first, last)| *first..=*last).collect();
    let missing: Vec<_> = all.iter().filter(|n| !cited.contains_key(n) && !elsewhere.contains(n)).collect();
    assert!(missing.is_empty(), "no test cites {missing:?}");
    let unknown: Vec<_> = cited.iter().filter(|(number, _)| !all.contains(number)).collect();
    assert!(unknown.is_empty(), "there is no such rule: {unknown:?}");
    let both: Vec<_> = elsewhere.iter().filter(|number| cited.contains_key(number)).collect();
    assert!(both.is_empty(), "tested here, so not only decided elsewhere: {both:?}");
}

/// The rules that doc comments of tests cite, with the names of the tests.
fn cited() -> BTreeMap<u16, Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for part in ["src", "tests"] {
        rust_files(&root.join(part), &mut files);
    }
    let mut cited = BTreeMap::<u16, Vec<String>>::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let (mut numbers, mut is_test) = (Vec::new(), false);
        for line in text.lines().map(str::trim) {
            if let Some(comment) = line.strip_prefix("///") {
                numbers.extend(numbers_in(comment));
            } else if line == "#[test]" {
                is_test = true;
            } else if let Some(function) = line.strip_prefix("fn ")
                && is_test
            {
                let name = function.split('(').next().unwrap_or(function);
                for number in numbers.drain(..) {
                    cited.entry(number).or_default().push(name.to_owned());
                }
                is_test = false;
            } else {
                numbers.clear();
                is_test = false;
            }
        }
    }
    cited
}

fn numbers_in(comment: &str) -> Vec<u16> {
    let after = comment.split("W-").skip(1);
    after.filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()).collect()
}

fn rust_files(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}
