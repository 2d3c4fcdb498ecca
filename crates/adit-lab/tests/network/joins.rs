//! From nothing to a device that is connected, and what the owner can do about it.

use std::time::Duration;

use adit_lab::poll::{self, PATIENCE};
use adit_lab::traffic;

use crate::scene::{OUTSIDE, Scene, outside};

#[test]
fn one_command_makes_a_server_and_one_link_admits_a_device() {
    let scene = Scene::new();
    poll::until("the server to say that it serves", PATIENCE, || {
        scene.server.log("server.log").contains("Nobody has joined yet").then_some(())
    });
    assert!(!scene.server.log("server.log").contains("WARN"), "{}", scene.server.log("server.log"));
    let link = scene.invite("phone");
    let joined = scene.phone.json(&format!("join {link} --profile {} --json", scene.phone.name));
    scene.reaches_outside(&scene.phone);
    // Both sides show the same words.
    let words = joined["check_words"].as_str().unwrap();
    assert_eq!(words.split(' ').count(), 3, "{joined}");
    assert_eq!(scene.peer("phone")["check_words"], words);
    // From outside it is the server that speaks.
    let seen = scene.outside.spawn({
        let outside = scene.outside.clone();
        move || outside.run("timeout 20 tcpdump -n -c 1 -i eth0 icmp[icmptype]=icmp-echo")
    });
    poll::until("an echo request outside", PATIENCE, || {
        traffic::ping_once(&scene.phone.host, outside());
        seen.is_finished().then_some(())
    });
    let seen = seen.join().unwrap();
    assert!(seen.contains(&format!("IP 203.0.113.2 > {OUTSIDE}")), "{seen}");
    poll::until("the server to know of the handshake", PATIENCE, || {
        let peer = scene.peer("phone");
        (peer["state"] == "connected" && peer["received"].as_u64() > Some(0)).then_some(())
    });
}

#[test]
fn a_device_is_cut_off_and_let_in_again_while_the_other_goes_on() {
    let scene = Scene::new();
    scene.join_both();
    let transfer = traffic::tcp(&scene.laptop.host, (&scene.outside, outside()), 64 << 20);
    scene.server.adit("peer disable phone").ok();
    assert!(!traffic::ping_once(&scene.phone.host, outside()), "the phone is still connected");
    assert_eq!(scene.peer("phone")["state"], "disabled");
    let log = scene.server.adit("server log --most 1").ok();
    assert!(log.contains("phone") && log.contains("uid 0"), "{log}");
    scene.server.adit("peer enable phone").ok();
    scene.reaches_outside(&scene.phone);
    transfer.finish();
}

#[test]
fn a_device_whose_time_is_over_is_cut_off_by_itself() {
    let scene = Scene::new();
    scene.join_both();
    scene.server.adit("peer expire phone 3s").ok();
    poll::until("the phone to be cut off", PATIENCE, || {
        (!traffic::ping_once(&scene.phone.host, outside())).then_some(())
    });
    assert_eq!(scene.peer("phone")["state"], "expired");
    assert!(traffic::ping_once(&scene.laptop.host, outside()));
    scene.server.adit("peer expire phone never").ok();
    scene.reaches_outside(&scene.phone);
}

#[test]
fn devices_do_not_see_each_other_until_a_rule_says_so() {
    let scene = Scene::new();
    scene.join_both();
    let (phone, laptop) = (scene.address("phone"), scene.address("laptop"));
    assert!(!traffic::ping_once(&scene.phone.host, laptop) && !traffic::ping_once(&scene.laptop.host, phone));
    let rules = scene.server.dir.join("rules.toml");
    std::fs::write(&rules, "[[policy]]\nfrom = \"host:phone\"\nto = [\"host:laptop:7/tcp\", \"internet\"]\n").unwrap();
    let no = scene.server.refused("policy test phone laptop:7/tcp");
    assert!(no.contains("no:"), "{no}");
    scene.server.adit(&format!("policy apply {}", rules.display())).ok();
    assert!(scene.server.adit("policy test phone laptop:7/tcp").ok().contains("yes:"));
    let listen = |port: u32| {
        let host = scene.laptop.host.clone();
        std::thread::spawn(move || {
            host.attempt(&format!("timeout 10 socat -u TCP-LISTEN:{port},reuseaddr OPEN:/dev/null"))
        })
    };
    let listeners = [listen(7), listen(8)];
    let connects =
        |port: u32| scene.phone.host.attempt(&format!("socat -u OPEN:/dev/null TCP:{laptop}:{port},connect-timeout=2"));
    poll::until("the phone to reach port 7", PATIENCE, || connects(7).ok());
    assert!(connects(8).is_err(), "port 8 is open as well");
    for listener in listeners {
        let _ended = listener.join().unwrap();
    }
}

#[test]
fn where_udp_is_blocked_a_device_joins_and_goes_on_over_https() {
    let scene = Scene::new();
    let link = scene.invite("phone");
    scene.phone.adit(&format!("join {link} --profile {}", scene.phone.name)).ok();
    scene.reaches_outside(&scene.phone);
    let transfer = traffic::tcp(&scene.phone.host, (&scene.outside, outside()), 256 << 20);
    std::thread::sleep(Duration::from_millis(300));
    assert!(transfer.is_under_way());
    scene.block_udp();
    transfer.finish();
    assert_eq!(scene.phone.tunnel()["carrier"]["carrier"], "https");
    // One that never had UDP.
    let link = scene.invite("laptop");
    scene.laptop.adit(&format!("join {link} --profile {}", scene.laptop.name)).ok();
    scene.reaches_outside(&scene.laptop);
    assert_eq!(scene.laptop.tunnel()["carrier"]["carrier"], "https");
}

#[test]
fn a_plain_wireguard_app_is_admitted_by_its_configuration() {
    let scene = Scene::new();
    let admitted = scene.server.json("invite tv --for wireguard --json");
    let file = scene.phone.dir.join(format!("{}.conf", scene.phone.name));
    std::fs::write(&file, admitted["profile"].as_str().unwrap()).unwrap();
    // What only WireGuard's own keys are in.
    scene.phone.adit(&format!("up {}", file.display())).ok();
    scene.reaches_outside(&scene.phone);
    assert_eq!(scene.peer("tv")["kind"], "wireguard");
}
