//! What is sent through a tunnel, and comes back as it was: over TCP, and in datagrams of many sizes.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use super::INSIDE;
use crate::world::Machine;

const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes that go there and back over TCP; datagrams that do over UDP.
const BYTES: usize = 1 << 20;
const DATAGRAMS: u32 = 100;

/// What alice sends to bob through the tunnel comes back as it was.
pub(super) fn transfers(alice: &Machine, bob: &Machine) {
    transfers_to(alice, bob, INSIDE.parse().unwrap());
}

/// The same, to this address of bob's.
pub(super) fn transfers_to(alice: &Machine, bob: &Machine, inside: IpAddr) {
    let (tcp, udp) = bob.inside(|| {
        let (tcp, udp) = (TcpListener::bind((inside, 0)).unwrap(), UdpSocket::bind((inside, 0)).unwrap());
        udp.set_read_timeout(Some(PATIENCE)).unwrap();
        (tcp, udp)
    });
    let any: IpAddr = if inside.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let (tcp_at, udp_at) = (tcp.local_addr().unwrap(), udp.local_addr().unwrap());
    std::thread::scope(|threads| {
        threads.spawn(move || {
            let (mut stream, _) = tcp.accept().unwrap();
            let mut back = stream.try_clone().unwrap();
            std::io::copy(&mut stream, &mut back).unwrap();
            back.shutdown(std::net::Shutdown::Write).unwrap();
            let mut datagram = [0; 2048];
            loop {
                let (len, from) = udp.recv_from(&mut datagram).unwrap();
                if len == 0 {
                    return;
                }
                udp.send_to(&datagram[..len], from).unwrap();
            }
        });
        let sent: Vec<u8> = (0..BYTES).map(|i| ((i * 7) ^ (i >> 8)) as u8).collect();
        let (stream, socket) = alice.inside(|| {
            let stream = TcpStream::connect_timeout(&tcp_at, PATIENCE).unwrap();
            let socket = UdpSocket::bind(SocketAddr::new(any, 0)).unwrap();
            socket.connect(udp_at).unwrap();
            (stream, socket)
        });
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let writer = threads.spawn({
            let (mut stream, sent) = (stream.try_clone().unwrap(), sent.clone());
            move || {
                stream.write_all(&sent).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
            }
        });
        let mut come = Vec::new();
        (&stream).take(2 * BYTES as u64).read_to_end(&mut come).unwrap();
        writer.join().unwrap();
        assert!(come == sent, "{} bytes came back of {}", come.len(), sent.len());
        echoes(&socket);
    });
}

/// Datagrams of many sizes, each sent again until it has come back: UDP promises nothing, and a tunnel no more.
fn echoes(socket: &UdpSocket) {
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    for number in 0..DATAGRAMS {
        let size = 4 + number as usize * 13 % 1197;
        let sent: Vec<u8> =
            number.to_be_bytes().into_iter().chain((4..size).map(|i| (i ^ number as usize) as u8)).collect();
        let mut come = [0; 2048];
        let is_back = (0..20).any(|_| {
            socket.send(&sent).unwrap();
            socket.recv(&mut come).is_ok_and(|len| come[..len] == sent)
        });
        assert!(is_back, "datagram {number} of {size} bytes");
    }
    // The end, which may be lost as well; once it is heard there is nobody to send to.
    for _ in 0..5 {
        let _is_heard = socket.send(&[]);
    }
}
