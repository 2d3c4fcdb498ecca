//! An OpenVPN server that is up: its interface, its port, and what it changed on this machine.
//!
//! Not here: the server itself (`adit::openvpn::server`).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use adit::openvpn::server::{Carrier, Files, Layout, Server, Shown, StartError};
use adit_engine::{LinkState, RunOn, Status, TunDevice, TunLink, UdpOptions};
use adit_host::{Applied, Host, HostPlan, Prepared, Table};
use adit_openvpn::options::{self, Config, Crl, Destination, Material, ServerConfig, Transport, Via};
use ipnet::IpNet;
use tokio::task::JoinHandle;

use super::super::{host, host_failure, offload, why};
use super::asked::{notes, read, unusable_with_its_files};
use super::plan::MTU;
use super::{LOOK_EVERY, report};
use crate::cmd::import;
use crate::exit::{Failure, Result};
use crate::places::Places;
use crate::report::{ServedClient, ServingReport, State, TunnelReport};
use crate::rpc::Done;

/// What an OpenVPN server is asked to be: a configuration with the files that it names.
#[derive(Debug)]
pub(crate) struct AskedServer {
    config: Box<ServerConfig>,
    layout: Layout,
    /// Where relative names of files that it keeps count from.
    base: PathBuf,
    /// The list of withdrawn certificates, which is in the configuration too, as it was.
    revoked: Option<PathBuf>,
    /// What a person should hear of it.
    pub(crate) notes: Vec<String>,
}

impl AskedServer {
    /// By a file; one that is wrong says so.
    pub(crate) fn of_file(file: &Path) -> Result<Self> {
        let (text, mode) = read(file)?;
        let (whole, base) = import::with_its_files_at_home(file, &text)?;
        let Some(Config::Server(config)) = options::parse(whole.expose()).config else {
            return Err(unusable_with_its_files(file));
        };
        let in_file = |why: &dyn std::fmt::Display| Failure::usage(format!("{}: {why}", file.display()));
        let layout = Layout::of(&config).map_err(|why| in_file(&why))?;
        adit_openvpn::server_of(&config).map_err(|why| in_file(&why))?;
        let revoked = list_of(&text).map(|list| base.join(list));
        Ok(Self { config, layout, base, revoked, notes: notes(file, &text, mode) })
    }

    /// What bringing it up would do.
    pub(crate) fn changes(&self, name: &str) -> Vec<String> {
        let (plan, _) = plan(name, &self.config, &self.layout);
        let listed = |nets: &[IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut changes = vec![
            format!("create the interface {name}"),
            format!("listen on {} port {}", transport(&self.config).to_uppercase(), self.config.listen.port),
            format!("give it the addresses {}", listed(&plan.addresses)),
        ];
        if !plan.routes.is_empty() {
            changes.push(format!("lead {} to its clients", listed(&plan.routes)));
        }
        changes
    }
}

/// A server with its interface and everything it changed on this machine.
#[derive(Debug)]
pub(crate) struct Serving {
    name: String,
    config: Box<ServerConfig>,
    revoked: Option<PathBuf>,
    server: Server,
    fwmark: u32,
    host: Host,
    addresses: Vec<String>,
    notes: Vec<String>,
    /// Empty when the tunnel is down.
    applied: tokio::sync::Mutex<Option<Box<Applied>>>,
    /// Ends before the server does.
    follower: Mutex<Option<JoinHandle<()>>>,
    end: Arc<Mutex<Option<&'static str>>>,
}

impl Serving {
    /// Brings the server up. On failure, nothing is left of it.
    pub(crate) async fn up(name: &str, asked: AskedServer, places: &Places) -> Result<(Self, Done)> {
        let (mut plan, left_aside) = plan(name, &asked.config, &asked.layout);
        let host = host(places);
        let prepared = host.prepare(&plan).await.map_err(|e| host_failure(&e))?;
        plan.fwmark = prepared.fwmark().or(plan.fwmark);
        let (server, link) = match start(name, &asked, plan.fwmark.unwrap_or(0), places) {
            Ok(started) => started,
            Err(failure) => return Err(cancelled(prepared, failure).await),
        };
        let applied = match prepared.apply(&plan).await {
            Ok(applied) => applied,
            Err(error) => {
                server.stop().await;
                return Err(host_failure(&error));
            }
        };
        let end = Arc::default();
        let follower = tokio::spawn(follow_link(link, server.clone(), Arc::clone(&end)));
        let notes = [asked.notes, left_aside.clone()].concat();
        let running = Self {
            name: name.to_owned(),
            config: asked.config,
            revoked: asked.revoked,
            server,
            fwmark: plan.fwmark.unwrap_or(0),
            host,
            addresses: plan.addresses.iter().map(ToString::to_string).collect(),
            notes: left_aside,
            applied: tokio::sync::Mutex::new(Some(Box::new(applied))),
            follower: Mutex::new(Some(follower)),
            end,
        };
        Ok((running, Done { notes }))
    }

    /// Takes no changes while it runs, and says so; a file that says the same is no change.
    pub(crate) fn reload(&self, asked: &AskedServer) -> Result<Done> {
        // What withdrawn certificates are in the list is looked at anyway.
        let rest = |config: &ServerConfig| {
            let mut config = config.clone();
            config.common.peer.crl.take_if(|crl| matches!(crl, Crl::List(_)));
            config
        };
        if rest(&asked.config) == rest(&self.config) && asked.revoked == self.revoked {
            return Ok(Done { notes: vec!["Nothing in the file differs from what is running.".to_owned()] });
        }
        Err(Failure::failed("an OpenVPN server takes changes of its file when it is brought up")
            .hint(format!("`adit down {0}`, then `adit up {0}`: clients come again by themselves", self.name)))
    }

    /// Makes again what was made on this machine and somebody has taken away since.
    pub(crate) async fn mend(&self) -> Result<Done> {
        let mut applied = self.applied.lock().await;
        let Some(applied) = applied.as_mut() else { return Ok(Done::default()) };
        let changes = self.host.mend(applied).await.map_err(|e| host_failure(&e))?;
        Ok(Done { notes: changes.iter().map(ToString::to_string).collect() })
    }

    /// Tells clients, and undoes everything.
    pub(crate) async fn down(&self) -> Result<Done> {
        if let Some(follower) = self.follower.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It would keep the server and its interface.
            follower.abort();
        }
        let applied = self.applied.lock().await.take();
        let server = self.server.clone();
        let end = async move { drop(server.stop().await) };
        match applied {
            Some(applied) => drop(applied.undo_around(end).await.map_err(|e| host_failure(&e))?),
            None => end.await,
        }
        Ok(Done::default())
    }

    /// Waits until it has ended by itself, and says why.
    pub(crate) async fn ended(&self) -> String {
        let stopped = self.server.stopped().await;
        let end = *held(&self.end);
        end.map_or_else(|| stopped.to_string(), str::to_owned)
    }

    /// How it is.
    pub(crate) async fn report(&self) -> TunnelReport {
        let shown = self.server.shown().await;
        let notes = self.notes.iter().cloned().chain(shown.trouble.iter().cloned()).collect();
        let base = TunnelReport {
            addresses: self.addresses.clone(),
            notes,
            fwmark: self.fwmark,
            listen_port: Some(self.server.port()),
            transport: transport(&self.config).to_owned(),
            ..TunnelReport::empty(&self.name)
        };
        of_server(base, &shown, self.config.server.max_clients, self.server.engine().await.ok())
    }
}

/// The file that `crl-verify` names as a list.
fn list_of(text: &str) -> Option<String> {
    match options::parse(text).config?.common().peer.crl.clone()? {
        Crl::List(Material::File(name)) => Some(name),
        Crl::List(Material::Inline(_)) | Crl::Directory(_) => None,
    }
}

/// What packets travel in.
const fn transport(config: &ServerConfig) -> &'static str {
    match config.listen.transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
    }
}

async fn cancelled(prepared: Prepared, failure: Failure) -> Failure {
    if let Err(left) = prepared.cancel().await {
        tracing::warn!("{left}");
    }
    failure
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Inside, protocol and outside, joined.
fn start(name: &str, asked: &AskedServer, fwmark: u32, places: &Places) -> Result<(Server, TunLink)> {
    let offload = offload()?;
    let port = asked.config.listen.port;
    let options = UdpOptions { port, fwmark, offload };
    let (outside, control) =
        Carrier::listen(&asked.config, options).map_err(|e| match asked.config.listen.transport {
            Transport::Udp => why::udp(port, fwmark, &e),
            Transport::Tcp => Failure::io(format!("cannot listen on TCP port {port}"), &e),
        })?;
    let inside = TunDevice::open(name, offload).map_err(|e| why::tun(name, &e))?;
    let link = inside.link().map_err(|e| why::tun(name, &e))?;
    let files =
        Files { base: asked.base.clone(), scratch: places.scratch().join(name), revoked: asked.revoked.clone() };
    let server =
        Server::start(&asked.config, &files, inside, outside, control, RunOn::Runtime).map_err(|e| match e {
            StartError::NoRandomness(_) | StartError::PoolFile { .. } => Failure::failed(e),
            StartError::Missing { .. } | StartError::Unusable(_) | StartError::Layout(_) | StartError::Tls(_) => {
                Failure::usage(e)
            }
        })?;
    Ok((server, link))
}

/// Notices when somebody removes the interface: that is the end of the tunnel.
async fn follow_link(mut link: TunLink, server: Server, end: Arc<Mutex<Option<&'static str>>>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if matches!(link.state(), Ok(LinkState::Gone)) {
            *held(&end) = Some("its interface was removed");
            server.stop().await;
            return;
        }
    }
}

/// What it asks of the machine, and what of the file is not in it, a sentence each.
fn plan(name: &str, config: &ServerConfig, layout: &Layout) -> (HostPlan, Vec<String>) {
    let (common, mut notes) = (&config.common, Vec::new());
    let mut routes = layout.networks();
    for route in &common.inside.routes {
        match (&route.to, route.via) {
            (Destination::V4(net), Via::Tunnel | Via::Address(_)) => routes.push(IpNet::from(*net)),
            (Destination::V6(net), Via::Tunnel | Via::Address(_)) => routes.push(IpNet::from(*net)),
            (to, _) => notes.push(format!("the route to {to:?} is not made: only those into the tunnel are")),
        }
    }
    let plan = HostPlan {
        name: name.to_owned(),
        addresses: if common.hands_off.addresses { Vec::new() } else { layout.own() },
        mtu: Some(config.listen.sizes.tun_mtu.map_or(MTU, u32::from)),
        table: if common.hands_off.routes { Table::Off } else { Table::Auto },
        routes,
        fwmark: common.socket.mark,
        ..HostPlan::default()
    };
    (plan, notes)
}

fn of_server(base: TunnelReport, shown: &Shown, most: u32, engine: Option<Status>) -> TunnelReport {
    let state = match &engine {
        None => State::Failed,
        Some(_) if shown.guests.is_empty() => State::Waiting,
        Some(_) => State::Connected,
    };
    let client = |guest: &adit::openvpn::server::Guest| ServedClient {
        name: guest.name.clone(),
        from: guest.from.to_string(),
        addresses: guest.addresses.iter().map(ToString::to_string).collect(),
        networks: guest.networks.iter().map(ToString::to_string).collect(),
        connected_seconds: guest.since.elapsed().as_secs(),
        renewals: guest.renewals,
    };
    let serving = ServingReport {
        clients: shown.guests.iter().map(client).collect(),
        most,
        admitted: shown.admitted,
        refused: shown.refused,
    };
    let base = TunnelReport { state, openvpn_server: Some(serving), ..base };
    match engine {
        Some(engine) => report::with_engine(base, &engine),
        None => base,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(lines: &str) -> (Vec<String>, Vec<String>, Vec<String>) {
        let papers = "<ca>\nx\n</ca>\n<cert>\nx\n</cert>\n<key>\nx\n</key>\n";
        let Some(Config::Server(config)) = options::parse(&format!("{lines}{papers}")).config else {
            panic!("{lines}")
        };
        let (plan, notes) = plan("office", &config, &Layout::of(&config).unwrap());
        let text = |nets: &[IpNet]| nets.iter().map(ToString::to_string).collect();
        (text(&plan.addresses), text(&plan.routes), notes)
    }

    #[test]
    fn the_machine_gets_the_addresses_of_the_network_and_the_routes_to_clients() {
        let (addresses, routes, notes) = planned(
            "server 10.8.0.0 255.255.255.0\ntopology subnet\nserver-ipv6 fd00:8::/64\nroute 192.168.4.0 255.255.255.0\n\
             route-ipv6 fd00:4::/64\nroute 192.168.5.0 255.255.255.0 net_gateway\n",
        );
        assert_eq!(addresses, ["10.8.0.1/24", "fd00:8::1/64"]);
        assert_eq!(routes, ["192.168.4.0/24", "fd00:4::/64"]);
        assert_eq!(notes.len(), 1);
        let (addresses, routes, _) = planned("server 10.8.0.0 255.255.255.0\n");
        assert_eq!((addresses, routes), (vec!["10.8.0.1/32".to_owned()], vec!["10.8.0.0/24".to_owned()]));
        let (addresses, ..) = planned("server 10.8.0.0 255.255.255.0\nifconfig-noexec\n");
        assert!(addresses.is_empty());
    }
}
