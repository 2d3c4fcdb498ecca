//! Two machines joined by a cable, each with a daemon's directory; everything goes away with the test.

use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Two namespaces: `a` is 192.0.2.1 and `b` is 192.0.2.2 on the cable.
pub(crate) struct World {
    pub(crate) a: Machine,
    pub(crate) b: Machine,
}

/// One namespace.
pub(crate) struct Machine {
    pub(crate) netns: String,
    pub(crate) dir: PathBuf,
    /// Its tunnel's interface, and the configuration of it.
    pub(crate) tunnel: String,
    pub(crate) keys: Keys,
}

pub(crate) struct Keys {
    pub(crate) private: String,
    pub(crate) public: String,
}

impl World {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let world = Self { a: Machine::new(&id, 'a'), b: Machine::new(&id, 'b') };
        let (a, b) = (&world.a.netns, &world.b.netns);
        ip(&format!("link add cable netns {a} type veth peer name cable netns {b}"));
        for (netns, address) in [(a, "192.0.2.1/24"), (b, "192.0.2.2/24")] {
            ip(&format!("-n {netns} address add {address} dev cable"));
            // No address that appears by itself a moment later: the network is compared before and after.
            ip(&format!("-n {netns} link set cable addrgenmode none"));
            ip(&format!("-n {netns} link set cable up"));
            ip(&format!("-n {netns} link set lo up"));
        }
        for machine in [&world.a, &world.b] {
            // The kernel notices the plug a moment later.
            eventually("the cable to carry", || {
                let network = machine.network();
                !network.contains("linkdown") && network.contains("multicast ff00::/8 dev cable")
            });
        }
        world
    }

    /// One more machine, `c`, with a cable of its own to `b`: it is 203.0.113.1 there, and `b` is 203.0.113.2.
    pub(crate) fn third(&self) -> Machine {
        let id = self.a.netns.trim_start_matches("aditcli-").trim_end_matches("-a");
        let machine = Machine::new(id, 'c');
        let (b, c) = (&self.b.netns, &machine.netns);
        ip(&format!("link add cable netns {c} type veth peer name cable2 netns {b}"));
        for (netns, link, address) in [(c, "cable", "203.0.113.1/24"), (b, "cable2", "203.0.113.2/24")] {
            ip(&format!("-n {netns} address add {address} dev {link}"));
            ip(&format!("-n {netns} link set {link} addrgenmode none"));
            ip(&format!("-n {netns} link set {link} up"));
        }
        ip(&format!("-n {c} link set lo up"));
        machine
    }

    /// The usual pair of files: a has 10.77.0.1, b has 10.77.0.2.
    pub(crate) fn configured() -> Self {
        let world = Self::new();
        let (a, b) = (&world.a, &world.b);
        a.write(&a.file_text("10.77.0.1/24", 51820, b, "192.0.2.2:51820", "10.77.0.2/32"));
        b.write(&b.file_text("10.77.0.2/24", 51820, a, "192.0.2.1:51820", "10.77.0.1/32"));
        world
    }

    /// As configured, both up.
    pub(crate) fn up() -> Self {
        let world = Self::configured();
        for machine in [&world.a, &world.b] {
            machine.ok(&["up", &machine.file()]);
        }
        world
    }
}

impl Machine {
    fn new(id: &str, letter: char) -> Self {
        let netns = format!("aditcli-{id}-{letter}");
        let dir = std::env::temp_dir().join(&netns);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).unwrap();
        ip(&format!("netns add {netns}"));
        let private = adit_output(&["genkey"], "");
        let public = adit_output(&["pubkey"], &private);
        let keys = Keys { private: private.trim().to_owned(), public: public.trim().to_owned() };
        // Unlike the namespace, the socket of `wg` is shared by all: the name has to be of this test alone.
        let tunnel = format!("{letter}{}", id.replace('-', "_"));
        Self { netns, dir, tunnel, keys }
    }

    pub(crate) fn file(&self) -> String {
        self.dir.join(format!("{}.conf", self.tunnel)).to_str().unwrap().to_owned()
    }

    pub(crate) fn file_text(&self, address: &str, port: u16, peer: &Self, endpoint: &str, allowed: &str) -> String {
        format!(
            "[Interface]\nPrivateKey = {}\nAddress = {address}\nListenPort = {port}\n\n\
             [Peer]\nPublicKey = {}\nEndpoint = {endpoint}\nAllowedIPs = {allowed}\n",
            self.keys.private, peer.keys.public
        )
    }

    pub(crate) fn write(&self, text: &str) {
        std::fs::write(self.file(), text).unwrap();
        std::fs::set_permissions(self.file(), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Any program in the namespace.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.netns, program]).env("ADIT_RUNTIME_DIR", self.dir.join("run"));
        command.env("ADIT_LOG", "debug").stdin(Stdio::null());
        command
    }

    /// Something of the test itself, done in the namespace.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
        let namespace = std::fs::File::open(format!("/run/netns/{}", self.netns)).unwrap();
        let enter = || move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        std::thread::scope(|threads| {
            let done = threads.spawn(|| {
                enter();
                work()
            });
            done.join().unwrap()
        })
    }

    /// adit in the namespace.
    pub(crate) fn adit(&self, arguments: &[&str]) -> Output {
        self.command(env!("CARGO_BIN_EXE_adit")).args(arguments).output().unwrap()
    }

    /// adit, which must succeed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let run = self.adit(arguments);
        assert!(run.status.success(), "adit {arguments:?}: {}\n{}", err(&run), self.log());
        String::from_utf8(run.stdout).unwrap()
    }

    /// adit, which must fail like this; what it says.
    pub(crate) fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let run = self.adit(arguments);
        assert_eq!(run.status.code(), Some(code), "adit {arguments:?}: {}\n{}", err(&run), self.log());
        err(&run)
    }

    /// A process that stays.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        let log = std::fs::File::create(self.dir.join("spawned.log")).unwrap();
        self.command(env!("CARGO_BIN_EXE_adit")).args(arguments).stderr(log).spawn().unwrap()
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        let all: serde_json::Value = serde_json::from_str(&self.ok(&["status", "--json", &self.tunnel])).unwrap();
        all["tunnels"][0].clone()
    }

    pub(crate) fn daemon(&self) -> i32 {
        let lock = self.dir.join("run/daemon.lock");
        let inode = std::os::unix::fs::MetadataExt::ino(&lock.metadata().unwrap());
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        let line = locks.lines().find(|l| l.contains(&format!(":{inode} "))).expect("nobody holds the lock");
        line.split_whitespace().nth(4).unwrap().parse().unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let done = Command::new("kill").args([&format!("-{name}"), &self.daemon().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Whether a ping through the tunnel is answered.
    pub(crate) fn pings(&self, to: &str) -> bool {
        self.command("ping").args(["-n", "-c", "1", "-W", "5", to]).output().unwrap().status.success()
    }

    /// Everything of the network that a tunnel may touch, but for the counters.
    pub(crate) fn network(&self) -> String {
        let show = |words: &str| {
            let mut words = words.split(' ');
            let run = self.command(words.next().unwrap()).args(words).output().unwrap();
            assert!(run.status.success(), "{}", err(&run));
            String::from_utf8(run.stdout).unwrap()
        };
        let mut shown = String::new();
        for words in [
            "ip -o -br link",
            "ip -o -br address",
            "ip rule",
            "ip -6 rule",
            "ip route show table all",
            "nft list ruleset",
            "sysctl net.ipv4.conf.all.src_valid_mark",
        ] {
            shown.push_str(&format!("# {words}\n{}", show(words)));
        }
        shown
    }

    pub(crate) fn has_interface(&self) -> bool {
        self.command("ip").args(["link", "show", &self.tunnel]).output().unwrap().status.success()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("run/daemon.log")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Whatever a failed test left running in here is ours.
        let inside = Command::new("ip").args(["netns", "pids", &self.netns]).output();
        for pid in inside.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default().lines() {
            let _gone = Command::new("kill").args(["-9", pid]).status();
        }
        let _gone = Command::new("ip").args(["netns", "delete", &self.netns]).status();
        let _gone = std::fs::remove_file(format!("/var/run/wireguard/{}.sock", self.tunnel));
        let _gone = std::fs::remove_dir_all(&self.dir);
    }
}

/// Waits until it is so.
pub(crate) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn err(run: &Output) -> String {
    String::from_utf8_lossy(&run.stderr).into_owned()
}

fn ip(words: &str) {
    let run = Command::new("ip").args(words.split(' ')).output().expect("ip is installed");
    assert!(run.status.success(), "ip {words}: {}(this test needs root)", err(&run));
}

fn adit_output(arguments: &[&str], input: &str) -> String {
    use std::io::Write as _;
    let mut run = Command::new(env!("CARGO_BIN_EXE_adit"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    run.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    String::from_utf8(run.wait_with_output().unwrap().stdout).unwrap()
}
