//! The server of a network: decides who is in it and what they may, and has the daemon run it.
//!
//! A process of its own, without the daemon's rights: what it decides goes to the daemon over its socket (`link`), and if
//! it ends, what was decided last goes on. The map: `state` its directory, `found` the first run, `desk` answers commands,
//! `enrol` devices that join, `gateway` what the daemon is to run, `confine` what is given up.

pub(crate) mod api;
mod confine;
mod desk;
mod enrol;
mod found;
mod gateway;
mod link;
mod state;

use std::os::unix::net::UnixListener as StdListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adit::profile::wg_quick::WebSite;
use adit_control::{
    Actor, Command, Counters, Desired, Host, Model, Name, Network, NetworkChange, Service, Store, Trust, UnixTime,
    Usage, UsageDelta, Web,
};
use adit_wireguard::{PrivateKey, PublicKey};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use self::api::NewInvite;
use self::desk::{Desk, now};
use self::gateway::Whole;
use self::link::{Connected, Link, Reports};
pub(crate) use self::state::for_the_daemon;
use self::state::{Certificate, Settings, State, WebSettings};
use crate::args::network::ServerUpArgs;
use crate::client::Client;
use crate::exit::{Failure, Result};
use crate::places::Places;
use crate::report::TunnelReport;
use crate::rpc::Served;
use crate::socket::{self, Clients};

/// How long after the clock said that something changes it is looked at again: clocks are set.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// How long the daemon may take to say how the tunnel is for the first time.
const FIRST_REPORT: Duration = Duration::from_secs(10);
/// How long the first invite of a new network is good for.
const FIRST_INVITE: Duration = Duration::from_secs(24 * 3600);

/// A server that is about to serve: everything is opened that needs rights.
#[derive(Debug)]
pub(crate) struct Server {
    state: State,
    settings: Settings,
    wish: Wish,
    listener: StdListener,
    link: Link,
    reports: Reports,
}

/// What the options say of the network.
#[derive(Debug)]
struct Wish {
    key: PublicKey,
    create: Network,
    change: NetworkChange,
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
    pub(crate) fn open(args: &ServerUpArgs, places: &Places) -> Result<Self> {
        let state = State::open(places.server_state())?;
        let (settings, wish) = prepare(args, &state)?;
        drop(Client::connect_or_start(places)?);
        let connected = Connected::to_the_daemon(places.clone(), settings.interface.clone())?;
        let listener = listen(places)?;
        state.set_settings(&settings)?;
        if settings.web.as_ref().is_some_and(|web| web.site.is_none()) {
            state.own_site(wish.create.hosts.first().map_or("", Host::as_str))?;
            tracing::info!("strangers see a page that any adit server may have; --site DIR gives them one of your own");
        }
        let writable = state.database_directory()?;
        let missing = confine::confine(&writable, &[&places.directory])?;
        missing.iter().for_each(|missing| tracing::warn!("{missing}"));
        let (link, reports) = connected.start()?;
        Ok(Self { state, settings, wish, listener, link, reports })
    }

    /// Serves until it is told to end; `begun` is called when devices can join.
    pub(crate) async fn serve(self, begun: impl FnOnce(Begun)) -> Result<()> {
        let Self { state, settings, wish, listener, link, mut reports } = self;
        let service = open(&state, &settings).await?;
        settle(&service, wish, &settings).await?;
        let desk = Arc::new(Desk {
            service,
            link,
            interface: settings.interface.clone(),
            seen: Mutex::new(None),
            backups: state.database_directory()?,
            running: tokio::sync::watch::Sender::new(0),
        });
        let mut gateway = Gateway { desk: desk.clone(), web: settings.web.clone(), last: None };
        let mut signals = [signal(SignalKind::terminate()), signal(SignalKind::interrupt())]
            .into_iter()
            .collect::<std::io::Result<Vec<_>>>()
            .map_err(|e| Failure::io("cannot listen for signals", &e))?;
        let mut models = desk.service.watch();
        models.mark_unchanged();
        let mut sleep = gateway.run().await?;
        if let Ok(Some(report)) = tokio::time::timeout(FIRST_REPORT, reports.recv()).await {
            *desk.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
            gateway.follow_certificate().await;
            sleep = gateway.run().await?;
        }
        let mut enrolling = std::pin::pin!(enrol::serve(desk.clone()));
        let listener = UnixListener::from_std(listener).map_err(|e| Failure::io("cannot listen to commands", &e))?;
        let commands = tokio::spawn(socket::serve(listener, desk.clone(), Clients::default()));
        // Beside the others: an invite is made when it runs.
        let mut announcing = std::pin::pin!(announce(&desk, begun));
        let mut announced = false;
        let mut counters = Counting::default();
        loop {
            let (terminate, interrupt) = signals.split_at_mut(1);
            tokio::select! {
                _ = terminate[0].recv() => break,
                _ = interrupt[0].recv() => break,
                changed = models.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    sleep = gateway.run_or_say(sleep).await;
                }
                Some(report) = reports.recv() => {
                    let deltas = counters.of(&desk, &report);
                    *desk.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
                    gateway.follow_certificate().await;
                    if !deltas.is_empty() {
                        if let Err(e) = desk.service.record_usage(deltas, now()).await {
                            tracing::warn!("what devices used is not written down yet: {e}");
                        }
                        sleep = gateway.run_or_say(sleep).await;
                    }
                }
                () = &mut enrolling => break,
                begun = &mut announcing, if !announced => {
                    begun?;
                    announced = true;
                    let _not_systemd = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
                }
                () = tokio::time::sleep(sleep) => sleep = gateway.run_or_say(sleep).await,
            }
        }
        commands.abort();
        let _not_systemd = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        desk.link.down().await
    }
}

/// What a run with these options would change, in order.
pub(crate) fn dry_run(args: &ServerUpArgs, places: &Places) -> Result<(String, Served, Option<WebSite>)> {
    let hosts = found::hosts(&args.host)?;
    let settings = found::settings(args, None, &hosts)?;
    let key = PrivateKey::new([1; 32]);
    let create = network(args, &settings, &hosts, key.public_key())?;
    let model = Model { network: Some(create), ..Model::default() };
    let desired = Desired::of(&model, &Usage::default(), now());
    let desired = desired.ok_or_else(|| Failure::failed("there is no network"))?;
    let https_port = settings.web.as_ref().map(|web| web.port);
    let site = settings.web.map(|web| web.site(&places.server_state(), &hosts));
    Ok((settings.interface, Whole::of(&desired, https_port).at_once(), site))
}

/// Puts a backup in place of what is there, while nobody serves it.
pub(crate) async fn restore(file: &std::path::Path, places: &Places) -> Result<()> {
    let state = State::open(places.server_state())?;
    let store = Store::sqlite(&state.database_directory()?).map_err(Failure::failed)?;
    store.restore(file, &own(), now()).await.map_err(Failure::failed)?;
    store.close().await;
    Ok(())
}

fn prepare(args: &ServerUpArgs, state: &State) -> Result<(Settings, Wish)> {
    let before = state.settings()?;
    let first = before.is_none();
    let hosts = if first || !args.host.is_empty() { found::hosts(&args.host)? } else { Vec::new() };
    let settings = found::settings(args, before, &hosts)?;
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
    Ok((settings, Wish { key: key.public_key(), create, change }))
}

/// The network of a first run.
fn network(args: &ServerUpArgs, settings: &Settings, hosts: &[String], key: PublicKey) -> Result<Network> {
    let routes = std::fs::read_to_string("/proc/self/net/route").unwrap_or_default();
    let hosts: Vec<Host> = hosts.iter().map(|host| Host::new(host).map_err(Failure::usage)).collect::<Result<_>>()?;
    Ok(Network {
        name: Name::new(&settings.interface).map_err(Failure::usage)?,
        web: settings.web.as_ref().zip(hosts.first()).map(|(web, host)| offered(host, web.port, &web.certificate)),
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

async fn open(state: &State, settings: &Settings) -> Result<Service> {
    let store = match &settings.database {
        None => Store::sqlite(&state.database_directory()?).map_err(Failure::failed)?,
        Some(url) => Store::postgres(url).await.map_err(Failure::failed)?,
    };
    Service::start(store).await.map_err(Failure::failed)
}

/// Makes the network if there is none, else changes what the options say.
async fn settle(service: &Service, wish: Wish, settings: &Settings) -> Result<()> {
    let command = match &service.model().network {
        None => Command::CreateNetwork(wish.create),
        Some(network) if network.key != wish.key => {
            return Err(Failure::failed("network.key is not the key of this network")
                .hint("put back the key that belongs to it, or begin anew in an empty directory"));
        }
        Some(network) => {
            let change = NetworkChange { web: web_now(settings, network), ..wish.change };
            if change == NetworkChange::default() {
                return Ok(());
            }
            Command::ChangeNetwork(change)
        }
    };
    service.execute(command, own(), now()).await.map(drop).map_err(Failure::failed)
}

/// What devices are to be told of the web site, if it is something else than they are told; a pin that is known stays.
fn web_now(settings: &Settings, network: &Network) -> Option<Option<Web>> {
    let new = settings.web.as_ref().and_then(|web| {
        let host = network.web.as_ref().map(|web| &web.host).or(network.hosts.first())?;
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

fn listen(places: &Places) -> Result<StdListener> {
    socket::bind(&places.server_socket(), 0o600)
}

async fn announce(desk: &Desk, begun: impl FnOnce(Begun)) -> Result<()> {
    let network = desk.report()?;
    let nobody = network.peers == 0 && network.open_invites == 0;
    let invite = if nobody { Some(desk.invite(&own(), None, FIRST_INVITE.as_secs(), 1, &[]).await?) } else { None };
    begun(Begun { network, invite });
    Ok(())
}

/// Sees to it that the daemon runs what is decided.
struct Gateway {
    desk: Arc<Desk>,
    web: Option<WebSettings>,
    last: Option<Arc<Whole>>,
}

impl Gateway {
    /// Runs what is to run now; how long until that changes by itself.
    async fn run(&mut self) -> Result<Duration> {
        let now = now();
        let desired = Desired::of(&self.desk.service.model(), &self.desk.service.usage(), now)
            .ok_or_else(|| Failure::failed("there is no network"))?;
        let whole = Whole::of(&desired, self.web.as_ref().map(|web| web.port));
        if self.last.as_deref() != Some(&whole) {
            let whole = Arc::new(whole);
            self.desk.link.run(whole.clone()).await?;
            self.last = Some(whole);
        }
        self.desk.ran(desired.revision);
        let until = desired.next_change.map(|at| Duration::from_secs(at.0.saturating_sub(now.0)));
        Ok(until.map_or(LONGEST_SLEEP, |until| until.clamp(Duration::from_millis(100), LONGEST_SLEEP)))
    }

    /// As [`run`](Self::run); what goes wrong is said, and tried again.
    async fn run_or_say(&mut self, before: Duration) -> Duration {
        match self.run().await {
            Ok(sleep) => sleep,
            Err(failure) => {
                self.last = None;
                tracing::warn!("what is decided does not run yet: {failure}");
                before.min(Duration::from_secs(1))
            }
        }
    }

    /// Devices are to know the key that the web site proves to have.
    async fn follow_certificate(&self) {
        let is_pinned = self.web.as_ref().is_some_and(|web| web.certificate != Certificate::Acme);
        let model = self.desk.service.model();
        let Some(web) = model.network.as_ref().and_then(|network| network.web.clone()).filter(|_| is_pinned) else {
            return;
        };
        let Some(pin) = self.desk.pin() else { return };
        if web.trust != Trust::Pin(pin) {
            let web = Some(Some(Web { trust: Trust::Pin(pin), ..web }));
            let change = Command::ChangeNetwork(NetworkChange { web, ..NetworkChange::default() });
            if let Err(e) = self.desk.service.execute(change, own(), now()).await {
                tracing::warn!("devices that join now do not learn the web site's key: {e}");
            }
        }
    }
}

/// Makes differences of the daemon's counters.
#[derive(Default)]
struct Counting {
    counters: Counters,
    begun: Option<std::time::Instant>,
}

impl Counting {
    fn of(&mut self, desk: &Desk, report: &TunnelReport) -> Vec<UsageDelta> {
        let model = desk.service.model();
        let seen: std::collections::HashMap<&str, _> =
            report.peers.iter().map(|peer| (peer.public_key.as_str(), peer)).collect();
        let counted = model.peers.values().filter_map(|peer| {
            let seen = seen.get(peer.key.to_string().as_str())?;
            let at = seen.last_handshake_unix.map(UnixTime);
            Some((peer.id, seen.traffic.received, seen.traffic.sent, at))
        });
        let deltas = self.counters.advance(counted);
        // A tunnel that is older than we are has counted what an earlier run of ours wrote down.
        let first = self.begun.is_none();
        let age = self.begun.get_or_insert_with(std::time::Instant::now).elapsed();
        if first && report.up_seconds > age.as_secs() + 5 { Vec::new() } else { deltas }
    }
}
