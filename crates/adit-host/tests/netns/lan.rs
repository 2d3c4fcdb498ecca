//! More namespaces for a story about a gateway: two devices behind `wg0`, and what lies beyond `eth0`.
//!
//! ```text
//! laptop ── hub ── wg0p═wg0 (the story: a server) eth0═eth0p ── outside
//! phone  ──┘
//! ```
//!
//! The hub stands for the tunnel: it sends all that devices send to the server, also from one to the other. Not here: the
//! stories (`gateway`).

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::world::{command, run};

/// How long a program may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A namespace that lives as long as a process in it, and goes with the value.
#[derive(Debug)]
pub(crate) struct Namespace(Child);

/// A program that listens in a namespace, and goes with the value.
#[derive(Debug)]
pub(crate) struct Listener(Child);

/// All of them.
#[derive(Debug)]
pub(crate) struct Lan {
    /// 10.77.0.2 and fd7a::2.
    pub(crate) laptop: Namespace,
    /// 10.77.0.3 and fd7a::3.
    pub(crate) phone: Namespace,
    /// 192.0.2.1 and 2001:db8::1, and on the internet 198.51.100.1 and 2001:db8:ff::1.
    pub(crate) outside: Namespace,
    hub: Namespace,
}

impl Namespace {
    fn new() -> Self {
        let mut holder = Command::new("unshare");
        let namespace = Self(holder.args(["--net", "sleep", "infinity"]).stdin(Stdio::null()).spawn().unwrap());
        // The process is there before its namespace is.
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        until("a namespace of its own", || {
            std::fs::read_link(format!("/proc/{}/ns/net", namespace.0.id())).is_ok_and(|theirs| theirs != own)
        });
        namespace.run("ip link set lo up");
        namespace
    }

    fn words<'a>(line: &'a str, pid: &'a str) -> Vec<&'a str> {
        let enter = ["--target", pid, "--net", "--"];
        // After `sh -c` the rest is one word.
        match line.strip_prefix("sh -c ") {
            Some(script) => enter.into_iter().chain(["sh", "-c", script]).collect(),
            None => enter.into_iter().chain(line.split(' ')).collect(),
        }
    }

    /// Runs a line of words there and gives what it prints.
    pub(crate) fn run(&self, line: &str) -> String {
        self.attempt(line).unwrap()
    }

    /// As [`run`](Self::run) of what may fail.
    pub(crate) fn attempt(&self, line: &str) -> Result<String, String> {
        command("nsenter", &Self::words(line, &self.0.id().to_string()))
    }

    /// Waits until an echo comes back from there.
    #[track_caller]
    pub(crate) fn pings(&self, to: &str) {
        until(&format!("an echo of {to}"), || !self.pings_in_vain(to));
    }

    /// Whether a single echo does not come back from there within a second.
    pub(crate) fn pings_in_vain(&self, to: &str) -> bool {
        self.attempt(&format!("ping -n -c 1 -W 1 {to}")).is_err()
    }

    /// What a server there says to whoever connects by TCP.
    #[track_caller]
    pub(crate) fn asks(&self, to: &str, port: u16) -> String {
        let mut said = None;
        until(&format!("an answer of {to} port {port}"), || {
            said = self.connects(to, port);
            said.is_some()
        });
        said.unwrap_or_default()
    }

    /// Whether there is no connection to a server there within a second.
    pub(crate) fn asks_in_vain(&self, to: &str, port: u16) -> bool {
        self.connects(to, port).is_none()
    }

    fn connects(&self, to: &str, port: u16) -> Option<String> {
        let to = if to.contains(':') { format!("TCP6:[{to}]") } else { format!("TCP4:{to}") };
        let said = self.attempt(&format!("socat -u {to}:{port},connect-timeout=1 STDOUT")).ok()?;
        Some(said.trim().to_owned())
    }

    /// Answers whoever connects by TCP with the address that he comes from.
    pub(crate) fn serves(&self, v6: bool, port: u16) -> Listener {
        self.serves_what(v6, port, "echo${IFS}$SOCAT_PEERADDR")
    }

    /// Answers whoever connects by TCP with what a shell command without spaces prints; it reads what he sends.
    pub(crate) fn serves_what(&self, v6: bool, port: u16, script: &str) -> Listener {
        let (version, only) = if v6 { (6, ",ipv6only=1") } else { (4, "") };
        // One whose connection was cut without a word ends by itself, and holds nobody's output until then.
        let listen = format!("socat -T 5 TCP{version}-LISTEN:{port},fork,reuseaddr{only} SYSTEM:{script}");
        let mut program = Command::new("nsenter");
        program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let listener = program.args(Self::words(&listen, &self.0.id().to_string())).spawn();
        let listener = Listener(listener.unwrap());
        let question = format!("ss -Hltn{version} sport = :{port}");
        until("a listener", || self.run(&question).contains("LISTEN"));
        listener
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Lan {
    /// The namespaces, wired to `wg0` and `eth0` of this one.
    pub(crate) fn new() -> Self {
        let lan = Self {
            laptop: Namespace::new(),
            phone: Namespace::new(),
            outside: Namespace::new(),
            hub: Namespace::new(),
        };
        lan.wire_outside();
        lan.wirehub();
        for (device, host) in [(&lan.laptop, 2), (&lan.phone, 3)] {
            lan.wire_device(device, host);
        }
        lan
    }

    fn wire_outside(&self) {
        run(&format!("ip link set eth0p netns {}", self.outside.0.id()));
        for line in [
            "ip link set eth0p up",
            "ip address add 192.0.2.1/24 dev eth0p",
            "ip address add 2001:db8::1/64 dev eth0p nodad",
            "ip address add 198.51.100.1/32 dev lo",
            "ip address add 2001:db8:ff::1/128 dev lo",
        ] {
            self.outside.run(line);
        }
    }

    fn wirehub(&self) {
        let hub = &self.hub;
        // Nobody asks for hardware addresses on this link, so both ends have the same.
        let address = run("cat /sys/class/net/wg0/address");
        run(&format!("ip link set wg0p netns {}", hub.0.id()));
        for line in [
            "sh -c echo 0 > /proc/sys/net/ipv6/conf/wg0p/disable_ipv6",
            "sh -c echo 1 > /proc/sys/net/ipv4/ip_forward",
            "sh -c echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
            &format!("ip link set wg0p address {} arp off up", address.trim()),
            "ip route add default dev wg0p table 100",
            "ip -6 route add default dev wg0p table 100",
        ] {
            hub.run(line);
        }
    }

    fn wire_device(&self, device: &Namespace, host: u8) {
        let hub = &self.hub;
        let near = format!("d{host}");
        hub.run(&format!("ip link add {near} type veth peer name tun0 netns {}", device.0.id()));
        for line in [
            format!("sh -c echo 1 > /proc/sys/net/ipv4/conf/{near}/proxy_arp"),
            format!("ip link set {near} up"),
            format!("ip address add fe80::1/64 dev {near} nodad"),
            format!("ip route add 10.77.0.{host} dev {near}"),
            format!("ip -6 route add fd7a::{host} dev {near}"),
            format!("ip rule add iif {near} lookup 100"),
            format!("ip -6 rule add iif {near} lookup 100"),
        ] {
            hub.run(&line);
        }
        for line in [
            "ip link set tun0 up".to_owned(),
            format!("ip address add 10.77.0.{host}/32 dev tun0"),
            format!("ip address add fd7a::{host}/128 dev tun0 nodad"),
            "ip route add default dev tun0".into(),
            "ip -6 route add default via fe80::1 dev tun0".into(),
        ] {
            device.run(&line);
        }
    }

    /// One more address of the laptop.
    pub(crate) fn also(&self, address: &str) {
        self.hub.run(&format!("ip -6 route add {address} dev d2"));
        self.laptop.run(&format!("ip address add {address}/128 dev tun0 nodad"));
    }
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
