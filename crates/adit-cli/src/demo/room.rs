//! A room: a thread that lives in a network namespace of its own, and does there what it is asked to.
//!
//! The namespace has no name and nothing else holds it, so it ends with this process, however that ends.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::mpsc;
use std::thread::JoinHandle;

use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::{Handle, LinkUnspec, LinkVeth};

use super::sys;
use crate::exit::{Failure, Result};

/// Work to be done inside.
type Job = Box<dyn FnOnce() + Send>;

/// A network namespace with a thread in it.
#[derive(Debug)]
pub(super) struct Room {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    namespace: File,
}

impl Room {
    /// Makes one. It has nothing but a loopback device, which is down.
    pub(super) fn new(name: &str) -> Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready, outcome) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(format!("room {name}"))
            .spawn(move || {
                let entered = sys::enter_new_network_namespace().and_then(|()| File::open("/proc/thread-self/ns/net"));
                let stay = entered.is_ok();
                if ready.send(entered).is_ok() && stay {
                    inbox.iter().for_each(|job| job());
                }
            })
            .map_err(|e| Failure::io("cannot start a thread", &e))?;
        let entered = outcome.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
        let namespace = entered.map_err(|e| Failure::io("cannot make a network namespace", &e))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), namespace })
    }

    /// Does this inside, and waits for it. Threads and processes started there stay inside.
    pub(super) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (done, outcome) = mpsc::channel();
        let job: Job = Box::new(move || {
            let _nobody_waits = done.send(work());
        });
        self.jobs
            .as_ref()
            .and_then(|jobs| jobs.send(job).ok())
            .and_then(|()| outcome.recv().ok())
            .ok_or_else(|| Failure::failed("the thread in the namespace has ended"))
    }

    /// Lays a virtual cable to another room: an interface called `cable` with its address at either end.
    pub(super) fn connect(&self, other: &Self, here: [u8; 4], there: [u8; 4]) -> Result<()> {
        let namespace = other.namespace.try_clone().map_err(|e| Failure::io("cannot copy a descriptor", &e))?;
        self.netlink(move |handle| async move {
            handle.link().add(LinkVeth::new("cable", "far-end").build()).execute().await?;
            let far = LinkUnspec::new_with_name("far-end").setns_by_fd(namespace.as_raw_fd()).build();
            handle.link().set(far).execute().await?;
            furnish(&handle, "cable", here).await
        })?;
        other.netlink(move |handle| async move {
            let index = index_of("far-end")?;
            let renamed: LinkMessage = LinkUnspec::new_with_index(index).name("cable".to_owned()).build();
            handle.link().set(renamed).execute().await?;
            furnish(&handle, "cable", there).await
        })
    }

    /// Talks to the kernel about the links inside.
    fn netlink<F, W>(&self, work: F) -> Result<()>
    where
        F: FnOnce(Handle) -> W + Send + 'static,
        W: Future<Output = std::result::Result<(), rtnetlink::Error>>,
    {
        let failed = |e: &dyn std::fmt::Display| Failure::failed(format!("cannot lay a cable between namespaces: {e}"));
        self.run(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| failed(&e))?;
            runtime.block_on(async {
                let (connection, handle, _) = rtnetlink::new_connection().map_err(|e| failed(&e))?;
                let task = tokio::spawn(connection);
                let done = work(handle).await.map_err(|e| failed(&e));
                task.abort();
                done
            })
        })?
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// The number of an interface in this thread's namespace.
fn index_of(name: &str) -> std::result::Result<u32, rtnetlink::Error> {
    let failed = |e: rustix::io::Errno| rtnetlink::Error::NamespaceError(format!("no {name}: {e}"));
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None);
    rustix::net::netdevice::name_to_index(socket.map_err(failed)?, name).map_err(failed)
}

/// Gives a cable its address and sets it up, and the loopback device as well.
async fn furnish(handle: &Handle, link: &str, address: [u8; 4]) -> std::result::Result<(), rtnetlink::Error> {
    let index = index_of(link)?;
    handle.address().add(index, address.into(), 24).execute().await?;
    handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await?;
    handle.link().set(LinkUnspec::new_with_name("lo").up().build()).execute().await
}
