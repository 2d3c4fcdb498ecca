//! What passes an interface now, frame by frame, as a capture file would have it. Needs CAP_NET_RAW.
//!
//! Times are taken when a frame is read, so they are a little later than the wire's. Where the network card glues
//! packets together (GRO), the frames are as glued.

mod sys;

use std::io::{self, Read as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use socket2::{Domain, Socket, Type};

use crate::flow::capture::{Frame, Link};

/// The longest frame: what segmentation offload can make.
pub const MAX_FRAME: usize = 256 << 10;
/// What the kernel keeps while nobody reads.
const QUEUE: usize = 16 << 20;

/// An interface that is listened to.
#[derive(Debug)]
pub struct Tap {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Tap {
    /// Begins to listen. `patience` is how long [`Tap::next_frame`] waits for a frame.
    pub fn open(interface: &str, patience: Duration) -> io::Result<Self> {
        // Cooked: what comes is the IP packet, whatever link it came over. Nothing comes before `bind` says from where.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
        let index = rustix::net::netdevice::name_to_index(&socket, interface)?;
        if is_loopback(interface) {
            // Every packet passes the loopback twice.
            sys::ignore_outgoing(&socket)?;
        }
        // A smaller queue is no failure; frames lost to it are.
        let _smaller = socket.set_recv_buffer_size(QUEUE);
        socket.set_read_timeout(Some(patience))?;
        socket.bind(&sys::all_of(index)?)?;
        Ok(Self { socket, buffer: vec![0; MAX_FRAME] })
    }

    /// The next frame; none if there was none for a while.
    pub fn next_frame(&mut self) -> io::Result<Option<Frame<'_>>> {
        match self.socket.read(&mut self.buffer) {
            Ok(n) => {
                let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Ok(Some(Frame { at, link: Link::Raw, bytes: &self.buffer[..n] }))
            }
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

/// ARPHRD_LOOPBACK, as the kernel shows it.
fn is_loopback(interface: &str) -> bool {
    std::fs::read_to_string(format!("/sys/class/net/{interface}/type")).is_ok_and(|kind| kind.trim() == "772")
}
