//! What never changes by accident: the bytes of a handshake with given seeds, and the numbers behind MAC1.

use blake2::{Blake2s256, Digest as _};

use crate::world::stranger::tai64n;
use crate::world::{ALICE, BOB, Kind, World, secs};

/// W-02. From seed, keys and time follow all bytes of a handshake and of the data after it. If this fails, either
/// something on the wire has changed (stop and think), or randomness is drawn in another order (write the new digest).
#[test]
fn a_handshake_with_given_seeds_is_always_the_same() {
    let world = World::connected();
    let kinds: Vec<_> = world.log.iter().map(|s| s.kind).collect();
    assert_eq!(kinds, [Kind::Initiation, Kind::Response, Kind::Data(96)]);
    let mut hash = Blake2s256::new();
    for seen in &world.log {
        hash.update(&seen.bytes);
    }
    let digest: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(digest, "ff60b7f1e9fd06d36e31d0617508efa214ef5b6ad1a4788e3ada83d6d772716c");
}

/// W-06. Another seed, other bytes: nothing random is a constant.
#[test]
fn a_restarted_device_sends_other_ephemerals_and_indices() {
    let mut world = World::pair();
    world.cut();
    world.send(ALICE, BOB);
    let before = world.last(ALICE, Kind::Initiation).bytes;
    world.advance(secs(1));
    world.restart(ALICE);
    world.introduce(ALICE, BOB, true);
    world.send(ALICE, BOB);
    let after = world.last(ALICE, Kind::Initiation).bytes;
    assert_ne!(before[4..8], after[4..8]);
    assert_ne!(before[8..40], after[8..40]);
}

/// W-30. 2023-11-14T22:13:20Z.
#[test]
fn tai64n_counts_from_the_epoch_plus_ten_seconds() {
    let expected = [0x40, 0, 0, 0, 0x65, 0x53, 0xf1, 0x0a, 0, 0, 0, 5];
    assert_eq!(tai64n(std::time::Duration::new(1_700_000_000, 5)), expected);
}
