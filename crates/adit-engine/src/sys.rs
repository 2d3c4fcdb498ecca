//! A descriptor and its readiness: enters the runtime on first use, so that it can be made before there is one.
#![expect(unsafe_code, reason = "tokio wants a promise that the descriptor stays open while it is registered")]

use std::future::{Future as _, poll_fn};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::{Ready, Want};

/// A non-blocking descriptor.
#[derive(Debug)]
pub(crate) enum Evented {
    /// Not in a runtime yet.
    Fresh(OwnedFd),
    /// In the runtime that first waited for it.
    Registered(Registered),
    /// Could not be registered.
    Broken,
}

/// A descriptor in a runtime.
///
/// A socket is writable anew with every datagram that leaves it. Who registers for that is woken for each, mostly for
/// nothing: hence a registration of its own, for as long as a write has to wait.
#[derive(Debug)]
pub(crate) struct Registered {
    reader: AsyncFd<OwnedFd>,
    writer: Option<AsyncFd<OwnedFd>>,
}

/// Whether a read has taken everything there was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drained {
    Yes,
    Perhaps,
}

impl Evented {
    pub(crate) fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        match self {
            Self::Fresh(fd) => Ok(fd.as_fd()),
            Self::Registered(registered) => Ok(registered.reader.get_ref().as_fd()),
            Self::Broken => Err(broken()),
        }
    }

    /// Ready when one of the wanted directions may be tried. Only to be called on a runtime.
    pub(crate) fn poll_ready(&mut self, want: Want, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.register(want)?.poll_ready(want, cx)
    }

    /// Waits until a wanted direction may be tried, or the descriptor reports an error by itself: a TUN whose interface
    /// was removed says nothing else. Only to be called on a runtime.
    ///
    /// # Errors
    /// `BrokenPipe` if it reports one.
    pub(crate) async fn ready_or_gone(&mut self, want: Want) -> io::Result<Ready> {
        let registered = self.register(want)?;
        let mut gone = pin!(registered.reader.ready(Interest::ERROR));
        poll_fn(|cx| {
            if let Poll::Ready(ready) = registered.poll_ready(want, cx) {
                return Poll::Ready(ready);
            }
            gone.as_mut().poll(cx).map(|_| Err(io::ErrorKind::BrokenPipe.into()))
        })
        .await
    }

    /// Reads with `f`, and forgets that it was ready if that would block, or if `f` says that it has taken everything
    /// there was: that saves asking again only to hear so. What arrives meanwhile makes it ready anew.
    pub(crate) fn try_read<R>(&self, f: impl FnOnce(BorrowedFd<'_>) -> io::Result<(R, Drained)>) -> io::Result<R> {
        let registered = match self {
            Self::Fresh(fd) => return f(fd.as_fd()).map(|(got, _)| got),
            Self::Registered(registered) => registered,
            Self::Broken => return Err(broken()),
        };
        let (mut f, mut got) = (Some(f), None);
        let tried = registered.reader.try_io(Interest::READABLE, |fd| {
            let Some(f) = f.take() else { return Ok(()) };
            let (read, drained) = f(fd.as_fd())?;
            got = Some(read);
            if drained == Drained::Yes { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match (got, tried) {
            (Some(got), _) => Ok(got),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Writes with `f`; if that would block, waiting for it will help.
    pub(crate) fn try_write<R>(&self, mut f: impl FnMut(BorrowedFd<'_>) -> io::Result<R>) -> io::Result<R> {
        match self {
            Self::Registered(Registered { writer: Some(writer), .. }) => {
                writer.try_io(Interest::WRITABLE, |fd| f(fd.as_fd()))
            }
            Self::Fresh(_) | Self::Registered(_) | Self::Broken => f(self.fd()?),
        }
    }

    fn register(&mut self, want: Want) -> io::Result<&Registered> {
        if let Self::Fresh(_) = self
            && let Self::Fresh(fd) = std::mem::replace(self, Self::Broken)
        {
            *self = Self::Registered(Registered { reader: enter(fd, Interest::READABLE)?, writer: None });
        }
        match self {
            Self::Registered(registered) => {
                registered.follow(want)?;
                Ok(registered)
            }
            Self::Fresh(_) | Self::Broken => Err(broken()),
        }
    }
}

impl Registered {
    /// Registers for writing if that is wanted, and only then.
    fn follow(&mut self, want: Want) -> io::Result<()> {
        if !want.write {
            self.writer = None;
        } else if self.writer.is_none() {
            self.writer = Some(enter(self.reader.get_ref().try_clone()?, Interest::WRITABLE)?);
        }
        Ok(())
    }

    fn poll_ready(&self, want: Want, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        let read = want.read && poll_one(self.reader.poll_read_ready(cx))?;
        let write = match &self.writer {
            Some(writer) => poll_one(writer.poll_write_ready(cx))?,
            None => false,
        };
        if read || write { Poll::Ready(Ok(Ready { read, write })) } else { Poll::Pending }
    }
}

fn enter(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open until it is dropped, and `AsyncFd` drops it only after deregistering.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

/// Whether it is ready now. The guard is dropped: readiness is cleared by `try_io`.
fn poll_one<G>(poll: Poll<io::Result<G>>) -> io::Result<bool> {
    match poll {
        Poll::Ready(Ok(_)) => Ok(true),
        Poll::Ready(Err(error)) => Err(error),
        Poll::Pending => Ok(false),
    }
}

fn broken() -> io::Error {
    io::Error::other("the descriptor could not be registered with the runtime")
}
