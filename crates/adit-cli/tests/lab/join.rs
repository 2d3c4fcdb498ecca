//! Joining with a kernel at both ends: the invite's question reaches a socket of the server, and the tunnel that comes of
//! it carries packets. The server is a file and this test; admitting is done here as a server would.

use std::net::Ipv6Addr;

use adit::enrol::{self, Membership, Reply, Request};
use adit::invite::Invite;
use adit::wireguard::PublicKey;
use adit_protocol::Secret;
use tokio::sync::Notify;

use crate::world::{Machine, World};

#[test]
fn a_link_becomes_a_tunnel_that_carries_packets() {
    let world = World::new();
    let (server, device) = (&world.a, &world.b);
    let invite = invite(server);
    server.write(&format!(
        "[Interface]\nPrivateKey = {}\nAddress = 10.77.0.1/24, {}/64\nListenPort = 51820\n\n\
         [Peer]\nPublicKey = {}\nAllowedIPs = {}/128\n",
        server.keys.private,
        invite.server_address(),
        invite.public_key(),
        invite.address(),
    ));
    server.ok(&["up", &server.file()]);
    let before = device.network();
    let run = while_serving(server, &invite, || {
        let link = invite.to_link().unwrap();
        join(device, &["join", &link, "--profile", &device.tunnel])
    });
    assert!(run.contains("the handshake is completed"), "{run}\n{}", device.log());
    assert!(run.contains("joined home as phone: 10.77.0.2"), "{run}");
    assert!(device.pings("10.77.0.1"), "{}", device.log());
    let again = device.fails(1, &["up", device.dir.join(format!("etc/{}.conf", device.tunnel)).to_str().unwrap()]);
    assert!(again.contains("is already up"), "{again}");
    device.ok(&["down", &device.tunnel]);
    assert_eq!(device.network(), before);
}

/// `adit join` with directories of this machine alone.
fn join(device: &Machine, arguments: &[&str]) -> String {
    let mut command = device.command(env!("CARGO_BIN_EXE_adit"));
    command.env("ADIT_CONFIG_DIR", device.dir.join("etc")).env("ADIT_STATE_DIR", device.dir.join("state"));
    let run = command.args(arguments).args(["--name", "phone"]).output().unwrap();
    assert!(run.status.success(), "{}\n{}", String::from_utf8_lossy(&run.stderr), device.log());
    String::from_utf8(run.stdout).unwrap()
}

/// Does something while the server answers who comes with the invite.
fn while_serving<T>(server: &Machine, invite: &Invite, work: impl FnOnce() -> T) -> T {
    let socket = server.inside(|| std::net::UdpSocket::bind((invite.server_address(), enrol::PORT)).unwrap());
    socket.set_nonblocking(true).unwrap();
    let done = Notify::new();
    let serve = async {
        let socket = tokio::net::UdpSocket::from_std(socket).unwrap();
        let answer = |from: Ipv6Addr, request: Request| async move {
            assert_eq!(from, invite.address());
            admit(server, invite.server, &request)
        };
        tokio::select! {
            error = enrol::serve(socket, answer) => panic!("{error}"),
            () = done.notified() => {}
        }
    };
    std::thread::scope(|threads| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let serving = threads.spawn(move || runtime.block_on(serve));
        let result = work();
        done.notify_one();
        serving.join().unwrap();
        result
    })
}

/// Makes the device a peer, and says what it needs to know.
fn admit(server: &Machine, key: PublicKey, request: &Request) -> Reply {
    let text = std::fs::read_to_string(server.file()).unwrap();
    if !text.contains(&request.key.to_string()) {
        server.write(&format!("{text}\n[Peer]\nPublicKey = {}\nAllowedIPs = 10.77.0.2/32\n", request.key));
        server.ok(&["reload", &server.tunnel]);
    }
    Reply::Admitted(Membership {
        network: "home".to_owned(),
        name: request.name.clone(),
        addresses: vec!["10.77.0.2/24".parse().unwrap()],
        server: key,
        hosts: vec!["192.0.2.1".to_owned()],
        udp_port: Some(51820),
        https: None,
        dns: vec![],
        routes: vec!["10.77.0.0/24".parse().unwrap()],
    })
}

fn invite(server: &Machine) -> Invite {
    Invite {
        network: "home".to_owned(),
        secret: Secret::new([5; 16]),
        expires: 4_000_000_000,
        server: PublicKey::from_base64(&server.keys.public).unwrap(),
        prefix: [0xfd, 1, 2, 3, 4, 5, 6, 7],
        hosts: vec!["192.0.2.1".to_owned()],
        udp_port: Some(51820),
        https: None,
    }
}
