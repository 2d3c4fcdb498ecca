//! The real `wg-quick`, with our daemon as its userspace implementation.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use adit_lab::ns::{Family, Namespace, Side, World};
use adit_lab::poll::{self, PATIENCE};
use adit_lab::shell::Run;
use adit_lab::subjects::Subject;
use adit_lab::traffic;
use adit_lab::wg::KeyPair;

/// Alice sends everything through the tunnel (routing by mark), Bob only her networks. Both files are `wg-quick`'s.
#[test]
fn wg_quick_brings_a_full_tunnel_up_and_down() {
    let world = World::direct();
    let (alice, bob) = (KeyPair::new(), KeyPair::new());
    let endpoint = SocketAddr::new(world.address(Side::Bob, Family::V4), 51820);
    let callers = Quick::write(
        &world.alice,
        "alq",
        &format!(
            "[Interface]\nPrivateKey = {}\nAddress = 10.7.0.1/24, fd07::1/64\n\n[Peer]\nPublicKey = {}\n\
             AllowedIPs = 0.0.0.0/0, ::/0\nEndpoint = {endpoint}\nPersistentKeepalive = 25\n",
            alice.private, bob.public
        ),
    );
    let answerers = Quick::write(
        &world.bob,
        "blq",
        &format!(
            "[Interface]\nPrivateKey = {}\nListenPort = 51820\nAddress = 10.7.0.2/24, fd07::2/64\nMTU = 1400\n\n\
             [Peer]\nPublicKey = {}\nAllowedIPs = 10.7.0.1/32, fd07::1/128\n",
            bob.private, alice.public
        ),
    );
    answerers.run("up");
    callers.run("up");

    let target: IpAddr = [10, 7, 0, 2].into();
    poll::until("an answer through the tunnel", PATIENCE, || traffic::ping_once(&world.alice, target).then_some(()));
    traffic::tcp(&world.alice, (&world.bob, target), 4 << 20).finish();
    assert!(world.alice.run("ip -4 rule").contains("suppress_prefixlength 0"), "the default route is the tunnel's");
    assert!(world.bob.run(&format!("ip link show {}", answerers.interface)).contains("mtu 1400"));
    assert!(world.alice.run(&format!("wg show {}", callers.interface)).contains("latest handshake"));

    callers.run("down");
    answerers.run("down");
    for (namespace, quick) in [(&world.alice, &callers), (&world.bob, &answerers)] {
        let gone =
            || namespace.attempt(&format!("ip link show {}", quick.interface)).is_err() && !quick.socket().exists();
        poll::until("interface and socket to be gone", PATIENCE, || gone().then_some(()));
        assert!(!namespace.run("ip -4 rule").contains("suppress_prefixlength"), "no rule stays");
        poll::until("the daemon to end", PATIENCE, || {
            Run::line(&format!("ip netns pids {}", namespace.name())).ok().trim().is_empty().then_some(())
        });
    }
}

/// A configuration file, and the `wg-quick` that reads it in a namespace.
struct Quick {
    namespace: Namespace,
    interface: String,
    directory: PathBuf,
}

impl Quick {
    fn write(namespace: &Namespace, prefix: &str, text: &str) -> Self {
        let interface = format!("{prefix}{}", std::process::id());
        let directory = std::env::temp_dir().join(format!("adit-lab-quick-{interface}"));
        fs::create_dir_all(&directory).expect("the temporary directory can be written");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).expect("it is ours");
        let quick = Self { namespace: namespace.clone(), interface, directory };
        fs::write(quick.file(), text).expect("the temporary directory can be written");
        quick
    }

    fn file(&self) -> PathBuf {
        self.directory.join(format!("{}.conf", self.interface))
    }

    fn socket(&self) -> PathBuf {
        Path::new("/var/run/wireguard").join(format!("{}.sock", self.interface))
    }

    fn run(&self, verb: &str) {
        let implementation = Subject::adit().program;
        self.namespace
            .command(&format!("wg-quick {verb} {}", self.file().display()))
            .env("WG_QUICK_USERSPACE_IMPLEMENTATION", implementation)
            .env("WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD", "1")
            .ok();
    }
}

impl Drop for Quick {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.directory);
        let _gone = fs::remove_file(self.socket());
    }
}
