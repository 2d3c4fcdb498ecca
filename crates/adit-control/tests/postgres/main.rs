//! PostgreSQL: the suite of every store, and what several gateways on one database do. Needs root, to start Debian's
//! PostgreSQL as another user; it lives in a directory that goes with the test.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "this is a test and its runner")]

#[path = "../state/conformance.rs"]
mod conformance;
mod gateways;
mod server;
#[path = "../state/world.rs"]
mod world;

use std::pin::Pin;

use adit_control::Store;
use conformance::Place;
use server::{Database, Server};

impl Place for Database {
    async fn open(&self) -> Store {
        Store::postgres(&self.url()).await.unwrap()
    }
}

type Test = (&'static str, fn(Database) -> Pin<Box<dyn Future<Output = ()> + Send>>);

fn tests() -> Vec<Test> {
    let mut tests: Vec<Test> = Vec::new();
    macro_rules! of_every_store {
        ($scenario:ident) => {
            tests.push((stringify!($scenario), |place| Box::pin(async move { conformance::$scenario(&place).await })));
        };
    }
    every_scenario!(of_every_store);
    macro_rules! of_gateways {
        ($($scenario:ident),* $(,)?) => {
            $(tests.push((stringify!($scenario), |place| Box::pin(gateways::$scenario(place))));)*
        };
    }
    of_gateways!(
        a_device_admitted_at_one_gateway_is_admitted_at_all,
        gateways_are_told_and_need_not_ask,
        an_invite_admits_as_many_as_it_is_for_whichever_gateway_is_asked,
        gateways_add_to_the_same_usage,
        gateways_that_start_together_make_the_tables_once,
        a_newer_schema_is_refused,
        the_log_cannot_be_changed_or_shortened,
        a_log_that_was_changed_behind_our_back_is_found_out,
        a_read_only_database_changes_nothing,
        a_gateway_that_loses_its_database_goes_on_and_finds_it_again,
    );
    tests
}

fn main() {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-') && arg.parse::<u32>().is_err());
    let wanted = |name: &str| filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut failed = Vec::new();
    let tests: Vec<_> = tests().into_iter().filter(|(name, _)| wanted(name)).collect();
    if tests.is_empty() {
        return;
    }
    let server = Server::start();
    for (number, (name, test)) in tests.into_iter().enumerate() {
        let outcome = runtime.block_on(async {
            let database = server.database(number).await;
            tokio::spawn(test(database)).await
        });
        println!("test {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        failed.extend(outcome.is_err().then_some(name));
    }
    drop(server);
    assert!(failed.is_empty(), "failed: {failed:?}");
}
