//! Two gateways of one network, on one PostgreSQL: what is decided at one counts at both, and devices move over.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::process::Child;

use adit_lab::ns::{Namespace, join};
use adit_lab::poll::{self, PATIENCE};
use adit_lab::traffic;
use serde_json::Value;

use crate::machine::Machine;
use crate::postgres::Postgres;
use crate::scene::outside;

/// Where the gateways are.
const GATEWAYS: [&str; 2] = ["203.0.113.2", "203.0.114.2"];

/// Where their database is: the router between them.
const DATABASE: &str = "203.0.113.1";

/// What the second gateway calls it: the process that decides there has no rights to look names up.
const DATABASE_NAME: &str = "database.example";

/// A file of hosts that is seen in one namespace only: `ip netns exec` puts it there.
struct Hosts(std::path::PathBuf);

impl Hosts {
    fn at(machine: &Machine) -> Self {
        let dir = std::path::Path::new("/etc/netns").join(machine.host.name());
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("hosts"), format!("127.0.0.1 localhost\n{DATABASE} {DATABASE_NAME}\n")).unwrap();
        Self(dir)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

struct Pair {
    gateways: [Machine; 2],
    phone: Machine,
    outside: Namespace,
    _internet: Namespace,
    running: Vec<Child>,
    postgres: Postgres,
    _hosts: Hosts,
}

impl Pair {
    /// Both serve, the second with the first one's key.
    fn new(options: &[&str]) -> Self {
        let (internet, outside) = (Namespace::new(), Namespace::new());
        let (gateways, phone) = ([Machine::with_daemon(), Machine::with_daemon()], Machine::with_daemon());
        internet.sysctl("ipv4.ip_forward", 1);
        let hosts = [
            (&gateways[0].host, "to-one", "203.0.113"),
            (&gateways[1].host, "to-other", "203.0.114"),
            (&outside, "to-outside", "192.0.2"),
            (&phone.host, "to-phone", "198.51.100"),
        ];
        for (host, port, net) in hosts {
            join((host, "eth0"), (&internet, port), 1500);
            internet.add_address(port, format!("{net}.1").parse().unwrap(), 24);
            host.add_address("eth0", format!("{net}.2").parse().unwrap(), 24);
            host.run(&format!("ip route add default via {net}.1"));
        }
        let postgres = Postgres::start(&internet, DATABASE);
        let _hosts = Hosts::at(&gateways[1]);
        let mut pair = Self { gateways, phone, outside, _internet: internet, running: Vec::new(), postgres, _hosts };
        pair.serve(0, options);
        let key = |machine: &Machine| machine.dir.join("state/server/network.key");
        let (from, to) = (key(&pair.gateways[0]), key(&pair.gateways[1]));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(to.parent().unwrap()).unwrap();
        fs::copy(from, &to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
        pair.serve(1, options);
        pair
    }

    #[track_caller]
    fn serve(&mut self, which: usize, options: &[&str]) {
        let url = if which == 0 { self.postgres.url() } else { Postgres::url_at(DATABASE_NAME) };
        let gateway = &self.gateways[which];
        let mut arguments = vec!["server", "up", "--name", &gateway.name, "--database", &url];
        arguments.extend(GATEWAYS.iter().flat_map(|host| ["--host", host]));
        arguments.extend(options);
        self.running.push(gateway.spawn(&arguments, "server.log"));
        poll::until("the network to be served", PATIENCE, || {
            if let Some(ended) = self.running[which].try_wait().unwrap() {
                panic!("the server ended with {ended}:\n{}", gateway.log("server.log"));
            }
            let said = gateway.adit("server status --json").attempt().ok()?;
            let network: Value = serde_json::from_str(&said).ok()?;
            (network["trouble"].is_null()).then_some(())
        });
    }

    /// Has the phone join by an invite of the second gateway, and waits until it is connected.
    #[track_caller]
    fn join(&self) {
        let invite = self.gateways[1].json("invite phone --json");
        let link = invite["link"].as_str().unwrap();
        self.phone.adit(&format!("join {link} --profile {}", self.phone.name)).ok();
        self.reaches_outside();
    }

    #[track_caller]
    fn reaches_outside(&self) {
        poll::until("an answer from outside through the tunnel", PATIENCE, || {
            traffic::ping_once(&self.phone.host, outside()).then_some(())
        });
    }

    /// The machine is gone, without a word to anybody.
    fn lose_the_first(&mut self) {
        self.gateways[0].host.run("ip link set eth0 down");
        self.running[0].kill().unwrap();
        self.gateways[0].kill_daemon();
    }

    /// What the second gateway says of the phone.
    #[track_caller]
    fn seen_by_the_second(&self) -> Value {
        self.gateways[1].json("peer show phone --json")
    }

    /// Waits until the phone is at the second gateway, and something new goes through it.
    #[track_caller]
    fn moves_over(&self) {
        assert_ne!(self.seen_by_the_second()["state"], "connected", "it was there before");
        self.reaches_outside();
        traffic::tcp(&self.phone.host, (&self.outside, outside()), 4 << 20).finish();
        poll::until("the second gateway to see the phone", PATIENCE, || {
            (self.seen_by_the_second()["state"] == "connected").then_some(())
        });
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for running in &mut self.running {
            let _gone_already = running.kill();
            let _status = running.wait();
        }
        for gateway in &self.gateways {
            let _gone_already = gateway.adit(&format!("down {}", gateway.name)).attempt();
        }
    }
}

#[test]
fn a_device_moves_over_udp_to_the_other_gateway() {
    let mut pair = Pair::new(&["--https-port", "off"]);
    pair.join();
    assert_eq!(pair.phone.tunnel()["peers"][0]["endpoint"], format!("{}:51820", GATEWAYS[0]));
    pair.lose_the_first();
    pair.moves_over();
    assert_eq!(pair.phone.tunnel()["peers"][0]["endpoint"], format!("{}:51820", GATEWAYS[1]));
}

#[test]
fn a_device_moves_over_https_to_the_other_gateway_which_has_the_same_pin() {
    let mut pair = Pair::new(&["--https-port", "443"]);
    let pin = |gateway: &Machine| {
        poll::until("the web site", PATIENCE, || {
            gateway.tunnel()["web_site"]["pin"].as_str().map(str::to_owned).filter(|pin| !pin.is_empty())
        })
    };
    assert_eq!(pin(&pair.gateways[0]), pin(&pair.gateways[1]));
    pair.join();
    pair.lose_the_first();
    pair.moves_over();
}

#[test]
fn gateways_without_their_database_serve_whom_they_know() {
    let mut pair = Pair::new(&["--https-port", "off"]);
    pair.join();
    pair.postgres.stop();
    let pings = traffic::ping(&pair.phone.host, outside(), 20, std::time::Duration::from_millis(100), "");
    assert_eq!(pings.received, 20, "{pings:?}");
    let refused = pair.gateways[0].refused("peer disable phone");
    assert!(
        refused.contains("cannot reach the PostgreSQL database") && refused.contains("stay connected"),
        "{refused}"
    );
    assert!(traffic::ping_once(&pair.phone.host, outside()), "nothing was changed");
    pair.postgres.start_again();
    pair.gateways[1].adit("peer disable phone").ok();
    poll::until("the first gateway to cut the phone off", PATIENCE, || {
        (!traffic::ping_once(&pair.phone.host, outside())).then_some(())
    });
    pair.gateways[0].adit("peer enable phone").ok();
    pair.reaches_outside();
}
