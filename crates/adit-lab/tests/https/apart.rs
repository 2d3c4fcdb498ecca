//! The web site in a process of its own: which rights that has, and what happens when it dies.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use adit_lab::poll::{self, PATIENCE};
use adit_lab::shell::Run;
use adit_lab::traffic;

use crate::scene::{SITE, Scene};

#[test]
fn who_speaks_to_visitors_has_no_rights() {
    let scene = Scene::up("https");
    scene.connect();
    let process = web_process(&scene).unwrap();
    let mut threads = 0;
    for task in fs::read_dir(format!("/proc/{process}/task")).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let has = |line: &str| status.lines().any(|l| l.split_whitespace().eq(line.split_whitespace()));
        assert!(has("CapEff: 0000000000000000") && has("CapPrm: 0000000000000000"), "{status}");
        assert!(has("NoNewPrivs: 1") && has("Seccomp: 2"), "{status}");
        threads += 1;
    }
    assert!(threads > 1, "each of its threads is looked at");
    // Alice's connection is its own, and nobody else has it.
    let connections = scene.bob.host.run("ss -Htnp state established sport = :443");
    let mut holders: Vec<_> = connections.split("pid=").skip(1).map(|rest| rest.split(',').next().unwrap()).collect();
    holders.dedup();
    assert_eq!(holders, [process.to_string()], "{connections}");
}

/// A link among the pages leads wherever its maker likes; who serves them cannot follow.
#[test]
fn who_serves_the_pages_reads_nothing_else() {
    let scene = Scene::up("https");
    let site = scene.bob.dir.join("site");
    let config = scene.bob.dir.join(format!("{}.conf", scene.bob.name));
    assert!(fs::read_to_string(&config).unwrap().contains("PrivateKey"));
    symlink("index.html", site.join("within")).unwrap();
    symlink("/etc/shadow", site.join("shadow")).unwrap();
    symlink(config, site.join("config")).unwrap();
    symlink(scene.bob.dir.join("key.pem"), site.join("certificate-key")).unwrap();
    let code = |page: &str| {
        let at = scene.bob_address();
        let curl = "curl -sk -o /dev/null -w %{http_code}";
        scene.alice.host.run(&format!("{curl} --resolve {SITE}:443:{at} https://{SITE}/{page}"))
    };
    assert_eq!(code("within"), "200");
    for page in ["shadow", "config", "certificate-key"] {
        assert_ne!(code(page), "200", "{page}");
    }
}

#[test]
fn a_web_site_that_is_killed_comes_back_and_an_upload_through_it_goes_on() {
    survives(Scene::upload);
}

#[test]
fn a_web_site_that_is_killed_comes_back_and_a_download_through_it_goes_on() {
    survives(Scene::download);
}

fn survives(transfer: fn(&Scene, usize) -> traffic::Transfer) {
    let scene = Scene::up("https");
    scene.connect();
    let transfer = transfer(&scene, 512 << 20);
    std::thread::sleep(Duration::from_millis(500));
    let killed = kill_web_site(&scene);
    assert!(transfer.is_under_way(), "too fast to be interrupted");
    wait_for_another(&scene, killed);
    transfer.finish();
    assert_eq!(scene.bob.status()["web_site"]["streams"], 1);
    assert!(scene.bob.log().contains("signal: 9"), "what happened is in the log");
}

#[test]
fn udp_goes_on_while_there_is_no_web_site() {
    let scene = Scene::up("udp");
    scene.connect();
    let killed = kill_web_site(&scene);
    poll::until("the status to say so", PATIENCE, || {
        assert!(traffic::ping_once(&scene.alice.host, scene.bob.inside), "UDP has nothing to do with it");
        let trouble = &scene.bob.status()["web_site"]["trouble"];
        trouble.as_str().is_some_and(|trouble| trouble.contains("signal: 9")).then_some(())
    });
    wait_for_another(&scene, killed);
    assert!(scene.bob.status()["web_site"]["trouble"].is_null());
    scene.exchange();
}

/// As pages are put in place all at once: the link to them is changed.
#[test]
fn pages_that_are_exchanged_as_a_whole_are_served() {
    let scene = Scene::new();
    scene.bob.certificate();
    let dir = &scene.bob.dir;
    fs::rename(dir.join("site"), dir.join("one")).unwrap();
    fs::create_dir(dir.join("two")).unwrap();
    fs::write(dir.join("two/index.html"), "<!doctype html><title>Bob</title><p>Second edition.</p>\n").unwrap();
    symlink("one", dir.join("site")).unwrap();
    scene.bob_up(&scene.bob.web_site());
    let page = || {
        let at = scene.bob_address();
        scene.alice.host.run(&format!("curl -sk --max-time 5 --resolve {SITE}:443:{at} https://{SITE}/"))
    };
    assert!(page().contains("Welcome."));
    symlink("two", dir.join("next")).unwrap();
    fs::rename(dir.join("next"), dir.join("site")).unwrap();
    poll::until("the second edition", PATIENCE, || page().contains("Second edition.").then_some(()));
}

#[test]
fn a_tunnel_that_is_taken_down_leaves_no_process_and_no_socket() {
    let scene = Scene::up("https");
    scene.connect();
    let process = web_process(&scene).unwrap();
    for _ in 0..3 {
        scene.bob.adit(&format!("down {}", scene.bob.name)).ok();
        assert_eq!(scene.bob.host.run("ss -Htln sport = :443"), "");
        scene.bob_up(&scene.bob.web_site());
    }
    assert_ne!(web_process(&scene).unwrap(), process);
    assert!(!std::path::Path::new(&format!("/proc/{process}")).exists());
}

#[test]
fn when_the_daemon_is_killed_so_is_the_web_site() {
    let mut scene = Scene::up("https");
    scene.connect();
    let process = web_process(&scene).unwrap();
    scene.bob.crash();
    poll::until("its end", PATIENCE, || (!std::path::Path::new(&format!("/proc/{process}")).exists()).then_some(()));
    scene.bob_up(&scene.bob.web_site());
    scene.connect_within("an answer from the new web site");
}

#[track_caller]
fn kill_web_site(scene: &Scene) -> u64 {
    let process = web_process(scene).unwrap();
    Run::line(&format!("kill -KILL {process}")).ok();
    process
}

fn web_process(scene: &Scene) -> Option<u64> {
    scene.bob.status()["web_site"]["process"].as_u64()
}

#[track_caller]
fn wait_for_another(scene: &Scene, killed: u64) {
    poll::until("another process", PATIENCE, || {
        let site = scene.bob.status()["web_site"].clone();
        (site["trouble"].is_null() && site["process"].as_u64().is_some_and(|process| process != killed)).then_some(())
    });
}

/// The name of a site behind is looked up by the daemon, and its port is the only one that may be connected to.
#[test]
fn a_site_behind_is_found_by_its_name() {
    let scene = Scene::new();
    scene.bob.certificate();
    let dir = scene.bob.dir.display();
    let _behind =
        Running::start(&scene, &format!("python3 -m http.server 8080 --bind 127.0.0.1 --directory {dir}/site"), 8080);
    scene.bob_up(&scene.bob.web_site().replace(&format!("{dir}/site"), "http://localhost:8080"));
    let at = scene.bob_address();
    let page = scene.alice.host.run(&format!("curl -sk --resolve {SITE}:443:{at} https://{SITE}/"));
    assert!(page.contains("Welcome."), "{page}\n{}", scene.bob.log());
}

/// From pebble, the test authority of Let's Encrypt's makers; and the next process shows what the first one got.
#[test]
fn a_certificate_is_ordered_by_a_process_without_rights() {
    let scene = Scene::new();
    let (_names, _authority) = authority(&scene);
    let dir = scene.bob.dir.display();
    scene.bob_up(&format!(
        "Listen = 443\nSite = {dir}/site\nAcme = {SITE}\nAcmeDirectory = https://localhost:14000/dir\nAcmeRoot = {dir}/ca.pem"
    ));
    let pin = || scene.bob.status()["web_site"]["pin"].as_str().map(str::to_owned);
    let first = poll::until("a certificate", PATIENCE, pin);
    poll::until("it to be kept", PATIENCE, || scene.bob.dir.join("run/state/acme/chain.pem").exists().then_some(()));
    let killed = kill_web_site(&scene);
    wait_for_another(&scene, killed);
    assert_eq!(poll::until("its pin", PATIENCE, pin), first);
}

/// An authority on Bob's machine that finds every name on loopback, and the name server that tells it so.
#[track_caller]
fn authority(scene: &Scene) -> (Running, Running) {
    let dir = &scene.bob.dir;
    let script = "openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=ca -keyout ca.key -out ca.pem && \
         openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout api.key -out api.csr && \
         printf 'subjectAltName=DNS:localhost\\nbasicConstraints=CA:FALSE\\n' > api.ext && \
         openssl x509 -req -in api.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile api.ext -out api.pem";
    Run::program("sh").arg("-c").arg(format!("cd {} && {script}", dir.display())).ok();
    let pebble = serde_json::json!({ "pebble": {
        "listenAddress": "127.0.0.1:14000",
        "managementListenAddress": "127.0.0.1:15000",
        "certificate": dir.join("api.pem"),
        "privateKey": dir.join("api.key"),
        "httpPort": 1,
        "tlsPort": 443,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": false,
    }});
    fs::write(dir.join("pebble.json"), pebble.to_string()).unwrap();
    let names = "pebble-challtestsrv -http01 - -https01 - -tlsalpn01 - -defaultIPv6 - -dns01 127.0.0.1:8053 \
         -management 127.0.0.1:8055"
        .replace(" - ", "  ");
    let names = Running::start(scene, &names, 8055);
    let pebble =
        format!("env PEBBLE_VA_NOSLEEP=1 pebble -config {}/pebble.json -dnsserver 127.0.0.1:8053", dir.display());
    (names, Running::start(scene, &pebble, 14000))
}

/// A program of others on Bob's machine. Dropping it ends it.
struct Running(Child);

impl Running {
    /// Started, and waited for until it listens at this port.
    #[track_caller]
    fn start(scene: &Scene, line: &str, port: u16) -> Self {
        let log = fs::File::create(scene.bob.dir.join(format!("{port}.log"))).unwrap();
        let mut command = Command::new("ip");
        // Two blanks stand around what is empty.
        command.args(["netns", "exec", scene.bob.host.name()]).args(line.split(' '));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let running = Self(command.spawn().unwrap());
        poll::until(line, PATIENCE, || {
            (!scene.bob.host.run(&format!("ss -Htln sport = :{port}")).is_empty()).then_some(())
        });
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone_already = self.0.kill();
        let _status = self.0.wait();
    }
}
