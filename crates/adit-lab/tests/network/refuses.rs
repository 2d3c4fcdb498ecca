//! Links that are no good, and people who may not.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use adit_lab::caller::{initiation, random};
use adit_lab::poll::{self, PATIENCE};
use adit_lab::shell::Run;
use adit_lab::subjects::Usage;
use adit_wireguard::PublicKey;

use crate::scene::{SERVER, Scene};

#[test]
fn a_link_that_is_no_good_says_why() {
    let scene = Scene::new();
    let join = |link: &str| scene.laptop.refused(&format!("join {link} --profile {}", scene.laptop.name));
    // Used.
    let used = scene.invite("phone");
    scene.phone.adit(&format!("join {used} --profile {}", scene.phone.name)).ok();
    assert!(join(&used).contains("used"), "{}", join(&used));
    // Revoked.
    let revoked = scene.server.json("invite --json");
    scene.server.adit(&format!("invite --revoke {}", revoked["invite"])).ok();
    assert!(join(revoked["link"].as_str().unwrap()).contains("revoked"));
    // Expired.
    let expired = scene.invite("--expires 1s");
    std::thread::sleep(Duration::from_secs(2));
    assert!(join(&expired).contains("expired"));
    // Altered.
    let open = scene.invite("tablet");
    let cut = &open[..open.len() - 3];
    let said = join(cut);
    assert!(said.contains("altered") || said.contains("cut"), "{said}");
    // And nothing of it was kept.
    assert!(!scene.laptop.dir.join("profiles").join(format!("{}.conf", scene.laptop.name)).exists());
    assert_eq!(scene.server.json("peers --json").as_array().unwrap().len(), 1);
}

#[test]
fn mistakes_on_the_command_line_change_nothing_and_say_what_to_do() {
    let scene = Scene::new();
    let refused = |line: &str, expected: &str| {
        let said = scene.server.refused(line);
        assert!(said.contains(expected), "`adit {line}` says {said}");
    };
    refused("peer show nobody", "no device called `nobody`");
    refused("peer disable nobody", "nobody");
    refused("peer limit nobody --down 20", "20mbit");
    refused("invite --revoke 999", "999");
    refused("invite --expires 5 tv", "24h");
    refused("invite ../../etc/passwd", "name");
    refused("invite --for wireguard", "NAME");
    refused("server up --host 203.0.113.2", "already serves");
    assert_eq!(scene.server.json("peers --json").as_array().unwrap().len(), 0);
}

/// What was wrong in the options of a first run may be said differently in the next.
#[test]
fn a_first_run_that_made_no_network_leaves_none() {
    let mut scene = Scene::unserved();
    let name = scene.server.name.clone();
    let settings = scene.server.dir.join("state/server/settings.json");
    let said = scene.server.refused(&format!("server up --name other --host {SERVER} --range 8.0.0.0/8"));
    assert!(said.contains("must be private"), "{said}");
    let nobody = "--database postgres://nobody@127.0.0.1:9/none";
    let said = scene.server.refused(&format!("server up --name other --host {SERVER} {nobody}"));
    assert!(said.contains("cannot reach the PostgreSQL database none"), "{said}");
    let said = scene.server.refused(&format!("server up --host {SERVER} --database postgres://a:hidden@127.0.0.1/b"));
    assert!(said.contains("ADIT_DATABASE") && !said.contains("hidden"), "{said}");
    assert!(!settings.exists());
    scene.serve();
    assert!(settings.exists());
    scene.end_server("-TERM");
    // Looked at without being served; the name and range are those it has.
    let plan = scene.server.adit("server up --dry-run").ok();
    assert!(plan.contains(&format!("create the interface {name}")), "{plan}");
    let said = scene.server.refused("server up --range6 fd00:1:2:3::/64");
    assert!(said.contains("stays as it was made"), "{said}");
    scene.serve_again();
}

#[test]
fn a_server_that_only_has_an_ipv6_address_invites_over_udp() {
    let scene = Scene::unserved();
    let name = scene.server.name.clone();
    let arguments = ["server", "up", "--name", &name, "--host", "2001:db8::7"];
    let mut running = scene.server.spawn(&arguments, "server.log");
    let invite = poll::until("an invite", PATIENCE, || scene.server.adit("invite --json").attempt().ok());
    assert!(invite.contains("adit:1:"), "{invite}");
    Run::line(&format!("kill -TERM {}", running.id())).ok();
    assert!(running.wait().unwrap().success(), "{}", scene.server.log("server.log"));
}

/// Somebody who has an old link knows the server's key, and guesses secrets: each guess is a handshake of its own.
#[test]
fn who_guesses_invites_gets_nothing_and_costs_nothing() {
    let scene = Scene::new();
    let link = scene.invite("phone");
    let key = scene.server.json("server status --json")["public_key"].as_str().unwrap().to_owned();
    let (key, at) = (PublicKey::from_base64(&key).unwrap(), SocketAddr::new(SERVER.parse().unwrap(), 51_820));
    let changes = || scene.server.json("server log --json").as_array().unwrap().len();
    let deciding = scene.deciding_process();
    let (before, memory, said) = (changes(), Usage::of(deciding).resident, scene.server.log("server.log"));
    let guesses: Vec<_> = (0..2_000).filter_map(|_| initiation(random(), key, at)).collect();
    assert_eq!(guesses.len(), 2_000);
    let answered = scene.outside.within(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let mut answer = [0; 2048];
        let mut answers = 0;
        for guess in &guesses {
            socket.send_to(guess, at).unwrap();
            // A response to a handshake has 92 bytes; a cookie, which may be asked for under load, 64.
            answers += usize::from(matches!(socket.recv(&mut answer), Ok(92)));
        }
        answers
    });
    assert_eq!(answered, 0);
    assert_eq!(changes(), before, "no change, so no row of the log");
    assert_eq!(scene.server.log("server.log"), said, "strangers are no news");
    assert!(Usage::of(deciding).resident < memory + 8 * 1024);
    scene.phone.adit(&format!("join {link} --profile {}", scene.phone.name)).ok();
    scene.reaches_outside(&scene.phone);
}

#[test]
fn a_stolen_database_redeems_no_invite() {
    let scene = Scene::new();
    let link = scene.invite("phone");
    let secret = link.rsplit(':').next().unwrap();
    let db = std::fs::read_dir(scene.server.dir.join("state/server/db")).unwrap();
    for file in db {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes).to_uppercase();
        assert!(!text.contains(&secret.to_uppercase()[..20]), "the link is in the database");
    }
}
