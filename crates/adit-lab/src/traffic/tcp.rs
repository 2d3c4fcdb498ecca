//! A TCP transfer whose bytes are hashed on both ends.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use aws_lc_rs::digest::{Context, Digest, SHA256};

use crate::dice::Dice;
use crate::ns::Namespace;

/// A transfer under way.
#[derive(Debug)]
pub struct Transfer {
    sender: JoinHandle<Digest>,
    receiver: JoinHandle<Digest>,
}

/// Sends `length` seeded bytes from one namespace to an address in another.
#[track_caller]
pub fn tcp(from: &Namespace, (to, address): (&Namespace, IpAddr), length: usize) -> Transfer {
    let listener = to.within(|| TcpListener::bind((address, 0)));
    let listener = listener.unwrap_or_else(|error| panic!("cannot listen on {address}: {error}"));
    let target = listener.local_addr().expect("a bound socket has an address");
    let receiver = std::thread::spawn(move || receive(&listener));
    let sender = from.spawn(move || {
        let stream = TcpStream::connect_timeout(&target, STALL);
        send(&mut stream.unwrap_or_else(|error| panic!("cannot connect to {target}: {error}")), length)
    });
    Transfer { sender, receiver }
}

impl Transfer {
    /// Waits for the end; panics unless every byte arrived as it was sent.
    #[track_caller]
    pub fn finish(self) {
        let sent = self.sender.join().expect("the sender of the transfer failed");
        let received = self.receiver.join().expect("the receiver of the transfer failed");
        assert_eq!(sent.as_ref(), received.as_ref(), "what arrived is not what was sent");
    }

    /// Whether it still runs.
    pub fn is_under_way(&self) -> bool {
        !self.sender.is_finished()
    }
}

fn send(stream: &mut TcpStream, length: usize) -> Digest {
    let mut dice = Dice::new(length as u64);
    let mut hash = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK];
    let mut left = length;
    stream.set_write_timeout(Some(STALL)).expect("a timeout that is not zero");
    while left > 0 {
        let part = &mut chunk[..left.min(CHUNK)];
        dice.fill(part);
        hash.update(part);
        stream.write_all(part).unwrap_or_else(|error| panic!("sending stopped with {left} bytes left: {error}"));
        left -= part.len();
    }
    stream.shutdown(Shutdown::Write).unwrap_or_else(|error| panic!("the connection broke: {error}"));
    hash.finish()
}

fn receive(listener: &TcpListener) -> Digest {
    let (mut stream, _) = listener.accept().expect("a caller");
    stream.set_read_timeout(Some(STALL)).expect("a timeout that is not zero");
    let mut hash = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return hash.finish(),
            Ok(length) => hash.update(&chunk[..length]),
            Err(error) => panic!("receiving stopped: {error}"),
        }
    }
}

/// Bytes handed over at a time.
const CHUNK: usize = 64 << 10;

/// A transfer in which nothing moves for so long has failed.
const STALL: Duration = Duration::from_secs(90);
