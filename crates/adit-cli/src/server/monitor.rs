//! The half of `adit server up` that keeps its rights: starts the process that decides, and opens its connections.
//!
//! What decides cannot open a Unix socket any more (`confine`): else it could speak to the daemon, to systemd or to D-Bus
//! as root does. It asks here for a connection to the daemon, which comes confined to its one network already, for the
//! addresses of its database, whose files for looking up names it cannot open, and says here when it serves. Nothing else
//! can be asked for. If either half ends, so does the other.
//! Not here: what is given up (`confine`), what is said to the daemon (`link`).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Shutdown, ToSocketAddrs as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adit_control::MAX_ADDRESSES;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{Pid, Signal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use super::state::State;
use crate::client::Client;
use crate::exit::{Exit, Failure, Result};
use crate::places::Places;
use crate::rpc::{Done, Method};

/// Tells a process that it is the one that decides, and whose; its standard input is the way there.
pub(crate) const MONITOR: &str = "ADIT_SERVER_MONITOR";
/// How long name servers are waited for. A little longer than the system gives the first of them (5 s), so that the second
/// may answer; and not so long that a connection to the daemon, which may be wanted next, comes late.
const LOOKING: Duration = Duration::from_secs(6);
/// The longest message, either way.
const MAX_MESSAGE: usize = 4096;

/// What can be asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Ask {
    /// A connection to the daemon, for this interface alone. The first one settles which.
    Connect {
        /// Its name.
        interface: String,
    },
    /// These are the names of its database's hosts: the first time settles which may be looked up.
    Names(Vec<String>),
    /// What are the addresses of one of them now?
    LookUp(String),
    /// This is a first run: there are no settings yet, and those that are written from now on are its own. Heard only
    /// before [`Ask::Names`].
    First,
    /// There is a network with the settings that were written down.
    Settled,
    /// Devices can join.
    Ready,
    /// It is being taken down.
    Stopping,
}

/// What comes of [`Ask::Connect`], with which the connection comes, and of [`Ask::LookUp`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Answer {
    Connected,
    /// There is no daemon.
    Nobody,
    /// Where that host is.
    Addresses(Vec<IpAddr>),
    Failed(Failure),
}

/// The way to the monitor, as the deciding process has it.
#[derive(Debug)]
pub(crate) struct Monitor {
    way: OwnedFd,
    /// Held from a question to its answer.
    turn: Mutex<()>,
}

impl Monitor {
    const fn over(way: OwnedFd) -> Self {
        Self { way, turn: Mutex::new(()) }
    }

    /// The monitor that started this process; `None` in a process that a person started, which is to be one.
    ///
    /// Called before there is another thread or descriptor: it takes the standard input.
    pub(crate) fn of_this_process() -> Result<Option<Self>> {
        let Some(whose) = std::env::var_os(MONITOR) else { return Ok(None) };
        // Dies with its monitor; whoever is not its child is told so.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|e| Failure::io("cannot be tied to the process that started it", &e.into()))?;
        let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
        if whose != OsString::from(parent.to_string()) {
            return Err(Failure::usage(format!("{MONITOR} is for `adit server up` itself")).hint("unset it"));
        }
        let way = std::io::stdin().as_fd().try_clone_to_owned();
        way.map(|way| Some(Self::over(way))).map_err(|e| Failure::io("cannot reach the process that started it", &e))
    }

    /// One that has ended.
    #[cfg(test)]
    pub(crate) fn gone() -> Result<Self> {
        let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        pair.map(|(ours, _)| Self::over(ours)).map_err(|e| Failure::io("no pair of sockets", &e.into()))
    }

    /// A connection to the daemon that is good for this interface alone; `None` if there is no daemon.
    pub(crate) fn connect(&self, interface: &str) -> Result<Option<Client>> {
        match self.ask(&Ask::Connect { interface: interface.to_owned() })? {
            (Answer::Connected, Some(connection)) => Ok(Some(Client::over(connection.into()))),
            (Answer::Connected, None) => Err(Failure::failed("the connection to the daemon got lost on its way here")),
            (Answer::Nobody, _) => Ok(None),
            (Answer::Failed(failure), _) => Err(failure),
            (Answer::Addresses(_), _) => Err(Failure::failed("the other process answered something else")),
        }
    }

    /// Settles which names may be looked up, for good.
    pub(crate) fn names(&self, names: Vec<String>) -> Result<()> {
        say(self.way.as_fd(), &Ask::Names(names), None)
    }

    /// The addresses of one of these names now. Blocks for as long as name servers may take.
    pub(crate) fn look_up(&self, name: &str) -> Result<Vec<IpAddr>> {
        match self.ask(&Ask::LookUp(name.to_owned()))? {
            (Answer::Addresses(found), _) => Ok(found),
            (Answer::Failed(failure), _) => Err(failure),
            (Answer::Connected | Answer::Nobody, _) => {
                Err(Failure::failed("the other process answered something else"))
            }
        }
    }

    fn ask(&self, ask: &Ask) -> Result<(Answer, Option<OwnedFd>)> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        say(self.way.as_fd(), ask, None)?;
        hear(self.way.as_fd())?.ok_or_else(ended)
    }

    /// No settings are there yet: should no network come of it, those that are written next are not to be kept.
    pub(crate) fn first(&self) -> Result<()> {
        say(self.way.as_fd(), &Ask::First, None)
    }

    /// There is a network now: its settings are to be kept.
    pub(crate) fn settled(&self) -> Result<()> {
        say(self.way.as_fd(), &Ask::Settled, None)
    }

    /// Devices can join; for whoever started the service.
    pub(crate) fn ready(&self) -> Result<()> {
        say(self.way.as_fd(), &Ask::Ready, None)
    }

    /// It is being taken down; for whoever started the service.
    pub(crate) fn stopping(&self) -> Result<()> {
        say(self.way.as_fd(), &Ask::Stopping, None)
    }
}

fn ended() -> Failure {
    Failure::failed("the process that started this one has ended")
}

/// Starts this program again as the process that decides, serves it, and ends as it ends. A first run that made no network
/// leaves no settings of one either: what was wrong in the options may be said differently the next time.
pub(crate) async fn run(places: &Places) -> Result<Exit> {
    let said = Arc::new(Said::default());
    let ended = supervise(places, said.clone()).await;
    forget_if_unsettled(places, &said);
    ended
}

/// What the process that decides has said.
#[derive(Debug, Default)]
struct Said {
    /// There were no settings before its own.
    first: AtomicBool,
    /// There is a network.
    settled: AtomicBool,
}

/// Removes settings that were written for a network that was not made; only if this run wrote them, and nobody goes on with
/// them by now.
fn forget_if_unsettled(places: &Places, said: &Said) {
    if !said.first.load(Ordering::Acquire) || said.settled.load(Ordering::Acquire) {
        return;
    }
    match State::open(places.server_state()) {
        Ok(state) => state.forget_settings(),
        Err(failure) => tracing::debug!("the settings of a network that was not made stay: {failure}"),
    }
}

async fn supervise(places: &Places, said: Arc<Said>) -> Result<Exit> {
    let failed = |e: std::io::Error| Failure::io("cannot start the process that decides", &e);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|e| failed(e.into()))?;
    let mut child = tokio::process::Command::new(std::env::current_exe().map_err(failed)?)
        .args(std::env::args_os().skip(1))
        .env(MONITOR, std::process::id().to_string())
        .stdin(Stdio::from(theirs))
        .spawn()
        .map_err(failed)?;
    let places = places.clone();
    // Ends with the other end of its socket, which the child alone has.
    let attending = std::thread::spawn(move || attend(ours.as_fd(), &places, &said));
    loop {
        tokio::select! {
            status = child.wait() => {
                // What it said last is heard as well.
                let _nothing = attending.join();
                return outcome(status.map_err(failed)?);
            }
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // Not waited for yet, so the number is still its own.
        if let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            let _gone = rustix::process::kill_process(pid, Signal::TERM);
        }
    }
}

/// What it wanted to say it has said itself.
fn outcome(status: ExitStatus) -> Result<Exit> {
    let exits = [Exit::Done, Exit::Failed, Exit::Usage, Exit::NotConnected, Exit::Privilege];
    if let Some(exit) = exits.into_iter().find(|exit| status.code() == Some(exit.code().into())) {
        return Ok(exit);
    }
    Err(Failure::failed(format!("the process that decides about the network ended: {status}"))
        .hint("the tunnel goes on as it was decided last; `adit server up` again goes on deciding"))
}

/// Answers one question after the other, until nobody asks any more.
fn attend(way: BorrowedFd<'_>, places: &Places, said: &Said) {
    let (mut served, mut names, mut given) = (None, None, None);
    let mut lookups = Lookups::default();
    while let Ok(Some((ask, None))) = hear(way) {
        let (answer, connection) = match ask {
            Ask::Connect { interface } if *served.get_or_insert_with(|| interface.clone()) == interface => {
                // One at a time: each has a place at the daemon that a command may want.
                if let Some(before) = given.take() {
                    end(&before);
                }
                match confined(places, &interface).and_then(|made| made.map(kept).transpose()) {
                    Ok(Some((connection, copy))) => {
                        given = Some(copy);
                        (Answer::Connected, Some(connection))
                    }
                    Ok(None) => (Answer::Nobody, None),
                    Err(failure) => (Answer::Failed(failure), None),
                }
            }
            Ask::Connect { .. } => (Answer::Failed(Failure::privilege("it is for one interface alone")), None),
            Ask::Names(of_database) => {
                names.get_or_insert(of_database);
                continue;
            }
            Ask::LookUp(name) if names.iter().flatten().any(|known| *known == name) => {
                (lookups.of(name).map_or_else(Answer::Failed, Answer::Addresses), None)
            }
            Ask::LookUp(_) => (Answer::Failed(Failure::privilege("it looks up its database alone")), None),
            // Said before its database is known, or not at all: later, it may be somebody else who speaks for it.
            Ask::First => {
                said.first.fetch_or(names.is_none(), Ordering::AcqRel);
                continue;
            }
            Ask::Settled => {
                said.settled.store(true, Ordering::Release);
                continue;
            }
            Ask::Ready | Ask::Stopping => {
                let ready = matches!(ask, Ask::Ready);
                let state = if ready { sd_notify::NotifyState::Ready } else { sd_notify::NotifyState::Stopping };
                let _not_systemd = sd_notify::notify(&[state]);
                continue;
            }
        };
        if say(way, &answer, connection.as_ref().map(UnixStream::as_fd)).is_err() {
            return;
        }
    }
}

/// What is asked of name servers, by name: at most one question for each of the database's hosts, each in a thread of its
/// own, since the system's way to ask cannot be called off.
struct Lookups {
    asked: BTreeMap<String, Receiver<Result<Vec<IpAddr>>>>,
    ask: fn(&str) -> Result<Vec<IpAddr>>,
    waits: Duration,
}

impl Default for Lookups {
    fn default() -> Self {
        Self { asked: BTreeMap::new(), ask: addresses, waits: LOOKING }
    }
}

impl Lookups {
    /// Where it is now, if the answer comes in time; one that comes later is nobody's, for it may have become old.
    fn of(&mut self, name: String) -> Result<Vec<IpAddr>> {
        let under_way = self.asked.remove(&name).filter(|asked| matches!(asked.try_recv(), Err(TryRecvError::Empty)));
        let answer = under_way.map_or_else(|| self.begin(name.clone()), Ok)?;
        match answer.recv_timeout(self.waits) {
            Ok(found) => found,
            Err(RecvTimeoutError::Disconnected) => Err(Failure::failed(format!("looking up {name} failed inside"))),
            Err(RecvTimeoutError::Timeout) => {
                let late = Failure::failed(format!("no name server has said yet where {name} is"));
                self.asked.insert(name, answer);
                Err(late)
            }
        }
    }

    fn begin(&self, name: String) -> Result<Receiver<Result<Vec<IpAddr>>>> {
        let (reply, answer) = sync_channel(1);
        let ask = self.ask;
        std::thread::Builder::new()
            .name("look-up".to_owned())
            .spawn(move || {
                let _nobody_waits = reply.send(ask(&name));
            })
            .map_err(|e| Failure::io("cannot start a thread", &e))?;
        Ok(answer)
    }
}

/// Where a host is, as this machine finds out now.
fn addresses(name: &str) -> Result<Vec<IpAddr>> {
    let found = (name, 0).to_socket_addrs().map_err(|e| Failure::io(format!("{name} is not found"), &e))?;
    let mut addresses: Vec<IpAddr> = found.map(|found| found.ip()).collect();
    addresses.dedup();
    addresses.truncate(MAX_ADDRESSES);
    Ok(addresses)
}

/// A connection that the daemon keeps to this interface.
fn confined(places: &Places, interface: &str) -> Result<Option<UnixStream>> {
    let Some(mut client) = Client::connect(places)? else { return Ok(None) };
    let _done: Done = client.call(Method::Confine { name: interface.to_owned() })?;
    Ok(Some(client.into_stream()))
}

/// The connection, and a copy that ends it.
fn kept(connection: UnixStream) -> Result<(UnixStream, UnixStream)> {
    let copy = connection.try_clone().map_err(|e| Failure::io("cannot keep hold of a connection to the daemon", &e))?;
    Ok((connection, copy))
}

/// Ends a connection, whoever has it.
fn end(connection: &UnixStream) {
    if let Err(error) = connection.shutdown(Shutdown::Both) {
        tracing::debug!(%error, "a connection to the daemon had ended");
    }
}

/// Sends one message, a descriptor with it.
fn say(way: BorrowedFd<'_>, message: &impl Serialize, descriptor: Option<BorrowedFd<'_>>) -> Result<()> {
    let bytes = serde_json::to_vec(message).map_err(Failure::failed)?;
    if bytes.len() > MAX_MESSAGE {
        return Err(Failure::failed("a message between the server's two processes is too long"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = descriptor.into_iter().collect();
    if !descriptors.is_empty() {
        with.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    let sent = sendmsg(way, &[IoSlice::new(&bytes)], &mut with, SendFlags::NOSIGNAL);
    sent.map(drop).map_err(|_| ended())
}

/// Waits for a message, and what came with it; `None` when the other end is closed.
fn hear<T: DeserializeOwned>(way: BorrowedFd<'_>) -> Result<Option<(T, Option<OwnedFd>)>> {
    let mut bytes = [0; MAX_MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(way, &mut [IoSliceMut::new(&mut bytes)], &mut with, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other.map_err(|e| Failure::io("the server's two processes lost each other", &e.into()))?,
        }
    };
    let mut descriptor = None;
    for message in with.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            descriptor = descriptors.last();
        }
    }
    let Some(bytes) = bytes.get(..received.bytes).filter(|bytes| !bytes.is_empty()) else { return Ok(None) };
    let message = serde_json::from_slice(bytes).map_err(Failure::failed)?;
    Ok(Some((message, descriptor)))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;
    use std::sync::atomic::AtomicUsize;

    use tempfile::TempDir;

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    /// In a directory that goes with the first of the two.
    fn places() -> (TempDir, Places) {
        let directory = tempfile::tempdir().unwrap();
        let places = Places { socket: directory.path().join("adit.sock"), directory: directory.path().to_owned() };
        (directory, places)
    }

    /// A monitor that attends, and the other half of it.
    fn attended(places: &Places) -> Monitor {
        let (ours, theirs) = pair();
        let places = places.clone();
        std::thread::spawn(move || attend(ours.as_fd(), &places, &Said::default()));
        Monitor::over(theirs)
    }

    /// Two first runs at once: one makes the network, the other is told that it is served, and ends.
    #[test]
    fn settings_are_removed_by_the_run_that_wrote_them_and_by_no_other() {
        let (_directory, places) = places();
        let settings = places.server_state().join("settings.json");
        std::fs::create_dir_all(places.server_state()).unwrap();
        let left = |words: &[fn(&Monitor) -> Result<()>]| {
            std::fs::write(&settings, "{}").unwrap();
            let (ours, theirs) = pair();
            let said = Said::default();
            std::thread::scope(|threads| {
                threads.spawn(|| attend(ours.as_fd(), &places, &said));
                let monitor = Monitor::over(theirs);
                words.iter().for_each(|word| word(&monitor).unwrap());
            });
            forget_if_unsettled(&places, &said);
            settings.exists()
        };
        assert!(left(&[]), "another run's");
        assert!(left(&[Monitor::first, Monitor::settled]), "there is a network");
        assert!(!left(&[Monitor::first]));
        assert!(!left(&[Monitor::first, |monitor| monitor.names(Vec::new())]));
        assert!(left(&[|monitor| monitor.names(Vec::new()), Monitor::first]), "taken over, it says so of any network");
        let another = State::open(places.server_state()).unwrap();
        assert!(left(&[Monitor::first]), "another goes on with them");
        drop(another);
    }

    #[test]
    fn a_connection_comes_confined_and_is_for_the_interface_named_first() {
        let (_directory, places) = places();
        let daemon = UnixListener::bind(&places.socket).unwrap();
        let monitor = attended(&places);
        let told = std::thread::spawn(move || {
            let (mut stream, _) = daemon.accept().unwrap();
            let mut line = [0; 200];
            let read = stream.read(&mut line).unwrap();
            stream.write_all(b"{\"adit\":1,\"id\":1,\"result\":{\"notes\":[]}}\n").unwrap();
            String::from_utf8(line[..read].to_vec()).unwrap()
        });
        assert!(monitor.connect("home").unwrap().is_some());
        let told = told.join().unwrap();
        assert!(told.contains("confine") && told.contains("\"home\""), "{told}");
        let refused = monitor.connect("other").unwrap_err();
        assert!(refused.message.contains("one interface"), "{refused}");
    }

    #[test]
    fn a_connection_ends_as_the_next_is_made() {
        let (_directory, places) = places();
        let daemon = UnixListener::bind(&places.socket).unwrap();
        let monitor = attended(&places);
        let (mut before, mut all) = (None, Vec::new());
        for _ in 0..3 {
            std::thread::scope(|threads| {
                threads.spawn(|| {
                    let (mut stream, _) = daemon.accept().unwrap();
                    let _question = stream.read(&mut [0; 200]).unwrap();
                    stream.write_all(b"{\"adit\":1,\"id\":1,\"result\":{\"notes\":[]}}\n").unwrap();
                    if let Some(mut before) = before.replace(stream) {
                        assert_eq!(before.read(&mut [0; 1]).unwrap(), 0, "its place is free again");
                    }
                });
                all.push(monitor.connect("home").unwrap().unwrap());
            });
        }
    }

    #[test]
    fn the_names_of_its_database_are_looked_up_and_no_others() {
        let (_directory, places) = places();
        let monitor = attended(&places);
        assert!(monitor.look_up("localhost").unwrap_err().message.contains("database"), "nothing is settled yet");
        monitor.names(vec!["localhost".into()]).unwrap();
        monitor.names(vec!["other.example".into()]).unwrap();
        let found = monitor.look_up("localhost").unwrap();
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
        assert!(
            monitor.look_up("other.example").unwrap_err().message.contains("database"),
            "the first time settles it"
        );
    }

    /// Name servers that say nothing until they are let go; each question is counted.
    static SILENCE: Mutex<()> = Mutex::new(());
    static QUESTIONS: AtomicUsize = AtomicUsize::new(0);

    fn silent(_: &str) -> Result<Vec<IpAddr>> {
        QUESTIONS.fetch_add(1, Ordering::SeqCst);
        let _until_let_go = SILENCE.lock();
        Ok(vec![IpAddr::from([192, 0, 2, 1])])
    }

    #[test]
    fn name_servers_that_are_silent_are_asked_once_and_not_waited_for() {
        let held = SILENCE.lock().unwrap();
        let mut lookups = Lookups { ask: silent, waits: Duration::from_millis(1), ..Lookups::default() };
        for _ in 0..3 {
            assert!(lookups.of("db.example".into()).unwrap_err().message.contains("said yet"));
        }
        assert_eq!((QUESTIONS.load(Ordering::SeqCst), lookups.asked.len()), (1, 1));
        drop(held);
        // What comes now was asked for long ago, or is waited for: either way the next question has an answer.
        lookups.waits = Duration::from_secs(60);
        assert_eq!(lookups.of("db.example".into()).unwrap().len(), 1);
        assert!(lookups.asked.is_empty());
    }

    #[test]
    fn nobody_there_is_no_failure_and_the_end_is_one() {
        let (_directory, places) = places();
        let monitor = attended(&places);
        assert!(monitor.connect("home").unwrap().is_none());
        let (ours, theirs) = pair();
        drop(ours);
        assert!(Monitor::over(theirs).connect("home").unwrap_err().message.contains("has ended"));
    }

    #[test]
    fn what_is_not_a_question_ends_the_talk() {
        let (_directory, places) = places();
        let (ours, theirs) = pair();
        let attending = std::thread::spawn(move || attend(ours.as_fd(), &places, &Said::default()));
        rustix::net::send(&theirs, b"{\"up\":{\"file\":\"/tmp/x\"}}", SendFlags::empty()).unwrap();
        attending.join().unwrap();
    }

    #[test]
    fn it_ends_as_the_other_half_ends() {
        use std::os::unix::process::ExitStatusExt as _;
        assert_eq!(outcome(ExitStatus::from_raw(0)).unwrap(), Exit::Done);
        assert_eq!(outcome(ExitStatus::from_raw(2 << 8)).unwrap(), Exit::Usage);
        assert!(outcome(ExitStatus::from_raw(9)).unwrap_err().message.contains("signal: 9"));
    }
}
