//! The process that serves a web site: takes what the daemon gives, gives up the rest, serves until the daemon ends.
//!
//! It has the certificate's key, and which keys its users have; never a private key of the tunnel. Not here: who starts it
//! (`web`).

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use adit::transport::apart::{Half, Needs};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use super::WEB_HALF;
use crate::cmd;
use crate::confine::{Keeps, Sockets, confine};
use crate::exit::{Exit, Failure, Result};
use crate::render;

/// Where machines keep their certificate authorities; what is not there is not needed.
const AUTHORITIES: [&str; 7] = [
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/var/lib/ca-certificates",
];
/// Who names others.
const AUTHORITIES_BY: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// So many processors are few.
const FEW: usize = 2;

/// Serves. Called before there is another thread.
pub(crate) fn serve() -> Result<Exit> {
    let way = way()?;
    render::log_to_stderr();
    // It was started by a path that says nothing.
    let _unnamed = rustix::thread::set_name(c"adit-web");
    let failed = |e| Failure::io("the web site cannot be served", &e);
    let half = Half::receive(way).map_err(failed)?;
    if let Some(missing) = confine(&keeps(half.needs().map_err(failed)?))? {
        tracing::warn!("{missing}");
    }
    // On one or two processors one worker: what carries the datagrams and the connections would only wake each other.
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cmd::runtime_with(if processors <= FEW { 1 } else { processors })?.block_on(async {
        // It ends as the daemon does, whoever else is told to: both have one terminal, or one service.
        let _ignored = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        // On a worker, beside the connections whose datagrams it carries.
        match tokio::spawn(half.serve()).await.unwrap_or_else(|e| Err(io::Error::other(e))) {
            Ok(()) => Ok(Exit::Done),
            // The daemon was told, or is gone.
            Err(error) => {
                tracing::debug!(%error, "the web site is not served any more");
                Ok(Exit::Failed)
            }
        }
    })
}

/// The way to the daemon that started this process.
fn way() -> Result<UnixStream> {
    let usage = || Failure::usage("`adit web-half` is for the daemon itself").hint("`adit up` starts it with a tunnel");
    let whose = std::env::var_os(WEB_HALF).ok_or_else(usage)?;
    // Dies with the daemon; whoever is not its child is told so.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|e| Failure::io("cannot be tied to the process that started it", &e.into()))?;
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if whose != OsString::from(parent.to_string()) {
        return Err(usage());
    }
    let way = io::stdin().as_fd().try_clone_to_owned();
    way.map(UnixStream::from).map_err(|e| Failure::io("cannot reach the process that started it", &e))
}

fn keeps(needs: Needs) -> Keeps {
    let Needs { mut read, write, authorities, connect } = needs;
    if authorities {
        read.extend(AUTHORITIES.map(PathBuf::from));
        read.extend(AUTHORITIES_BY.iter().filter_map(std::env::var_os).map(PathBuf::from));
    }
    Keeps { who: "the process of the web site", write, read, sockets: Sockets::ConnectTo(connect) }
}
