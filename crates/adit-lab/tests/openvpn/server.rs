//! Debian's `openvpn` as a server in Bob's namespace.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use adit_lab::ns::World;
use adit_lab::shell::Run;

use crate::papers::Papers;

/// Its address on the wire, and inside.
pub(crate) const SERVER: &str = "198.18.2.18:1194";
pub(crate) const INSIDE: [u8; 4] = [10, 29, 41, 1];

/// A world with a server in it, and everything it was given.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) files: PathBuf,
    pub(crate) papers: Papers,
    server: Option<Child>,
}

static NEXT: AtomicUsize = AtomicUsize::new(0);

impl Scene {
    pub(crate) fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let files = std::env::temp_dir().join(format!("adit-openvpn-{}-{number}", std::process::id()));
        fs::create_dir_all(&files).unwrap();
        let scene = Self { world: World::direct(), files, papers: Papers::new(), server: None };
        let paper = scene.papers.server();
        scene.write("ca.crt", &scene.papers.authority_pem());
        scene.write("server.crt", &paper.certificate_pem);
        scene.write("server.key", &paper.key_pem);
        scene
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.files.join(name).display().to_string()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.files.join(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.files.join(name)).unwrap()
    }

    /// A key file that `openvpn` makes.
    pub(crate) fn key(&self, kind: &str, name: &str, more: &str) -> String {
        Run::line(&format!("openvpn {more} --genkey {kind} {}", self.path(name))).ok();
        self.read(name)
    }

    /// Starts the server; `DIR/` in its options means the directory of its files.
    pub(crate) fn serve(&mut self, options: &str) {
        let line = format!(
            "openvpn --dev ovs --dev-type tun --mode server --tls-server --server 10.29.41.0 255.255.255.0 \
             --topology subnet --proto udp --port 1194 --dh none --ca DIR/ca.crt --cert DIR/server.crt \
             --key DIR/server.key --verb 4 {options}"
        );
        let line = line.replace("DIR", &self.files.display().to_string());
        let log = File::create(self.files.join("server.log")).unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.world.bob.name()]).args(line.split_whitespace()).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.server = Some(command.spawn().unwrap());
    }

    /// A socket of Alice's.
    pub(crate) fn socket(&self) -> UdpSocket {
        self.world.alice.within(|| UdpSocket::bind("0.0.0.0:0").unwrap())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.files.join("server.log")).unwrap_or_default()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _gone = server.kill();
            let _code = server.wait();
        }
        let _left = fs::remove_dir_all(&self.files);
    }
}
