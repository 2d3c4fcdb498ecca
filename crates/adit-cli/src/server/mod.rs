//! The server of a network: decides who is in it and what they may, and has the daemon run it.
//!
//! A process of its own, without the daemon's rights: what it decides goes to the daemon over its socket (`link`), and if
//! it ends, what was decided last goes on. The map: `monitor` the half with rights, which starts it; `confine`, beside this,
//! what it gives up; `state` its directory, `found` the first run, `serving` what it does from then on, `desk` answers commands, `enrol`
//! devices that join, `metrics` scrapers, `handout`
//! and `ovpn` what they are given, `gateway` what the daemon is to run.

pub(crate) mod api;
mod desk;
mod enrol;
mod found;
mod gateway;
mod handout;
mod link;
mod metrics;
mod monitor;
mod ovpn;
#[cfg(test)]
mod scene;
mod serving;
mod state;

use std::net::{Ipv6Addr, TcpListener};
use std::os::unix::net::UnixListener as StdListener;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use adit::profile::wg_quick::WebSite;
use adit_control::{
    Actor, Backup, Command, Desired, Host, LookUp, Model, Name, Network, NetworkChange, Service, Store, Trust, Usage,
    Web, decide,
};
use adit_wireguard::{PrivateKey, PublicKey};
use ipnet::Ipv6Net;

use self::api::NewInvite;
use self::desk::{Desk, now};
pub(crate) use self::found::DATABASE;
use self::gateway::{Ports, Whole};
use self::link::{Connected, Link, Reports};
pub(crate) use self::monitor::{MONITOR, Monitor, run as run_monitor};
use self::serving::Serving;
use self::state::{Certificate, Settings, State};
pub(crate) use self::state::{for_the_daemon, key_for_the_daemon};
use crate::args::network::ServerUpArgs;
use crate::client::Client;
use crate::confine::{self, Keeps, Sockets};
use crate::exit::{Failure, Result};
use crate::members;
use crate::places::Places;
use crate::rpc::Served;
use crate::secret::SecretText;
use crate::socket;

/// A server that is about to serve: everything is opened that needs rights.
#[derive(Debug)]
pub(crate) struct Server {
    state: State,
    settings: Settings,
    wish: Wish,
    listener: StdListener,
    metrics: Option<TcpListener>,
    /// The group whose members may decide, too.
    members: Option<u32>,
    link: Link,
    reports: Reports,
    monitor: Arc<Monitor>,
}

/// What the options say of the network.
#[derive(Debug)]
struct Wish {
    key: PublicKey,
    create: Network,
    change: NetworkChange,
    range6: Option<Ipv6Net>,
}

/// What a server says when it serves.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Begun {
    /// The network as it is.
    pub(crate) network: api::NetworkReport,
    /// An invite, if nobody has joined and none is open.
    pub(crate) invite: Option<NewInvite>,
}

impl Server {
    /// Opens what needs rights, starts the daemon if there is none, and gives the rights up.
    pub(crate) fn open(args: &ServerUpArgs, places: &Places, monitor: Monitor) -> Result<Self> {
        let state = State::open(places.server_state())?;
        if state.settings()?.is_none() {
            monitor.first()?;
        }
        let (settings, wish) = prepare(args, &state)?;
        // Looked up by the monitor: the files for it are among what is given up.
        let names = settings.database.as_ref().map(|url| Store::postgres_names(url.expose()).map_err(Failure::failed));
        monitor.names(names.transpose()?.unwrap_or_default())?;
        drop(Client::connect_or_start(places)?);
        let monitor = Arc::new(monitor);
        // Before files are given up.
        let members = members::group();
        let listener = listen(places, members)?;
        let metrics = settings.metrics.map(metrics::listen).transpose()?;
        state.set_settings(&settings)?;
        if settings.web.as_ref().is_some_and(|web| web.site.is_none()) {
            state.own_site(wish.create.hosts.first().map_or("", Host::as_str))?;
            tracing::info!("strangers see a page that any adit server may have; --site DIR gives them one of your own");
        }
        if settings.web.is_some() && wish.create.web.is_none() && web_host(&wish.create.hosts).is_none() {
            tracing::info!("devices are not told of the web site: --host gives no name and no IPv4 address for it");
        }
        let writable = state.database_directory()?;
        let keeps =
            Keeps { who: "the server's process", write: vec![writable], read: Vec::new(), sockets: Sockets::Any };
        let missing = confine::confine(&keeps)?;
        missing.iter().for_each(|missing| tracing::warn!("{missing}"));
        let (link, reports) = Connected::to_the_daemon(monitor.clone(), settings.interface.clone())?.start()?;
        Ok(Self { state, settings, wish, listener, metrics, members, link, reports, monitor })
    }

    /// Serves until it is told to end; `begun` is called when devices can join.
    pub(crate) async fn serve(self, begun: impl FnOnce(Begun)) -> Result<()> {
        let Self { state, settings, wish, listener, metrics, members, link, reports, monitor } = self;
        let service = open(&state, &settings, monitor.clone()).await?;
        settle(&service, wish, &settings).await?;
        monitor.settled()?;
        let desk = Arc::new(Desk {
            service,
            link,
            interface: settings.interface.clone(),
            seen: Mutex::new(None),
            backups: state.database_directory()?,
            last_backup: AtomicU64::new(now().0),
            running: tokio::sync::watch::Sender::new(0),
            metrics: settings.metrics,
            openvpn: settings.openvpn,
            tally: metrics::Tally::default(),
            members,
        });
        let mut serving = Serving::new(desk, settings.web, reports);
        let served = serving.run(listener, metrics, &monitor, begun).await;
        let _not_systemd = monitor.stopping();
        serving.end(served).await
    }
}

/// What a run with these options would change, in order.
pub(crate) async fn dry_run(args: &ServerUpArgs, places: &Places) -> Result<(String, Served, Option<WebSite>)> {
    let directory = places.server_state();
    let (settings, model) = match Settings::read(&directory)? {
        Some(_) => {
            let state = State::open(directory.clone())?;
            let (settings, wish) = prepare(args, &state)?;
            let store = store_of(&state, settings.database.as_ref()).await?;
            let mut model = store.load().await.map_err(Failure::failed)?;
            store.close().await;
            if let Some(command) = wanted(&model, wish, &settings)? {
                let decision = decide(&model, command, now()).map_err(Failure::failed)?;
                decision.changes.iter().for_each(|change| model.apply(change));
            }
            (settings, model)
        }
        None => {
            let hosts = found::hosts(&args.host)?;
            let settings = found::settings(args, None, &hosts)?;
            let create = network(args, &settings, &hosts, PrivateKey::new([1; 32]).public_key())?;
            create.check().map_err(Failure::usage)?;
            (settings, Model { network: Some(create), ..Model::default() })
        }
    };
    let desired = Desired::of(&model, &Usage::default(), now());
    let desired = desired.ok_or_else(|| Failure::failed("there is no network"))?;
    let ports = Ports { https: settings.web.as_ref().map(|web| web.port), openvpn: settings.openvpn };
    let hosts: Vec<_> = desired.network.hosts.iter().map(ToString::to_string).collect();
    let site = settings.web.map(|web| web.site(&directory, &hosts));
    Ok((settings.interface, Whole::of(&desired, ports).at_once(), site))
}

/// Puts a backup in place of what is there, while nobody serves it.
pub(crate) async fn restore(file: &std::path::Path, places: &Places) -> Result<()> {
    let state = State::open(places.server_state())?;
    let database = state.settings()?.and_then(|settings| settings.database);
    let store = store_of(&state, database.as_ref()).await?;
    let key = state.key()?.map(|key| key.public_key());
    store.restore(&Backup { file, called: file, key }, &own(), now()).await.map_err(Failure::failed)?;
    store.close().await;
    Ok(())
}

fn prepare(args: &ServerUpArgs, state: &State) -> Result<(Settings, Wish)> {
    let before = state.settings()?;
    let first = before.is_none();
    let hosts = if first || !args.host.is_empty() { found::hosts(&args.host)? } else { Vec::new() };
    let settings = found::settings(args, before, &hosts)?;
    if first {
        ports_differ(args.port.unwrap_or(found::USUAL_PORT), &settings)?;
    }
    let key = match state.key()? {
        Some(key) => key,
        None if first => {
            let mut bytes = zeroize::Zeroizing::new([0; 32]);
            getrandom::fill(&mut *bytes).map_err(|e| Failure::failed(format!("no random numbers for a key: {e}")))?;
            let key = PrivateKey::new(*bytes);
            state.set_key(&key)?;
            key
        }
        None => {
            return Err(Failure::failed(format!("{} is gone", state.key_file().display()))
                .hint("put it back from a copy; without it, devices that have joined do not know this server"));
        }
    };
    let create = network(args, &settings, &hosts, key.public_key())?;
    let change = NetworkChange {
        hosts: (!args.host.is_empty()).then(|| create.hosts.clone()),
        port: args.port,
        web: None,
        v4: args.range,
        dns: (!args.dns.is_empty()).then(|| args.dns.clone()),
        ..NetworkChange::default()
    };
    Ok((settings, Wish { key: key.public_key(), create, change, range6: args.range6 }))
}

/// The network of a first run.
fn network(args: &ServerUpArgs, settings: &Settings, hosts: &[String], key: PublicKey) -> Result<Network> {
    let routes = std::fs::read_to_string("/proc/self/net/route").unwrap_or_default();
    let hosts: Vec<Host> = hosts.iter().map(|host| Host::new(host).map_err(Failure::usage)).collect::<Result<_>>()?;
    Ok(Network {
        name: Name::new(&settings.interface).map_err(Failure::usage)?,
        web: settings.web.as_ref().zip(web_host(&hosts)).map(|(web, host)| offered(host, web.port, &web.certificate)),
        hosts,
        port: args.port.unwrap_or(found::USUAL_PORT),
        v4: args.range.unwrap_or_else(|| found::free_range(&routes)),
        v6: args.range6.map_or_else(found::random_range6, Ok)?,
        dns: args.dns.clone(),
        key,
    })
}

/// What devices are told of the web site; the pin of a key that is not known yet stands for nobody's.
fn offered(host: &Host, port: u16, certificate: &Certificate) -> Web {
    let trust = match certificate {
        Certificate::Acme => Trust::Public,
        Certificate::SelfSigned | Certificate::Files { .. } => Trust::Pin([0; 32]),
    };
    Web { host: host.clone(), port, trust }
}

async fn open(state: &State, settings: &Settings, monitor: Arc<Monitor>) -> Result<Service> {
    let store = match &settings.database {
        None => store_of(state, None).await?,
        Some(url) => {
            let look_up: LookUp = Arc::new(move |name| monitor.look_up(name).map_err(std::io::Error::other));
            Store::postgres_by(url.expose(), look_up).await.map_err(Failure::failed)?
        }
    };
    Service::start(store).await.map_err(Failure::failed)
}

/// The store of a process that keeps its rights.
async fn store_of(state: &State, database: Option<&SecretText>) -> Result<Store> {
    match database {
        None => Store::sqlite(&state.database_directory()?).map_err(Failure::failed),
        Some(url) => Store::postgres(url.expose()).await.map_err(Failure::failed),
    }
}

/// Makes the network if there is none, else changes what the options say.
async fn settle(service: &Service, wish: Wish, settings: &Settings) -> Result<()> {
    let Some(command) = wanted(&service.model(), wish, settings)? else { return Ok(()) };
    service.execute(command, own(), now()).await.map(drop).map_err(Failure::failed)
}

/// What makes the network be as the options say; nothing if it is.
fn wanted(model: &Model, wish: Wish, settings: &Settings) -> Result<Option<Command>> {
    match &model.network {
        None => Ok(Some(Command::CreateNetwork(wish.create))),
        Some(network) if network.key != wish.key => Err(Failure::failed("network.key is not the key of this network")
            .hint("put back the key that belongs to it, or begin anew in an empty directory")),
        Some(network) if wish.range6.is_some_and(|range6| range6 != network.v6) => {
            Err(Failure::usage(format!("the IPv6 range of a network stays as it was made: {}", network.v6))
                .hint("leave --range6 out"))
        }
        Some(network) => {
            ports_differ(wish.change.port.unwrap_or(network.port), settings)?;
            let change = NetworkChange { web: web_now(settings, network, wish.change.hosts.as_deref()), ..wish.change };
            Ok((change != NetworkChange::default()).then_some(Command::ChangeNetwork(change)))
        }
    }
}

/// WireGuard and OpenVPN clients come to ports of their own.
fn ports_differ(wireguard: u16, settings: &Settings) -> Result<()> {
    if settings.openvpn != Some(wireguard) {
        return Ok(());
    }
    Err(Failure::usage(format!("WireGuard and OpenVPN cannot both have the UDP port {wireguard}"))
        .hint("choose another with --port (WireGuard) or --openvpn PORT; `--openvpn off` needs none"))
}

/// The host that the web site is called by: an IPv6 address is no name that a browser could say in its hello.
fn web_host(hosts: &[Host]) -> Option<&Host> {
    hosts.iter().find(|host| host.as_str().parse::<Ipv6Addr>().is_err())
}

/// What devices are to be told of the web site, if it is something else than they are told: at the first of new hosts; a
/// pin that is known stays.
fn web_now(settings: &Settings, network: &Network, hosts: Option<&[Host]>) -> Option<Option<Web>> {
    let new = settings.web.as_ref().and_then(|web| {
        let before = network.web.as_ref().map(|web| &web.host);
        let host = match hosts {
            Some(hosts) => web_host(hosts),
            None => before.or(web_host(&network.hosts)),
        }?;
        let new = offered(host, web.port, &web.certificate);
        let known = network.web.as_ref().map(|web| web.trust).filter(|trust| matches!(trust, Trust::Pin(_)));
        Some(Web { trust: if new.trust == Trust::Public { Trust::Public } else { known.unwrap_or(new.trust) }, ..new })
    });
    (new != network.web).then_some(new)
}

/// This process, for the log.
fn own() -> Actor {
    Actor::new("adit server up", "this machine")
}

fn listen(places: &Places, members: Option<u32>) -> Result<StdListener> {
    // Another state's server may be there, whose socket this is.
    if Client::connect_to(&places.server_socket())?.is_some() {
        return Err(Failure::failed(format!("another server listens at {}", places.server_socket().display()))
            .hint("end that one; a second network needs a machine, container or network namespace of its own"));
    }
    socket::bind(&places.server_socket(), members)
}
