//! One tunnel on this machine: a profile brought up, reloaded, looked at and taken down.
//!
//! `wireguard` and `openvpn` join the library's tunnel, the engine's TUN and UDP, and the host's plan. Not here: who owns it (`daemon`), what the
//! profile asks of the machine (`plan`), which sentence an error of the system becomes (`why`).

mod asked;
mod foreground;
mod network;
mod openvpn;
mod plan;
mod running;
mod save;
mod status;
mod why;
mod wireguard;

pub(crate) use self::asked::{Asked, AskedPeers};
pub(crate) use self::foreground::foreground;
pub(crate) use self::openvpn::{Asked as AskedOpenVpn, AskedServer, LoginQuestion, Question, is_of_server};
pub(crate) use self::running::{Running, Wanted};

use std::path::Path;

use adit::uapi_socket::{self, UapiSocket};
use adit_engine::Offload;
use adit_host::{Host, HostError};

use crate::exit::{Failure, Result};
use crate::places::Places;

/// The machine, with its journals where this daemon keeps them.
fn host(places: &Places) -> Host {
    Host::at(places.journals())
}

/// What bringing a profile up would change on this machine, in order.
pub(crate) async fn dry_run(name: &str, asked: Asked, places: &Places) -> Result<Vec<String>> {
    let Asked { profile, gateway, guests, .. } = asked;
    let mut wanted = plan::of_profile(name, &profile)?;
    wanted.gateway = gateway;
    let changes = host(places).plan(&wanted).await.map_err(|e| host_failure(&e))?;
    let port = match profile.interface.listen_port.unwrap_or(0) {
        0 => "a free UDP port".to_owned(),
        port => format!("UDP port {port}"),
    };
    let web_site = profile.web_site.as_ref().map(|site| {
        let places: Vec<_> = site.listen.iter().map(ToString::to_string).collect();
        format!("serve the web site {} on TCP {}", site.site, places.join(", "))
    });
    let first = [
        format!("create the interface {name}"),
        format!("listen on {port}"),
        match profile.peers.len() {
            1 => "configure 1 peer".to_owned(),
            n => format!("configure {n} peers"),
        },
    ];
    let openvpn = guests.map(|guests| format!("listen on UDP port {} for OpenVPN clients", guests.port));
    Ok(first.into_iter().chain(web_site).chain(openvpn).chain(changes.iter().map(ToString::to_string)).collect())
}

/// What bringing an OpenVPN client up would do; what its server sets is not known before it has said so.
pub(crate) fn dry_run_openvpn(name: &str, asked: &AskedOpenVpn) -> Vec<String> {
    let servers = asked.servers().into_iter().map(|server| format!("connect to {server}"));
    std::iter::once(format!("create the interface {name}"))
        .chain(servers)
        .chain(std::iter::once("set the addresses, routes and name servers that the server says".to_owned()))
        .chain(asked.programs())
        .collect()
}

/// Undoes what killed runs left: of one tunnel, or of all. Says what was undone.
pub(crate) async fn recover(places: &Places, name: Option<&str>) -> Result<Vec<String>> {
    let host = host(places);
    let Some(name) = name else {
        let mut undone = Vec::new();
        for (link, result) in host.recover_all().await.map_err(|e| host_failure(&e))? {
            match result {
                Ok(changes) => {
                    undone.extend(changes.iter().map(|change| format!("{link}: {change}")));
                    undone.extend(remove_dead_socket(&link).map(|what| format!("{link}: {what}")));
                }
                // One that cannot be undone stops nobody: it stays in its journal.
                Err(e) => tracing::error!("what an earlier run of {link} left is not all removed: {e}"),
            }
        }
        return Ok(undone);
    };
    let changes = host.recover(name).await.map_err(|e| host_failure(&e))?;
    Ok(changes.iter().map(ToString::to_string).chain(remove_dead_socket(name)).collect())
}

/// A killed tunnel leaves its control socket, which `wg show` would stumble over. One that answers is left alone.
fn remove_dead_socket(name: &str) -> Option<String> {
    let there = Path::new(uapi_socket::SOCKET_DIR).join(format!("{name}.sock")).exists();
    // Binding replaces a dead one, and dropping removes what was bound.
    let bound = there.then(|| UapiSocket::bind(name).ok())??;
    Some(format!("the control socket {}", bound.path().display()))
}

/// `ADIT_OFFLOAD`: which offloads may be used.
fn offload() -> Result<Offload> {
    match std::env::var("ADIT_OFFLOAD") {
        Ok(list) => list.parse().map_err(|e| Failure::usage(format!("ADIT_OFFLOAD: {e}"))),
        Err(_) => Ok(Offload::AUTO),
    }
}

fn host_failure(error: &HostError) -> Failure {
    if error.is_denied() { Failure::privilege(error) } else { Failure::failed(error) }
}
