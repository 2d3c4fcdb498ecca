//! Two hosts, a capture between them, programs that run beside it, and what everyone says of the capture.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use adit_examine::flow::{Traffic, capture};
use adit_examine::{Examination, Verdict, examine};
use adit_lab::chromium::{self, Chromium};
use adit_lab::ns::{Namespace, World};
use adit_lab::poll::{self, PATIENCE};
use adit_lab::shell::Run;
use rustix::process::{Pid, Signal, kill_process};

/// Alice's and Bob's addresses.
pub(crate) const ALICE: &str = "198.18.1.2";
pub(crate) const BOB: &str = "198.18.2.18";

/// A world with a directory for its files.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) files: PathBuf,
}

/// A program that runs until it is dropped.
pub(crate) struct Running(Child);

/// A capture that goes on.
pub(crate) struct Capturing {
    tcpdump: Running,
    file: PathBuf,
}

static NEXT: AtomicUsize = AtomicUsize::new(0);

impl Scene {
    pub(crate) fn new() -> Self {
        let world = World::direct();
        assert_eq!(world.address(adit_lab::ns::Side::Alice, adit_lab::ns::Family::V4).to_string(), ALICE);
        assert_eq!(world.address(adit_lab::ns::Side::Bob, adit_lab::ns::Family::V4).to_string(), BOB);
        // What is captured shall be what a wire would carry, not what a card would cut later.
        for host in [&world.alice, &world.bob] {
            host.run("ethtool -K eth0 tso off gso off gro off");
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let files = std::env::temp_dir().join(format!("adit-examine-{}-{number}", std::process::id()));
        fs::create_dir_all(&files).unwrap();
        Self { world, files }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.files.join(name).display().to_string()
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        fs::write(self.files.join(name), text).unwrap();
        self.path(name)
    }

    /// Begins to capture at Alice's door.
    pub(crate) fn capture(&self) -> Capturing {
        let file = self.files.join("wire.pcap");
        let _before = fs::remove_file(&file);
        let line = format!("tcpdump -i eth0 -U -Z root -w {} ip and not icmp", file.display());
        let tcpdump = Running::start(&self.world.alice, &line, &[], Some(&self.files.join("tcpdump.log")));
        // It writes the file's header when it listens.
        poll::until("tcpdump listens", PATIENCE, || (length(&file) >= 24).then_some(()));
        Capturing { tcpdump, file }
    }

    /// A browser's visit to the site, captured: each visit has a capture of its own, and the whole one counts.
    pub(crate) fn captured_visit(self, browser: &Chromium) -> Captured {
        let capturing = chromium::until_shown(|| {
            let capturing = self.capture();
            browser.visit(&self.world.alice, "/", "a page").map(|()| capturing)
        });
        capturing.finish(self)
    }

    /// A key and a certificate for `name`, which signs itself.
    pub(crate) fn certificate(&self, name: &str) -> (String, String) {
        let (key, certificate) = (self.path("key.pem"), self.path("cert.pem"));
        Run::line(&format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {key} -out {certificate} \
             -days 2 -subj /CN={name} -addext subjectAltName=DNS:{name}"
        ))
        .ok();
        (key, certificate)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.files);
    }
}

impl Running {
    pub(crate) fn start(host: &Namespace, line: &str, environment: &[(&str, &str)], log: Option<&Path>) -> Self {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", host.name()]).args(line.split_whitespace()).stdin(Stdio::null());
        command.envs(environment.iter().copied());
        match log {
            Some(path) => {
                let file = File::create(path).unwrap();
                command.stdout(file.try_clone().unwrap()).stderr(file);
            }
            None => {
                command.stdout(Stdio::null()).stderr(Stdio::null());
            }
        }
        Self(command.spawn().unwrap_or_else(|error| panic!("cannot run `{line}`: {error}")))
    }

    /// Asks it to end, and waits until it has.
    fn end(&mut self) {
        let _gone = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _code = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _code = self.0.wait();
    }
}

impl Capturing {
    /// Waits until nothing more comes, and ends the capture. The scene stays with its file.
    pub(crate) fn finish(mut self, scene: Scene) -> Captured {
        let mut before = 0;
        poll::until("the wire is quiet", PATIENCE, || {
            std::thread::sleep(QUIET);
            let now = length(&self.file);
            (std::mem::replace(&mut before, now) == now && now > 24).then_some(())
        });
        self.tcpdump.end();
        Captured { file: self.file, _scene: scene }
    }
}

/// Nothing new for this long, and everything has arrived: tcpdump on a loaded machine is late.
const QUIET: Duration = Duration::from_secs(2);

/// A capture that is done.
pub(crate) struct Captured {
    file: PathBuf,
    _scene: Scene,
}

impl Captured {
    /// What our rules say.
    #[track_caller]
    pub(crate) fn examined(&self) -> Examination {
        let mut traffic = Traffic::new();
        capture::read(File::open(&self.file).unwrap(), |frame| traffic.add(&frame)).unwrap();
        examine(&self.file.display().to_string(), &traffic)
    }

    /// The protocols that nDPI names, as `ndpiReader` lists them.
    #[track_caller]
    pub(crate) fn ndpi(&self) -> Vec<String> {
        let said = Run::line(&format!("ndpiReader -v 1 -i {}", self.file.display())).ok();
        let listed = said.lines().skip_while(|line| !line.contains("Detected protocols:")).skip(1);
        let names = listed.take_while(|line| line.contains("packets:"));
        names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    }

    /// Frames in which tshark sees this protocol.
    #[track_caller]
    pub(crate) fn tshark(&self, protocol: &str) -> usize {
        Run::line(&format!("tshark -r {} -Y {protocol}", self.file.display())).ok().lines().count()
    }
}

/// The rules that detect something, by their numbers.
pub(crate) fn detections(examination: &Examination) -> Vec<&str> {
    examination.detections().map(|rule| rule.id).collect()
}

/// What a rule says, to be shown when a test fails.
pub(crate) fn verdict(examination: &Examination, rule: &str) -> Verdict {
    examination.rule(rule).unwrap_or_else(|| panic!("no rule {rule}")).verdict
}

fn length(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |metadata| metadata.len())
}
