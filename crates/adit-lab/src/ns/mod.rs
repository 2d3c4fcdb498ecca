//! Network namespaces: made, entered, and removed with everything that runs in them.
//!
//! Not here: links between them (`link`), whole topologies (`world`), what a router does to packets (`router`).

mod link;
mod router;
mod sweep;
mod world;

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::thread::JoinHandle;

use rustix::fd::AsFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::shell::{Failed, Run};

pub use link::{Family, join};
pub use router::Router;
pub use world::{Side, World};

/// A network namespace of this process. Clones mean the same one; the last clone removes it.
#[derive(Debug, Clone)]
pub struct Namespace(Arc<Made>);

#[derive(Debug)]
struct Made {
    name: String,
}

static SWEPT: Once = Once::new();
static NEXT: AtomicUsize = AtomicUsize::new(0);

impl Namespace {
    /// A new, empty namespace with loopback up, named `adit-PID-n`.
    #[track_caller]
    pub fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "network namespaces need root\n  hint: run `sudo -E cargo xtask lab`"
        );
        SWEPT.call_once(sweep::leftovers_of_the_dead);
        let name = format!("adit-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Run::line(&format!("ip netns add {name}")).ok();
        let made = Self(Arc::new(Made { name }));
        made.run("ip link set lo up");
        made
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// A command inside, ready to be given more.
    pub fn command(&self, line: &str) -> Run {
        Run::line(&format!("ip netns exec {} {line}", self.name()))
    }

    /// Runs a command inside; its failure is the test's.
    #[track_caller]
    pub fn run(&self, line: &str) -> String {
        self.command(line).ok()
    }

    /// Runs a command inside that may fail.
    pub fn attempt(&self, line: &str) -> Result<String, Failed> {
        self.command(line).attempt()
    }

    /// Does `work` on a thread inside, and waits for it. Sockets made there stay inside, wherever they are used later.
    #[track_caller]
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let done = std::thread::scope(|scope| scope.spawn(|| self.entered(work)).join());
        match done {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Does `work` on a thread inside that goes on by itself.
    pub fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let inside = self.clone();
        std::thread::spawn(move || inside.entered(work))
    }

    fn entered<T>(&self, work: impl FnOnce() -> T) -> T {
        let path = self.path();
        let file = File::open(&path).unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display()));
        if let Err(error) = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)) {
            panic!("cannot enter {}: {error}", path.display());
        }
        work()
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(self.name())
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        sweep::remove(&self.name);
    }
}
