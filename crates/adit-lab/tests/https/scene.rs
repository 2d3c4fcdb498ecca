//! Two machines in two networks: Alice is a client, Bob a server that is a web site too. Both run `adit daemon`.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use adit_lab::ns::{Family, Namespace, Side, World};
use adit_lab::poll::{self, PATIENCE};
use adit_lab::shell::Run;
use adit_lab::subjects::beside_this_program;
use adit_lab::traffic;
use adit_lab::wg::KeyPair;
use serde_json::Value;

/// The name of Bob's web site, which no name server knows.
pub(crate) const SITE: &str = "www.example.test";

/// Both machines and what is between them.
pub(crate) struct Scene {
    pub(crate) alice: Machine,
    pub(crate) bob: Machine,
    pub(crate) world: World,
}

/// One machine with its daemon.
pub(crate) struct Machine {
    pub(crate) host: Namespace,
    pub(crate) keys: KeyPair,
    /// The name of its tunnel, unlike all others: the socket of `wg` knows no namespaces.
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    daemon: Child,
    pub(crate) inside: IpAddr,
}

impl Scene {
    /// Two machines without tunnels.
    #[track_caller]
    pub(crate) fn new() -> Self {
        let world = World::routed();
        let [alice, bob] = [(Side::Alice, 1), (Side::Bob, 2)].map(|(side, n)| Machine::new(side, n, &world));
        let site = bob.dir.join("site");
        fs::create_dir_all(&site).unwrap();
        fs::write(site.join("index.html"), "<!doctype html><title>Bob</title><p>Welcome.</p>\n").unwrap();
        Self { alice, bob, world }
    }

    /// As [`new`](Self::new), with both tunnels up: Bob with his own certificate, Alice with these transports.
    #[track_caller]
    pub(crate) fn up(transport: &str) -> Self {
        Self::new().with_tunnels(transport)
    }

    /// As [`up`](Self::up) with UDP first, which the router never lets through.
    #[track_caller]
    pub(crate) fn new_blocked() -> Self {
        let scene = Self::new();
        scene.block_udp();
        scene.with_tunnels("udp, https")
    }

    #[track_caller]
    fn with_tunnels(self, transport: &str) -> Self {
        let scene = self;
        let pin = scene.bob.certificate();
        scene.bob_up(&scene.bob.web_site());
        scene.alice_up(&scene.visits(transport, &pin));
        scene
    }

    /// What Alice's file says of Bob's web site.
    pub(crate) fn visits(&self, transport: &str, pin: &str) -> String {
        let at = self.bob_address();
        format!(
            "Transport = {transport}\nHttpsUrl = https://{SITE}\nHttpsAddress = {at}\nHttpsRoots = pin\nHttpsPin = {pin}"
        )
    }

    /// Where Bob is, outside the tunnel.
    pub(crate) fn bob_address(&self) -> IpAddr {
        self.world.address(Side::Bob, Family::V4)
    }

    #[track_caller]
    pub(crate) fn bob_up(&self, https: &str) {
        self.bob_up_for(&self.alice.https_key(), https);
    }

    /// As [`bob_up`](Self::bob_up), for somebody with another `HttpsKey` than Alice's adit.
    #[track_caller]
    pub(crate) fn bob_up_for(&self, key: &str, https: &str) {
        let text = format!(
            "[Interface]\nPrivateKey = {}\nAddress = 10.9.0.2/24\nListenPort = 51820\n[Https]\n{https}\n\
             [Peer]\nPublicKey = {}\nAllowedIPs = 10.9.0.1/32\nHttpsKey = {key}\n",
            self.bob.keys.private, self.alice.keys.public
        );
        self.bob.up(&text);
    }

    #[track_caller]
    pub(crate) fn alice_up(&self, peer: &str) {
        let text = format!(
            "[Interface]\nPrivateKey = {}\nAddress = 10.9.0.1/24\n\
             [Peer]\nPublicKey = {}\nEndpoint = {}:51820\nAllowedIPs = 10.9.0.2/32\n{peer}\n",
            self.alice.keys.private,
            self.bob.keys.public,
            self.bob_address()
        );
        self.alice.up(&text);
    }

    /// Pings from Alice until Bob answers through the tunnel.
    #[track_caller]
    pub(crate) fn connect(&self) {
        self.connect_within("an answer through the tunnel");
    }

    #[track_caller]
    pub(crate) fn connect_within(&self, what: &str) {
        poll::until(what, PATIENCE, || traffic::ping_once(&self.alice.host, self.bob.inside).then_some(()));
    }

    /// The router drops all UDP between the networks.
    #[track_caller]
    pub(crate) fn block_udp(&self) {
        let rules = "table inet noudp {
            chain f {
                type filter hook forward priority -20
                meta l4proto udp counter drop
            }
        }";
        self.world.router().namespace().command("nft -f -").input(rules).ok();
    }

    /// It does not any more.
    #[track_caller]
    pub(crate) fn unblock_udp(&self) {
        self.world.router().namespace().run("nft delete table inet noudp");
    }

    /// Waits until Alice says that this carrier is in use, keeping the tunnel busy meanwhile.
    #[track_caller]
    pub(crate) fn wait_for_carrier(&self, carrier: &str) -> Value {
        poll::until(&format!("{carrier} to be used"), PATIENCE, || {
            traffic::ping_once(&self.alice.host, self.bob.inside);
            let tunnel = self.alice.status();
            (tunnel["carrier"]["carrier"] == carrier).then_some(tunnel)
        })
    }

    /// Bytes and datagrams both ways, whole.
    #[track_caller]
    pub(crate) fn exchange(&self) {
        let (alice, bob) = ((&self.alice.host, self.alice.inside), (&self.bob.host, self.bob.inside));
        traffic::tcp(alice.0, bob, 16 << 20).finish();
        traffic::tcp(bob.0, alice, 16 << 20).finish();
        for (from, to) in [(alice.0, bob), (bob.0, alice)] {
            let datagrams = traffic::udp(from, to, 200, 1200);
            assert_eq!((datagrams.arrived, datagrams.corrupt, datagrams.duplicates), (200, 0, 0), "{datagrams:?}");
        }
    }

    /// A transfer from Alice to Bob.
    #[track_caller]
    pub(crate) fn upload(&self, bytes: usize) -> traffic::Transfer {
        traffic::tcp(&self.alice.host, (&self.bob.host, self.bob.inside), bytes)
    }

    /// A transfer from Bob to Alice.
    #[track_caller]
    pub(crate) fn download(&self, bytes: usize) -> traffic::Transfer {
        traffic::tcp(&self.bob.host, (&self.alice.host, self.alice.inside), bytes)
    }
}

impl Machine {
    fn new(side: Side, number: u8, world: &World) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("h{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(format!("adit-lab-{name}"));
        fs::create_dir_all(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        let host = world.host(side).clone();
        let daemon = spawn(&host, &dir);
        let inside = IpAddr::from([10, 9, 0, number]);
        let machine = Self { host, keys: KeyPair::new(), name, dir, daemon, inside };
        machine.wait_for_daemon();
        machine
    }

    fn wait_for_daemon(&self) {
        poll::until("the daemon", PATIENCE, || self.dir.join("run/adit.sock").exists().then_some(()));
    }

    /// `adit` here, ready to be given more.
    pub(crate) fn adit(&self, arguments: &str) -> Run {
        let line = format!("{} {arguments}", beside_this_program("adit").display());
        self.host.command(&line).env("ADIT_RUNTIME_DIR", self.dir.join("run"))
    }

    fn file(&self) -> PathBuf {
        self.dir.join(format!("{}.conf", self.name))
    }

    /// Writes the file.
    pub(crate) fn write(&self, text: &str) {
        fs::write(self.file(), text).unwrap();
        fs::set_permissions(self.file(), fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[track_caller]
    pub(crate) fn up(&self, text: &str) {
        self.write(text);
        self.adit(&format!("up {}", self.file().display())).ok();
    }

    /// Writes something else into the file in place of this, and has it read again.
    #[track_caller]
    pub(crate) fn edit(&self, old: &str, new: &str) {
        let text = fs::read_to_string(self.file()).unwrap();
        assert!(text.contains(old), "there is no `{old}` in\n{text}");
        self.write(&text.replace(old, new));
        self.adit(&format!("reload {}", self.name)).ok();
    }

    /// What `adit status --json` says of its tunnel.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        let text = self.adit(&format!("status --json {}", self.name)).ok();
        let report: Value = serde_json::from_str(&text).unwrap();
        report["tunnels"][0].clone()
    }

    /// A web site of its own, with the certificate of [`certificate`](Self::certificate).
    pub(crate) fn web_site(&self) -> String {
        let dir = self.dir.display();
        format!("Listen = 443\nSite = {dir}/site\nCertificate = {dir}/cert.pem\nCertificateKey = {dir}/key.pem")
    }

    pub(crate) fn https_key(&self) -> String {
        self.adit("pubkey --https").input(self.keys.private.clone()).ok().trim().to_owned()
    }

    /// Makes a certificate that nobody vouches for; its pin.
    #[track_caller]
    pub(crate) fn certificate(&self) -> String {
        let dir = self.dir.display();
        Run::line(&format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN={SITE} \
             -addext subjectAltName=DNS:{SITE} -keyout {dir}/key.pem -out {dir}/cert.pem"
        ))
        .ok();
        let script = format!(
            "openssl pkey -in {dir}/key.pem -pubout -outform der | openssl dgst -sha256 -binary | openssl base64 -A"
        );
        format!("sha256/{}", Run::program("sh").arg("-c").arg(script).ok().trim())
    }

    /// `kill -9`, and a new daemon.
    pub(crate) fn crash(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
        fs::remove_file(self.dir.join("run/adit.sock")).unwrap();
        self.daemon = spawn(&self.host, &self.dir);
        self.wait_for_daemon();
    }

    /// What its daemon has said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (status, log) = (self.adit("status").attempt().unwrap_or_else(|failed| failed.said), self.log());
            let tail: Vec<_> = log.lines().rev().take(60).collect();
            let tail: Vec<_> = tail.into_iter().rev().collect();
            tracing::error!("{}\n{status}\n{}", self.name, tail.join("\n"));
            fs::write(std::env::temp_dir().join(format!("{}.failed", self.name)), format!("{status}\n{log}")).unwrap();
        }
        let _gone_already = self.adit(&format!("down {}", self.name)).attempt();
        let _gone_already = self.daemon.kill();
        let _status = self.daemon.wait();
        let _left = fs::remove_dir_all(&self.dir);
    }
}

fn spawn(host: &Namespace, dir: &std::path::Path) -> Child {
    let log = fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
    let mut command = Command::new("ip");
    command.args(["netns", "exec", host.name()]).arg(beside_this_program("adit")).arg("daemon");
    command.env("ADIT_RUNTIME_DIR", dir.join("run")).env("ADIT_LOG", "debug");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().unwrap()
}
