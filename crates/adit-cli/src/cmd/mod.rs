//! What the commands do, a file each.
//!
//! A command returns how to end, or why it failed; what it has to say goes through `render`.

mod check;
mod daemon;
mod demo;
mod doctor;
mod down;
mod examine;
mod generate;
pub(crate) mod import;
mod join;
mod keys;
mod login;
mod network;
mod probe;
mod reload;
mod server;
mod status;
mod up;
mod version;

use adit::profile::file::LoadError;

pub(crate) use self::check::{CheckLine, CheckReport, CheckVerdict, judge_openvpn};

use crate::args::Command;
use crate::exit::{Exit, Failure, Result};

/// Does it.
pub(crate) fn run(command: Command) -> Result<Exit> {
    match command {
        Command::Up(args) => up::run(&args),
        Command::Join(args) => join::run(&args),
        Command::Down(args) => down::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Genkey => keys::genkey(),
        Command::Genpsk => keys::genpsk(),
        Command::Pubkey(args) => keys::pubkey(&args),
        Command::Server(command) => server::run(&command),
        Command::Invite(args) => network::invite(&args),
        Command::Peers(args) => network::peers(&args),
        Command::Peer(command) => network::peer(&command),
        Command::Policy(command) => network::policy(&command),
        Command::Demo(args) => demo::run(&args),
        Command::Examine(args) => examine::run(&args),
        Command::Daemon(args) => daemon::run(&args),
        Command::WebHalf => crate::web::serve(),
        Command::Version(args) => Ok(version::run(&args)),
        Command::Completions { shell } => Ok(generate::completions(shell)),
        Command::Man { directory } => generate::man(&directory),
    }
}

/// The runtime of a process that owns tunnels.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    runtime_with(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

/// The same with so many workers.
pub(crate) fn runtime_with(workers: usize) -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .thread_name("adit")
        .on_thread_start(adit_engine::prefer_promptness)
        .build()
        .map_err(|e| Failure::io("cannot start threads", &e))
}

/// Waits for work of the library inside a command.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> Result<T> {
    Ok(runtime()?.block_on(work))
}

/// Says which privilege is missing, if one is.
fn needs_net_admin(what: &str) -> Result<()> {
    let net_admin = rustix::thread::CapabilitySet::NET_ADMIN;
    if rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(net_admin)) {
        return Ok(());
    }
    let command: Vec<_> = std::env::args().skip(1).collect();
    Err(Failure::privilege(format!("{what} needs the privilege CAP_NET_ADMIN, which this process does not have"))
        .hint(format!("run `sudo adit {}`", command.join(" "))))
}

/// There is nobody to ask about this tunnel.
fn no_daemon(name: &str) -> Failure {
    Failure::not_connected(format!("{name} is not up: no daemon runs"))
        .hint(format!("bring it up with `adit up {name}`"))
}

/// A configuration that cannot be had: refused reading needs privilege, everything else is wrong usage.
fn load_failure(error: &LoadError) -> Failure {
    let kind = if matches!(error, LoadError::Denied { .. }) { Exit::Privilege } else { Exit::Usage };
    Failure::new(kind, error)
}
