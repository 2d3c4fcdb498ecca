//! The service: commands are decided, stored, logged and seen; and what happens when the database moves on or is gone.

use std::sync::Arc;

use adit_control::{
    Command, Entry, Outcome, PeerId, Refusal, Service, ServiceError, Store, StoreError, UsageDelta, decide,
};
use tempfile::TempDir;

use crate::conformance::backup_of;
use crate::world::{NOW, actor, add, invite, name, network, redeem};

async fn served(dir: &TempDir) -> (Service, Store) {
    let store = Store::sqlite(dir.path()).unwrap();
    let service = Service::start(store.clone()).await.unwrap();
    for command in [Command::CreateNetwork(network()), add("nas", 1), add("desk", 2)] {
        service.execute(command, actor(), NOW).await.unwrap();
    }
    (service, store)
}

#[tokio::test]
async fn a_command_is_stored_logged_and_seen() {
    let dir = tempfile::tempdir().unwrap();
    let (service, store) = served(&dir).await;
    let mut seen = service.watch();
    seen.mark_unchanged();
    let outcome = service.execute(Command::Disable(PeerId(1)), actor(), NOW).await;
    assert_eq!(outcome, Ok(Outcome::Peer(PeerId(1))));
    assert!(seen.has_changed().unwrap());
    assert!(!seen.borrow().peers[&PeerId(1)].enabled);
    assert_eq!(*service.model(), store.load().await.unwrap());
    assert_eq!(service.audit(None, 1).await.unwrap()[0].what, "disabled `nas`");
}

#[tokio::test]
async fn what_is_refused_or_is_so_already_is_neither_stored_nor_logged() {
    let dir = tempfile::tempdir().unwrap();
    let (service, _) = served(&dir).await;
    let before = service.model();
    let refused = service.execute(add("NAS", 7), actor(), NOW).await;
    assert_eq!(refused, Err(ServiceError::Refused(Refusal::NameTaken(name("nas")))));
    service.execute(Command::Enable(PeerId(1)), actor(), NOW).await.unwrap();
    let shown = service.preview(Command::Remove(PeerId(1)), NOW).unwrap();
    assert_eq!(shown.changes.len(), 1);
    assert!(Arc::ptr_eq(&before, &service.model()));
    assert_eq!(service.audit(None, 100).await.unwrap().len(), 3);
}

/// Somebody else has changed the state: the command is decided anew on what is there now.
#[tokio::test]
async fn a_command_that_comes_late_is_decided_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (service, store) = served(&dir).await;
    let model = service.model();
    let other = decide(&model, add("phone", 3), NOW).unwrap();
    let entry = Entry::new(&actor(), other.verb, other.what, NOW);
    store.commit(model.revision, other.changes, entry).await.unwrap();
    assert!(service.preview(add("Phone", 4), NOW).is_ok(), "the service does not know yet");
    let refused = service.execute(add("Phone", 4), actor(), NOW).await;
    assert_eq!(refused, Err(ServiceError::Refused(Refusal::NameTaken(name("phone")))));
    assert_eq!(service.execute(add("tablet", 4), actor(), NOW).await, Ok(Outcome::Peer(PeerId(4))));
}

#[tokio::test]
async fn an_invite_admits_as_many_as_it_is_for_however_many_ask_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (service, _) = served(&dir).await;
    service.execute(invite(1, 10), actor(), NOW).await.unwrap();
    let ask = |device| {
        let service = service.clone();
        tokio::spawn(async move { service.execute(redeem(1, device), actor(), NOW).await })
    };
    let asked: Vec<_> = (1_000..1_050).map(ask).collect();
    let mut admitted = 0;
    for task in asked {
        match task.await.unwrap() {
            Ok(_) => admitted += 1,
            Err(error) => assert_eq!(error, ServiceError::Refused(Refusal::InviteUsed { uses: 10 })),
        }
    }
    assert_eq!((admitted, service.model().peers.len()), (10, 12));
}

#[tokio::test]
async fn usage_counts_while_the_database_is_gone_and_the_model_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (service, store) = served(&dir).await;
    let used = |received| vec![UsageDelta { peer: PeerId(1), received, sent: 0, seen: None }];
    service.record_usage(used(5), NOW).await.unwrap();
    assert_eq!(store.load_usage().await.unwrap().of(PeerId(1)).received, 5);
    store.close().await;
    assert_eq!(service.record_usage(used(7), NOW).await, Err(StoreError::Closed));
    assert_eq!(service.usage().of(PeerId(1)).received, 12);
    let refused = service.execute(Command::Disable(PeerId(1)), actor(), NOW).await;
    assert_eq!(refused, Err(ServiceError::Store(StoreError::Closed)));
    assert_eq!(service.model().peers.len(), 2);
    assert!(service.model().peers[&PeerId(1)].enabled);
}

#[tokio::test]
async fn a_removed_device_takes_its_usage_along() {
    let dir = tempfile::tempdir().unwrap();
    let (service, store) = served(&dir).await;
    let used = |peer| UsageDelta { peer: PeerId(peer), received: 1, sent: 0, seen: None };
    service.record_usage(vec![used(1), used(2), used(99)], NOW).await.unwrap();
    service.execute(Command::Remove(PeerId(1)), actor(), NOW).await.unwrap();
    assert_eq!(*service.usage(), store.load_usage().await.unwrap());
    assert_eq!(service.usage().peers.len(), 1);
}

#[tokio::test]
async fn a_restored_backup_is_seen_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (service, _) = served(&dir).await;
    let file = dir.path().join("backup.json");
    service.backup(&file, NOW).await.unwrap();
    let saved = service.model();
    service.execute(Command::Remove(PeerId(1)), actor(), NOW).await.unwrap();
    service.restore(&backup_of(&file), &actor(), NOW).await.unwrap();
    let restored = service.model();
    assert_eq!(restored.peers, saved.peers);
    assert_eq!(restored.revision, saved.revision + 2);
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (service, _) = served(&dir).await;
    let before = service.model();
    service.close().await;
    let again = Service::start(Store::sqlite(dir.path()).unwrap()).await.unwrap();
    assert_eq!(*again.model(), *before);
}
