//! Numbered UDP datagrams, each carrying the checksum of its own body.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};

use crate::dice::Dice;
use crate::ns::Namespace;

/// What became of a train of datagrams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Datagrams {
    /// Sent.
    pub sent: usize,
    /// Arrived whole, each counted once.
    pub arrived: usize,
    /// Arrived again.
    pub duplicates: usize,
    /// Arrived after one with a higher number.
    pub late: usize,
    /// Arrived with a body that its checksum does not fit.
    pub corrupt: usize,
}

/// Sends `count` datagrams of `length` bytes, a few ahead of the receiver.
#[track_caller]
pub fn udp(from: &Namespace, (to, address): (&Namespace, IpAddr), count: usize, length: usize) -> Datagrams {
    assert!(length >= HEADER, "a numbered datagram has at least {HEADER} bytes");
    let receiver = to.within(|| UdpSocket::bind((address, 0))).unwrap_or_else(|error| panic!("{address}: {error}"));
    let target = receiver.local_addr().expect("a bound socket has an address");
    let (heard, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let listening = std::thread::spawn({
        let (heard, ended) = (heard.clone(), ended.clone());
        move || receive(&receiver, length, count, &heard, &ended)
    });
    from.within(|| send(target, count, length, &heard));
    ended.store(true, Ordering::Release);
    Datagrams { sent: count, ..listening.join().expect("the receiver of datagrams failed") }
}

fn send(target: SocketAddr, count: usize, length: usize, heard: &AtomicUsize) {
    let any: IpAddr = if target.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).unwrap_or_else(|error| panic!("{any}: {error}"));
    let mut dice = Dice::new(count as u64);
    let mut datagram = vec![0; length];
    let mut lost = 0;
    let window = (ROOM / length).clamp(2, WINDOW);
    for number in 0..count {
        datagram[..8].copy_from_slice(&(number as u64).to_le_bytes());
        dice.fill(&mut datagram[HEADER..]);
        let sum = digest(&SHA256, &datagram[HEADER..]);
        datagram[8..HEADER].copy_from_slice(sum.as_ref());
        socket.send_to(&datagram, target).unwrap_or_else(|error| panic!("datagram {number} to {target}: {error}"));
        let patience = Instant::now() + GAP / 8;
        while number >= heard.load(Ordering::Acquire) + lost + window {
            if Instant::now() > patience {
                lost = number - heard.load(Ordering::Acquire).min(number);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn receive(socket: &UdpSocket, length: usize, count: usize, heard: &AtomicUsize, ended: &AtomicBool) -> Datagrams {
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout that is not zero");
    let (mut seen, mut newest, mut result) = (HashSet::new(), 0, Datagrams::default());
    let mut datagram = vec![0; length + 1];
    let mut silent_since = None;
    loop {
        match socket.recv(&mut datagram) {
            Ok(size) => {
                silent_since = None;
                heard.fetch_add(1, Ordering::Release);
                match number(&datagram[..size], length) {
                    None => result.corrupt += 1,
                    Some(number) if !seen.insert(number) => result.duplicates += 1,
                    Some(number) => {
                        result.arrived += 1;
                        result.late += usize::from(number < newest);
                        newest = newest.max(number);
                    }
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let silence = silent_since.get_or_insert_with(Instant::now).elapsed();
                let patience = if result.arrived == count { GAP / 4 } else { GAP };
                if ended.load(Ordering::Acquire) && silence > patience {
                    return result;
                }
            }
            Err(error) => panic!("receiving datagrams: {error}"),
        }
    }
}

/// The number of a datagram that is whole.
fn number(datagram: &[u8], length: usize) -> Option<u64> {
    let (number, rest) = datagram.split_first_chunk::<8>()?;
    let (sum, body) = rest.split_at_checked(32)?;
    let whole = datagram.len() == length && digest(&SHA256, body).as_ref() == sum;
    whole.then(|| u64::from_le_bytes(*number))
}

/// Number and checksum.
const HEADER: usize = 40;

/// How far the sender may run ahead, in datagrams.
const WINDOW: usize = 16;

/// And in bytes: less than fits the smallest socket buffer on the way, with all that the kernel counts for a packet.
const ROOM: usize = 32 << 10;

/// How long the receiver waits for a last datagram; the sender takes those for lost that do not come in an eighth of it.
const GAP: Duration = Duration::from_secs(2);
