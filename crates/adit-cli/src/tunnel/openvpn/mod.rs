//! An OpenVPN client that is up: its interface, and the machine made to fit what the server sets, as often as it sets it.
//!
//! The machine is changed when the client is connected for the first time, and left as it is while the connection is lost and
//! made anew: what was to go through the tunnel waits or is dropped, and never leaves beside it. Not here: the client
//! (`adit::openvpn`).

mod asked;
mod plan;
mod report;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adit::openvpn::{Carrier, OpenVpn as Client, Phase, Settings, Shown, StartError};
use adit_engine::{LinkState, RunOn, TunDevice, TunLink, UdpOptions};
use adit_host::{Applied, Host, HostPlan, Prepared};
use adit_openvpn::options::ClientConfig;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) use self::asked::{Asked, Question};
use super::{host, host_failure, offload, why};
use crate::exit::{Challenge, Failure, Result};
use crate::places::Places;
use crate::report::TunnelReport;
use crate::rpc::{Done, Login};

/// How long the first connection is waited for. It is no failure if there is none by then: attempts go on.
const FIRST_CONNECTION: Duration = Duration::from_secs(20);
/// How often the interface is looked at: somebody may have removed it.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A client with its interface and everything it changed on this machine.
#[derive(Debug)]
pub(crate) struct OpenVpn {
    name: String,
    config: Arc<ClientConfig>,
    client: Client,
    machine: Arc<Machine>,
    /// Ends before the client does.
    followers: Mutex<Option<JoinSet<()>>>,
}

/// What is changed on this machine for one client.
#[derive(Debug)]
struct Machine {
    host: Host,
    /// Only whoever changes the machine has it; empty when the tunnel is down.
    hold: tokio::sync::Mutex<Option<Hold>>,
    seen: Mutex<Seen>,
}

/// What is to be undone.
#[derive(Debug)]
enum Hold {
    Prepared(Box<Prepared>),
    Applied(Box<Applied>),
}

/// What is shown of the machine.
#[derive(Debug, Default)]
struct Seen {
    addresses: Vec<String>,
    notes: Vec<String>,
    /// Why the tunnel ended by itself.
    end: Option<&'static str>,
}

/// Whether the machine fits yet.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fits {
    NotYet,
    Yes,
    No(Failure),
}

impl OpenVpn {
    /// Brings the client up, and waits a while for its first connection. On failure, nothing is left of it.
    pub(super) async fn up(name: &str, asked: Asked, places: &Places) -> Result<(Self, Done)> {
        let login = asked.credentials()?;
        let Asked { config, mut notes, .. } = asked;
        let host = host(places);
        let first = HostPlan { name: name.to_owned(), fwmark: config.common.socket.mark, ..HostPlan::default() };
        let prepared = host.prepare(&first).await.map_err(|e| host_failure(&e))?;
        let (client, link) = match start(name, &config, login, prepared.fwmark().unwrap_or(0)) {
            Ok(started) => started,
            Err(failure) => {
                if let Err(left) = prepared.cancel().await {
                    tracing::warn!("{left}");
                }
                return Err(failure);
            }
        };
        let hold = tokio::sync::Mutex::new(Some(Hold::Prepared(Box::new(prepared))));
        let machine = Arc::new(Machine { host, hold, seen: Mutex::default() });
        let (fits, mut watched) = watch::channel(Fits::NotYet);
        let config = Arc::new(*config);
        let mut followers = JoinSet::new();
        followers.spawn(follow_server(
            name.to_owned(),
            client.clone(),
            Arc::clone(&config),
            Arc::clone(&machine),
            fits,
        ));
        followers.spawn(follow_link(link, client.clone(), Arc::clone(&machine)));
        let running = Self { name: name.to_owned(), config, client, machine, followers: Mutex::new(Some(followers)) };
        match running.first_connection(&mut watched).await {
            Ok(note) => notes.extend(note),
            Err(failure) => {
                let _undone = running.down().await;
                return Err(failure);
            }
        }
        Ok((running, Done { notes }))
    }

    /// Waits until packets flow and the machine fits, or it is known that they will not, or for as long as anybody would wait.
    async fn first_connection(&self, fits: &mut watch::Receiver<Fits>) -> Result<Option<String>> {
        let mut shown = self.client.watch();
        let come = async {
            loop {
                match fits.borrow_and_update().clone() {
                    Fits::Yes => return Ok(()),
                    Fits::No(failure) => return Err(failure),
                    Fits::NotYet => {}
                }
                if shown.borrow_and_update().phase == Phase::Ended {
                    return Err(self.cannot_connect());
                }
                tokio::select! {
                    Ok(()) = fits.changed() => {}
                    Ok(()) = shown.changed() => {}
                    stopped = self.client.stopped() => return Err(Failure::failed(stopped)),
                }
            }
        };
        match tokio::time::timeout(FIRST_CONNECTION, come).await {
            Ok(come) => come.map(|()| None),
            Err(_late) => {
                let why = self.client.shown().trouble.unwrap_or_else(|| "the server has not answered".to_owned());
                Ok(Some(format!("not connected yet: {}; it goes on trying", first_line(&why))))
            }
        }
    }

    fn cannot_connect(&self) -> Failure {
        let Shown { server, trouble, challenge, .. } = self.client.shown();
        let to = server.map_or_else(String::new, |(address, name)| format!(" to {name} ({address})"));
        let failure = Failure::failed(format!("cannot connect{to}: {}", trouble.unwrap_or_default()));
        let Some(asked) = challenge else { return failure };
        let begun = asked.answered("");
        let login = Login { user: begun.username, password: begun.password.into() };
        let challenge = Some(Box::new(Challenge { question: asked.question, echo: asked.echo, login }));
        Failure { challenge, ..failure }
    }

    /// Takes no changes while it runs, and says so; a file that says the same is no change.
    pub(super) fn reload(&self, asked: &Asked) -> Result<Done> {
        if *asked.config == *self.config {
            return Ok(Done { notes: vec!["Nothing in the file differs from what is running.".to_owned()] });
        }
        Err(Failure::failed("an OpenVPN client takes changes of its file when it is brought up")
            .hint(format!("`adit down {0}`, then `adit up {0}`", self.name)))
    }

    /// Makes again what was made on this machine and somebody has taken away since.
    pub(super) async fn mend(&self) -> Result<Done> {
        let mut hold = self.machine.hold.lock().await;
        let Some(Hold::Applied(applied)) = hold.as_mut() else { return Ok(Done::default()) };
        let changes = self.machine.host.mend(applied).await.map_err(|e| host_failure(&e))?;
        Ok(Done { notes: changes.iter().map(ToString::to_string).collect() })
    }

    /// Says goodbye, and undoes everything.
    pub(super) async fn down(&self) -> Result<Done> {
        let followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut followers) = followers {
            followers.shutdown().await;
        }
        let hold = self.machine.hold.lock().await.take();
        let client = self.client.clone();
        let end = async move { drop(client.stop().await) };
        match hold {
            Some(Hold::Applied(applied)) => drop(applied.undo_around(end).await.map_err(|e| host_failure(&e))?),
            Some(Hold::Prepared(prepared)) => {
                end.await;
                prepared.cancel().await.map_err(|e| host_failure(&e))?;
            }
            None => end.await,
        }
        Ok(Done::default())
    }

    /// Waits until it has ended by itself, and says why.
    pub(super) async fn ended(&self) -> String {
        let stopped = self.client.stopped().await;
        let end = self.machine.seen().end;
        end.map_or_else(|| stopped.to_string(), str::to_owned)
    }

    /// How it is.
    pub(super) async fn report(&self) -> TunnelReport {
        let (addresses, notes) = {
            let seen = self.machine.seen();
            (seen.addresses.clone(), seen.notes.clone())
        };
        let fwmark = self.client.fwmark();
        let base = TunnelReport { addresses, notes, fwmark, ..TunnelReport::empty(&self.name) };
        report::of(base, &self.client.shown(), self.client.engine().await.ok())
    }
}

/// Inside, protocol and outside, joined.
fn start(
    name: &str,
    config: &ClientConfig,
    login: Option<adit_openvpn::Credentials>,
    fwmark: u32,
) -> Result<(Client, TunLink)> {
    let offload = offload()?;
    let port = config.remotes.first().and_then(|remote| remote.local_port).unwrap_or(0);
    let (carrier, control) =
        Carrier::open(&config.remotes, UdpOptions { port, fwmark, offload }).map_err(|e| why::udp(port, fwmark, &e))?;
    let inside = TunDevice::open(name, offload).map_err(|e| why::tun(name, &e))?;
    let link = inside.link().map_err(|e| why::tun(name, &e))?;
    let client = Client::start(config, login, inside, carrier, control, RunOn::Runtime).map_err(|e| match e {
        StartError::NoRandomness(_) => Failure::failed(e),
        StartError::Unusable(_) | StartError::Tls(_) => Failure::usage(e),
    })?;
    Ok((client, link))
}

/// Makes the machine fit whatever the server sets, until the tunnel is taken down.
async fn follow_server(
    name: String,
    client: Client,
    config: Arc<ClientConfig>,
    machine: Arc<Machine>,
    fits: watch::Sender<Fits>,
) {
    let mut shown = client.watch();
    let mut done: Option<Arc<Settings>> = None;
    loop {
        let Shown { settings, server, .. } = shown.borrow_and_update().clone();
        if let Some(settings) = settings.filter(|new| done.as_ref().is_none_or(|old| **old != **new)) {
            let server = server.map(|(address, _)| address.ip());
            let (plan, notes) = plan::of_settings(&name, &config, &settings, server);
            let made = machine.fit(&client, plan, notes).await;
            if let Err(failure) = &made {
                tracing::error!("{name}: {failure}");
            }
            fits.send_replace(made.map_or_else(Fits::No, |()| Fits::Yes));
            done = Some(settings);
        }
        if shown.changed().await.is_err() {
            return;
        }
    }
}

/// Notices when somebody removes the interface: that is the end of the tunnel.
async fn follow_link(mut link: TunLink, client: Client, machine: Arc<Machine>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if matches!(link.state(), Ok(LinkState::Gone)) {
            machine.seen().end = Some("its interface was removed");
            client.stop().await;
            return;
        }
    }
}

impl Machine {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the machine fit this plan, whatever it fits now.
    async fn fit(&self, client: &Client, mut plan: HostPlan, mut notes: Vec<String>) -> Result<()> {
        let mut hold = self.hold.lock().await;
        plan.fwmark = self.host.choose_fwmark(&plan).await.map_err(|e| host_failure(&e))?;
        // First the mark, then the routes: what the tunnel itself sends must never go into it.
        if let Some(mark) = plan.fwmark
            && mark != client.fwmark()
        {
            let failed = |e: std::io::Error| Failure::io(format!("cannot set the mark {mark:#x}"), &e);
            client.set_fwmark(mark).await.map_err(failed)?;
        }
        let result = match hold.take() {
            None => return Ok(()),
            Some(Hold::Prepared(prepared)) => match prepared.apply(&plan).await {
                Ok(applied) => {
                    *hold = Some(Hold::Applied(Box::new(applied)));
                    Ok(())
                }
                // What was begun is undone by then.
                Err(error) => Err(host_failure(&error)),
            },
            Some(Hold::Applied(mut applied)) => {
                let updated = self.host.update(&mut applied, &plan).await;
                *hold = Some(Hold::Applied(applied));
                updated.map(drop).map_err(|e| host_failure(&e))
            }
        };
        let mut seen = self.seen();
        if let Err(failure) = &result {
            notes.push(format!("the machine does not fit what the server set: {failure}"));
        } else {
            seen.addresses = plan.addresses.iter().map(ToString::to_string).collect();
        }
        seen.notes = notes;
        result
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
