//! Ten thousand devices: what ten times as many cost. Compared with each other in CPU time, never with a clock.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::Duration;

use adit_control::{
    Change, Command, Desired, Limits, Model, OverQuota, Peer, PeerId, Period, Policy, Quota, Rate, Store, Usage,
    UsageDelta, decide,
};
use rustix::time::{ClockId, clock_gettime};

use crate::world::{NOW, act, actor, add, https_key, key, name, network};

/// Ten times as many cost ten times as much, and some more for caches; a hundred times would be one loop in another.
const AT_MOST: u32 = 60;

/// A network of so many devices, every tenth with a quota, in ten groups that the policy speaks of.
fn crowd(count: u64) -> (Model, Usage) {
    let mut model = Model { network: Some(network()), ..Model::default() };
    let quota = Quota { bytes: 1_000, per: Period::Month, action: OverQuota::Slow };
    for id in 1..=count {
        let number = u32::try_from(id).unwrap() + 1;
        let peer = Peer {
            id: PeerId(id),
            name: name(&format!("device{id}")),
            kind: adit_control::Kind::Adit,
            key: key(id),
            https_key: Some(https_key(id)),
            v4: (network().v4.addr().to_bits() + number).into(),
            v6: (network().v6.addr().to_bits() + u128::from(number)).into(),
            groups: BTreeSet::from([name(&format!("group{}", id % 10))]),
            enabled: true,
            expires: Some(NOW.after(Duration::from_secs(id))),
            quota: (id % 10 == 0).then_some(quota),
            rate: Rate::default(),
            created: NOW,
            invite: None,
        };
        model.apply(&Change::PutPeer(peer));
    }
    let text =
        "[[policy]]\nfrom = 'all'\nto = 'internet'\n[[policy]]\nfrom = 'group:group1'\nto = 'group:group2:22/tcp'\n";
    model.policy = Policy::parse(text, &model).unwrap();
    let mut usage = Usage::default();
    let used = |id| UsageDelta { peer: PeerId(id), received: id, sent: id, seen: Some(NOW) };
    usage.add(&(1..=count).map(used).collect::<Vec<_>>(), NOW);
    (model, usage)
}

/// The least CPU time of this thread that `work` takes in a few attempts.
fn cpu(mut work: impl FnMut()) -> Duration {
    let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let attempt = |_| {
        let start = now();
        work();
        now() - start
    };
    (0..7).map(attempt).min().unwrap()
}

/// How much more CPU `work` takes on ten times as many devices.
fn grows(what: &str, work: impl Fn(&Model, &Usage)) {
    let [small, large] = [1_000, 10_000].map(|count| {
        let (model, usage) = crowd(count);
        cpu(|| work(&model, &usage))
    });
    let factor = large.as_nanos() / small.as_nanos().max(1);
    assert!(factor < u128::from(AT_MOST), "{what}: {small:?} for 1 000 devices, {large:?} for 10 000");
}

#[test]
fn what_must_run_is_found_in_time_that_grows_with_the_devices() {
    grows("desired", |model, usage| drop(black_box(Desired::of(model, usage, NOW))));
}

#[test]
fn a_change_is_decided_and_made_in_time_that_grows_with_the_devices() {
    let limits = Limits { quota: None, rate: Some(Rate { down: Some(1_000), up: None }) };
    let commands = [
        add("late", 1 << 50),
        Command::Limit(PeerId(500), limits),
        Command::Rename(PeerId(500), name("renamed")),
        Command::Remove(PeerId(500)),
    ];
    grows("a change", |model, _| {
        for command in &commands {
            let mut next = model.clone();
            let decision = decide(model, command.clone(), NOW).unwrap();
            decision.changes.iter().for_each(|change| next.apply(change));
            drop(black_box(next));
        }
    });
}

#[test]
fn contradictions_are_looked_for_in_time_that_grows_with_the_devices() {
    grows("contradictions", |model, _| assert_eq!(model.contradictions(), Vec::<String>::new()));
}

/// A change writes its own rows, however many others there are; and all of them come back.
#[tokio::test]
async fn ten_thousand_devices_are_stored_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::sqlite(dir.path()).unwrap();
    let (crowd, usage) = crowd(10_000);
    let mut changes = vec![Change::SetNetwork(network()), Change::SetPolicy(crowd.policy.clone())];
    changes.extend(crowd.peers.values().cloned().map(Change::PutPeer));
    let entry = adit_control::Entry::new(&actor(), "test", "a crowd".to_owned(), NOW);
    store.commit(0, changes, entry).await.unwrap();
    let used = |(peer, used): (&PeerId, &adit_control::PeerUsage)| UsageDelta {
        peer: *peer,
        received: used.received,
        sent: used.sent,
        seen: used.seen,
    };
    store.record_usage(usage.peers.iter().map(used).collect(), NOW).await.unwrap();
    let mut model = store.load().await.unwrap();
    assert_eq!(model.peers, crowd.peers);
    assert_eq!(store.load_usage().await.unwrap(), usage);
    act(&store, &mut model, Command::Disable(PeerId(5_000)), NOW).await.unwrap();
    assert_eq!(store.load().await.unwrap(), model);
    store.close().await;
}
