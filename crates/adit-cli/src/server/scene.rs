//! A server's desk with a daemon that does as a test says, for the tests of what is between them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use adit_control::{Command, Host, Name, Network, Service, Store};
use adit_wireguard::PrivateKey;
use tempfile::TempDir;
use tokio::sync::watch;

use super::desk::{Desk, now};
use super::link::{Link, Reports};
use super::{metrics, own};
use crate::client::Client;
use crate::exit::{Failure, Result};
use crate::report::{SCHEMA, StatusReport, TunnelReport};
use crate::rpc::{self, Answer, Done, Method};

/// A daemon of which a test says what it does.
#[derive(Default)]
pub(super) struct Daemon {
    /// Whether the tunnel is up.
    pub(super) is_up: AtomicBool,
    /// Whether it runs what it is told to.
    pub(super) serves: AtomicBool,
    /// Whether it was told to take the tunnel down.
    pub(super) was_told_to_end_it: AtomicBool,
}

impl Daemon {
    fn perform(&self, method: &Method) -> Result<rpc::Json> {
        if matches!(method, Method::Status { .. }) {
            if !self.is_up.load(Ordering::Relaxed) {
                return Err(Failure::not_connected("home is not up"));
            }
            let tunnels = vec![TunnelReport::empty("home")];
            return rpc::value(&StatusReport { schema: SCHEMA, version: String::new(), tunnels });
        }
        if matches!(method, Method::Down { .. }) {
            self.was_told_to_end_it.store(true, Ordering::Relaxed);
        } else if !self.serves.load(Ordering::Relaxed) {
            return Err(Failure::failed("the port 51820 is taken"));
        }
        rpc::value(&Done::default())
    }

    /// Answers until nobody asks any more.
    fn attend(self: Arc<Self>, stream: UnixStream) {
        std::thread::spawn(move || {
            let mut writer = stream.try_clone().unwrap();
            for line in BufReader::new(stream).lines().map_while(std::io::Result::ok) {
                let (id, method) = rpc::parse_request::<Method>(line.as_bytes()).unwrap();
                writer.write_all(&Answer { id, outcome: self.perform(&method) }.line()).unwrap();
            }
        });
    }
}

/// The desk of a server of the network `home`.
pub(super) async fn desk(daemon: &Arc<Daemon>) -> (Desk, Reports, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let service = Service::start(Store::sqlite(directory.path()).unwrap()).await.unwrap();
    let network = Network {
        name: Name::new("home").unwrap(),
        hosts: vec![Host::new("192.0.2.1").unwrap()],
        port: 51_820,
        v4: "10.77.0.0/16".parse().unwrap(),
        v6: "fd77::/64".parse().unwrap(),
        dns: Vec::new(),
        web: None,
        key: PrivateKey::new([1; 32]).public_key(),
    };
    service.execute(Command::CreateNetwork(network), own(), now()).await.unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    daemon.clone().attend(theirs);
    let (link, reports) = Link::over(Client::over(ours), "home").unwrap();
    let desk = Desk {
        service,
        link,
        interface: "home".into(),
        seen: Mutex::new(None),
        backups: directory.path().to_owned(),
        last_backup: AtomicU64::new(0),
        running: watch::Sender::new(0),
        metrics: None,
        openvpn: None,
        tally: metrics::Tally::default(),
        members: None,
    };
    (desk, reports, directory)
}
