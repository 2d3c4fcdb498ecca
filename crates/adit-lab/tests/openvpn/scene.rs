//! Alice and Bob, papers and keys, and Debian's `openvpn` as the server at Bob's or the client at Alice's.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use adit_lab::ns::{Namespace, World};
use adit_lab::shell::Run;

use rustix::process::{Pid, Signal, kill_process};

use crate::papers::Papers;

/// Its address on the wire, and inside.
pub(crate) const SERVER: &str = "198.18.2.18:1194";
pub(crate) const INSIDE: [u8; 4] = [10, 29, 41, 1];

/// A world with a server in it, and everything it was given.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) files: PathBuf,
    pub(crate) papers: Papers,
    openvpn: Option<Child>,
}

static NEXT: AtomicUsize = AtomicUsize::new(0);

impl Scene {
    pub(crate) fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let files = std::env::temp_dir().join(format!("adit-openvpn-{}-{number}", std::process::id()));
        fs::create_dir_all(&files).unwrap();
        let scene = Self { world: World::direct(), files, papers: Papers::new(), openvpn: None };
        scene.write("ca.crt", &scene.papers.authority_pem());
        for (name, paper) in [("server", scene.papers.server()), ("client", scene.papers.client())] {
            scene.write(&format!("{name}.crt"), &paper.certificate_pem);
            scene.write(&format!("{name}.key"), &paper.key_pem);
        }
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
        self.run(&self.world.bob.clone(), &line);
    }

    /// Starts the client; `DIR/` as above.
    pub(crate) fn connect(&mut self, options: &str) {
        let line = format!(
            "openvpn --client --dev ovc --dev-type tun --nobind --proto udp --remote 198.18.2.18 1194 --ca DIR/ca.crt \
             --cert DIR/client.crt --key DIR/client.key --remote-cert-tls server --explicit-exit-notify 1 --verb 4 {options}"
        );
        self.run(&self.world.alice.clone(), &line);
    }

    fn run(&mut self, host: &Namespace, line: &str) {
        let line = line.replace("DIR", &self.files.display().to_string());
        let log = File::create(self.files.join("openvpn.log")).unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", host.name()]).args(line.split_whitespace()).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.openvpn = Some(command.spawn().unwrap());
    }

    /// Asks `openvpn` to end, as its user would.
    pub(crate) fn end(&self) {
        let openvpn = self.openvpn.as_ref().unwrap();
        kill_process(Pid::from_child(openvpn), Signal::TERM).unwrap();
    }

    /// The socket of a server at Bob's.
    pub(crate) fn server_socket(&self) -> UdpSocket {
        self.world.bob.within(|| UdpSocket::bind("0.0.0.0:1194").unwrap())
    }

    /// A socket of Alice's.
    pub(crate) fn socket(&self) -> UdpSocket {
        self.world.alice.within(|| UdpSocket::bind("0.0.0.0:0").unwrap())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.files.join("openvpn.log")).unwrap_or_default()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(openvpn) = &mut self.openvpn {
            let _gone = openvpn.kill();
            let _code = openvpn.wait();
        }
        let _left = fs::remove_dir_all(&self.files);
    }
}

/// The internet checksum.
pub(crate) fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}
