//! Rates and quotas, as iperf3 sees them.

use std::time::Duration;

use adit_lab::poll::{self, PATIENCE};
use adit_lab::traffic::{self, IperfServer};

use crate::scene::{Scene, outside};

#[test]
fn a_rate_is_kept_within_a_tenth_and_only_for_whom_it_is() {
    let scene = Scene::new();
    scene.join_both();
    scene.server.adit("peer limit phone --down 40mbit --up 20mbit").ok();
    let _iperf = IperfServer::start(&scene.outside);
    let measure = |reverse: bool| {
        let moved = traffic::iperf(&scene.phone.host, outside(), 1, Duration::from_secs(5), reverse);
        moved.bits_per_second / 1e6
    };
    let (up, down) = (measure(false), measure(true));
    // Of what the limit counts, which is whole packets; iperf3 counts what is in them.
    let share = 1448.0 / 1500.0;
    for (measured, limit) in [(up, 20.0 * share), (down, 40.0 * share)] {
        assert!((0.9..1.1).contains(&(measured / limit)), "{measured} Mbit/s where {limit} are allowed");
    }
    let free = traffic::iperf(&scene.laptop.host, outside(), 1, Duration::from_secs(2), true);
    assert!(free.bits_per_second > 60e6, "the laptop is limited as well: {free:?}");
    scene.server.adit("peer limit phone --down off --up off").ok();
    assert!(measure(true) > 60.0);
}

#[test]
fn who_has_used_the_quota_up_is_cut_off_and_stays_so_after_a_restart() {
    let mut scene = Scene::new();
    scene.join_both();
    scene.server.adit("peer limit phone --quota 5MB --per total --then block").ok();
    traffic::tcp(&scene.phone.host, (&scene.outside, outside()), 4 << 20).finish();
    traffic::tcp(&scene.laptop.host, (&scene.outside, outside()), 16 << 20).finish();
    let _broken = std::thread::scope(|threads| {
        let host = &scene.phone.host;
        threads.spawn(|| host.attempt("timeout 20 ping -q -f -c 4000 -s 1200 192.0.2.2")).join()
    });
    poll::until("the phone to be cut off", PATIENCE, || (scene.peer("phone")["state"] == "over-quota").then_some(()));
    poll::until("no answer", PATIENCE, || (!traffic::ping_once(&scene.phone.host, outside())).then_some(()));
    scene.end_server("-TERM");
    scene.serve_again();
    assert_eq!(scene.peer("phone")["state"], "over-quota");
    assert!(!traffic::ping_once(&scene.phone.host, outside()));
    scene.server.adit("peer limit phone --quota off").ok();
    scene.reaches_outside(&scene.phone);
}
