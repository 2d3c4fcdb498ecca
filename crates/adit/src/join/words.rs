//! Three words that both sides of an invitation show, so that people can see that they mean the same device.
//!
//! 24 bits of a hash: enough for two people who compare, for an attacker has one try.

use adit_wireguard::PublicKey;
use aws_lc_rs::digest;

/// What is hashed before the keys.
const LABEL: &[u8] = b"adit check words v1";

/// The words for this device, invited so, at this server.
pub fn check_words(invite: &PublicKey, device: &PublicKey, server: &PublicKey) -> [&'static str; 3] {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(LABEL);
    for key in [invite, device, server] {
        hash.update(key.as_bytes());
    }
    let hash = hash.finish();
    let mut bytes = hash.as_ref().iter();
    [0; 3].map(|_: u8| bytes.next().map_or("", |byte| WORDS[usize::from(*byte)]))
}

/// English words of three to seven letters, no two of which begin alike: three letters say which.
#[rustfmt::skip]
const WORDS: [&str; 256] = [
    "acorn", "admiral", "airport", "album", "alder", "anchor", "angle", "apron", "arch", "artist", "aspen",
    "atlas", "atom", "autumn", "avenue", "avocado", "bakery", "balcony", "bamboo", "banana", "barn", "basket",
    "beach", "bell", "berry", "bicycle", "bison", "blanket", "blue", "boat", "border", "bottle", "bracket",
    "bread", "bridge", "bronze", "buffalo", "butter", "cactus", "carpet", "castle", "cedar", "cheese", "chimney",
    "cinema", "circus", "cliff", "clock", "cobalt", "coconut", "coffee", "comet", "copper", "coral", "cotton",
    "cradle", "crystal", "cube", "curtain", "daisy", "dance", "delta", "denim", "desert", "diamond", "dolphin",
    "donkey", "dragon", "duck", "echo", "elbow", "engine", "fabric", "factory", "falcon", "farmer", "feather",
    "fiddle", "field", "finger", "fjord", "forest", "fossil", "fox", "frost", "funnel", "garden", "gazelle",
    "giant", "giraffe", "glacier", "glove", "goblet", "golden", "gorilla", "granite", "green", "guitar", "hammer",
    "harbor", "hatchet", "hawk", "hazel", "honey", "horizon", "hydrant", "iceberg", "igloo", "iguana", "indigo",
    "island", "ivory", "jaguar", "jasmine", "jewel", "jigsaw", "jockey", "journey", "juice", "kayak", "keyhole",
    "kitchen", "knot", "koala", "lagoon", "lantern", "lemon", "leopard", "lizard", "lobster", "lumber", "magnet",
    "mango", "maple", "marble", "mercury", "mesa", "mirror", "mitten", "mobile", "mosaic", "motor", "muffin",
    "museum", "napkin", "nectar", "night", "north", "nugget", "nutmeg", "oasis", "oatmeal", "ocean", "onion",
    "orange", "orchard", "ostrich", "owl", "oxygen", "oyster", "paddle", "panda", "paper", "parrot", "pebble",
    "pelican", "pencil", "pepper", "picnic", "pigeon", "pillow", "pine", "pirate", "planet", "pocket", "polar",
    "poppy", "potato", "prairie", "prism", "pumpkin", "puppet", "purple", "puzzle", "pyramid", "quartz", "quilt",
    "rabbit", "radio", "raft", "rainbow", "raven", "razor", "ribbon", "robin", "rubber", "safari", "salmon",
    "sandal", "sapling", "shadow", "shovel", "silver", "siren", "skate", "soccer", "soup", "spider", "square",
    "stadium", "stone", "sugar", "sunset", "swan", "tavern", "teapot", "temple", "tennis", "thunder", "ticket",
    "tiger", "timber", "tomato", "topaz", "tractor", "trumpet", "tulip", "turtle", "tuxedo", "twig", "typhoon",
    "unicorn", "valley", "vanilla", "vector", "velvet", "video", "village", "violin", "volcano", "voyage",
    "waffle", "wagon", "walnut", "warbler", "wasp", "whale", "wheat", "window", "wolf", "yellow", "yogurt",
    "zebra", "zigzag", "zipper", "zodiac",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use adit_wireguard::PrivateKey;

    use super::*;

    #[test]
    fn three_letters_tell_every_word_from_the_others() {
        let beginnings: BTreeSet<_> = WORDS.iter().map(|word| &word[..3]).collect();
        assert_eq!(beginnings.len(), WORDS.len());
        for word in WORDS {
            assert!((3..=7).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase()), "{word}");
        }
        assert!(WORDS.is_sorted());
    }

    /// Computed by an independent SHA-256 (Python's `hashlib`).
    #[test]
    fn the_words_follow_from_the_three_keys() {
        let [server, device, invite] = [1, 2, 3].map(|n| PrivateKey::new([n; 32]).public_key());
        assert_eq!(check_words(&invite, &device, &server), ["tavern", "hatchet", "ivory"]);
        assert_ne!(check_words(&device, &invite, &server), ["tavern", "hatchet", "ivory"]);
    }
}
