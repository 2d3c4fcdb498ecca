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
    Registered(AsyncFd<OwnedFd>),
    /// Could not be registered.
    Broken,
}

impl Evented {
    pub(crate) fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        match self {
            Self::Fresh(fd) => Ok(fd.as_fd()),
            Self::Registered(fd) => Ok(fd.get_ref().as_fd()),
            Self::Broken => Err(broken()),
        }
    }

    /// Ready when one of the wanted directions may be tried. Only to be called on a runtime.
    pub(crate) fn poll_ready(&mut self, want: Want, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        let fd = self.register()?;
        let read = want.read && poll_one(fd.poll_read_ready(cx))?;
        let write = want.write && poll_one(fd.poll_write_ready(cx))?;
        if read || write { Poll::Ready(Ok(Ready { read, write })) } else { Poll::Pending }
    }

    /// Waits until a wanted direction may be tried, or the descriptor reports an error by itself: a TUN whose interface
    /// was removed says nothing else. Only to be called on a runtime.
    ///
    /// # Errors
    /// `BrokenPipe` if it reports one.
    pub(crate) async fn ready_or_gone(&mut self, want: Want) -> io::Result<Ready> {
        let fd = self.register()?;
        let mut gone = pin!(fd.ready(Interest::ERROR));
        poll_fn(|cx| {
            let read = want.read && poll_one(fd.poll_read_ready(cx))?;
            let write = want.write && poll_one(fd.poll_write_ready(cx))?;
            if read || write {
                return Poll::Ready(Ok(Ready { read, write }));
            }
            gone.as_mut().poll(cx).map(|_| Err(io::ErrorKind::BrokenPipe.into()))
        })
        .await
    }

    /// Runs `f`, and forgets the readiness for `interest` if it would block.
    pub(crate) fn try_io<R>(
        &self,
        interest: Interest,
        mut f: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        match self {
            Self::Fresh(fd) => f(fd.as_fd()),
            Self::Registered(fd) => fd.try_io(interest, |fd| f(fd.as_fd())),
            Self::Broken => Err(broken()),
        }
    }

    fn register(&mut self) -> io::Result<&AsyncFd<OwnedFd>> {
        if let Self::Fresh(_) = self
            && let Self::Fresh(fd) = std::mem::replace(self, Self::Broken)
        {
            // SAFETY: an `OwnedFd` is open until it is dropped, and `AsyncFd` drops it only after deregistering.
            *self = Self::Registered(unsafe { AsyncFd::register(fd) }?);
        }
        match self {
            Self::Registered(fd) => Ok(fd),
            Self::Fresh(_) | Self::Broken => Err(broken()),
        }
    }
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
