//! Commands about the network that this machine serves: they ask its server, and show what it says.
//!
//! Not here: serving it (`server`), what is said to and fro (`server::api`).

mod invite;
mod peer;
mod policy;

use serde::de::DeserializeOwned;

use crate::args::network::NetworkJsonArgs;
use crate::client::Client;
use crate::exit::{Exit, Failure, Result};
use crate::places::Places;
use crate::render::{self, Style};
use crate::server::api::{self, Ask, AuditChain, AuditRow, NetworkReport, PeerRow};

pub(super) use self::invite::run as invite;
pub(super) use self::peer::run as peer;
pub(super) use self::policy::run as policy;

/// `adit peers`.
pub(super) fn peers(args: &NetworkJsonArgs) -> Result<Exit> {
    let peers: Vec<PeerRow> = ask(Ask::Peers)?;
    if args.json {
        render::json(&peers);
    } else {
        render::print(&render::network::peers(&peers, now(), Style::of_stdout()));
    }
    Ok(Exit::Done)
}

/// `adit server status`.
pub(super) fn status(args: &NetworkJsonArgs) -> Result<Exit> {
    let network: NetworkReport = ask(Ask::Network)?;
    if args.json {
        render::json(&network);
    } else {
        render::print(&render::network::network(&network, Style::of_stdout()));
    }
    Ok(Exit::Done)
}

/// `adit server log`.
pub(super) fn log(most: u32, as_json: bool) -> Result<Exit> {
    let rows: Vec<AuditRow> = ask(Ask::Audit { most })?;
    if as_json {
        render::json(&rows);
    } else {
        render::print(&render::network::log(&rows, Style::of_stdout()));
    }
    Ok(Exit::Done)
}

/// `adit server log --verify`.
pub(super) fn verify_log(kept: Option<String>, as_json: bool) -> Result<Exit> {
    let chain: AuditChain = ask(Ask::VerifyAudit { kept })?;
    if as_json {
        render::json(&chain);
    } else {
        render::print(&render::network::chain(&chain, Style::of_stdout()));
    }
    Ok(if chain.broken.is_none() { Exit::Done } else { Exit::Failed })
}

/// `adit server backup FILE`.
pub(super) fn backup(file: &std::path::Path) -> Result<Exit> {
    let failed = |e: &std::io::Error| Failure::io(format!("cannot write {}", file.display()), e);
    if file.exists() {
        return Err(Failure::usage(format!("{} is there already", file.display())).hint("give a file that is not"));
    }
    // The server may write nowhere but beside its database; we may. It says a number and no path: whatever has become of it
    // shall not have root read and remove what it likes.
    let fresh = beside_the_database(&api::backup_name(ask(Ask::Backup)?));
    let copied = copy(&fresh, file).map_err(|e| failed(&e));
    let _removed = std::fs::remove_file(&fresh);
    copied?;
    render::line(&format!(
        "The network's state is in {}. The server's private key is not: keep network.key as well.",
        file.display()
    ));
    Ok(Exit::Done)
}

/// `adit server restore FILE`, while a server runs; `false` if none does.
pub(super) fn restore(file: &std::path::Path) -> Result<bool> {
    let places = Places::of_this_process();
    let Some(mut client) = Client::connect_to(&places.server_socket())? else { return Ok(false) };
    // The server may read nothing but what is beside its database.
    let name = format!("restore-{}", std::process::id());
    let beside = beside_the_database(&name);
    copy(file, &beside).map_err(|e| Failure::io(format!("cannot copy {}", file.display()), &e))?;
    let called = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let restored: Result<()> = client.call(Ask::Restore { file: name, called });
    let _removed = std::fs::remove_file(&beside);
    restored.map(|()| true)
}

fn beside_the_database(name: &str) -> std::path::PathBuf {
    Places::of_this_process().server_state().join("db").join(name)
}

/// Copies a file, and nothing that is called one: a link could lead anywhere.
fn copy(from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let nofollow = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut from = std::fs::OpenOptions::new().read(true).custom_flags(nofollow.bits().cast_signed()).open(from)?;
    if !from.metadata()?.is_file() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is not a file"));
    }
    let mut to = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    std::io::copy(&mut from, &mut to)?;
    to.sync_all()
}

/// Asks the server of this machine.
fn ask<T: DeserializeOwned>(what: Ask) -> Result<T> {
    let places = Places::of_this_process();
    let client = Client::connect_to(&places.server_socket())?;
    let mut client = client.ok_or_else(|| {
        Failure::not_connected("no network is served on this machine")
            .hint("start it with `adit server up`, or `systemctl start adit-server`")
    })?;
    client.call(what)
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}
