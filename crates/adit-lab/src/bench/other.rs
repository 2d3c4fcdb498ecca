//! Contestants that configure themselves: what they need, and adit over HTTPS.
//!
//! Not here: OpenVPN (`openvpn`), who takes part, and what is measured of whom (`contestant`, `round`).

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use crate::ns::{Family, Namespace, Side, World};
use crate::poll::{self, PATIENCE};
use crate::shell::Run;
use crate::subjects::beside_this_program;
use crate::wg::KeyPair;

/// Where the answering end is, inside.
pub(super) const INSIDE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 7, 0, 2));

/// A process that is ended when this is dropped.
#[derive(Debug)]
pub struct Ended(pub(super) Child);

/// A directory that goes with its field.
#[derive(Debug)]
pub(super) struct Files(PathBuf);

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Both ends of adit, over HTTPS alone: a web site at Bob's, and a visitor.
#[track_caller]
pub(super) fn https(world: &World) -> (Vec<Ended>, Files) {
    let site = WebSite::at_bobs(world);
    let visitor = site.visitor(world);
    let WebSite { server, files, .. } = site;
    (vec![server, visitor], files)
}

/// A web site of adit's at Bob's, which lets one visitor through to a tunnel.
#[derive(Debug)]
pub struct WebSite {
    /// Its certificate, a file.
    pub certificate: String,
    alice: KeyPair,
    bob: KeyPair,
    server: Ended,
    files: Files,
}

impl WebSite {
    /// The name it is called by.
    pub const NAME: &'static str = "site.test";

    /// Starts it, with a page that has a style, a script and a picture.
    #[track_caller]
    pub fn at_bobs(world: &World) -> Self {
        let files = Files::new();
        let (key, certificate) = files.certificate(Self::NAME);
        let (alice, bob) = (KeyPair::new(), KeyPair::new());
        let visitor = Run::program(beside_this_program("adit")).arg("pubkey").arg("--https");
        let visitor = visitor.input(&*alice.private).ok();
        files.write("site/index.html", INDEX);
        files.write("site/style.css", &"p { color: teal }\n".repeat(300));
        files.write("site/script.js", &"// nothing to do here, slowly\n".repeat(1200));
        files.write("site/picture.svg", PICTURE);
        let profile = format!(
            "[Interface]\nPrivateKey = {}\nAddress = 10.7.0.2/24\nMTU = 1420\n\n[Https]\nListen = 443\nSite = {}\n\
             Certificate = {certificate}\nCertificateKey = {key}\n\n[Peer]\nPublicKey = {}\nAllowedIPs = 10.7.0.1/32\n\
             HttpsKey = {}\n",
            bob.private,
            files.path("site"),
            alice.public,
            visitor.trim(),
        );
        let server = adit_up("bob", &profile, &world.bob, &files);
        Self { certificate, alice, bob, server, files }
    }

    /// Starts the visitor at Alice's: it has no other way than this site.
    #[track_caller]
    pub fn visitor(&self, world: &World) -> Ended {
        let profile = format!(
            "[Interface]\nPrivateKey = {}\nAddress = 10.7.0.1/24\nMTU = 1420\n\n[Peer]\nPublicKey = {}\n\
             AllowedIPs = 10.7.0.2/32\nTransport = https\nHttpsUrl = https://{}\nHttpsAddress = {}\n\
             HttpsRoots = pin\nHttpsPin = sha256/{}\n",
            self.alice.private,
            self.bob.public,
            Self::NAME,
            world.address(Side::Bob, Family::V4),
            self.pin(),
        );
        adit_up("alice", &profile, &world.alice, &self.files)
    }

    /// The SHA-256 of its public key, in base64.
    #[track_caller]
    pub fn pin(&self) -> String {
        let public = Run::line(&format!("openssl x509 -in {} -noout -pubkey", self.certificate)).ok();
        let script = "openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl base64 -A";
        Run::program("sh").arg("-c").arg(script).input(&*public).ok().trim().to_owned()
    }

    /// A file of its own, that goes with it.
    pub fn path(&self, name: &str) -> String {
        self.files.path(name)
    }
}

const INDEX: &str = "<!doctype html><title>site</title><link rel=stylesheet href=style.css><script src=script.js></script>\
    <img src=picture.svg><p>a page\n";

const PICTURE: &str =
    "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><circle cx='4' cy='4' r='4' fill='teal'/></svg>";

#[track_caller]
pub(super) fn adit_up(name: &str, profile: &str, host: &Namespace, files: &Files) -> Ended {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let file = files.secret(&format!("{name}{}n{number}.conf", std::process::id()), profile);
    let adit = beside_this_program("adit");
    let (run, state) = (files.path(&format!("run-{name}")), files.path(&format!("state-{name}")));
    let environment = [("ADIT_RUNTIME_DIR", run.as_str()), ("ADIT_STATE_DIR", state.as_str())];
    start(host, &format!("{} up --foreground {file}", adit.display()), &environment, &files.log(name))
}

#[track_caller]
pub(super) fn start(host: &Namespace, line: &str, environment: &[(&str, &str)], log: &Path) -> Ended {
    let open = || fs::File::options().create(true).append(true).open(log);
    let (Ok(out), Ok(err)) = (open(), open()) else { panic!("cannot write {}", log.display()) };
    // `ip netns exec` becomes the program it runs, so the child is the daemon itself.
    let mut command = Command::new("ip");
    command.args(["netns", "exec", host.name()]).args(line.split_whitespace());
    command.envs(environment.iter().copied()).stdin(Stdio::null()).stdout(out).stderr(err);
    Ended(command.spawn().unwrap_or_else(|error| panic!("cannot start `{line}`: {error}")))
}

impl Ended {
    /// Asks it to end, and waits until it has.
    pub(super) fn end(mut self) {
        let _gone_already = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _gone_already = self.0.wait();
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _gone_already = self.0.kill();
        let _gone_already = self.0.wait();
    }
}

impl Files {
    #[track_caller]
    pub(super) fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("adit-bench-{}-{number}", std::process::id()));
        fs::create_dir_all(directory.join("site")).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
        Self(directory)
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// What one of its programs says.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.log"))
    }

    #[track_caller]
    pub(super) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap_or_else(|e| panic!("{path}: {e}"));
        path
    }

    #[track_caller]
    pub(super) fn secret(&self, name: &str, text: &str) -> String {
        let path = self.write(name, text);
        Run::line(&format!("chmod 600 {path}")).ok();
        path
    }

    /// A key and a certificate for `name`, which signs itself.
    #[track_caller]
    pub(super) fn certificate(&self, name: &str) -> (String, String) {
        let (key, certificate) = (self.path("key.pem"), self.path("cert.pem"));
        Run::line(&format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {key} -out {certificate} \
             -days 2 -subj /CN={name} -addext subjectAltName=DNS:{name}"
        ))
        .ok();
        (key, certificate)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

/// Waits until an interface is there.
#[track_caller]
pub(super) fn wait_for_address(host: &Namespace) {
    poll::until("the tunnel's address", PATIENCE, || {
        host.attempt("ip -o address show").is_ok_and(|all| all.contains(" 10.7.0.")).then_some(())
    });
}
