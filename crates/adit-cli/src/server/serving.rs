//! A server while it serves: what wakes it, what it then has the daemon run, what devices used in between.
//!
//! Not here: opening and giving up rights (the parent), what is ordered and how (`gateway`, `link`).

use std::net::TcpListener;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use adit_control::{Command, Counters, Desired, Model, NetworkChange, Trust, UnixTime, UsageDelta, Web};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

use super::desk::{Desk, now};
use super::gateway::{Ports, Whole};
use super::link::{AGAIN, Reports};
use super::monitor::Monitor;
use super::state::{Certificate, WebSettings};
use super::{Begun, enrol, metrics, own};
use crate::exit::{Failure, Result};
use crate::report::TunnelReport;
use crate::socket::{self, Clients};

/// How long after the clock said that something changes it is looked at again: clocks are set.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// The shortest pause before something that changes by itself, however near it is.
const SHORTEST_SLEEP: Duration = Duration::from_millis(100);
/// How long the daemon may take to say how the tunnel is for the first time.
const FIRST_REPORT: Duration = Duration::from_secs(10);
/// How long the first invite of a new network is good for.
const FIRST_INVITE: Duration = Duration::from_secs(24 * 3600);

/// A server that serves.
pub(super) struct Serving {
    desk: Arc<Desk>,
    runner: Runner,
    wakes: Wakes,
    counters: Counting,
    /// Whether the tunnel is older than this process: an earlier one was killed.
    was_up: bool,
}

impl Serving {
    /// What is decided from now on is run, and reported.
    pub(super) fn new(desk: Arc<Desk>, web: Option<WebSettings>, reports: Reports) -> Self {
        let mut models = desk.service.watch();
        models.mark_unchanged();
        let wakes = Wakes { reports, models, due: Instant::now() };
        let runner = Runner { desk: desk.clone(), web, last: None };
        Self { desk, runner, wakes, counters: Counting::new(), was_up: false }
    }

    /// Until it is told to end.
    pub(super) async fn run(
        &mut self,
        listener: StdListener,
        metrics: Option<TcpListener>,
        monitor: &Monitor,
        begun: impl FnOnce(Begun),
    ) -> Result<()> {
        let heard = |e: std::io::Error| Failure::io("cannot listen for signals", &e);
        let mut terminate = signal(SignalKind::terminate()).map_err(heard)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(heard)?;
        let desk = self.desk.clone();
        self.begin().await?;
        let mut enrolling = std::pin::pin!(enrol::serve(desk.clone()));
        let listener = UnixListener::from_std(listener).map_err(|e| Failure::io("cannot listen to commands", &e))?;
        let _commands = AbortOnDrop(tokio::spawn(socket::serve(listener, desk.clone(), Clients::default())));
        let _scrapers = metrics.map(|listener| AbortOnDrop(tokio::spawn(metrics::serve(listener, desk.clone()))));
        // Beside the others: an invite is made when it runs.
        let mut announcing = std::pin::pin!(announce(&desk, begun));
        let mut announced = false;
        loop {
            let woken = tokio::select! {
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                () = &mut enrolling => return Ok(()),
                begun = &mut announcing, if !announced => {
                    begun?;
                    announced = true;
                    monitor.ready()?;
                    continue;
                }
                woken = self.wakes.next() => woken,
            };
            match woken {
                Woken::Report(report) => {
                    if self.take(*report).await {
                        self.look_again().await;
                    }
                    self.runner.follow_certificate().await;
                }
                Woken::Changed | Woken::Due => self.look_again().await,
                Woken::End => return Ok(()),
            }
        }
    }

    /// Has the daemon run what is decided, for the first time.
    async fn begin(&mut self) -> Result<()> {
        // Before anything is ordered: what was up before a failure to start is to be known then.
        self.was_up = self.desk.link.may_be_up().await;
        self.wakes.due = self.runner.run().await?;
        if let Ok(Some(report)) = tokio::time::timeout(FIRST_REPORT, self.wakes.reports.recv()).await {
            *self.desk.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
            self.runner.follow_certificate().await;
            self.wakes.due = self.runner.run().await?;
        }
        Ok(())
    }

    async fn look_again(&mut self) {
        self.wakes.due = self.runner.run_or_again().await;
    }

    /// Writes down what devices used since the last report; whether they used anything.
    async fn take(&mut self, report: TunnelReport) -> bool {
        let deltas = self.counters.of(&self.desk, &report);
        *self.desk.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
        let used = !deltas.is_empty();
        if used && let Err(e) = self.desk.service.record_usage(deltas, now()).await {
            tracing::warn!("what devices used is not written down yet: {e}");
        }
        used
    }

    /// Takes down what runs. A tunnel that was up before a failure to start goes on, as it did without us.
    pub(super) async fn end(mut self, served: Result<()>) -> Result<()> {
        if served.is_err() && self.was_up {
            return served;
        }
        if let Some(last) = self.desk.link.last_report().await {
            self.take(last).await;
        }
        let down = self.desk.link.down().await;
        served.and(down)
    }
}

/// What wakes a server that serves, besides commands and devices that join.
struct Wakes {
    reports: Reports,
    models: watch::Receiver<Arc<Model>>,
    /// When what is decided changes by itself, or the clock is to be looked at again: a time, and no pause, as reports come
    /// in shorter ones.
    due: Instant,
}

/// Why it woke up.
enum Woken {
    /// The daemon says how the tunnel is.
    Report(Box<TunnelReport>),
    /// Something was decided.
    Changed,
    /// The time has come.
    Due,
    /// Nothing will be decided any more.
    End,
}

impl Wakes {
    /// May be dropped at any time.
    async fn next(&mut self) -> Woken {
        tokio::select! {
            changed = self.models.changed() => if changed.is_ok() { Woken::Changed } else { Woken::End },
            Some(report) = self.reports.recv() => Woken::Report(Box::new(report)),
            () = tokio::time::sleep_until(self.due) => Woken::Due,
        }
    }
}

/// A task that has no purpose without its owner.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn announce(desk: &Desk, begun: impl FnOnce(Begun)) -> Result<()> {
    let network = desk.report()?;
    let nobody = network.peers == 0 && network.open_invites == 0;
    let invite = if nobody { Some(desk.invite(&own(), None, FIRST_INVITE.as_secs(), 1, &[]).await?) } else { None };
    begun(Begun { network, invite });
    Ok(())
}

/// Sees to it that the daemon runs what is decided.
struct Runner {
    desk: Arc<Desk>,
    web: Option<WebSettings>,
    last: Option<Arc<Whole>>,
}

impl Runner {
    /// Runs what is to run now; when that changes by itself.
    async fn run(&mut self) -> Result<Instant> {
        let now = now();
        let desired = Desired::of(&self.desk.service.model(), &self.desk.service.usage(), now)
            .ok_or_else(|| Failure::failed("there is no network"))?;
        let ports = Ports { https: self.web.as_ref().map(|web| web.port), openvpn: self.desk.openvpn };
        let whole = Whole::of(&desired, ports);
        if self.last.as_deref() != Some(&whole) {
            let whole = Arc::new(whole);
            self.desk.link.run(whole.clone()).await?;
            self.last = Some(whole);
        }
        self.desk.ran(desired.revision);
        let until = desired.next_change.map(|at| Duration::from_secs(at.0.saturating_sub(now.0)));
        Ok(Instant::now() + until.map_or(LONGEST_SLEEP, |until| until.clamp(SHORTEST_SLEEP, LONGEST_SLEEP)))
    }

    /// As [`run`](Self::run); what goes wrong is tried again. The link has warned of it.
    async fn run_or_again(&mut self) -> Instant {
        self.run().await.unwrap_or_else(|failure| {
            self.last = None;
            tracing::debug!("what is decided does not run: {failure}");
            Instant::now() + AGAIN
        })
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
struct Counting {
    counters: Counters,
    begun: Instant,
    /// Whether there was no report yet.
    is_first: bool,
}

impl Counting {
    fn new() -> Self {
        Self { counters: Counters::default(), begun: Instant::now(), is_first: true }
    }

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
        if std::mem::replace(&mut self.is_first, false) && self.is_older(report) { Vec::new() } else { deltas }
    }

    /// Whether the tunnel was up before this process was.
    fn is_older(&self, report: &TunnelReport) -> bool {
        report.up_seconds > self.begun.elapsed().as_secs() + 5
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use tempfile::TempDir;
    use tokio::sync::mpsc;

    use super::super::scene::{self, Daemon};
    use super::*;

    /// A server of the network `home`, about to begin.
    async fn serving(daemon: &Arc<Daemon>) -> (Serving, TempDir) {
        let (desk, reports, directory) = scene::desk(daemon).await;
        (Serving::new(Arc::new(desk), None, reports), directory)
    }

    async fn ends_it_after_a_failure_to_start(daemon: &Arc<Daemon>) -> bool {
        let (mut serving, _directory) = serving(daemon).await;
        let begun = serving.begin().await;
        assert!(begun.as_ref().unwrap_err().message.contains("is taken"));
        assert!(serving.end(begun).await.is_err());
        daemon.was_told_to_end_it.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn a_failure_to_start_ends_what_it_began_and_not_what_was_up_before() {
        let daemon = Arc::new(Daemon::default());
        assert!(ends_it_after_a_failure_to_start(&daemon).await);
        let daemon = Arc::new(Daemon { is_up: true.into(), ..Daemon::default() });
        assert!(!ends_it_after_a_failure_to_start(&daemon).await);
    }

    #[tokio::test]
    async fn what_does_not_run_is_known_until_it_runs() {
        let daemon = Arc::new(Daemon { is_up: true.into(), ..Daemon::default() });
        let (mut serving, _directory) = serving(&daemon).await;
        for _ in 0..3 {
            serving.look_again().await;
        }
        assert!(serving.desk.link.trouble().unwrap().contains("is taken"));
        daemon.serves.store(true, Ordering::Relaxed);
        serving.look_again().await;
        assert_eq!(serving.desk.link.trouble(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn reports_do_not_put_off_what_changes_by_itself() {
        let (sender, reports) = mpsc::channel(1);
        let (_model, models) = watch::channel(Arc::new(Model::default()));
        let begun = Instant::now();
        let mut wakes = Wakes { reports, models, due: begun + LONGEST_SLEEP };
        tokio::spawn(async move {
            while sender.send(TunnelReport::empty("home")).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        });
        let mut reported = 0;
        while let Woken::Report(_) = wakes.next().await {
            reported += 1;
            assert!(reported < 100, "it never comes");
        }
        assert!(begun.elapsed() >= LONGEST_SLEEP && reported >= 29, "{reported} in {:?}", begun.elapsed());
    }
}
