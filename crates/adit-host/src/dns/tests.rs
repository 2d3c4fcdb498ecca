//! Which way is chosen on which machine, and what it is told.

use super::*;

fn machine(text: &str) -> Machine {
    Machine {
        conf: Saved::File { text: text.into(), mode: 0o644 },
        text: text.into(),
        mounted: false,
        resolved: false,
        resolvconf: None,
    }
}

fn desired() -> HostPlan {
    HostPlan {
        name: "wg0".into(),
        dns: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        search: vec!["corp.example".into()],
        ..HostPlan::default()
    }
}

fn told(desired: &HostPlan, machine: &Machine) -> String {
    plan(desired, machine).unwrap().to_string()
}

#[test]
fn a_plain_machine_has_its_file_written() {
    let machine = machine("nameserver 192.0.2.1\n");
    assert_eq!(
        told(&desired(), &machine),
        "write /etc/resolv.conf: nameserver 10.0.0.1, nameserver fd00::1, search corp.example"
    );
}

#[test]
fn a_machine_whose_programs_ask_resolved_has_resolved_told() {
    let stub = Machine { resolved: true, ..machine("nameserver 127.0.0.53\noptions edns0\n") };
    let target = "../run/systemd/resolve/resolv.conf".into();
    let link = Machine { conf: Saved::Link { target }, resolved: true, ..machine("nameserver 192.0.2.1\n") };
    for machine in [stub, link] {
        assert_eq!(
            told(&desired(), &machine),
            "tell systemd-resolved about wg0: servers 10.0.0.1 fd00::1, domains corp.example, default route no"
        );
    }
}

#[test]
fn resolved_that_runs_and_is_not_asked_or_is_asked_and_does_not_run_is_not_told() {
    let unused = Machine { resolved: true, ..machine("nameserver 192.0.2.1\n") };
    let dead = machine("nameserver 127.0.0.53\n");
    for machine in [unused, dead] {
        assert!(matches!(plan(&desired(), &machine), Some(DnsChange::File { .. })));
    }
}

#[test]
fn a_full_tunnel_or_one_without_domains_answers_every_name_by_resolved() {
    let machine = Machine { resolved: true, ..machine("nameserver 127.0.0.53\n") };
    let full = HostPlan { routes: vec!["0.0.0.0/0".parse().unwrap()], ..desired() };
    assert_eq!(
        told(&full, &machine),
        "tell systemd-resolved about wg0: servers 10.0.0.1 fd00::1, domains corp.example ~., default route yes"
    );
    let bare = HostPlan { search: Vec::new(), ..desired() };
    assert_eq!(
        told(&bare, &machine),
        "tell systemd-resolved about wg0: servers 10.0.0.1 fd00::1, domains ~., default route yes"
    );
}

#[test]
fn a_machine_with_resolvconf_has_a_record_for_the_tunnel() {
    let machine = Machine { resolvconf: Some("/sbin/resolvconf".into()), ..machine("nameserver 192.0.2.1\n") };
    assert_eq!(
        told(&desired(), &machine),
        "give resolvconf tun.wg0: nameserver 10.0.0.1, nameserver fd00::1, search corp.example"
    );
}

#[test]
fn a_file_mounted_over_is_written_whatever_else_the_machine_has() {
    let machine = Machine {
        mounted: true,
        resolved: true,
        resolvconf: Some("/sbin/resolvconf".into()),
        ..machine("nameserver 127.0.0.53\n")
    };
    assert!(matches!(plan(&desired(), &machine), Some(DnsChange::File { .. })));
}

#[test]
fn domains_alone_keep_the_servers_that_were_there() {
    let desired = HostPlan { dns: Vec::new(), ..desired() };
    assert_eq!(
        told(&desired, &machine("# by hand\nsearch old.example\nnameserver 192.0.2.1\noptions rotate\n")),
        "write /etc/resolv.conf: nameserver 192.0.2.1, options rotate, search corp.example"
    );
}

#[test]
fn of_two_tunnels_that_wrote_the_file_the_second_brings_back_what_was_before_both() {
    let Some(first) = plan(&desired(), &machine("nameserver 192.0.2.1\n")) else { panic!() };
    let DnsChange::File { text, was, .. } = &first else { panic!() };
    let other = HostPlan { name: "wg1".into(), ..desired() };
    let mut second = plan(&other, &machine(text)).unwrap();
    assert!(first.hand_over(&mut second));
    assert!(matches!(&second, DnsChange::File { was: now, .. } if now == was));
}
