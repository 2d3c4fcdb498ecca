//! `adit join` as a person meets it, as far as that needs no root: the server is a tunnel of this test, on loopback.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use adit::engine::{PacketChannel, UdpOptions, packet_pair};
use adit::enrol::{Datagram, Membership, Refusal, Reply, Request};
use adit::invite::Invite;
use adit::join::check_words;
use adit::profile::wg_quick::{Interface, Peer, Profile};
use adit::wireguard::PrivateKey;
use adit::{Carriers, Options, Surroundings, Tunnel};
use adit_protocol::Secret;

#[test]
fn joining_keeps_a_profile_that_nobody_else_can_read() {
    let (server, machine) = (Server::start(), Machine::new("keeps"));
    let run = machine.join(&[&server.link(), "--no-up", "--name", "laptop"]);
    assert_eq!(code(&run), 0, "{}", err(&run));
    let file = machine.root.join("etc/home.conf");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    let asked = server.asked();
    assert_eq!(asked.name, "laptop");
    let profile = std::fs::read_to_string(&file).unwrap();
    assert!(
        profile.contains("Address = 10.77.0.2/24") && profile.contains("AllowedIPs = 0.0.0.0/0, ::/0"),
        "{profile}"
    );
    let key = profile.lines().find_map(|line| line.strip_prefix("PrivateKey = ")).unwrap();
    assert_eq!(PrivateKey::from_base64(key).unwrap().public_key(), asked.key);
    let words = check_words(&invite().public_key(), &asked.key, &invite().server).join(" ");
    assert!(out(&run).contains(&words) && out(&run).contains("adit up home"), "{}", out(&run));
    assert!(!out(&run).contains(key) && !err(&run).contains(key));
    assert_eq!(code(&machine.adit(&["check", file.to_str().unwrap()])), 0);
    assert_eq!(machine.root.join("state/joining").read_dir().unwrap().count(), 0, "nothing waits any more");
}

#[test]
fn the_same_link_again_is_no_second_device() {
    let (server, machine) = (Server::start(), Machine::new("again"));
    let first = machine.join(&[&server.link(), "--no-up", "--json"]);
    assert_eq!(code(&first), 0, "{}", err(&first));
    server.asked();
    let second = machine.join(&[&server.link(), "--no-up", "--json"]);
    assert_eq!(code(&second), 0, "{}", err(&second));
    let report = |run: &Output| serde_json::from_slice::<serde_json::Value>(&run.stdout).unwrap();
    let (first, second) = (report(&first), report(&second));
    for same in ["network", "profile", "file", "addresses", "check_words"] {
        assert_eq!(first[same], second[same]);
    }
    assert!(server.asked.try_recv().is_err(), "nobody is asked");
    let said = out(&machine.join(&[&server.link(), "--no-up"]));
    assert!(said.contains("this device has joined home with this invite"), "{said}");
}

#[test]
fn a_name_that_is_taken_gets_a_number_and_the_report_says_which() {
    let (server, machine) = (Server::start(), Machine::new("taken"));
    std::fs::create_dir_all(machine.root.join("etc")).unwrap();
    std::fs::write(machine.root.join("etc/home.conf"), "mine").unwrap();
    let run = machine.join(&[&server.link(), "--no-up", "--json"]);
    assert_eq!(code(&run), 0, "{}", err(&run));
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!((&report["profile"], &report["network"]), (&"home-2".into(), &"home".into()));
    assert_eq!(report["addresses"][0], "10.77.0.2");
    assert_eq!(std::fs::read_to_string(machine.root.join("etc/home.conf")).unwrap(), "mine");
    let run = machine.join(&[&server.link(), "--no-up", "--profile", "home"]);
    assert_eq!(code(&run), 2);
    assert!(err(&run).contains("the name home is taken"), "{}", err(&run));
}

/// The key is on disk before the server hears of it.
#[test]
fn who_is_killed_on_the_way_goes_on_with_the_same_key() {
    let (server, machine) = (Server::start(), Machine::new("killed"));
    server.answer(Answer::Nothing);
    let mut first = machine.spawn(&[&server.link(), "--no-up"]);
    let before = server.asked();
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(machine.root.join("etc").read_dir().unwrap().count(), 0);
    server.answer(Answer::Admit);
    let run = machine.join(&[&server.link(), "--no-up"]);
    assert_eq!(code(&run), 0, "{}", err(&run));
    assert!(out(&run).contains("the attempt before"), "{}", out(&run));
    assert_eq!(server.asked().key, before.key);
    assert!(machine.root.join("etc/home.conf").exists());
}

#[test]
fn a_refusal_is_a_sentence_and_keeps_nothing() {
    let (server, machine) = (Server::start(), Machine::new("refused"));
    server.answer(Answer::Refuse(Refusal::Used));
    let run = machine.join(&[&server.link(), "--no-up"]);
    assert_eq!(code(&run), 1);
    assert!(err(&run).contains("the invite is used") && err(&run).contains("hint: ask for a new one"), "{}", err(&run));
    assert_eq!(machine.root.join("etc").read_dir().unwrap().count(), 0);
}

#[test]
fn a_link_comes_from_standard_input_or_a_file_too() {
    let (server, machine) = (Server::start(), Machine::new("stdin"));
    let mut child = machine.command(&["-", "--no-up"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{}\n", server.link()).as_bytes()).unwrap();
    let run = child.wait_with_output().unwrap();
    assert_eq!(code(&run), 0, "{}", err(&run));
    let file = machine.root.join("invite.txt");
    std::fs::write(&file, server.link().to_uppercase()).unwrap();
    let run = machine.join(&[file.to_str().unwrap(), "--no-up", "--profile", "second"]);
    assert_eq!(code(&run), 0, "{}", err(&run));
    assert!(machine.root.join("etc/second.conf").exists());
}

#[test]
fn a_dry_run_asks_nobody_and_changes_nothing() {
    let machine = Machine::new("dry");
    let link = invite().to_link().unwrap();
    let run = machine.join(&[&link, "--dry-run", "--name", "laptop"]);
    assert_eq!(code(&run), 0, "{}", err(&run));
    assert!(out(&run).contains("etc/home.conf") && out(&run).contains("as laptop"), "{}", out(&run));
    assert!(!out(&run).contains(&link[7..40]), "a secret stays one");
    assert_eq!(machine.root.read_dir().unwrap().count(), 0);
    let run = machine.join(&[&link, "--dry-run", "--json"]);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&run.stdout).unwrap()["profile"], "home");
}

#[test]
fn a_link_that_is_none_altered_or_of_another_version_says_which() {
    let machine = Machine::new("wrong");
    let link = invite().to_link().unwrap();
    let cut = &link[..link.len() - 1];
    for (wrong, said) in
        [(cut, "altered or cut short"), ("adit:2:abc", "of version 2"), ("nonsense", "neither an invite nor a file")]
    {
        let run = machine.join(&[wrong, "--no-up"]);
        assert_eq!(code(&run), 2);
        assert!(err(&run).contains(said) && err(&run).contains("hint:"), "{}", err(&run));
    }
    assert_eq!(machine.root.read_dir().unwrap().count(), 0);
}

/// Directories of a machine that has only this test.
struct Machine {
    root: PathBuf,
}

impl Machine {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("adit-join-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        Self { root }
    }

    fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
        command
            .env("ADIT_CONFIG_DIR", self.root.join("etc"))
            .env("ADIT_STATE_DIR", self.root.join("state"))
            .env("ADIT_RUNTIME_DIR", self.root.join("run"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn adit(&self, arguments: &[&str]) -> Output {
        self.program().args(arguments).output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.program();
        command.arg("join").args(arguments);
        command
    }

    fn join(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.root).unwrap();
    }
}

/// What the server says to the next questions.
#[derive(Clone, Copy)]
enum Answer {
    Admit,
    Refuse(Refusal),
    Nothing,
}

/// A server with one invite, on a thread of its own.
struct Server {
    port: u16,
    asked: Receiver<Request>,
    answer: tokio::sync::watch::Sender<Answer>,
}

impl Server {
    fn start() -> Self {
        let (to_asked, asked) = channel();
        let (to_port, port) = channel();
        let (answer, answers) = tokio::sync::watch::channel(Answer::Admit);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(&to_port, &to_asked, answers));
        });
        Self { port: port.recv().unwrap(), asked, answer }
    }

    fn link(&self) -> String {
        Invite { udp_port: Some(self.port), ..invite() }.to_link().unwrap().to_string()
    }

    fn answer(&self, answer: Answer) {
        self.answer.send_replace(answer);
    }

    /// The first question of those that were not looked at; the others are forgotten.
    fn asked(&self) -> Request {
        let first = self.asked.recv_timeout(Duration::from_secs(30)).unwrap();
        while self.asked.try_recv().is_ok() {}
        first
    }
}

/// Serves until the test has ended.
async fn serve(port: &Sender<u16>, asked: &Sender<Request>, mut answers: tokio::sync::watch::Receiver<Answer>) {
    let invite = invite();
    let interface = Interface { private_key: Some(PrivateKey::new([1; 32])), ..Interface::default() };
    let allowed_ips = vec![IpAddr::from(invite.address()).into()];
    let peers = vec![Peer { allowed_ips, ..Peer::new(invite.public_key()) }];
    let profile = Profile { interface, peers, web_site: None };
    let (carriers, outside) = Carriers::open(&profile, UdpOptions::default(), Surroundings::default()).await.unwrap();
    port.send(outside.listen_port().unwrap()).unwrap();
    let (inside, app) = packet_pair(1280, 16);
    let options = Options { outside, ..Options::default() };
    let _tunnel = Tunnel::start_profile(&profile, inside, carriers, options).await.unwrap();
    tokio::select! {
        () = answer(app, asked, answers.clone()) => {}
        // The test drops its end.
        _ = answers.wait_for(|_| false) => {}
    }
}

async fn answer(mut app: PacketChannel, asked: &Sender<Request>, answers: tokio::sync::watch::Receiver<Answer>) {
    while let Some(packet) = app.recv().await {
        let question = Datagram::parse(&packet).unwrap();
        let request = Request::parse(question.payload).unwrap();
        let reply = match *answers.borrow() {
            Answer::Admit => Some(admit(&request)),
            Answer::Refuse(why) => Some(Reply::Refused(why)),
            Answer::Nothing => None,
        };
        let _test_ended = asked.send(request);
        if let Some(payload) = reply.and_then(|reply| reply.emit()) {
            let answer = Datagram { from: question.to, to: question.from, payload: &payload };
            app.send(answer.emit()).await.unwrap();
        }
    }
}

fn admit(request: &Request) -> Reply {
    Reply::Admitted(Membership {
        network: "home".to_owned(),
        name: request.name.clone(),
        addresses: vec!["10.77.0.2/24".parse().unwrap()],
        server: invite().server,
        hosts: vec!["127.0.0.1".to_owned()],
        udp_port: Some(51820),
        https: None,
        dns: vec![],
        routes: vec![],
    })
}

fn invite() -> Invite {
    Invite {
        network: "home".to_owned(),
        secret: Secret::new([5; 16]),
        expires: 4_000_000_000,
        server: PrivateKey::new([1; 32]).public_key(),
        prefix: [0xfd, 1, 2, 3, 4, 5, 6, 7],
        hosts: vec!["127.0.0.1".to_owned()],
        udp_port: Some(51820),
        https: None,
    }
}

fn code(run: &Output) -> i32 {
    run.status.code().unwrap()
}

fn out(run: &Output) -> String {
    String::from_utf8_lossy(&run.stdout).into_owned()
}

fn err(run: &Output) -> String {
    String::from_utf8_lossy(&run.stderr).into_owned()
}
