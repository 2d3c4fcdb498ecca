//! The matrix: every pair of values of its axes in some row, adit at one end or both, Debian's `openvpn` at the other. Each row
//! connects, sends packets of many sizes and transfers over TCP and UDP that are compared byte for byte, has keys renewed twice,
//! says goodbye, and leaves nothing.
//!
//! `ADIT_MATRIX=7,12` runs these rows alone, for whoever looks for what is wrong with one.

mod axes;
mod files;
mod pairs;
mod papers;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rcgen::PKCS_ECDSA_P256_SHA256;

use self::axes::{Inside, Life, Login, Network, Push, Row};
use self::papers::Office;
use super::serving::pings;
use super::transfers::{transfers, transfers_to};
use super::{INSIDE, Scene};
use crate::world::{Machine, err, eventually};

/// Rows that run at a time: most of what they do is wait.
const AT_A_TIME: usize = 6;
/// So few rows that fail are played once more, alone: a network that loses packets, on a machine that is busy with the other rows, may
/// take longer than anybody waits. What fails twice fails.
const ALONE: usize = 3;
/// The server's address inside, of IPv6.
const INSIDE6: &str = "fd00:29::1";

#[test]
fn every_pair_of_settings_connects_transfers_renews_and_leaves_nothing() {
    let rows = axes::rows();
    let asked = std::env::var("ADIT_MATRIX").ok();
    let asked: Option<Vec<usize>> = asked.map(|rows| rows.split(',').map(|row| row.parse().unwrap()).collect());
    let wanted = rows.iter().enumerate().filter(|(n, _)| asked.as_ref().is_none_or(|asked| asked.contains(n)));
    let queue = Mutex::new(wanted.collect::<Vec<_>>().into_iter());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|threads| {
        for _ in 0..AT_A_TIME {
            threads.spawn(|| {
                loop {
                    let Some((n, row)) = queue.lock().unwrap().next() else { return };
                    failed.lock().unwrap().extend(attempt(row).err().map(|why| (n, row, why)));
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    if failed.len() <= ALONE {
        failed
            .retain_mut(|(_, row, why)| attempt(row).err().map(|again| write!(why, "\nand alone: {again}")).is_some());
    }
    let mut words = String::new();
    for (n, row, why) in &failed {
        writeln!(words, "row {n}: {row:?}\n{why}\n").unwrap();
    }
    assert!(failed.is_empty(), "of {} rows:\n{words}", rows.len());
}

/// One row, or why it failed.
fn attempt(row: &Row) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| run(row))).map_err(|why| {
        let text = why.downcast_ref::<String>().cloned();
        text.or_else(|| why.downcast_ref::<&str>().map(|why| (*why).to_owned())).unwrap_or_default()
    })
}

/// One row, from nothing to nothing.
fn run(row: &Row) {
    let mut game = Game::new(row);
    let before = game.networks();
    game.network();
    game.serve();
    game.connect();
    let said = |game: &Game<'_>| format!("{row:?}\n{}", game.logs());
    let alice = game.scene.alice();
    for size in [0, 64, 777, 1272, 1400, 1472] {
        assert!(pings(alice, INSIDE, size), "{size} bytes\n{}", said(&game));
    }
    if row.inside == Inside::Dual {
        assert!(pings(alice, INSIDE6, 1000), "over IPv6\n{}", said(&game));
        transfers_to(alice, game.scene.bob(), INSIDE6.parse().unwrap());
    }
    game.routes();
    transfers(alice, game.scene.bob());
    game.life();
    game.renewed(2);
    transfers(game.scene.alice(), game.scene.bob());
    game.leave();
    eventually("everything is as before", || game.networks() == before);
}

/// A row that is played.
struct Game<'a> {
    row: &'a Row,
    scene: Scene,
    office: &'static Office,
    client: Option<Child>,
    server: Option<Child>,
}

impl Drop for Game<'_> {
    fn drop(&mut self) {
        for child in [&mut self.client, &mut self.server].into_iter().flatten() {
            let _gone = child.kill();
            let _gone = child.wait();
        }
    }
}

impl<'a> Game<'a> {
    fn new(row: &'a Row) -> Self {
        let scene = Scene::with(&PKCS_ECDSA_P256_SHA256);
        // alice's password is `open sesame`, and her PIN 1234.
        let script = "#!/bin/sh\ncase \"$(cat \"$1\")\" in\n\"$(printf 'alice\\nopen sesame')\") exit 0 ;;\n\
            \"$(printf 'alice\\nSCRV1:b3BlbiBzZXNhbWU=:MTIzNA==')\") exit 0 ;;\nesac\nexit 1\n";
        let program = scene.bob().dir.join("who.sh");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        let office = Office::of(row.keys);
        scene.bob().write(&row.server_file(&scene.bob().dir, office));
        Self { row, scene, office, client: None, server: None }
    }

    fn networks(&self) -> (String, String) {
        (self.scene.alice().network(), self.scene.bob().network())
    }

    /// What the way between them is like.
    fn network(&self) {
        match self.row.network {
            Network::Clean => {}
            Network::Lossy => {
                for machine in [self.scene.alice(), self.scene.bob()] {
                    let rules = "add table inet lossy; \
                        add chain inet lossy way { type filter hook input priority 0; }; \
                        add rule inet lossy way iifname cable numgen random mod 100 < 2 drop";
                    done(machine, "nft", rules);
                }
            }
            Network::Narrow => {
                for machine in [self.scene.alice(), self.scene.bob()] {
                    done(machine, "ip", "link set cable mtu 1280");
                }
            }
        }
    }

    /// As it was before.
    fn network_again(&self) {
        for machine in [self.scene.alice(), self.scene.bob()] {
            match self.row.network {
                Network::Clean => {}
                Network::Lossy => done(machine, "nft", "delete table inet lossy"),
                Network::Narrow => done(machine, "ip", "link set cable mtu 1500"),
            }
        }
    }

    fn serve(&mut self) {
        let bob = self.scene.bob();
        if self.row.server_is_ours() {
            bob.ok(&["up", &bob.file()]);
            return;
        }
        let log = bob.dir.join("openvpn.log");
        self.server = Some(openvpn(bob, &bob.file(), "ovs", &log));
        eventually("the server serves", || {
            let log = fs::read_to_string(&log).unwrap();
            assert!(!is_over(&log), "{log}");
            log.matches("Initialization Sequence Completed").count() == 1
        });
    }

    fn connect(&mut self) {
        let (alice, bob) = (self.scene.alice(), self.scene.bob());
        let file = self.scene.write(&self.row.client_file(&alice.dir, &bob.dir, self.office));
        if self.row.client_is_ours() {
            let answers = if self.row.login == Login::Challenge { "alice\nopen sesame\n1234\n" } else { "" };
            let up = self.scene.up_with(&file, answers);
            assert!(up.status.success(), "{}\n{}", err(&up), self.logs());
            eventually("it is connected", || {
                assert_ne!(alice.status()["state"], "failed", "{}", self.logs());
                alice.status()["state"] == "connected"
            });
            assert_eq!(alice.status()["openvpn"]["cipher"], self.row.cipher_name(), "{}", self.logs());
            return;
        }
        self.client = Some(openvpn(alice, &file, "ovguest", &alice.dir.join("guest.log")));
        self.completed(1);
        let log = self.guest();
        assert!(log.contains(&format!("cipher '{}'", self.row.cipher_name())), "{log}");
    }

    /// Waits until the real client has connected so many times.
    fn completed(&self, times: usize) {
        eventually("the client is connected", || {
            let log = self.guest();
            assert!(!is_over(&log), "{}", self.logs());
            log.matches("Initialization Sequence Completed").count() == times
        });
    }

    fn guest(&self) -> String {
        fs::read_to_string(self.scene.alice().dir.join("guest.log")).unwrap_or_default()
    }

    /// What both ends said.
    fn logs(&self) -> String {
        let (alice, bob) = (self.scene.alice(), self.scene.bob());
        // Hundreds of lines of settings say nothing.
        let is_said = |line: &&str| !line.contains("pkcs11") && !line.contains("  ");
        let last = |text: String| {
            text.lines()
                .filter(is_said)
                .rev()
                .take(60)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect::<Vec<_>>()
                .join("\n")
        };
        format!(
            "the client: {}\n{}\nthe server: {}\n{}",
            last(alice.log()),
            last(self.guest()),
            last(bob.log()),
            last(self.scene.log())
        )
    }

    /// What was pushed is there, as far as it was taken.
    fn routes(&self) {
        let routes = self.scene.alice().network();
        let has = |net: &str| routes.contains(net);
        let expected = match self.row.push {
            Push::Short => [true, false, false],
            Push::Long => [true, true, true],
            Push::Filtered => [true, true, false],
            Push::NoPull => [false, false, false],
        };
        let found = [has("10.97.1.0/24"), has("10.97.19.0/24"), has("10.98.19.0/24")];
        assert_eq!(found, expected, "{:?}: {routes}\n{}", self.row, self.logs());
    }

    fn life(&mut self) {
        match self.row.life {
            Life::Calm => {}
            Life::ServerRestarts => self.restart(),
            Life::ClientMoves => {
                self.move_to("192.0.2.9/24", "192.0.2.1/24", "fd77::9/64", "fd77::1/64");
                let alice = self.scene.alice();
                eventually("packets pass from the other address", || pings(alice, INSIDE, 100));
                let log = self.scene.log();
                assert!(self.row.server_is_ours() || log.contains("floated"), "{log}");
            }
        }
    }

    fn move_to(&self, new: &str, old: &str, new6: &str, old6: &str) {
        let alice = self.scene.alice();
        let (new, old, more) = if self.row.transport.is_v6() { (new6, old6, " nodad") } else { (new, old, "") };
        done(alice, "ip", &format!("address del {old} dev cable"));
        done(alice, "ip", &format!("address add {new} dev cable{more}"));
    }

    fn restart(&mut self) {
        let bob = self.scene.bob();
        if self.row.server_is_ours() {
            bob.ok(&["down", &bob.tunnel]);
        } else if let Some(server) = self.server.take() {
            end(server);
            fs::rename(bob.dir.join("openvpn.log"), bob.dir.join("before.log")).unwrap();
        }
        self.serve();
        if self.row.client_is_ours() {
            let alice = self.scene.alice();
            eventually("the client is connected again", || {
                let status = alice.status();
                status["openvpn"]["connections"] == 2 && status["state"] == "connected"
            });
        } else {
            self.completed(2);
        }
        let alice = self.scene.alice();
        eventually("packets pass again", || pings(alice, INSIDE, 100));
    }

    /// Waits until keys were renewed so often, under traffic.
    fn renewed(&self, times: u64) {
        let alice = self.scene.alice();
        eventually("keys are renewed under traffic", || {
            assert!(pings(alice, INSIDE, 500), "{}", self.logs());
            let renewals = if self.row.client_is_ours() {
                alice.status()["openvpn"]["renewals"].clone()
            } else {
                self.scene.guests().first().map(|guest| guest["renewals"].clone()).unwrap_or_default()
            };
            renewals.as_u64() >= Some(times)
        });
        let expected = if self.row.life == Life::ServerRestarts { 2 } else { 1 };
        if self.row.client_is_ours() {
            assert_eq!(alice.status()["openvpn"]["connections"], expected, "{}", self.logs());
        } else {
            assert_eq!(self.guest().matches("Initialization Sequence Completed").count(), expected, "{}", self.logs());
        }
    }

    /// Goodbye, which the server hears.
    fn leave(&mut self) {
        let alice = self.scene.alice();
        if self.row.client_is_ours() {
            alice.ok(&["down", &alice.tunnel]);
        } else if let Some(client) = self.client.take() {
            end(client);
        }
        let bob = self.scene.bob();
        if self.row.server_is_ours() {
            eventually("the server hears of the end", || self.scene.guests().is_empty());
            bob.ok(&["down", &bob.tunnel]);
        } else {
            eventually("the server hears of the end", || {
                let log = self.scene.log();
                // A goodbye over UDP may be lost, and silence says it too.
                let silence = self.row.network == Network::Lossy && log.contains("(--ping-restart), restarting");
                silence
                    || ["client-instance exiting", "Connection reset", "remote-exit"]
                        .iter()
                        .any(|said| log.contains(said))
            });
            if let Some(server) = self.server.take() {
                end(server);
            }
        }
        self.network_again();
        if self.row.life == Life::ClientMoves {
            self.move_to("192.0.2.1/24", "192.0.2.9/24", "fd77::1/64", "fd77::9/64");
        }
    }
}

/// Debian's, with a file, until it is ended.
fn openvpn(machine: &Machine, file: &str, interface: &str, log: &std::path::Path) -> Child {
    let out = File::options().append(true).create(true).open(log).unwrap();
    let mut command = machine.command("openvpn");
    command.args(["--cd", machine.dir.to_str().unwrap(), "--config", file, "--dev", interface]);
    command.args(["--tmp-dir", machine.dir.to_str().unwrap()]);
    command.stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap()
}

/// Whether it has given up. What is pushed and not taken is an error of its options too, and no end.
fn is_over(log: &str) -> bool {
    log.contains("process exiting") || log.contains("Use --help for more information")
}

/// As Ctrl-C would.
fn end(mut child: Child) {
    let asked = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(asked.success());
    let late = Instant::now() + Duration::from_secs(20);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > late {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("openvpn does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn done(machine: &Machine, program: &str, line: &str) {
    let words: Vec<_> = if program == "nft" { vec![line] } else { line.split(' ').collect() };
    let done = machine.command(program).args(words).output().unwrap();
    assert!(done.status.success(), "{program} {line}: {}", err(&done));
}
