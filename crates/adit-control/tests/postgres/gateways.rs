//! Several gateways on one database.

use std::time::Duration;

use adit_control::{Command, Model, Outcome, PeerId, Refusal, Service, ServiceError, Store, StoreError, UsageDelta};
use tokio::sync::watch;

use crate::conformance::{Place as _, furnish};
use crate::server::Database;
use crate::world::{NOW, act, actor, add, invite, network, redeem};

/// After which a test has failed; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);

async fn gateway(database: &Database) -> Service {
    Service::start(database.open().await).await.unwrap()
}

/// Two gateways of one network, that both know it.
async fn two(database: &Database) -> (Service, Service) {
    let (one, other) = (gateway(database).await, gateway(database).await);
    one.execute(Command::CreateNetwork(network()), actor(), NOW).await.unwrap();
    until(&other, |model| model.network.is_some()).await;
    (one, other)
}

async fn until(service: &Service, is_so: impl Fn(&Model) -> bool) {
    let mut seen = service.watch();
    let waited = tokio::time::timeout(PATIENCE, seen.wait_for(|model| is_so(model))).await;
    assert!(waited.expect("it is seen in time").is_ok());
}

pub(crate) async fn a_device_admitted_at_one_gateway_is_admitted_at_all(database: Database) {
    let (one, other) = two(&database).await;
    for number in 1..=20 {
        let (here, there) = if number % 2 == 0 { (&one, &other) } else { (&other, &one) };
        let outcome = here.execute(add(&format!("app{number}"), number), actor(), NOW).await.unwrap();
        let Outcome::Peer(id) = outcome else { panic!("{outcome:?}") };
        until(there, |model| model.peers.contains_key(&id)).await;
    }
    assert_eq!(one.model().peers, other.model().peers);
}

pub(crate) async fn gateways_are_told_and_need_not_ask(database: Database) {
    let store = database.open().await;
    let mut newest: watch::Receiver<u64> = store.watch();
    let client = database.connect().await;
    // No question would bring this number: it is not in the database. The listener may not have begun yet, hence again.
    let told = async {
        while *newest.borrow_and_update() != 999 {
            client.batch_execute("NOTIFY adit, '999'").await.unwrap();
            drop(tokio::time::timeout(Duration::from_millis(200), newest.changed()).await);
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("the notice is heard");
    // And the other half: who changes something tells.
    let other = database.open().await;
    let mut heard = other.watch();
    furnish(&store).await;
    let seen = tokio::time::timeout(PATIENCE, heard.wait_for(|revision| *revision == 3)).await;
    assert!(seen.expect("the change is heard of").is_ok());
}

pub(crate) async fn an_invite_admits_as_many_as_it_is_for_whichever_gateway_is_asked(database: Database) {
    let (one, other) = two(&database).await;
    one.execute(invite(1, 7), actor(), NOW).await.unwrap();
    until(&other, |model| !model.invites.is_empty()).await;
    let ask = |device: u64| {
        let gateway = if device.is_multiple_of(2) { one.clone() } else { other.clone() };
        tokio::spawn(async move { gateway.execute(redeem(1, device), actor(), NOW).await })
    };
    let asked: Vec<_> = (1_000..1_030).map(ask).collect();
    let mut admitted = 0;
    for task in asked {
        match task.await.unwrap() {
            Ok(_) => admitted += 1,
            Err(error) => assert_eq!(error, ServiceError::Refused(Refusal::InviteUsed { uses: 7 })),
        }
    }
    assert_eq!(admitted, 7);
    until(&one, |model| model.peers.len() == 7).await;
    until(&other, |model| model.peers.len() == 7).await;
    assert_eq!(one.model().contradictions(), Vec::<String>::new());
}

pub(crate) async fn gateways_add_to_the_same_usage(database: Database) {
    let store = database.open().await;
    furnish(&store).await;
    let count = |store: Store| {
        tokio::spawn(async move {
            for _ in 0..30 {
                let used = [1, 2].map(|peer| UsageDelta { peer: PeerId(peer), received: 1, sent: 2, seen: Some(NOW) });
                store.record_usage(used.to_vec(), NOW).await.unwrap();
            }
        })
    };
    let counting = [count(database.open().await), count(database.open().await), count(store.clone())];
    for task in counting {
        task.await.unwrap();
    }
    let usage = store.load_usage().await.unwrap();
    for peer in [1, 2].map(PeerId) {
        assert_eq!((usage.of(peer).received, usage.of(peer).sent, usage.of(peer).day_bytes), (90, 180, 270));
    }
}

pub(crate) async fn gateways_that_start_together_make_the_tables_once(database: Database) {
    let stores = tokio::join!(database.open(), database.open(), database.open());
    furnish(&stores.0).await;
    assert_eq!(stores.2.load().await.unwrap().peers.len(), 2);
}

pub(crate) async fn a_newer_schema_is_refused(database: Database) {
    database.open().await.close().await;
    database.connect().await.batch_execute("UPDATE adit.schema_version SET version = 99").await.unwrap();
    let refused = Store::postgres(&database.url()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Newer { found: 99, known: 3, .. }), "{refused:?}");
}

pub(crate) async fn the_log_cannot_be_changed_or_shortened(database: Database) {
    furnish(&database.open().await).await;
    let client = database.connect().await;
    for statement in ["UPDATE adit.audit SET who = 'nobody'", "DELETE FROM adit.audit", "TRUNCATE adit.audit"] {
        let error = client.batch_execute(statement).await.unwrap_err();
        assert!(error.as_db_error().unwrap().message().contains("append-only"), "{error:?}");
    }
}

pub(crate) async fn a_log_that_was_changed_behind_our_back_is_found_out(database: Database) {
    let store = database.open().await;
    furnish(&store).await;
    let chain = store.verify_audit(None).await.unwrap();
    assert_eq!((chain.entries, chain.broken), (3, None));
    let tamper = "ALTER TABLE adit.audit DISABLE TRIGGER ALL; UPDATE adit.audit SET who = 'nobody' WHERE id = 2";
    database.connect().await.batch_execute(tamper).await.unwrap();
    assert_eq!(store.verify_audit(None).await.unwrap().broken.map(|(id, _)| id), Some(2));
    let wiped = "UPDATE adit.audit SET hash = NULL; INSERT INTO adit.audit (id, revision, at, who, origin, verb, what)
        OVERRIDING SYSTEM VALUE VALUES (-1, 1, 1, '', '', '', '')";
    database.connect().await.batch_execute(wiped).await.unwrap();
    let chain = store.verify_audit(None).await.unwrap();
    assert_eq!((chain.entries, chain.since, chain.broken.is_some()), (4, None, true), "{chain:?}");
}

pub(crate) async fn a_read_only_database_changes_nothing(database: Database) {
    let mut model = furnish(&database.open().await).await;
    let client = database.connect().await;
    let name = client.query_one("SELECT current_database()::text", &[]).await.unwrap().get::<_, String>(0);
    client.batch_execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await.unwrap();
    let store = database.open().await;
    let before = model.clone();
    let refused = act(&store, &mut model, add("late", 9), NOW).await;
    assert!(matches!(refused, Err(StoreError::ReadOnly(_))), "{refused:?}");
    assert_eq!(store.load().await.unwrap(), before);
}

pub(crate) async fn a_gateway_that_loses_its_database_goes_on_and_finds_it_again(database: Database) {
    let (one, other) = two(&database).await;
    one.execute(add("nas", 1), actor(), NOW).await.unwrap();
    until(&other, |model| model.peers.len() == 1).await;
    database.stop();
    let refused = one.execute(add("desk", 2), actor(), NOW).await;
    assert!(matches!(refused, Err(ServiceError::Store(StoreError::Unreachable { .. }))), "{refused:?}");
    let used = UsageDelta { peer: PeerId(1), received: 5, sent: 0, seen: None };
    assert!(one.record_usage(vec![used], NOW).await.is_err());
    assert_eq!(one.model().peers.len(), 1, "it serves the devices it knows");
    assert!(!one.is_database_up(), "it says that the database is gone");
    let gone = Store::postgres(&database.url()).await.unwrap_err();
    assert!(gone.to_string().contains("hint:"), "{gone}");
    database.start_again();
    drop(database.connect().await);
    let admitted = one.execute(add("desk", 2), actor(), NOW).await;
    assert!(admitted.is_ok(), "{admitted:?}");
    assert!(one.is_database_up());
    until(&other, |model| model.peers.len() == 2).await;
    // What was used meanwhile is told with the next.
    one.record_usage(vec![UsageDelta { received: 2, ..used }], NOW).await.unwrap();
    let stored = database.open().await.load_usage().await.unwrap();
    assert_eq!(stored.of(PeerId(1)).received, 7);
}
