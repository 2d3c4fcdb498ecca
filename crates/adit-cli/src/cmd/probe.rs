//! `adit examine --probe`: a censor's questions to two servers, and how their answers differ.

use std::net::{SocketAddr, ToSocketAddrs as _};

use adit_examine::probe::{self, Plan};

use crate::args::ExamineArgs;
use crate::exit::{Exit, Failure, Result};
use crate::render::{self, Style};

/// Compares two servers.
pub(super) fn run(args: &ExamineArgs, target: &str, against: &str) -> Result<Exit> {
    let host = target.rsplit_once(':').map_or(target, |(host, _)| host).trim_matches(['[', ']']);
    let seed = match args.seed {
        Some(seed) => seed,
        None => getrandom::u64().map_err(|e| Failure::failed(format!("no random numbers: {e}")))? >> 16,
    };
    let plan = Plan {
        paths: args.path.clone(),
        rounds: args.rounds,
        seed,
        ..Plan::new(address(target)?, address(against)?, args.name.as_deref().unwrap_or(host))
    };
    let count = plan.probes_in_a_round() * plan.rounds as usize;
    render::note(&format!("about {count} probes to each of {target} and {against}; seed {seed}"));
    let comparison = super::block_on(probe::compare(&plan))?.map_err(|e| Failure::failed(e.to_string()))?;
    if args.json {
        render::line(&comparison.json());
    } else {
        render::print(&render::examine::comparison(&comparison, Style::of_stdout()));
    }
    Ok(if comparison.different { Exit::Failed } else { Exit::Done })
}

fn address(text: &str) -> Result<SocketAddr> {
    let problem =
        |why: String| Failure::usage(format!("{text}: {why}")).hint("write HOST:PORT, or [ADDRESS]:PORT for IPv6");
    let mut addresses = text.to_socket_addrs().map_err(|e| problem(e.to_string()))?;
    addresses.next().ok_or_else(|| problem("no address".to_owned()))
}
