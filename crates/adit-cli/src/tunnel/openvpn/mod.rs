//! An OpenVPN client that is up: its interface, and the machine made to fit what the server sets, as often as it sets it.
//!
//! The machine is changed when the client is connected for the first time, and left as it is while the connection is lost and
//! made anew: what was to go through the tunnel waits or is dropped, and never leaves beside it. Not here: the client
//! (`adit::openvpn`).

mod asked;
mod hooks;
mod plan;
mod report;
mod serving;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use adit::openvpn::{Carrier, OpenVpn as Client, Phase, Settings, Shown, StartError};
use adit_engine::{LinkState, RunOn, TunDevice, TunLink, UdpOptions};
use adit_host::{Applied, Host, HostPlan, Prepared};
use adit_openvpn::options::ClientConfig;
use ipnet::{IpNet, Ipv4Net};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) use self::asked::{Asked, LoginQuestion, Question, is_of_server};
use self::hooks::{Context, Hooks, Told};
pub(crate) use self::serving::{AskedServer, Serving};
use super::{host, host_failure, offload, why};
use crate::exit::{Challenge, Failure, Result};
use crate::places::Places;
use crate::report::TunnelReport;
use crate::rpc::{Done, Login};

/// How long the first connection is waited for. It is no failure if there is none by then: attempts go on.
const FIRST_CONNECTION: Duration = Duration::from_secs(20);
/// What could not be changed on the machine is tried again after this.
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// How often the interface is looked at: somebody may have removed it.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A client with its interface and everything it changed on this machine.
#[derive(Debug)]
pub(crate) struct OpenVpn {
    name: String,
    config: Arc<ClientConfig>,
    client: Client,
    machine: Arc<Machine>,
    /// End before the client does.
    followers: Mutex<Option<Followers>>,
}

/// Who makes the machine fit, and who looks after the interface.
#[derive(Debug)]
struct Followers {
    /// Told when it is time to end: a change that was begun is finished, so that what was changed is known and undone.
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
    link: JoinHandle<()>,
}

impl Drop for Followers {
    fn drop(&mut self) {
        // It would keep the client and its interface.
        self.link.abort();
    }
}

/// What is changed on this machine for one client.
#[derive(Debug)]
struct Machine {
    host: Host,
    /// Only whoever changes the machine has it; empty when the tunnel is down.
    hold: tokio::sync::Mutex<Option<Hold>>,
    seen: Mutex<Seen>,
    hooks: Hooks,
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
    end: Option<String>,
    /// What the program of `up` was told, if it was: then there is something for `down`.
    told: Option<Told>,
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
        // What is kept is what the file says, for it is compared with it.
        let unlocked = asked.unlocked();
        let Asked { config, mut notes, .. } = asked;
        let host = host(places);
        // As if everything went through the tunnel: what the tunnel itself sends carries a mark from its first packet, for a
        // stream that is open cannot be given one when the server says which routes there are.
        let first = HostPlan {
            name: name.to_owned(),
            fwmark: config.common.socket.mark.or_else(|| Some(mark_of(name))),
            routes: vec![IpNet::from(Ipv4Net::default())],
            ..HostPlan::default()
        };
        let prepared = host.prepare(&first).await.map_err(|e| host_failure(&e))?;
        let (of, mark) = (name.to_owned(), prepared.fwmark().unwrap_or(0));
        let started = tokio::task::spawn_blocking(move || start(&of, &unlocked, login, mark)).await;
        let started = started.unwrap_or_else(|e| Err(Failure::failed(format!("starting it failed inside: {e}"))));
        let (client, link) = match started {
            Ok(started) => started,
            Err(failure) => {
                if let Err(left) = prepared.cancel().await {
                    tracing::warn!("{left}");
                }
                return Err(failure);
            }
        };
        let hold = tokio::sync::Mutex::new(Some(Hold::Prepared(Box::new(prepared))));
        let hooks = Hooks::of(&config.common.hooks);
        let machine = Arc::new(Machine { host, hold, seen: Mutex::default(), hooks });
        let (fits, mut watched) = watch::channel(Fits::NotYet);
        let config = Arc::new(*config);
        let (stop, stopping) = watch::channel(false);
        let follower = Follower {
            name: name.to_owned(),
            client: client.clone(),
            config: Arc::clone(&config),
            machine: Arc::clone(&machine),
        };
        let followers = Followers {
            stop,
            server: tokio::spawn(follower.run(fits, stopping)),
            link: tokio::spawn(follow_link(link, client.clone(), Arc::clone(&machine))),
        };
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
                    stopped = self.client.stopped() => {
                        // Why it was stopped says more.
                        return match fits.borrow().clone() {
                            Fits::No(failure) => Err(failure),
                            Fits::Yes | Fits::NotYet => Err(Failure::failed(stopped)),
                        };
                    }
                }
            }
        };
        let mut come = std::pin::pin!(come);
        let mut waited = tokio::time::timeout(FIRST_CONNECTION, &mut come).await;
        if waited.is_err() && self.client.shown().phase == Phase::Connected {
            // It is in, and its programs run: whether the tunnel stays is theirs to say.
            waited = tokio::time::timeout(hooks::ALL_WITHIN, come).await;
        }
        match waited {
            Ok(come) => come.map(|()| None),
            Err(_late) => {
                let why = self.client.shown().trouble.unwrap_or_else(|| "the server has not answered".to_owned());
                Ok(Some(format!("not connected yet: {}; it goes on trying", first_line(&why))))
            }
        }
    }

    fn cannot_connect(&self) -> Failure {
        let Shown { server, proxy, trouble, challenge, .. } = self.client.shown();
        let to = server.map_or_else(String::new, |(address, name)| match proxy {
            // Which of them it is about, what went wrong says.
            Some(_) => format!(" to {name}"),
            None => format!(" to {name} ({address})"),
        });
        let failure = Failure::failed(format!("cannot connect{to}: {}", trouble.unwrap_or_default()));
        let Some(asked) = challenge else { return failure };
        let begun = asked.answered("");
        let login = Login { user: Some(begun.username), password: Some(begun.password.into()), ..Login::default() };
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
            followers.link.abort();
            let _is_told = followers.stop.send(true);
            let _has_ended = (&mut followers.server).await;
        }
        let told = self.machine.seen().told.take();
        if let Some(told) = &told {
            self.machine.hooks.before_down(told).await;
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
        if let Some(told) = &told {
            self.machine.hooks.after_down(told).await;
        }
        Ok(Done::default())
    }

    /// Waits until it has ended by itself, and says why.
    pub(super) async fn ended(&self) -> String {
        let mut shown = self.client.watch();
        let stopped = tokio::select! {
            stopped = self.client.stopped() => stopped,
            Ok(shown) = shown.wait_for(|shown| shown.over) => return shown.trouble.clone().unwrap_or_default(),
        };
        let end = self.machine.seen().end.clone();
        end.unwrap_or_else(|| stopped.to_string())
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

/// The mark that what this tunnel sends carries, where the file says none. No rule shows it until there is a full tunnel, so it
/// is not from where wg-quick and others begin to count, and another for each name.
fn mark_of(name: &str) -> u32 {
    /// The first of the numbers.
    const MARKS: u32 = 0x0ad1_0000;
    // FNV-1a, folded to what is left.
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    MARKS | (hash >> 16 ^ hash) & 0xffff
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

/// Makes the machine fit whatever the server sets.
struct Follower {
    name: String,
    client: Client,
    config: Arc<ClientConfig>,
    machine: Arc<Machine>,
}

impl Follower {
    /// Until the tunnel is taken down. What was begun is finished first.
    async fn run(self, fits: watch::Sender<Fits>, mut stopping: watch::Receiver<bool>) {
        let mut shown = self.client.watch();
        let mut done: Option<(HostPlan, Vec<String>)> = None;
        let (mut latest, mut again): (Option<Arc<Settings>>, Option<Instant>) = (None, None);
        let mut told_of = 0;
        loop {
            let settings = shown.borrow_and_update().settings.clone();
            // Whatever else the server says, however often, is no reason to look at its settings.
            let is_new = match (&settings, &latest) {
                (Some(now), Some(before)) => !Arc::ptr_eq(now, before),
                (now, _) => now.is_some(),
            };
            let is_due = is_new || again.is_some_and(|at| at <= Instant::now());
            latest = settings;
            let planned = latest.as_ref().filter(|_| is_due).map(|settings| self.plan(settings));
            if let Some((plan, notes)) = planned.filter(|planned| done.as_ref() != Some(planned)) {
                let made = self.fit(plan.clone(), notes.clone()).await;
                done = made.is_ok().then_some((plan, notes));
                again = done.is_none().then(|| Instant::now() + TRY_AGAIN);
                if self.machine.hold.lock().await.is_none() {
                    // Nothing of the machine is as it was to be, so the tunnel must not look as if it were.
                    let why = "the machine could not be made to fit what the server set".to_owned();
                    fits.send_replace(made.map_or_else(Fits::No, |()| Fits::Yes));
                    return self.give_up(why).await;
                }
                if let Err(failure) = made {
                    fits.send_replace(Fits::No(failure));
                }
            }
            if done.is_some() {
                if let Err(why) = self.tell(&mut told_of).await {
                    fits.send_replace(Fits::No(Failure::failed(&why)));
                    return self.give_up(why).await;
                }
                fits.send_if_modified(|fits| std::mem::replace(fits, Fits::Yes) != Fits::Yes);
            }
            let wake = again.unwrap_or_else(Instant::now).into();
            tokio::select! {
                biased;
                _ = stopping.changed() => return,
                changed = shown.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep_until(wake), if again.is_some() => {}
            }
        }
    }

    /// What settings ask of the machine, and what of them is not done.
    fn plan(&self, settings: &Settings) -> (HostPlan, Vec<String>) {
        plan::of_settings(&self.name, &self.config, settings)
    }

    /// Makes the machine fit.
    async fn fit(&self, plan: HostPlan, notes: Vec<String>) -> Result<()> {
        let made = self.machine.fit(&self.client, plan, notes).await;
        if let Err(failure) = &made {
            tracing::error!("{}: {failure}", self.name);
        }
        made
    }

    /// Runs the programs that are to know of a connection: of the first, and where the file says so of each. `told_of` is the
    /// number of the last that they know of.
    ///
    /// # Errors
    /// `up` failed.
    async fn tell(&self, told_of: &mut u64) -> std::result::Result<(), String> {
        let shown = self.client.shown();
        let (Some(settings), Phase::Connected) = (&shown.settings, shown.phase) else { return Ok(()) };
        let is_first = *told_of == 0;
        if *told_of == shown.connections || !is_first && !self.machine.hooks.on_restart() {
            return Ok(());
        }
        *told_of = shown.connections;
        let context = if is_first { Context::Init } else { Context::Restart };
        let before = self.machine.seen().told.take();
        if let Some(before) = &before {
            self.machine.hooks.down(before, context).await;
        }
        let told = Told::of(&self.name, mtu_of(&self.name), &self.config, settings, &shown);
        self.machine.hooks.up(&told, context).await?;
        self.machine.seen().told = Some(told);
        Ok(())
    }

    /// Ends the tunnel, and says why.
    async fn give_up(&self, why: String) {
        self.machine.seen().end = Some(why);
        self.client.stop().await;
    }
}

/// What the interface carries now; 0 if that is not known.
fn mtu_of(name: &str) -> u32 {
    let said = std::fs::read_to_string(format!("/sys/class/net/{name}/mtu")).unwrap_or_default();
    said.trim().parse().unwrap_or(0)
}

/// Notices when somebody removes the interface: that is the end of the tunnel.
async fn follow_link(mut link: TunLink, client: Client, machine: Arc<Machine>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if matches!(link.state(), Ok(LinkState::Gone)) {
            machine.seen().end = Some("its interface was removed".to_owned());
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
        // What the tunnel sends has carried it since it began, and so never goes into the tunnel.
        plan.fwmark = Some(client.fwmark());
        if !has_ipv6() {
            plan::without_ipv6(&mut plan, &mut notes);
        }
        let opens =
            matches!(hold.as_ref(), Some(Hold::Applied(now)) if now.plan().is_full_tunnel()) && !plan.is_full_tunnel();
        if opens {
            let text = "everything went through the tunnel before, and the server no longer asks for that";
            tracing::warn!("{}: {text}", plan.name);
            notes.push(text.to_owned());
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

/// Whether any interface of this machine, one that is still to come too, may have addresses of IPv6. In doubt it may: then what
/// cannot be set fails, and nothing goes beside.
fn has_ipv6() -> bool {
    let Ok(interfaces) = std::fs::read_dir("/proc/sys/net/ipv6/conf") else { return false };
    let is_off = |interface: std::fs::DirEntry| {
        let said = std::fs::read_to_string(interface.path().join("disable_ipv6"));
        interface.file_name() == "lo" || said.is_ok_and(|said| said.trim() == "1")
    };
    !interfaces.flatten().all(is_off)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_told_apart_by_name_and_are_nobody_elses() {
        let marks = ["tun0", "tun1", "office", "home"].map(mark_of);
        let different: std::collections::BTreeSet<_> = marks.iter().collect();
        assert_eq!(different.len(), marks.len());
        assert!(marks.iter().all(|mark| mark >> 16 == 0x0ad1), "{marks:x?}");
    }
}
