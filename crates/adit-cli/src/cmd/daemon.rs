//! `adit daemon`.

use crate::args::DaemonArgs;
use crate::daemon::{self, Mode};
use crate::exit::{Exit, Failure, Result};
use crate::places::Places;
use crate::render;

/// Runs until it is told to end, or has nothing more to do.
pub(super) fn run(args: &DaemonArgs) -> Result<Exit> {
    if args.with_parent {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
            .map_err(|e| Failure::io("cannot bind this process to its parent", &e.into()))?;
    }
    if args.on_demand {
        // Fails only for the leader of a process group, which has no terminal to be rid of.
        let _leader = rustix::process::setsid();
    }
    super::needs_net_admin("owning this machine's tunnels")?;
    render::log_to_stderr();
    let mode = if args.on_demand { Mode::OnDemand } else { Mode::Lasting };
    let runtime = super::runtime()?;
    let ended = runtime.block_on(daemon::run(Places::of_this_process(), mode));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    ended.map(|()| Exit::Done)
}
