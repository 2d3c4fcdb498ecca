//! The TUN device as an inside: frames larger than the MTU both ways, cut and glued here.
//!
//! Not here: addresses, routes, moving the interface (`adit-host`).

mod coalesce;
mod flow;
mod link;
mod split;
mod sys;
#[cfg(test)]
mod tests;
mod vnet;

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use adit_protocol::{DropReason, Path};
use arrayvec::ArrayVec;

use crate::channel::NOWHERE;
use crate::sys::{Drained, Evented};
use crate::{Offload, Offloads, PacketIo, Ready, RecvBatch, Want};
use coalesce::{Coalescer, Frame};
use link::{Whereabouts, inet_socket};
use vnet::{VNET_LEN, Vnet};

pub use link::{Elsewhere, LinkState, TunLink};

/// How often the MTU is looked at while packets flow.
const MTU_EVERY: Duration = Duration::from_millis(100);
/// Errors of reading in a row after which it pauses.
const ERRORS: usize = 16;
/// How long it pauses.
const PAUSE: Duration = Duration::from_millis(50);
/// Pauses in a row after which the device is given up.
const PAUSES: usize = 100;

/// The inside over a TUN interface of the kernel.
#[derive(Debug)]
pub struct TunDevice {
    io: Evented,
    name: String,
    /// Frames carry a virtual network header.
    vnet: bool,
    whereabouts: Whereabouts,
    offloads: Offloads,
    coalescer: Coalescer,
    mtu: usize,
    mtu_seen: Option<Instant>,
    pause: Option<tokio::time::Instant>,
    pauses: usize,
    reading: Reading,
}

/// How far a read goes: a single packet is passed on before looking for more, so that it does not wait for a system call
/// that finds nothing; in a burst everything is taken at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Reading {
    /// Nothing waited the last time.
    #[default]
    Singly,
    /// One frame was taken, and more may wait.
    Looking,
    /// More did.
    Burst,
}

impl TunDevice {
    /// Creates the interface, or attaches to a persistent one. `%d` in the name is replaced by a number.
    ///
    /// # Errors
    /// No /dev/net/tun, no privilege, the name is taken or too long.
    pub fn open(name: &str, offload: Offload) -> io::Result<Self> {
        let wanted = offload.allowed();
        let vnet = wanted.tso || wanted.uso || wanted.coalesce;
        let fd = match sys::open(name, vnet) {
            Err(error) if vnet && error.raw_os_error() == Some(libc::EINVAL) => sys::open(name, false)?,
            other => other?,
        };
        Self::adopt(fd, offload)
    }

    /// Takes over a descriptor of /dev/net/tun that is attached to an interface.
    ///
    /// # Errors
    /// It is not one.
    pub fn adopt(fd: OwnedFd, offload: Offload) -> io::Result<Self> {
        sys::set_nonblocking(fd.as_fd())?;
        let (name, vnet) = sys::query(fd.as_fd())?;
        let mut device = Self {
            offloads: if vnet { negotiate(&fd, offload.allowed())? } else { Offloads::default() },
            io: Evented::Fresh(fd),
            name,
            vnet,
            whereabouts: Whereabouts::here()?,
            coalescer: Coalescer::default(),
            mtu: 0,
            mtu_seen: None,
            pause: None,
            pauses: 0,
            reading: Reading::default(),
        };
        device.mtu = device.query_mtu()?;
        Ok(device)
    }

    /// The name of the interface.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sets the MTU of the interface, in bytes, as long as it is in this process's namespace.
    ///
    /// # Errors
    /// No privilege, or no such MTU.
    pub fn set_mtu(&mut self, mtu: usize) -> io::Result<()> {
        sys::set_mtu(inet_socket()?.as_fd(), &self.name, mtu)?;
        self.mtu = mtu;
        Ok(())
    }

    /// The descriptor, to be handed to another process that goes on with it.
    ///
    /// # Errors
    /// The device is broken.
    pub fn descriptor(&self) -> io::Result<BorrowedFd<'_>> {
        self.io.fd()
    }

    /// A handle for asking about the interface while an engine owns this device. The interface lives as long as either.
    ///
    /// # Errors
    /// The device is broken, or there are no descriptors left.
    pub fn link(&self) -> io::Result<TunLink> {
        TunLink::new(self.io.fd()?)
    }

    fn query_mtu(&mut self) -> io::Result<usize> {
        let mtu = self.whereabouts.ask(self.io.fd()?, sys::mtu)?;
        self.name.clear();
        self.name.push_str(self.whereabouts.name());
        Ok(mtu)
    }

    fn follow_mtu(&mut self) {
        let now = Instant::now();
        if self.mtu_seen.is_some_and(|seen| now.duration_since(seen) < MTU_EVERY) {
            return;
        }
        self.mtu_seen = Some(now);
        match self.query_mtu() {
            Ok(mtu) => self.mtu = mtu,
            Err(error) => tracing::debug!(%error, name = self.name, "cannot ask for the MTU"),
        }
    }

    /// One frame into the batch. `Ok(false)` if nothing waits.
    fn read(&self, into: &mut RecvBatch) -> io::Result<bool> {
        let mut header = [0; VNET_LEN];
        let at = into.used();
        let spare = into.spare();
        let read = self.io.try_read(|fd| {
            let got = if self.vnet {
                rustix::io::readv(fd, &mut [IoSliceMut::new(&mut header), IoSliceMut::new(spare)])?
            } else {
                rustix::io::read(fd, &mut *spare)?
            };
            Ok((got, Drained::Perhaps))
        });
        let len = match read {
            Ok(len) if self.vnet => len.saturating_sub(VNET_LEN),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        let vnet = if self.vnet { Vnet::parse(&header) } else { Vnet::default() };
        into.advance(len);
        if split::split(into, at, len, vnet, Path::to(NOWHERE)).is_err() {
            into.drops.count(DropReason::NotIp);
        }
        Ok(true)
    }

    /// What a frame's refusal means. `Ok(true)` to try again.
    fn refused(&mut self, error: io::Error, pieces: usize) -> io::Result<bool> {
        match error.raw_os_error() {
            Some(libc::EAGAIN) => Err(error),
            Some(libc::EINTR) => Ok(true),
            Some(libc::EBADFD | libc::ENODEV | libc::ENXIO | libc::EBADF) => Err(error),
            Some(libc::EINVAL | libc::EOPNOTSUPP) if pieces > 1 => {
                tracing::warn!(%error, name = self.name, "the TUN device refuses large frames: packets are written one by one from now on");
                self.offloads.coalesce = false;
                Ok(true)
            }
            // Down, out of memory, or a packet that the kernel does not like.
            _ => {
                tracing::trace!(%error, "a packet was refused by the interface");
                Ok(false)
            }
        }
    }
}

impl PacketIo for TunDevice {
    async fn ready(&mut self, want: Want) -> io::Result<Ready> {
        self.follow_mtu();
        if let Some(until) = self.pause {
            tokio::time::sleep_until(until).await;
            self.pause = None;
        }
        self.io.ready_or_gone(want).await
    }

    fn try_recv(&mut self, into: &mut RecvBatch) -> io::Result<()> {
        let (mut errors, mut frames) = (0, 0);
        while into.has_room() {
            match self.read(into) {
                Ok(true) => {
                    self.pauses = 0;
                    frames += 1;
                    self.reading = match self.reading {
                        Reading::Singly => Reading::Looking,
                        Reading::Looking | Reading::Burst => Reading::Burst,
                    };
                    if self.reading == Reading::Looking {
                        break;
                    }
                }
                Ok(false) => {
                    self.reading = if frames > 1 { Reading::Burst } else { Reading::Singly };
                    break;
                }
                Err(error) if is_gone(&error) => return Err(error),
                Err(error) => {
                    errors += 1;
                    tracing::debug!(%error, name = self.name, "an error while reading from the interface");
                    if errors >= ERRORS {
                        self.pauses += 1;
                        if self.pauses >= PAUSES {
                            return Err(error);
                        }
                        self.pause = Some(tokio::time::Instant::now() + PAUSE);
                        break;
                    }
                }
            }
        }
        if into.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }

    fn try_send(&mut self, out: &mut RecvBatch) -> io::Result<()> {
        while !out.is_empty() {
            let Offloads { coalesce, uso, .. } = self.offloads;
            let mut coalescer = std::mem::take(&mut self.coalescer);
            let frames = coalescer.plan(out, coalesce, coalesce && uso);
            let written = self.write_all(frames, out);
            self.coalescer = coalescer;
            written?;
        }
        Ok(())
    }

    fn mtu(&self) -> usize {
        self.mtu
    }

    fn offloads(&self) -> Offloads {
        self.offloads
    }
}

impl TunDevice {
    /// Writes frames until one has to be planned anew.
    fn write_all(&mut self, frames: &[Frame], out: &mut RecvBatch) -> io::Result<()> {
        for frame in frames {
            if let Err(error) = self.write(frame, out) {
                if self.refused(error, frame.slots.len())? {
                    return Ok(());
                }
                out.drops.add(DropReason::InsideFull, frame.slots.len() as u64);
            }
            for slot in &frame.slots {
                out.take(usize::from(*slot));
            }
        }
        Ok(())
    }

    fn write(&self, frame: &Frame, out: &RecvBatch) -> io::Result<()> {
        let (vnet, headers) = frame.headers(out);
        let vnet = vnet.emit();
        let mut pieces: ArrayVec<IoSlice<'_>, { coalesce::MAX_PIECES + 2 }> = ArrayVec::new();
        if self.vnet {
            pieces.push(IoSlice::new(&vnet));
        }
        if !headers.is_empty() {
            pieces.push(IoSlice::new(&headers));
        }
        let skip = if headers.is_empty() { 0 } else { frame.payload_at() };
        for slot in &frame.slots {
            let packet = &out.slab[out.slots[usize::from(*slot)].body.range()];
            pieces.push(IoSlice::new(&packet[skip..]));
        }
        self.io.try_write(|fd| Ok(rustix::io::writev(fd, &pieces)?))?;
        Ok(())
    }
}

/// Switches on what is wanted and the kernel has, and says what that is.
fn negotiate(fd: &OwnedFd, wanted: Offloads) -> io::Result<Offloads> {
    sys::set_header_len(fd.as_fd(), VNET_LEN)?;
    let tries = [(wanted.tso, wanted.uso), (wanted.tso, false), (false, false)];
    for (tso, uso) in tries {
        if sys::set_offload(fd.as_fd(), tso, uso).is_ok() {
            return Ok(Offloads { tso, uso, coalesce: wanted.coalesce, ..Offloads::default() });
        }
    }
    Ok(Offloads { coalesce: wanted.coalesce, ..Offloads::default() })
}

/// The interface was removed: nothing will come any more.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADFD | libc::ENODEV | libc::ENXIO | libc::EBADF))
}
