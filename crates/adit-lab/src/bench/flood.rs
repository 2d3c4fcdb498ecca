//! As many UDP packets as one thread can send, and how many of them come out at the far end.

use std::io::IoSlice;
use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

use crate::ns::Namespace;

/// Packets a second that reached the far socket.
///
/// The far socket is never read: the kernel counts what it would have been given, and no reader takes part in the race.
pub(super) fn flood(from: &Namespace, (to, address): (&Namespace, IpAddr), length: usize, time: Duration) -> f64 {
    let receiver = to.within(|| UdpSocket::bind((address, 0))).unwrap_or_else(|error| panic!("{address}: {error}"));
    let target = receiver.local_addr().expect("a bound socket has an address");
    let before = arrived(to);
    let took = from.within(|| {
        let socket = UdpSocket::bind(("0.0.0.0", 0)).expect("a port is free");
        socket.connect(target).expect("there is a route");
        send_for(&socket, length, time)
    });
    // What is still in queues counts with the time it took to send.
    std::thread::sleep(Duration::from_millis(300));
    let after = arrived(to);
    (after - before) as f64 / took.as_secs_f64()
}

fn send_for(socket: &UdpSocket, length: usize, time: Duration) -> Duration {
    let packet = vec![0x5a; length];
    let slices = [IoSlice::new(&packet)];
    let start = Instant::now();
    while start.elapsed() < time {
        let mut controls: [SendAncillaryBuffer<'_, '_, '_>; BATCH] =
            std::array::from_fn(|_| SendAncillaryBuffer::default());
        let mut messages: Vec<_> = controls.iter_mut().map(|control| MMsgHdr::new(&slices, control)).collect();
        // A full queue of the interface is an error here, and loss is what is being measured.
        let _full = sendmmsg(socket, &mut messages, SendFlags::empty());
    }
    start.elapsed()
}

/// Datagrams that reached a UDP socket, taken or dropped because nobody reads.
fn arrived(namespace: &Namespace) -> u64 {
    arrivals(&namespace.run("cat /proc/net/snmp")).expect("/proc/net/snmp counts UDP")
}

fn arrivals(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let (names, values) = (lines.next()?.split_whitespace(), lines.next()?.split_whitespace());
    let counted = names.zip(values).filter(|(name, _)| matches!(*name, "InDatagrams" | "RcvbufErrors"));
    Some(counted.filter_map(|(_, value)| value.parse::<u64>().ok()).sum())
}

/// Packets a system call.
const BATCH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_taken_and_dropped_ones() {
        let text =
            "Tcp: a\nTcp: 1\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors\nUdp: 5 1 9 7 4\nUdpLite: x\n";
        assert_eq!(arrivals(text), Some(9));
    }
}
