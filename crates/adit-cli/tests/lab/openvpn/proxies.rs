//! Servers that only a proxy reaches: Alice, the proxy in the middle, which forwards nothing by itself, and the server behind it.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rcgen::PKCS_ECDSA_P256_SHA256;

use super::transfers::transfers;
use super::{INSIDE, Scene, serve_on};
use crate::world::{Machine, err, eventually};

/// The proxy's address at Alice's side, and the server's at the other.
const PROXY: &str = "192.0.2.2";
const SERVER: &str = "203.0.113.1";
/// How the proxy alone knows the server.
const NAME: &str = "vpn.behind.example";

/// Alice, a proxy, and a server behind it.
struct Behind {
    /// Before what they run in.
    children: Vec<Child>,
    server: Machine,
    scene: Scene,
    /// Names that the proxy's machine knows.
    names: PathBuf,
}

impl Behind {
    /// A server with these options.
    fn new(options: &str) -> Self {
        let scene = Scene::with(&PKCS_ECDSA_P256_SHA256);
        let server = scene.world.third();
        for name in ["ca.crt", "server.crt", "server.key", "tc.key"] {
            fs::copy(scene.bob().dir.join(name), server.dir.join(name)).unwrap();
        }
        let names = PathBuf::from("/etc/netns").join(&scene.bob().netns);
        fs::create_dir_all(&names).unwrap();
        fs::write(names.join("hosts"), format!("{SERVER} {NAME}\n")).unwrap();
        let children = vec![serve_on(&server, options)];
        let behind = Self { children, server, scene, names };
        let reached = behind.scene.alice().command("ping").args(["-n", "-c", "1", "-W", "1", SERVER]).output().unwrap();
        assert!(!reached.status.success(), "only the proxy reaches the server");
        behind
    }

    /// A program on the machine in the middle, once it listens at this port.
    fn proxy(&mut self, port: u16, program: &str, arguments: &[&str]) {
        let log = File::create(self.scene.bob().dir.join("proxy.log")).unwrap();
        let mut command = self.scene.bob().command(program);
        command.args(arguments).stdout(log.try_clone().unwrap()).stderr(log);
        self.children.push(command.spawn().unwrap());
        eventually("the proxy listens", || {
            let shown = self.scene.bob().command("ss").args(["-Hltn", &format!("sport = :{port}")]).output().unwrap();
            !shown.stdout.is_empty()
        });
    }

    fn http_proxy(&mut self) {
        let text = format!(
            "Port 3128\nListen {PROXY}\nTimeout 600\nAllow 192.0.2.0/24\nConnectPort 1194\nMaxClients 10\n\
             BasicAuth alice opensesame\n"
        );
        let file = self.scene.bob().dir.join("tinyproxy.conf");
        fs::write(&file, text).unwrap();
        self.proxy(3128, "tinyproxy", &["-d", "-c", file.to_str().unwrap()]);
    }

    fn socks_proxy(&mut self) {
        self.proxy(1080, "microsocks", &["-i", PROXY, "-p", "1080", "-u", "alice", "-P", "opensesame"]);
    }

    /// One that carries datagrams.
    fn relay(&mut self) {
        let text = format!(
            "logoutput: stderr\ninternal: {PROXY} port = 1080\nexternal: 203.0.113.2\nclientmethod: none\nsocksmethod: none\n\
             user.privileged: root\nuser.unprivileged: nobody\nclient pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}\n\
             socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}\n"
        );
        let file = self.scene.bob().dir.join("danted.conf");
        fs::write(&file, text).unwrap();
        let pid = self.scene.bob().dir.join("danted.pid");
        self.proxy(1080, "danted", &["-f", file.to_str().unwrap(), "-p", pid.to_str().unwrap()]);
    }

    /// With all that it has started: those who carry datagrams outlive the first.
    fn end_relay(&mut self) {
        let of_proxy = |pid: &&str| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            name.trim() == "danted"
        };
        let listed = Command::new("ip").args(["netns", "pids", &self.scene.bob().netns]).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let running: Vec<_> = listed.lines().filter(of_proxy).collect();
        assert!(!running.is_empty());
        for pid in running {
            // One that the one before took along is gone already.
            let _asked = Command::new("kill").args(["-KILL", pid]).stderr(Stdio::null()).status();
        }
        end(&mut self.children.pop().unwrap());
    }

    fn log(&self) -> String {
        let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
        let (proxy, server) = (self.scene.bob().dir.join("proxy.log"), self.server.dir.join("openvpn.log"));
        format!("{}\nthe proxy:\n{}\nthe server:\n{}", self.scene.alice().log(), read(proxy), read(server))
    }

    /// Packets, transfers, two renewals in one connection; and nothing is left.
    fn story(&self, lines: &str, answers: &str, through: &str) {
        let alice = self.scene.alice();
        let before = alice.network();
        let file = self.scene.file(lines);
        let up = self.scene.up_with(&file, answers);
        let said = String::from_utf8(up.stdout.clone()).unwrap();
        assert!(up.status.success() && said.contains(through), "{lines}: {said}{}\n{}", err(&up), self.log());
        transfers(alice, &self.server);
        eventually("keys are renewed twice", || {
            assert!(alice.pings(INSIDE), "{}", self.log());
            alice.status()["openvpn"]["renewals"].as_u64() >= Some(2)
        });
        for size in ["0", "1272", "1472"] {
            let echo =
                alice.command("ping").args(["-n", "-c", "3", "-i", "0.1", "-W", "5", "-s", size, INSIDE]).output();
            assert!(echo.unwrap().status.success(), "{size} bytes: {}", self.log());
        }
        transfers(alice, &self.server);
        assert_eq!(alice.status()["openvpn"]["connections"], 1, "{}", self.log());
        alice.ok(&["down", &alice.tunnel]);
        assert_eq!(alice.network(), before);
        assert!(!alice.log().contains("sesame"), "a password is in the log");
    }
}

/// As somebody would who means it well: some have children of their own, which they end then.
fn end(child: &mut Child) {
    let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    if !asked.is_ok_and(|asked| asked.success()) {
        let _gone = child.kill();
    }
    let _gone = child.wait();
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.children.iter_mut().for_each(end);
        let _gone = fs::remove_dir_all(&self.names);
    }
}

/// The proxy's own network is among the routes that the server sets: its way stays outside all the same.
#[test]
fn through_an_http_proxy_that_wants_a_password() {
    let mut behind =
        Behind::new("--proto tcp-server --tls-crypt DIR/tc.key --reneg-sec 3 --push route~192.0.2.0~255.255.255.0");
    behind.http_proxy();
    let login = behind.scene.alice().dir.join("proxy.txt");
    fs::write(&login, "alice\nopensesame\n").unwrap();
    let through = format!("connected to {NAME}:1194 through the HTTP proxy {PROXY}:3128");
    let remote = format!("remote {NAME} 1194 tcp\n");
    behind.story(&format!("{remote}http-proxy {PROXY} 3128 proxy.txt basic\n"), "", &through);
    let more = "http-proxy-option VERSION 1.1\nhttp-proxy-option AGENT adit-test\n";
    behind.story(&format!("{remote}http-proxy {PROXY} 3128 stdin\n{more}"), "alice\nopensesame\n", &through);
    let alice = behind.scene.alice();
    for (line, said) in [
        ("auto", "asks for user and password"),
        ("auto-nct", "`auto-nct` forbids"),
        ("wrong.txt", "does not take this user and password"),
    ] {
        fs::write(alice.dir.join("wrong.txt"), "alice\nopenbarley\n").unwrap();
        let failure = alice.fails(1, &["up", &behind.scene.file(&format!("{remote}http-proxy {PROXY} 3128 {line}\n"))]);
        assert!(failure.contains(said) && failure.contains(NAME), "{line}: {failure}");
    }
    let closed = format!("remote {NAME} 1195 tcp\nconnect-retry-max 1\nhttp-proxy {PROXY} 3128 proxy.txt\n");
    let failure = alice.fails(1, &["up", &behind.scene.file(&closed)]);
    assert!(failure.contains(&format!("{NAME}:1195 (403")), "{failure}");
}

/// Everything goes into the tunnel, and the tunnel to the proxy. The blocks before the last lead nowhere.
#[test]
fn through_a_socks_proxy_that_wants_a_password() {
    let mut behind =
        Behind::new("--proto tcp-server --tls-crypt DIR/tc.key --reneg-sec 3 --push redirect-gateway~def1");
    behind.socks_proxy();
    let login = "<socks-proxy-user-pass>\nalice\nopensesame\n</socks-proxy-user-pass>\n";
    let block = |server: &str, port: u16, proxy: u16, login: &str| {
        format!("<connection>\nremote {server} {port} tcp\nsocks-proxy {PROXY} {proxy}\n{login}</connection>\n")
    };
    let lines = [
        block(SERVER, 1195, 1080, login),
        block(SERVER, 1194, 1081, login),
        block(SERVER, 1194, 1080, ""),
        block(NAME, 1194, 1080, login),
    ];
    let lines = format!("connect-retry 1 1\n{}", lines.concat());
    behind.story(&lines, "", &format!("connected to {NAME}:1194 through the SOCKS proxy {PROXY}:1080"));
    let wrong = format!("remote {SERVER} 1194 tcp\nsocks-proxy {PROXY} 1080\n{}", login.replace("sesame", "barley"));
    let failure = behind.scene.alice().fails(1, &["up", &behind.scene.file(&wrong)]);
    assert!(failure.contains("does not take this user and password"), "{failure}");
    let datagrams = format!("remote {SERVER} 1194 udp\nsocks-proxy {PROXY} 1080\n{login}");
    let failure = behind.scene.alice().fails(1, &["up", &behind.scene.file(&datagrams)]);
    assert!(failure.contains("carries no datagrams") && failure.contains("proto tcp"), "{failure}");
}

#[test]
fn datagrams_through_a_socks_proxy() {
    let mut behind = Behind::new("--proto udp --tls-crypt DIR/tc.key --reneg-sec 3 --push redirect-gateway~def1");
    behind.relay();
    let through = format!("through the SOCKS proxy {PROXY}:1080");
    behind.story(&format!("remote {SERVER} 1194 udp\nsocks-proxy {PROXY}\n"), "", &through);
    let alice = behind.scene.alice();
    alice.ok(&["up", &behind.scene.file(&format!("remote {NAME} 1194 udp\nsocks-proxy {PROXY}\nconnect-retry 1 1\n"))]);
    assert!(alice.pings(INSIDE), "{}", behind.log());
    // The proxy is started anew: that is noticed, and there is another connection.
    behind.end_relay();
    eventually("the loss is noticed", || behind.scene.alice().status()["state"] != "connected");
    behind.relay();
    eventually("there is another connection", || behind.scene.alice().pings(INSIDE));
    assert_eq!(behind.scene.alice().status()["openvpn"]["connections"], 2, "{}", behind.log());
}

#[test]
fn a_proxy_that_says_nothing_has_its_time() {
    let scene = Scene::with(&PKCS_ECDSA_P256_SHA256);
    let (alice, bob) = (scene.alice(), scene.bob());
    let listener = bob.inside(|| TcpListener::bind((PROXY, 3128)).unwrap());
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            // Until the other end has had enough.
            let mut asked = String::new();
            stream.read_to_string(&mut asked).unwrap();
            assert!(asked.starts_with("CONNECT 198.51.100.7:1194 HTTP/1.0\r\n"), "{asked}");
        });
        let file = scene.file(&format!("remote 198.51.100.7 1194 tcp\nhttp-proxy {PROXY} 3128\nconnect-retry-max 1\n"));
        let failure = alice.fails(1, &["up", &file]);
        assert!(failure.contains("does not answer within 15 seconds"), "{failure}");
    });
}
