//! The web site with a tunnel behind it, and the same site without: at least ten thousand of a censor's questions to each,
//! and no answer that tells them apart.
//!
//! That the prober finds what there is to find is tested beside it, in adit-examine.

#![expect(clippy::unwrap_used, reason = "a test that cannot make its scene has failed")]

mod front;
mod site;

use std::net::SocketAddr;

use adit_examine::probe::{Comparison, Plan, compare};
use front::{Front, LOCATION};
use site::{HOST, Server, Site};
use tokio::sync::Mutex;

/// Probes to each of the two servers.
const MANY: usize = 10_000;

/// One comparison at a time: a machine that has more to do than it can answers some probes late, with or without a tunnel.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A tunnel is in use all the while.
#[tokio::test]
async fn a_server_with_a_tunnel_answers_as_the_same_server_without() {
    let _alone = ALONE.lock().await;
    let site = Site::new();
    let (with, without) = (Server::start(&site, true), Server::start(&site, false));
    let traffic = with.traffic();
    let comparison = ask(site.paths(), with.address, without.address, MANY).await;
    assert!(traffic.stop() > 0, "the tunnel was in use");
    assert_alike(&comparison, MANY);
}

/// And behind nginx, whose location for it the censor knows.
#[tokio::test]
async fn behind_nginx_a_server_with_a_tunnel_answers_as_the_same_server_without() {
    let _alone = ALONE.lock().await;
    let site = Site::new();
    let (with, without) = (Server::behind(&site, true), Server::behind(&site, false));
    let fronts = [Front::before(&site, "with", &with), Front::before(&site, "without", &without)];
    let traffic = with.traffic_through(fronts[0].address, LOCATION);
    let paths = site.paths().into_iter().chain([LOCATION.to_owned()]).collect();
    let comparison = ask(paths, fronts[0].address, fronts[1].address, MANY).await;
    assert!(traffic.stop() > 0, "the tunnel was in use");
    assert_alike(&comparison, MANY);
}

async fn ask(paths: Vec<String>, target: SocketAddr, against: SocketAddr, count: usize) -> Comparison {
    let mut plan = Plan { paths, seed: 20, ..Plan::new(target, against, HOST) };
    plan.rounds = u32::try_from(count.div_ceil(plan.probes_in_a_round() - 20)).unwrap();
    compare(&plan).await.unwrap()
}

fn assert_alike(comparison: &Comparison, count: usize) {
    let words = comparison.words(|_, text| text.to_owned());
    assert!(!comparison.different, "{words}");
    assert!(comparison.probes >= count as u64, "{words}");
    assert_eq!(comparison.unconnected, 0, "{words}");
    // What is answered in several ways by one server is nothing that tells two apart; but it must be rare.
    assert!(comparison.unsteady * 50 <= comparison.probes, "{words}");
}
