//! One round: everything about one contestant, once.

use std::collections::BTreeMap;
use std::time::Duration;

use super::contestant::Field;
use super::{Contestant, flood, handshakes};
use crate::ns::World;
use crate::subjects::{Daemon, Subject, Usage};
use crate::traffic::{self, IperfServer, Pings};
use crate::wg::{Config, KeyPair, Peer, random_key};

/// How long a round takes.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Of each measurement.
    pub time: Duration,
}

/// Measures everything; the keys are those of [`super::FIGURES`], and what a contestant does not have is not there.
pub fn round(contestant: &Contestant, settings: Settings) -> BTreeMap<&'static str, f64> {
    let mut figures = BTreeMap::new();
    {
        let mut field = contestant.set_up();
        if !field.daemons.is_empty() {
            figures.insert("rss", field.resident());
        }
        idle(&field, &mut figures);
        throughput(&field, settings, &mut figures);
        packets(&field, settings, &mut figures);
        if !field.daemons.is_empty() {
            figures.insert("rss_loaded", field.peak());
        }
        if let Contestant::OpenVpn(one) = contestant {
            figures.extend(field.come_again(one).map(|milliseconds| ("connect", milliseconds)));
        }
    }
    if let Some(subject) = contestant.subject() {
        figures.insert("rss_peers", with_a_thousand_peers(subject));
        figures.insert("handshakes", handshakes::per_second(subject));
    }
    figures
}

fn idle(field: &Field, figures: &mut BTreeMap<&'static str, f64>) {
    let ping = || traffic::ping(&field.world.alice, field.target, 400, Duration::from_millis(5), "");
    figures.insert("ping_free", percentile(&ping(), 50));
    let pinned = field.pinned();
    let pings = ping();
    drop(pinned);
    figures.insert("ping", percentile(&pings, 50));
    figures.insert("ping99", percentile(&pings, 99));
}

fn throughput(field: &Field, settings: Settings, figures: &mut BTreeMap<&'static str, f64>) {
    let alice = &field.world.alice;
    let _server = IperfServer::start(&field.world.bob);
    // Connections start slowly; what they do at first is nobody's figure.
    traffic::iperf(alice, field.target, 1, Duration::from_secs(1), false);

    let before = field.cpu();
    let first = traffic::iperf(alice, field.target, 1, settings.time, false);
    figures.insert("tcp1", first.bits_per_second / 1e9);
    if !field.daemons.is_empty() {
        figures.insert("cpu", (field.cpu() - before) / (first.bytes / 1e9));
    }
    for (key, streams, back) in [("tcp1_back", 1, true), ("tcp4", 4, false), ("tcp4_back", 4, true)] {
        let moved = traffic::iperf(alice, field.target, streams, settings.time, back);
        figures.insert(key, moved.bits_per_second / 1e9);
    }
    let count = (settings.time.as_millis() / 20) as u32;
    let loaded = std::thread::scope(|scope| {
        let load =
            scope.spawn(|| traffic::iperf(alice, field.target, 1, settings.time + Duration::from_secs(1), false));
        std::thread::sleep(Duration::from_millis(300));
        let pings = traffic::ping(alice, field.target, count, Duration::from_millis(20), "");
        load.join().expect("iperf3 runs");
        pings
    });
    figures.insert("ping_loaded", percentile(&loaded, 50));
}

fn packets(field: &Field, settings: Settings, figures: &mut BTreeMap<&'static str, f64>) {
    for (key, length) in [("udp64", 64), ("udp1392", 1_392)] {
        let to = (&field.world.bob, field.target);
        figures.insert(key, flood::flood(&field.world.alice, to, length, settings.time) / 1e3);
    }
}

fn with_a_thousand_peers(subject: &Subject) -> f64 {
    let world = World::direct();
    let daemon = Daemon::start(subject, &world.bob);
    let peers = (0..1_000_u16).map(|number| Peer {
        public_key: random_key(),
        allowed_ips: format!("10.{}.{}.0/24", number >> 8, number & 255).parse().into_iter().collect(),
        ..Peer::default()
    });
    let config = Config { private_key: KeyPair::new().private, listen_port: None, peers: peers.collect() };
    world.bob.command(&format!("wg setconf {} /dev/stdin", daemon.interface())).input(config.text()).ok();
    world.bob.run(&format!("ip link set {} up", daemon.interface()));
    std::thread::sleep(Duration::from_secs(1));
    Usage::of(daemon.pid()).resident as f64 / 1_000.0
}

fn percentile(pings: &Pings, percent: usize) -> f64 {
    let mut times = pings.times.clone();
    times.sort_by(f64::total_cmp);
    let last = times.len().saturating_sub(1);
    times.get(last * percent / 100).copied().unwrap_or(f64::NAN)
}
