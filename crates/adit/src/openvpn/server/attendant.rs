//! Who answers a server's core: who comes in, with which address, and what each client is told.
//!
//! Not here: certificates and keys, which the core has looked at by then; logins and files of single clients (`admission`).

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_engine::{EngineHandle, Gone};
use adit_openvpn::options::{ClientEntry, ServerConfig};
use adit_openvpn::{Answer, AuthRequest, ClientId, ClientSettings, Server as Core, ServerChange, ServerEvent};
use adit_protocol::Protocol as _;
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use super::admission::{Admission, Found, Known, Refusal};
use super::hub::HubControl;
use super::layout::Layout;
use super::pool::Pool;
use super::{Files, Guest, Shown, StartError, plain};
use crate::openvpn::attendant::for_people;

/// How often it is looked whether everybody is still there, for news may be missed, and the file of the pool is written.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Clients of whom something is being found out; more are told to come again.
const MAX_EXAMINED: usize = 512;
/// And so many of those who are in and renew their keys: strangers do not fill these.
const MAX_RENEWALS_EXAMINED: usize = 512;
/// The longest name of a user, and password, that is looked at.
const MAX_WORD: usize = 8 << 10;
/// The longest file of a pool that is read.
const MAX_POOL_FILE: u64 = 16 << 20;

/// What the attendant is asked for.
#[derive(Debug)]
pub(super) enum Order {
    Show(oneshot::Sender<Shown>),
    /// Say goodbye; tell when that is on its way.
    Leave(oneshot::Sender<()>),
}

/// The attendant of one server.
#[derive(Debug)]
pub(super) struct Attendant {
    rules: Rules,
    admission: Arc<Admission>,
    pool: Pool,
    pool_file: Option<PoolFile>,
    /// What is being found out, and of whom: at most [`MAX_EXAMINED`] and [`MAX_RENEWALS_EXAMINED`].
    examined: JoinSet<Found>,
    asked: HashMap<ClientId, AbortHandle>,
    /// At most as many as the core has sessions. In the order in which they came.
    guests: BTreeMap<u64, Inside>,
    by_client: HashMap<ClientId, u64>,
    /// Where one client at a time has a name: who has it.
    by_name: HashMap<String, ClientId>,
    /// Whose an address or network inside is.
    owners: HashMap<IpNet, ClientId>,
    admitted: u64,
    refused: u64,
    /// What went wrong last that is not the clients' doing.
    trouble: Option<String>,
    /// Where clients have come in, and where they have gone, since the outside was told.
    settled: Vec<SocketAddr>,
    ended: Vec<SocketAddr>,
}

/// What the configuration says of clients.
#[derive(Debug)]
struct Rules {
    layout: Layout,
    push: Vec<String>,
    duplicates: bool,
    /// Networks behind one client.
    max_networks: usize,
    /// What clients are told when the server goes.
    goodbye: Option<&'static str>,
}

/// A client that is in.
#[derive(Debug)]
struct Inside {
    client: ClientId,
    name: Option<String>,
    places: Vec<u32>,
    /// Its addresses and networks.
    owns: Vec<IpNet>,
    shown: Guest,
}

#[derive(Debug)]
struct PoolFile {
    path: PathBuf,
    /// It is never written.
    fixed: bool,
    /// What it holds.
    written: String,
    trouble: Option<String>,
}

impl Rules {
    fn of(config: &ServerConfig) -> Result<Self, StartError> {
        let goodbye = match config.listen.exit_notify {
            None => None,
            Some(1) => Some("RESTART"),
            Some(_) => Some("RESTART,[N]"),
        };
        let server = &config.server;
        Ok(Self {
            layout: Layout::of(config)?,
            push: server.push.clone(),
            duplicates: server.duplicate_names,
            max_networks: server.max_routes as usize,
            goodbye,
        })
    }

    /// What a client in this place is given and told, as far as its own file says nothing else.
    fn settings(&self, place: Option<u32>, known: &Known) -> ClientSettings {
        let entry = &known.entry;
        let mut settings = place.map_or_else(ClientSettings::default, |place| self.layout.place(place));
        if let Some(fixed) = entry.ifconfig {
            settings.address4 = Some((fixed.local, fixed.other));
        }
        if let Some(fixed) = entry.ifconfig6 {
            settings.address6 = Some((fixed.local.addr(), fixed.local.prefix_len()));
        }
        let of_all = if entry.push_reset { &[] } else { self.push.as_slice() };
        let pushed: Vec<_> = of_all.iter().chain(&entry.push).cloned().collect();
        let says_topology = pushed.iter().any(|line| name_of(line) == "topology");
        let told = self.layout.told().into_iter().filter(|told| !(says_topology && name_of(told) == "topology"));
        let is_removed = |line: &String| entry.push_remove.iter().any(|start| line.starts_with(start.as_str()));
        settings.options = told.chain(pushed).filter(|line| !is_removed(line)).collect();
        settings.options.extend(known.token.as_ref().map(|token| format!("auth-token {}", **token)));
        let v4 = entry.networks.iter().map(|network| IpNet::from(network.trunc()));
        settings.networks = v4.chain(entry.networks6.iter().map(|network| IpNet::from(network.trunc()))).collect();
        settings
    }
}

impl Attendant {
    /// `random`: for a key of our own.
    pub(super) fn new(config: &ServerConfig, files: &Files, random: &[u8; 32]) -> Result<Self, StartError> {
        let rules = Rules::of(config)?;
        let admission = Admission::of(config, &files.base, &files.scratch, random);
        // What was asked of a program when the daemon was killed is nobody's any more.
        match std::fs::remove_dir_all(&files.scratch) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!("cannot remove {}: {error}", files.scratch.display());
            }
            Ok(()) | Err(_) => {}
        }
        for (option, path) in admission.needs() {
            let found = std::fs::metadata(path);
            found.map_err(|source| StartError::Missing { option, path: path.to_owned(), source })?;
        }
        let mut pool = Pool::new(rules.layout.places(), !rules.duplicates);
        rules.layout.taken().for_each(|place| pool.reserve(place));
        let fixed = config.server.pool_file_fixed;
        let open = |file| PoolFile::open(files.base.join(file), fixed);
        let pool_file = config.server.pool_file.as_ref().map(open).transpose()?;
        if let Some(file) = &pool_file {
            pool.load(&file.written, &rules.layout);
        }
        Ok(Self {
            rules,
            admission: Arc::new(admission),
            pool,
            pool_file,
            examined: JoinSet::new(),
            asked: HashMap::new(),
            guests: BTreeMap::new(),
            by_client: HashMap::new(),
            by_name: HashMap::new(),
            owners: HashMap::new(),
            admitted: 0,
            refused: 0,
            trouble: None,
            settled: Vec::new(),
            ended: Vec::new(),
        })
    }

    /// Listens until the server's engine or its last handle is gone.
    pub(super) async fn run(
        mut self,
        engine: EngineHandle<Core>,
        mut news: mpsc::Receiver<ServerEvent>,
        mut orders: mpsc::Receiver<Order>,
        mut streams: Option<HubControl>,
    ) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let changes = tokio::select! {
                event = news.recv() => match event {
                    Some(ServerEvent::Ask(request)) => self.examine(request),
                    Some(event) => {
                        self.hear(event, Instant::now());
                        Vec::new()
                    }
                    None => break,
                },
                gone = lost(&mut streams) => self.stream_is_gone(gone),
                Some(found) = self.examined.join_next_with_id() => match found {
                    Ok((id, found)) if self.is_asked(found.client, id) => self.answer(found, Instant::now()),
                    // Who asked is gone, or asked again since.
                    Ok(_) => Vec::new(),
                    // Nothing comes of it, and its session ends by itself.
                    Err(failed) => {
                        self.asked.retain(|_, asked| asked.id() != failed.id());
                        Vec::new()
                    }
                },
                order = orders.recv() => match order {
                    Some(Order::Show(reply)) => {
                        let _asker_left = reply.send(self.shown());
                        Vec::new()
                    }
                    Some(Order::Leave(done)) => {
                        let is_gone = apply(&engine, self.goodbyes()).await.is_err();
                        let _asker_left = done.send(());
                        if is_gone {
                            break;
                        }
                        Vec::new()
                    }
                    None => break,
                },
                _ = look.tick() => {
                    let Ok(present) = engine.with(|core, _| core.present()).await else { break };
                    self.guests_but(|guest| !present.contains(&guest.client));
                    let asked: Vec<_> = self.asked.keys().copied().collect();
                    asked.into_iter().filter(|client| !present.contains(client)).for_each(|client| self.ask_no_more(client));
                    self.write_pool().await;
                    Vec::new()
                }
            };
            if !changes.is_empty() && apply(&engine, changes).await.is_err() {
                break;
            }
            match &streams {
                Some(streams) => self.about_streams(streams).await,
                None => {
                    self.settled.clear();
                    self.ended.clear();
                }
            }
        }
        self.write_pool().await;
    }

    /// Streams whose clients have come in, and those whose clients are gone.
    async fn about_streams(&mut self, streams: &HubControl) {
        for stream in std::mem::take(&mut self.settled) {
            streams.settled(stream).await;
        }
        for stream in std::mem::take(&mut self.ended) {
            streams.close(stream).await;
        }
    }

    /// A client whose stream has ended is gone: nothing reaches it any more.
    fn stream_is_gone(&mut self, stream: SocketAddr) -> Vec<ServerChange> {
        let of_stream = self.guests.values().filter(|guest| guest.shown.from == stream).map(|guest| guest.client);
        let clients: Vec<_> = of_stream.collect();
        clients.iter().for_each(|client| self.forget(*client));
        let why = || "its stream has ended".to_owned();
        clients.into_iter().map(|client| ServerChange::Forget(client, why())).collect()
    }

    fn hear(&mut self, event: ServerEvent, now: Instant) {
        match event {
            ServerEvent::Joined(client) => {
                if let Some(guest) = self.guest(client) {
                    guest.shown.since = now;
                    let from = guest.shown.from;
                    self.settled.push(from);
                }
            }
            ServerEvent::Renewed(client) => {
                if let Some(guest) = self.guest(client) {
                    guest.shown.renewals += 1;
                }
            }
            ServerEvent::Moved(client, path) => {
                if let Some(guest) = self.guest(client) {
                    let before = std::mem::replace(&mut guest.shown.from, path.remote);
                    self.ended.push(before);
                    self.settled.push(path.remote);
                }
            }
            ServerEvent::Ask(_) | ServerEvent::Said(..) | ServerEvent::Carried(..) => {}
            ServerEvent::Left(client, why) => {
                tracing::debug!(%why, "a client has left");
                self.ask_no_more(client);
                self.forget(client);
            }
        }
    }

    /// Nobody waits for what is being found out of a client: a program that is run for it ends.
    fn ask_no_more(&mut self, client: ClientId) {
        if let Some(asked) = self.asked.remove(&client) {
            asked.abort();
        }
    }

    /// Whether this was found out for the question that the client asked last. It is answered now.
    fn is_asked(&mut self, client: ClientId, id: Id) -> bool {
        let is_last = self.asked.get(&client).is_some_and(|asked| asked.id() == id);
        if is_last {
            self.asked.remove(&client);
        }
        is_last
    }

    fn guest(&mut self, client: ClientId) -> Option<&mut Inside> {
        self.by_client.get(&client).and_then(|number| self.guests.get_mut(number))
    }

    /// Has found out what is to be known of a client.
    fn examine(&mut self, mut request: Box<AuthRequest>) -> Vec<ServerChange> {
        // Nobody asks for it, and it may be long.
        request.peer_info = String::new();
        self.ask_no_more(request.client);
        let reserve = if request.renewal { MAX_RENEWALS_EXAMINED } else { 0 };
        let refused = if request.username.len() > MAX_WORD || request.password.expose().len() > MAX_WORD {
            Some("the name of the user or the password is too long")
        } else if self.examined.len() >= MAX_EXAMINED + reserve {
            Some("TEMP:the server is busy")
        } else {
            None
        };
        if let Some(why) = refused {
            return self.refuse(request.client, Refusal::of(why));
        }
        let admission = Arc::clone(&self.admission);
        let client = request.client;
        self.asked.insert(client, self.examined.spawn(async move { admission.examine(*request).await }));
        Vec::new()
    }

    fn refuse(&mut self, client: ClientId, refusal: Refusal) -> Vec<ServerChange> {
        self.refused += 1;
        if let Some(trouble) = refusal.trouble {
            tracing::debug!(%trouble, "a client is turned away");
            self.trouble = Some(for_people(&trouble));
        }
        vec![ServerChange::Answer(client, Answer::Refuse(refusal.told))]
    }

    fn answer(&mut self, found: Found, now: Instant) -> Vec<ServerChange> {
        let Found { client, from, renewal, outcome } = found;
        let known = match outcome {
            Ok(known) => known,
            Err(refusal) => return self.refuse(client, refusal),
        };
        if renewal {
            if !self.by_client.contains_key(&client) {
                // Another has its place, or its stream has ended: it is not to stay with what is somebody else's.
                return self.refuse(client, Refusal::of("you are not in any more"));
            }
            let yes = ServerChange::Answer(client, Answer::Accept(Box::default()));
            let next = known.token.map(|token| ServerChange::Say(client, format!("PUSH_REPLY,auth-token {}", *token)));
            return std::iter::once(yes).chain(next).collect();
        }
        let mut changes = Vec::new();
        if !self.rules.duplicates
            && let Some(before) = known.name.as_ref().and_then(|name| self.by_name.get(name)).copied()
        {
            // It has come again, or somebody else with its papers: the last one counts, also if it cannot come in.
            self.forget(before);
            changes.push(ServerChange::Forget(before, "another client of the same name came".to_owned()));
        }
        changes.extend(match self.admit(client, &known, from.remote, now) {
            Ok(settings) => vec![ServerChange::Answer(client, Answer::Accept(Box::new(settings)))],
            Err(refusal) => self.refuse(client, refusal),
        });
        changes
    }

    /// Lets a client in, with these settings.
    fn admit(
        &mut self,
        client: ClientId,
        known: &Known,
        from: SocketAddr,
        now: Instant,
    ) -> Result<ClientSettings, Refusal> {
        let places = self.places(known.name.as_deref().unwrap_or_default(), &known.entry)?;
        let settings = self.rules.settings(places.first().copied(), known);
        let owns = match self.owns(&settings) {
            Ok(owns) => owns,
            Err(why) => {
                places.into_iter().for_each(|place| self.pool.free(place));
                let trouble = Some(format!("{}: {why}", on_one_line(&known.shown)));
                return Err(Refusal { told: "your addresses are somebody else's".to_owned(), trouble });
            }
        };
        self.owners.extend(owns.iter().map(|net| (*net, client)));
        let v4 = settings.address4.map(|(address, _)| IpAddr::from(address));
        let v6 = settings.address6.map(|(address, _)| IpAddr::from(address));
        let addresses = v4.into_iter().chain(v6).collect();
        let networks = settings.networks.clone();
        let shown = Guest { name: on_one_line(&known.shown), from, addresses, networks, since: now, renewals: 0 };
        self.admitted += 1;
        self.guests.insert(self.admitted, Inside { client, name: known.name.clone(), places, owns, shown });
        self.by_client.insert(client, self.admitted);
        if let Some(name) = known.name.clone().filter(|_| !self.rules.duplicates) {
            self.by_name.insert(name, client);
        }
        Ok(settings)
    }

    /// Places for a client: one that it is given what its own file does not say of, which is first, and those that the addresses of
    /// its file are of, so that nobody else is given them.
    fn places(&mut self, name: &str, entry: &ClientEntry) -> Result<Vec<u32>, Refusal> {
        let layout = &self.rules.layout;
        let fixed = entry.ifconfig.map(|fixed| fixed.local.into());
        let fixed6 = entry.ifconfig6.map(|fixed| fixed.local.addr().into());
        let [of4, of6] =
            [fixed, fixed6].map(|address: Option<IpAddr>| address.and_then(|address| layout.place_of(address)));
        let (v4, v6) = layout.gives();
        let needs = v4 && fixed.is_none() || v6 && fixed6.is_none();
        if !needs && fixed.is_none() && fixed6.is_none() {
            return Err(Refusal::of("no address is yours"));
        }
        let mut places = Vec::new();
        for place in [of4, of6].into_iter().flatten() {
            if places.contains(&place) {
                continue;
            }
            if !self.pool.claim(place, name) {
                places.into_iter().for_each(|place| self.pool.free(place));
                return Err(Refusal::of("TEMP:your address is in use"));
            }
            places.push(place);
        }
        if needs && places.is_empty() {
            places.push(self.pool.take(name).ok_or_else(|| Refusal::of("TEMP:no address is left"))?);
        }
        Ok(places)
    }

    /// What would be this client's, if nobody has it.
    fn owns(&self, settings: &ClientSettings) -> Result<Vec<IpNet>, String> {
        if settings.networks.len() > self.rules.max_networks {
            return Err("there are more networks behind it than `max-routes-per-client`".to_owned());
        }
        let v4 = settings.address4.map(|(address, _)| IpNet::from(IpAddr::from(address)));
        let v6 = settings.address6.map(|(address, _)| IpNet::from(IpAddr::from(address)));
        let owns: Vec<_> = v4.into_iter().chain(v6).chain(settings.networks.iter().copied()).collect();
        for net in &owns {
            if self.owners.contains_key(net) {
                return Err(format!("{net} is another client's, who is in"));
            }
            if self.rules.layout.has_own_in(net) {
                return Err(format!("the server's own address is in {net}"));
            }
        }
        if let Some(net) = settings.networks.iter().find(|net| self.rules.layout.gives_of(net)) {
            return Err(format!(
                "addresses of {net} are given to clients, so it cannot be a network behind one of them"
            ));
        }
        Ok(owns)
    }

    /// What was a client's is free.
    fn forget(&mut self, client: ClientId) {
        let Some(guest) = self.by_client.remove(&client).and_then(|number| self.guests.remove(&number)) else { return };
        if let Some(name) = guest.name.filter(|name| self.by_name.get(name) == Some(&client)) {
            self.by_name.remove(&name);
        }
        self.ended.push(guest.shown.from);
        for net in guest.owns {
            self.owners.remove(&net);
        }
        guest.places.into_iter().for_each(|place| self.pool.free(place));
    }

    fn guests_but(&mut self, gone: impl Fn(&Inside) -> bool) {
        let gone: Vec<_> = self.guests.values().filter(|guest| gone(guest)).map(|guest| guest.client).collect();
        gone.into_iter().for_each(|client| self.forget(client));
    }

    fn goodbyes(&self) -> Vec<ServerChange> {
        let Some(words) = self.rules.goodbye else { return Vec::new() };
        self.guests.values().map(|guest| ServerChange::Dismiss(guest.client, words.to_owned())).collect()
    }

    fn shown(&self) -> Shown {
        Shown {
            guests: self.guests.values().map(|guest| guest.shown.clone()).collect(),
            admitted: self.admitted,
            refused: self.refused,
            trouble: [self.trouble.clone(), self.pool_file.as_ref().and_then(|file| file.trouble.clone())]
                .into_iter()
                .flatten()
                .collect(),
        }
    }

    async fn write_pool(&mut self) {
        if let Some(file) = &mut self.pool_file {
            file.write(self.pool.text(&self.rules.layout)).await;
        }
    }
}

impl PoolFile {
    fn open(path: PathBuf, fixed: bool) -> Result<Self, StartError> {
        let read = std::fs::File::open(&path).and_then(|file| {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut std::io::Read::take(file, MAX_POOL_FILE), &mut text).map(|_| text)
        });
        match read {
            Ok(written) => Ok(Self { path, fixed, written, trouble: None }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self { path, fixed, written: String::new(), trouble: None })
            }
            Err(source) => Err(StartError::PoolFile { file: path, source }),
        }
    }

    /// Puts the text in the place of what was there, all at once.
    async fn write(&mut self, text: String) {
        if self.fixed || text == self.written {
            return;
        }
        let (path, whole) = (self.path.clone(), text.clone());
        let written = tokio::task::spawn_blocking(move || plain::replace(&path, &whole));
        let written = async { written.await.map_err(std::io::Error::other)? };
        match written.await {
            Ok(()) => (self.written, self.trouble) = (text, None),
            Err(error) => {
                let why = format!("cannot write {} (`ifconfig-pool-persist`): {error}", self.path.display());
                tracing::debug!("{why}");
                self.trouble = Some(why);
            }
        }
    }
}

async fn apply(engine: &EngineHandle<Core>, changes: Vec<ServerChange>) -> Result<(), Gone> {
    engine.with(move |core, now| changes.into_iter().for_each(|change| core.apply(now, change))).await
}

/// What a client is called, as it is shown: a name that has several lines could say something of others.
fn on_one_line(name: &str) -> String {
    for_people(name).replace('\n', " ")
}

async fn lost(streams: &mut Option<HubControl>) -> SocketAddr {
    match streams {
        Some(streams) => streams.lost().await,
        None => std::future::pending().await,
    }
}

fn name_of(option: &str) -> &str {
    option.split_whitespace().next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
