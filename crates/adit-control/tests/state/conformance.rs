//! What every store must do. Each is given a place that is empty at first, and can be opened again.

use std::path::Path;
use std::time::Duration;

use adit_control::{
    App, Backup, Change, Command, Entry, Kind, Limits, Model, OverQuota, PeerId, Period, Quota, Store, StoreError,
    UnixTime, Usage, UsageDelta, decide,
};

use crate::world::{NOW, act, actor, add, add_app, invite, key, name, network, redeem};

/// Where a store keeps its state.
pub(crate) trait Place {
    /// Opens it, as a server does at its start.
    async fn open(&self) -> Store;
}

/// A network with the devices `nas` and `desk`.
pub(crate) async fn furnish(store: &Store) -> Model {
    let mut model = store.load().await.unwrap();
    for command in [Command::CreateNetwork(network()), add("nas", 1), add("desk", 2)] {
        act(store, &mut model, command, NOW).await.unwrap();
    }
    model
}

/// Names every scenario below once, for each store to run.
#[macro_export]
macro_rules! every_scenario {
    ($run:ident) => {
        $run!(begins_with_nothing);
        $run!(keeps_what_was_committed);
        $run!(keeps_random_histories);
        $run!(refuses_a_change_to_an_old_revision);
        $run!(changes_all_or_nothing);
        $run!(logs_every_change_newest_first);
        $run!(chains_the_log_over_restarts_and_backups);
        $run!(counts_usage_over_restarts);
        $run!(restores_what_was_backed_up);
        $run!(refuses_a_backup_that_contradicts_itself);
        $run!(keeps_any_text_as_it_is);
    };
}

pub(crate) async fn begins_with_nothing(place: &impl Place) {
    let store = place.open().await;
    assert_eq!(store.load().await.unwrap(), Model::default());
    assert_eq!(store.load_usage().await.unwrap(), Usage::default());
    assert_eq!(store.audit(None, 10).await.unwrap(), []);
    store.close().await;
}

pub(crate) async fn keeps_what_was_committed(place: &impl Place) {
    let store = place.open().await;
    let mut model = furnish(&store).await;
    let quota = Quota { bytes: u64::from(u32::MAX) + 1, per: Period::Month, action: OverQuota::Slow };
    let commands = [
        invite(1, 2),
        redeem(1, 71),
        Command::Limit(PeerId(1), Limits { quota: Some(Some(quota)), rate: None }),
        Command::Rename(PeerId(2), name("Büro")),
        Command::Disable(PeerId(2)),
        redeem(1, 72),
        Command::Remove(PeerId(1)),
        add_app("tv", App::OpenVpn, 73),
    ];
    for command in commands {
        act(&store, &mut model, command, NOW).await.unwrap();
        assert_eq!(store.load().await.unwrap(), model);
    }
    assert_eq!(model.peers.values().filter(|peer| peer.kind == Kind::Adit).count(), 2);
    assert_eq!(model.find_peer("tv").map(|tv| (tv.kind, tv.key)), Some((Kind::OpenVpn, key(73))));
    store.close().await;
    let again = place.open().await;
    assert_eq!(again.load().await.unwrap(), model);
    again.close().await;
}

/// Commands chosen by a fixed sequence of numbers, against the same changes made in memory.
pub(crate) async fn keeps_random_histories(place: &impl Place) {
    let store = place.open().await;
    let mut model = furnish(&store).await;
    let mut state = 7_u64;
    let mut below = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    for step in 0..150 {
        let peer = PeerId(below(model.next_id + 1));
        let command = match below(8) {
            0 | 1 => add(&format!("app{}", below(40)), 1_000 + below(60)),
            2 => invite(below(20), 1 + u32::try_from(below(3)).unwrap()),
            3 | 4 => redeem(below(20), 2_000 + below(60)),
            5 => Command::Rename(peer, name(&format!("app{}", below(40)))),
            6 => Command::Remove(peer),
            _ => Command::Expire(peer, Some(UnixTime(NOW.0 + below(10)))),
        };
        act(&store, &mut model, command, UnixTime(NOW.0 + step * 60)).await.unwrap();
    }
    assert!(model.revision > 50, "the history is one: {}", model.revision);
    assert_eq!(store.load().await.unwrap(), model);
    assert_eq!(model.contradictions(), Vec::<String>::new());
    store.close().await;
}

pub(crate) async fn refuses_a_change_to_an_old_revision(place: &impl Place) {
    let store = place.open().await;
    let model = furnish(&store).await;
    let decision = decide(&model, add("late", 9), NOW).unwrap();
    let entry = || Entry::new(&actor(), decision.verb, decision.what.clone(), NOW);
    let stale = store.commit(model.revision - 1, decision.changes.clone(), entry()).await;
    assert_eq!(stale, Err(StoreError::Conflict { expected: model.revision - 1, found: model.revision }));
    assert_eq!(store.load().await.unwrap(), model);
    assert_eq!(store.audit(None, 100).await.unwrap().len(), 3);
    // Of two at the same time one is made.
    let (one, other) = tokio::join!(
        store.commit(model.revision, decision.changes.clone(), entry()),
        store.commit(model.revision, decision.changes.clone(), entry()),
    );
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    store.close().await;
}

pub(crate) async fn changes_all_or_nothing(place: &impl Place) {
    let store = place.open().await;
    let model = furnish(&store).await;
    let good = model.peers[&PeerId(1)].clone();
    let renamed = Change::PutPeer(adit_control::Peer { name: name("renamed"), ..good.clone() });
    // The last cannot be: its name and key are those of another device.
    let clash = Change::PutPeer(adit_control::Peer { id: PeerId(9), ..good });
    let entry = Entry::new(&actor(), "peer.test", "a change that fails half way".to_owned(), NOW);
    let result = store.commit(model.revision, vec![renamed, Change::RemovePeer(PeerId(2)), clash], entry).await;
    assert!(matches!(result, Err(StoreError::Failed { .. })), "{result:?}");
    assert_eq!(store.load().await.unwrap(), model);
    assert_eq!(store.audit(None, 100).await.unwrap().len(), 3);
    store.close().await;
}

pub(crate) async fn logs_every_change_newest_first(place: &impl Place) {
    let store = place.open().await;
    let mut model = furnish(&store).await;
    for number in 0..10 {
        act(&store, &mut model, add(&format!("app{number}"), 100 + number), NOW).await.unwrap();
    }
    let all = store.audit(None, 100).await.unwrap();
    assert_eq!(all.len(), 13);
    assert!(all.windows(2).all(|pair| pair[0].id > pair[1].id && pair[0].revision == pair[1].revision + 1));
    assert_eq!((all[0].verb.as_str(), all[0].revision, all[0].at), ("peer.add", model.revision, NOW));
    assert_eq!((all[0].who.as_str(), all[0].origin.as_str()), ("uid 0 (root)", "local socket"));
    assert!(all[0].what.contains("`app9`"), "{}", all[0].what);
    assert_eq!(all[12].verb, "network.create");
    let page = store.audit(Some(all[3].id), 4).await.unwrap();
    assert_eq!(page, all[4..8]);
    assert_eq!(store.audit(Some(all[12].id), 4).await.unwrap(), []);
    store.close().await;
}

pub(crate) async fn chains_the_log_over_restarts_and_backups(place: &impl Place) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("backup.json");
    let store = place.open().await;
    assert_eq!(store.verify_audit(None).await.unwrap().broken, None, "an empty log is whole");
    let mut model = furnish(&store).await;
    let kept = store.verify_audit(None).await.unwrap().newest;
    store.close().await;
    let store = place.open().await;
    act(&store, &mut model, add("later", 50), NOW).await.unwrap();
    store.backup(&file, NOW).await.unwrap();
    store.restore(&backup_of(&file), &actor(), NOW).await.unwrap();
    let chain = store.verify_audit(kept).await.unwrap();
    assert_eq!((chain.entries, chain.since, chain.broken), (5, Some((1, NOW)), None));
    store.close().await;

    // Into another database, here always a SQLite: the chain comes along and goes on.
    let text = std::fs::read_to_string(&file).unwrap();
    for (number, (from, to)) in [("", ""), ("uid 0 (root)", "uid 7 (eve)")].into_iter().enumerate() {
        std::fs::write(&file, text.replacen(from, to, 1)).unwrap();
        let other = Store::sqlite(&dir.path().join(number.to_string())).unwrap();
        other.restore(&backup_of(&file), &actor(), NOW).await.unwrap();
        let chain = other.verify_audit(kept).await.unwrap();
        assert_eq!((chain.entries, chain.broken.is_some()), (5, number == 1), "{chain:?}");
        other.close().await;
    }
}

pub(crate) async fn counts_usage_over_restarts(place: &impl Place) {
    let store = place.open().await;
    let mut model = furnish(&store).await;
    let mut expected = Usage::default();
    let used = |peer, received, sent| UsageDelta { peer: PeerId(peer), received, sent, seen: Some(NOW) };
    let days = [0, 1, 1, 0, 40].map(|days| NOW.after(Duration::from_secs(days * 86_400)));
    for now in days {
        let deltas = [used(1, 1 << 40, 7), used(2, 5, 0)];
        expected.add(&deltas, now);
        let stranger = used(77, 1, 1);
        store.record_usage([&deltas[..], &[stranger]].concat(), now).await.unwrap();
        assert_eq!(store.load_usage().await.unwrap(), expected);
    }
    // A device that is changed keeps what it used; one that is removed takes it along.
    act(&store, &mut model, Command::Rename(PeerId(1), name("other")), NOW).await.unwrap();
    act(&store, &mut model, Command::Remove(PeerId(2)), NOW).await.unwrap();
    expected.peers.remove(&PeerId(2));
    store.close().await;
    let again = place.open().await;
    assert_eq!(again.load_usage().await.unwrap(), expected);
    again.close().await;
}

/// A backup of this network, called by its name.
pub(crate) fn backup_of(file: &Path) -> Backup<'_> {
    Backup { file, called: file, key: Some(network().key) }
}

pub(crate) async fn restores_what_was_backed_up(place: &impl Place) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("backup.json");
    let store = place.open().await;
    let mut model = furnish(&store).await;
    let used = UsageDelta { peer: PeerId(1), received: 10, sent: 20, seen: None };
    store.record_usage(vec![used], NOW).await.unwrap();
    store.backup(&file, NOW).await.unwrap();
    let saved = model.clone();
    act(&store, &mut model, Command::Remove(PeerId(1)), NOW).await.unwrap();
    act(&store, &mut model, add("later", 50), NOW).await.unwrap();
    let revision = store.restore(&backup_of(&file), &actor(), NOW).await.unwrap();
    assert_eq!(revision, model.revision + 1, "revisions never go back");
    let restored = store.load().await.unwrap();
    assert_eq!(restored, Model { revision, next_id: model.next_id, ..saved.clone() });
    assert_eq!(store.load_usage().await.unwrap().of(PeerId(1)).sent, 20);
    let log = store.audit(None, 100).await.unwrap();
    assert_eq!((log.len(), log[0].verb.as_str()), (6, "server.restore"), "the log goes on");
    store.close().await;

    // Into another database, here always a SQLite: the log comes along.
    let other = Store::sqlite(&dir.path().join("other")).unwrap();
    other.restore(&backup_of(&file), &actor(), NOW).await.unwrap();
    let moved = other.load().await.unwrap();
    assert_eq!(Model { revision: saved.revision, ..moved }, saved);
    assert_eq!(other.audit(None, 100).await.unwrap().len(), 4);
    other.close().await;
}

pub(crate) async fn refuses_a_backup_that_contradicts_itself(place: &impl Place) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("backup.json");
    let store = place.open().await;
    let model = furnish(&store).await;
    store.backup(&file, NOW).await.unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    for (from, to) in [("\"name\":\"desk\"", "\"name\":\"nas\""), ("10.77.0.3", "10.77.0.1"), ("10.77.0.3", "8.8.8.8")]
    {
        assert!(text.contains(from));
        std::fs::write(&file, text.replace(from, to)).unwrap();
        let refused = store.restore(&backup_of(&file), &actor(), NOW).await;
        assert!(matches!(refused, Err(StoreError::Backup { .. })), "{refused:?}");
    }
    assert_eq!(store.load().await.unwrap(), model);
    store.close().await;
}

pub(crate) async fn keeps_any_text_as_it_is(place: &impl Place) {
    let store = place.open().await;
    let text = "'; DROP TABLE peers; -- \" \\ % $1 ?1 ../../etc/passwd 携帯 \u{202e}";
    let change = Change::SetNetwork(network());
    let entry = Entry::new(&adit_control::Actor::new(text, text), "network.create", text.to_owned(), NOW);
    store.commit(0, vec![change], entry).await.unwrap();
    let log = store.audit(None, 1).await.unwrap();
    assert_eq!((log[0].who.as_str(), log[0].what.as_str()), (text, text));
    assert_eq!(store.load().await.unwrap().network, Some(network()));
    store.close().await;
}
