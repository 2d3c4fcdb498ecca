//! A server on the Internet, two devices behind one router with NAT, and a host that knows none of them.

use std::net::IpAddr;
use std::process::Child;

use adit_lab::ns::{Namespace, join};
use adit_lab::poll::{self, PATIENCE};
use adit_lab::traffic;
use serde_json::Value;

use crate::machine::Machine;

/// All of it.
pub(crate) struct Scene {
    pub(crate) server: Machine,
    pub(crate) phone: Machine,
    pub(crate) laptop: Machine,
    /// A host on the Internet.
    pub(crate) outside: Namespace,
    /// Where everything on the Internet passes, and UDP can be taken away.
    pub(crate) internet: Namespace,
    _home: Namespace,
    running: Option<Child>,
    /// What the server's run is given besides its name and host.
    options: Vec<String>,
}

/// Where the server is.
pub(crate) const SERVER: &str = "203.0.113.2";
/// A host on the Internet.
pub(crate) const OUTSIDE: &str = "192.0.2.2";

impl Scene {
    /// With the server running.
    #[track_caller]
    pub(crate) fn new() -> Self {
        let mut scene = Self::unserved();
        scene.serve();
        scene
    }

    /// Without anything running.
    pub(crate) fn unserved() -> Self {
        let (internet, home, outside) = (Namespace::new(), Namespace::new(), Namespace::new());
        let (server, phone, laptop) = (Machine::with_daemon(), Machine::with_daemon(), Machine::with_daemon());
        for router in [&internet, &home] {
            router.sysctl("ipv4.ip_forward", 1);
            router.sysctl("ipv6.conf.all.forwarding", 1);
        }
        let cable = |host: &Namespace, router: &Namespace, port: &str, net: &str| {
            join((host, "eth0"), (router, port), 1500);
            router.add_address(port, format!("{net}.1").parse().unwrap(), 24);
            host.add_address("eth0", format!("{net}.2").parse().unwrap(), 24);
            host.run(&format!("ip route add default via {net}.1"));
        };
        cable(&server.host, &internet, "to-server", "203.0.113");
        cable(&outside, &internet, "to-outside", "192.0.2");
        cable(&home, &internet, "to-home", "198.51.100");
        cable(&phone.host, &home, "to-phone", "192.168.7");
        cable(&laptop.host, &home, "to-laptop", "192.168.8");
        let nat = "table inet nat {
            chain post { type nat hook postrouting priority srcnat; oifname eth0 masquerade; }
        }";
        home.command("nft -f -").input(nat).ok();
        Self { server, phone, laptop, outside, internet, _home: home, running: None, options: Vec::new() }
    }

    /// Runs `adit server up` until it serves.
    #[track_caller]
    pub(crate) fn serve(&mut self) {
        let name = self.server.name.clone();
        let mut arguments = vec!["server", "up", "--name", &name, "--host", SERVER];
        arguments.extend(self.options.iter().map(String::as_str));
        self.running = Some(self.server.spawn(&arguments, "server.log"));
        self.wait_until_served();
    }

    /// The same, with more options.
    #[track_caller]
    pub(crate) fn serve_with(&mut self, options: &[&str]) {
        self.options = options.iter().map(|option| (*option).to_owned()).collect();
        self.serve();
    }

    /// As the next run would be made: without options.
    #[track_caller]
    pub(crate) fn serve_again(&mut self) {
        self.running = Some(self.server.spawn(&["server", "up"], "server.log"));
        self.wait_until_served();
    }

    #[track_caller]
    fn wait_until_served(&mut self) {
        poll::until("the network to be served", PATIENCE, || {
            if let Some(ended) = self.running.as_mut().and_then(|running| running.try_wait().unwrap()) {
                panic!("the server ended with {ended}:\n{}", self.server.log("server.log"));
            }
            let said = self.server.adit("server status --json").attempt().ok()?;
            let network: Value = serde_json::from_str(&said).ok()?;
            (network["trouble"].is_null() && network["web"].is_string()).then_some(())
        });
    }

    /// Ends the server's run with this signal.
    pub(crate) fn end_server(&mut self, signal: &str) {
        if let Some(mut running) = self.running.take() {
            let done = std::process::Command::new("kill").args([signal, &running.id().to_string()]).status();
            assert!(done.unwrap().success());
            running.wait().unwrap();
        }
    }

    /// Waits until the server's run ends by itself; what it said.
    pub(crate) fn wait_for_the_end(&mut self) -> String {
        self.running.take().unwrap().wait().unwrap();
        self.server.log("server.log")
    }

    /// The process that decides: the child of the `adit` which `ip netns exec` has become.
    #[track_caller]
    pub(crate) fn deciding_process(&self) -> u32 {
        let monitor = self.running.as_ref().unwrap().id();
        let children = std::fs::read_to_string(format!("/proc/{monitor}/task/{monitor}/children")).unwrap();
        let children: Vec<_> = children.split_whitespace().collect();
        let [one] = children.as_slice() else { panic!("one process decides, not {children:?}") };
        one.parse().unwrap()
    }

    /// All processes of the server: its daemon, the one that serves the web site, the monitor, and the one that decides.
    #[track_caller]
    pub(crate) fn server_processes(&self) -> Vec<u32> {
        let web = self.server.tunnel()["web_site"]["process"].as_u64().unwrap();
        let monitor = self.running.as_ref().unwrap().id();
        vec![self.server.daemon_process(), u32::try_from(web).unwrap(), monitor, self.deciding_process()]
    }

    /// A new link.
    #[track_caller]
    pub(crate) fn invite(&self, arguments: &str) -> String {
        let invite = self.server.json(&format!("invite {arguments} --json"));
        invite["link"].as_str().unwrap().to_owned()
    }

    /// Has both devices join, and waits until each reaches the Internet through the server.
    #[track_caller]
    pub(crate) fn join_both(&self) {
        for (machine, name) in [(&self.phone, "phone"), (&self.laptop, "laptop")] {
            let link = self.invite(name);
            machine.adit(&format!("join {link} --profile {}", machine.name)).ok();
            self.reaches_outside(machine);
        }
    }

    /// Waits until this machine's packets reach the Internet from the server's address.
    #[track_caller]
    pub(crate) fn reaches_outside(&self, machine: &Machine) {
        poll::until("an answer from outside through the tunnel", PATIENCE, || {
            traffic::ping_once(&machine.host, outside()).then_some(())
        });
    }

    /// The router of the Internet drops all UDP.
    #[track_caller]
    pub(crate) fn block_udp(&self) {
        let rules = "table inet noudp {
            chain f {
                type filter hook forward priority -20
                meta l4proto udp counter drop
            }
        }";
        self.internet.command("nft -f -").input(rules).ok();
    }

    /// What the server says of a device.
    #[track_caller]
    pub(crate) fn peer(&self, name: &str) -> Value {
        self.server.json(&format!("peer show {name} --json"))
    }

    /// The address of a device in the network.
    #[track_caller]
    pub(crate) fn address(&self, name: &str) -> IpAddr {
        let peer = self.peer(name);
        let address = peer["addresses"][0].as_str().unwrap();
        address.split('/').next().unwrap().parse().unwrap()
    }
}

/// The address of the host on the Internet.
pub(crate) fn outside() -> IpAddr {
    OUTSIDE.parse().unwrap()
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _gone_already = running.kill();
            let _status = running.wait();
        }
        let _gone_already = self.server.adit(&format!("down {}", self.server.name)).attempt();
    }
}
