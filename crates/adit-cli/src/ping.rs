//! A small ping: ICMP echo over a raw socket, one at a time, of any size, through one interface and no other.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use adit_protocol::Checksum;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, sockopt};
use serde::Serialize;
use socket2::SockRef;

/// What came of several pings.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Pings {
    /// How many were sent.
    pub(crate) sent: u32,
    /// How many were not answered.
    pub(crate) lost: u32,
    /// The quickest answer, in milliseconds.
    pub(crate) min_ms: f64,
    /// The average of all answers.
    pub(crate) avg_ms: f64,
    /// The slowest answer.
    pub(crate) max_ms: f64,
}

impl Pings {
    /// From the time each took, `None` for those that were lost.
    pub(crate) fn of(times: &[Option<Duration>]) -> Self {
        let ms: Vec<f64> = times.iter().flatten().map(|t| t.as_secs_f64() * 1000.0).collect();
        let answered = ms.len().max(1) as f64;
        Self {
            sent: times.len() as u32,
            lost: (times.len() - ms.len()) as u32,
            min_ms: if ms.is_empty() { 0.0 } else { ms.iter().copied().fold(f64::INFINITY, f64::min) },
            avg_ms: ms.iter().sum::<f64>() / answered,
            max_ms: ms.iter().copied().fold(0.0, f64::max),
        }
    }
}

/// As ping sends it: a packet of 84 bytes.
pub(crate) const USUAL: u16 = 84;
/// The headers of IPv4 and of the request.
const HEADERS: u16 = 28;

/// Sends one echo request, a packet of this length, by this interface of this thread's namespace, and waits for its answer:
/// what comes by another way, or from somebody else, is none.
pub(crate) fn ping(
    interface: &str,
    to: Ipv4Addr,
    sequence: u16,
    length: u16,
    patience: Duration,
) -> std::io::Result<Option<Duration>> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::RAW, flags, Some(ipproto::ICMP))?;
    SockRef::from(&socket).bind_device(Some(interface.as_bytes()))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(patience))?;
    let id = std::process::id() as u16;
    let begun = Instant::now();
    rustix::net::sendto(&socket, &request(id, sequence, length), SendFlags::empty(), &SocketAddrV4::new(to, 0))?;
    let mut buffer = [0_u8; 512];
    while begun.elapsed() < patience {
        let length = match rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((length, _)) => length,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        };
        if is_answer(buffer.get(..length).unwrap_or_default(), to, id, sequence) {
            return Ok(Some(begun.elapsed()));
        }
    }
    Ok(None)
}

/// An echo request that makes a packet of this length.
fn request(id: u16, sequence: u16, length: u16) -> Vec<u8> {
    let mut packet = vec![0_u8; 8 + usize::from(length.saturating_sub(HEADERS))];
    packet[0] = ECHO;
    packet[4..6].copy_from_slice(&id.to_be_bytes());
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    let sum = Checksum::new().with(&packet).finish();
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// Whether an IPv4 packet is this host's answer to that request.
fn is_answer(packet: &[u8], from: Ipv4Addr, id: u16, sequence: u16) -> bool {
    let header = packet.first().map_or(0, |b| usize::from(b & 15) * 4);
    if packet.get(12..16) != Some(&from.octets()[..]) {
        return false;
    }
    let Some(icmp) = packet.get(header..).and_then(|p| p.first_chunk::<8>()) else { return false };
    icmp[0] == ECHO_REPLY && icmp[4..6] == id.to_be_bytes() && icmp[6..8] == sequence.to_be_bytes()
}

const ECHO: u8 = 8;
const ECHO_REPLY: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_a_checksum_that_adds_up() {
        assert_eq!(Checksum::new().with(&request(7, 9, 1421)).finish(), 0);
        assert_eq!(request(7, 9, USUAL).len() + 20, usize::from(USUAL));
    }

    #[test]
    fn only_the_answer_to_the_request_is_one() {
        let mut packet = vec![0x45; 1];
        packet.resize(20, 0);
        packet.extend(request(7, 9, USUAL));
        let from = Ipv4Addr::new(10, 77, 0, 1);
        packet[12..16].copy_from_slice(&from.octets());
        assert!(!is_answer(&packet, from, 7, 9), "that is the request");
        packet[20] = ECHO_REPLY;
        assert!(is_answer(&packet, from, 7, 9));
        assert!(!is_answer(&packet, from, 7, 8));
        assert!(!is_answer(&packet, Ipv4Addr::new(10, 77, 0, 2), 7, 9), "somebody else's");
        assert!(!is_answer(&packet[..24], from, 7, 9));
        assert!(!is_answer(&[], from, 7, 9));
    }

    /// Needs root.
    #[cfg(feature = "lab")]
    #[test]
    fn it_takes_the_interface_that_it_is_told_and_no_other() {
        let ping = |interface| ping(interface, Ipv4Addr::LOCALHOST, 1, USUAL, Duration::from_secs(5));
        assert!(ping("lo").unwrap().is_some());
        assert_eq!(ping("no-such-link").unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn times_are_summed_up() {
        let ms = Duration::from_millis;
        let pings = Pings::of(&[Some(ms(1)), None, Some(ms(3))]);
        assert_eq!(pings, Pings { sent: 3, lost: 1, min_ms: 1.0, avg_ms: 2.0, max_ms: 3.0 });
        assert_eq!(Pings::of(&[None]), Pings { sent: 1, lost: 1, min_ms: 0.0, avg_ms: 0.0, max_ms: 0.0 });
    }
}
