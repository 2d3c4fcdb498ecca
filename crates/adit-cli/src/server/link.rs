//! The way from the process that decides to the daemon that runs the tunnel: orders there, how the peers are back.
//!
//! A thread of its own, because commands speak to the daemon in turns. If the daemon goes away, what was last ordered is
//! ordered again as soon as there is another; what runs goes on meanwhile.
//! Not here: what is ordered (`gateway`).

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::gateway::{Step, Whole};
use super::monitor::Monitor;
use crate::client::Client;
use crate::exit::{Exit, Failure, Result};
use crate::report::{State, StatusReport, TunnelReport};
use crate::rpc::{Certified, Done, Method};

/// How often the tunnel is asked how its peers are.
const EVERY: Duration = Duration::from_secs(2);
/// The pause between two questions, in times that an answer takes.
const SHARE: u32 = 50;
/// The longest pause: what is counted in between is lost if this process is killed.
const SELDOM: Duration = Duration::from_secs(60);
/// How soon for the first time: what devices are told of the web site depends on it.
const FIRST: Duration = Duration::from_millis(100);
/// How long after a failure it is tried again.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// What is ordered.
enum Order {
    Run(Arc<Whole>, oneshot::Sender<Result<()>>),
    Report(oneshot::Sender<Result<Option<TunnelReport>>>),
    Certify { device: String, public_key: String, reply: oneshot::Sender<Result<Certified>> },
    Down(oneshot::Sender<Result<()>>),
}

/// The link, as the others have it.
#[derive(Debug)]
pub(crate) struct Link {
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
    /// What is wrong between what is decided and what runs; nothing if all is well.
    trouble: watch::Receiver<Option<String>>,
}

/// How the tunnel is, as often as it is asked; a slow reader gets the newest.
pub(crate) type Reports = mpsc::Receiver<TunnelReport>;

/// What the thread has.
struct Keeper {
    monitor: Arc<Monitor>,
    interface: String,
    client: Option<Client>,
    wanted: Option<Arc<Whole>>,
    /// What the daemon that is connected runs, as far as is known.
    runs: Option<Arc<Whole>>,
    trouble: watch::Sender<Option<String>>,
    reports: mpsc::Sender<TunnelReport>,
}

/// A connection without its thread yet: rights are given up in between, thread by thread.
#[derive(Debug)]
pub(crate) struct Connected {
    monitor: Arc<Monitor>,
    interface: String,
    client: Client,
}

impl Connected {
    /// Connects to the daemon, which must be there, for this interface and nothing else.
    pub(crate) fn to_the_daemon(monitor: Arc<Monitor>, interface: String) -> Result<Self> {
        let client = monitor.connect(&interface)?.ok_or_else(|| Failure::failed("the daemon went away"))?;
        Ok(Self { monitor, interface, client })
    }

    /// Starts the thread.
    pub(crate) fn start(self) -> Result<(Link, Reports)> {
        let Self { monitor, interface, client } = self;
        let (orders, inbox) = channel();
        let (trouble, seen) = watch::channel(None);
        let (reports, reported) = mpsc::channel(1);
        let keeper = Keeper { monitor, interface, client: Some(client), wanted: None, runs: None, trouble, reports };
        let thread = std::thread::Builder::new()
            .name("link".to_owned())
            .spawn(move || keeper.keep(&inbox))
            .map_err(|e| Failure::io("cannot start a thread", &e))?;
        Ok((Link { orders, thread: Some(thread), trouble: seen }, reported))
    }
}

impl Link {
    /// Has the daemon run this network from now on.
    pub(crate) async fn run(&self, whole: Arc<Whole>) -> Result<()> {
        self.order(|reply| Order::Run(whole, reply)).await
    }

    /// Has the daemon take the network down.
    pub(crate) async fn down(&self) -> Result<()> {
        self.order(Order::Down).await
    }

    /// Has the daemon certify the key of an OpenVPN client.
    pub(crate) async fn certify(&self, device: String, public_key: String) -> Result<Certified> {
        self.order(|reply| Order::Certify { device, public_key, reply }).await
    }

    /// How the tunnel is now; nothing if it cannot be known.
    pub(crate) async fn last_report(&self) -> Option<TunnelReport> {
        let (reply, report) = oneshot::channel();
        self.orders.send(Order::Report(reply)).ok()?;
        report.await.ok()?.ok()?
    }

    /// Whether the daemon runs a tunnel by this name; so it is as well if that cannot be known.
    pub(crate) async fn may_be_up(&self) -> bool {
        let (reply, report) = oneshot::channel();
        if self.orders.send(Order::Report(reply)).is_err() {
            return true;
        }
        match report.await {
            Ok(Ok(report)) => report.is_some(),
            Ok(Err(failure)) => failure.kind != Exit::NotConnected,
            Err(_ended) => true,
        }
    }

    /// What is wrong at the moment, a sentence.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// A link over a connection that a test holds the other end of.
    #[cfg(test)]
    pub(crate) fn over(client: Client, interface: &str) -> Result<(Self, Reports)> {
        let monitor = Arc::new(Monitor::gone()?);
        Connected { monitor, interface: interface.to_owned(), client }.start()
    }

    async fn order<T>(&self, order: impl FnOnce(oneshot::Sender<Result<T>>) -> Order) -> Result<T> {
        let ended = || Failure::failed("the thread that speaks to the daemon has ended");
        let (reply, outcome) = oneshot::channel();
        self.orders.send(order(reply)).map_err(|_| ended())?;
        outcome.await.map_err(|_| ended())?
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Its channel closes with us; nothing of it is waited for, as it may be waiting for the daemon.
        drop(self.thread.take());
    }
}

impl Keeper {
    fn keep(mut self, inbox: &Receiver<Order>) {
        let mut next = Instant::now();
        loop {
            let order = match self.wanted {
                Some(_) => inbox.recv_timeout(next.saturating_duration_since(Instant::now())),
                // Nothing to ask about yet.
                None => inbox.recv().map_err(RecvTimeoutError::from),
            };
            match order {
                Ok(Order::Run(whole, reply)) => {
                    if self.wanted.replace(whole).is_none() {
                        next = Instant::now() + FIRST;
                    }
                    let done = self.serve();
                    self.note(done.as_ref().err());
                    let _asker_left = reply.send(done);
                }
                Ok(Order::Report(reply)) => {
                    let _asker_left = reply.send(self.report());
                }
                Ok(Order::Certify { device, public_key, reply }) => {
                    let certify = Method::Certify { name: self.interface.clone(), device, public_key };
                    let _asker_left = reply.send(self.call(certify));
                }
                Ok(Order::Down(reply)) => {
                    let down = Method::Down { name: self.interface.clone() };
                    let _asker_left = reply.send(self.call::<Done>(down).map(drop));
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let asked = self.ask();
                    self.note(asked.as_ref().err());
                    next = Instant::now() + asked.map_or(AGAIN, pause_after);
                }
            }
        }
    }

    /// How long the daemon took to answer.
    fn ask(&mut self) -> Result<Duration> {
        if self.runs != self.wanted {
            self.serve()?;
            tracing::info!("the daemon runs the network again");
        }
        let begun = Instant::now();
        let report = self.report()?;
        let took = begun.elapsed();
        if let Some(tunnel) = report {
            if tunnel.state == State::Failed {
                // Its interface was removed, or worse; it is served anew.
                self.runs = None;
                let why = tunnel.notes.last().map_or_else(String::new, |note| format!(": {note}"));
                return Err(Failure::failed(format!("the tunnel has ended by itself{why}")));
            }
            // A reader that has not taken the last one yet gets the next.
            let _busy = self.reports.try_send(tunnel);
        }
        Ok(took)
    }

    fn report(&mut self) -> Result<Option<TunnelReport>> {
        let report: StatusReport = self.call(Method::Status { name: Some(self.interface.clone()) })?;
        Ok(report.tunnels.into_iter().next())
    }

    fn serve(&mut self) -> Result<()> {
        let Some(wanted) = self.wanted.clone() else { return Ok(()) };
        // Whatever fails on the way, all of it is said again the next time.
        let before = self.runs.take();
        for step in wanted.steps(before.as_deref()) {
            let name = self.interface.clone();
            let (method, is_whole) = match step {
                Step::Serve(network) => (Method::Serve { name, network }, true),
                Step::Peers(change) => (Method::Peers { name, change }, false),
            };
            let done: Done = self.call(method)?;
            for note in done.notes.iter().filter_map(|note| note.lines().next()) {
                // Who comes and goes is in the log of changes.
                if is_whole { tracing::info!("{note}") } else { tracing::debug!("{note}") }
            }
        }
        self.runs = Some(wanted);
        Ok(())
    }

    fn call<T: serde::de::DeserializeOwned>(&mut self, method: Method) -> Result<T> {
        if self.client.is_none() {
            self.client = self.monitor.connect(&self.interface)?;
        }
        let Some(client) = &mut self.client else {
            return Err(
                Failure::failed("the daemon does not run").hint("`systemctl start adit`, or `adit server up` again")
            );
        };
        client.call(method).inspect_err(|failure| {
            // One that says what is wrong is still there.
            if failure.is_about_the_connection() {
                self.client = None;
                self.runs = None;
            }
        })
    }

    /// Says what is wrong once, and when it is over.
    fn note(&self, failure: Option<&Failure>) {
        let now = failure.map(ToString::to_string);
        self.trouble.send_if_modified(|before| {
            if *before == now {
                return false;
            }
            match &now {
                Some(trouble) => tracing::warn!("what is decided does not run: {trouble}"),
                None => tracing::info!("what is decided runs again"),
            }
            *before = now;
            true
        });
    }
}

/// The pause after an answer that took so long: the status of very many peers takes its time, which is not to be all there
/// is.
fn pause_after(took: Duration) -> Duration {
    took.saturating_mul(SHARE).clamp(EVERY, SELDOM)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Lines of the log that were written in this thread.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_does_not_run_is_warned_of_once_until_it_runs() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let _logged = tracing::subscriber::set_default(subscriber);
        let warnings = || String::from_utf8(log.0.lock().unwrap().clone()).unwrap().matches("WARN").count();
        let (monitor, interface) = (Arc::new(Monitor::gone().unwrap()), "home".to_owned());
        let (trouble, reports) = (watch::Sender::new(None), mpsc::channel(1).0);
        let keeper = Keeper { monitor, interface, client: None, wanted: None, runs: None, trouble, reports };
        let taken = Failure::failed("the port 51820 is taken");
        (0..3).for_each(|_| keeper.note(Some(&taken)));
        assert_eq!(warnings(), 1);
        keeper.note(None);
        keeper.note(Some(&taken));
        assert_eq!(warnings(), 2, "it ran in between");
    }

    #[test]
    fn a_slow_daemon_is_asked_seldom_and_not_hardly_ever() {
        assert_eq!(pause_after(Duration::from_millis(1)), EVERY);
        assert_eq!(pause_after(Duration::from_millis(100)), Duration::from_secs(5));
        assert_eq!(pause_after(Duration::from_secs(30)), SELDOM);
        assert_eq!(pause_after(Duration::MAX), SELDOM);
    }
}
