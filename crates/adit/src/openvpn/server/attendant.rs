//! Who answers a server's core: who comes in, with which address, and what each client is told.
//!
//! What clients say of themselves is bounded and never names a file. Not here: certificates and keys, which the core has looked
//! at by then.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use adit_engine::{EngineHandle, Gone};
use adit_openvpn::options::ServerConfig;
use adit_openvpn::{Answer, AuthRequest, ClientId, ClientSettings, Server as Core, ServerChange, ServerEvent};
use adit_protocol::Protocol as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use super::layout::Layout;
use super::pool::Pool;
use super::{Guest, Shown, StartError};
use crate::openvpn::attendant::for_people;

/// How often it is looked whether everybody is still there, for news may be missed, and the file of the pool is written.
const LOOK_EVERY: Duration = Duration::from_secs(10);
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
    pool: Pool,
    pool_file: Option<PoolFile>,
    /// At most as many as the core has sessions. In the order in which they came.
    guests: BTreeMap<u64, Inside>,
    by_client: HashMap<ClientId, u64>,
    /// Where one client at a time has a name: who has it.
    by_name: HashMap<String, ClientId>,
    admitted: u64,
    refused: u64,
}

/// What the configuration says of clients.
#[derive(Debug)]
struct Rules {
    layout: Layout,
    push: Vec<String>,
    duplicates: bool,
    /// What clients are told when the server goes.
    goodbye: Option<&'static str>,
}

/// A client that is in.
#[derive(Debug)]
struct Inside {
    client: ClientId,
    name: String,
    place: Option<u32>,
    shown: Guest,
}

#[derive(Debug)]
struct PoolFile {
    path: PathBuf,
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
        let ServerConfig { server, .. } = config;
        let (push, duplicates) = (server.push.clone(), server.duplicate_names);
        Ok(Self { layout: Layout::of(config)?, push, duplicates, goodbye })
    }

    /// What a client in this place is given and told.
    fn settings(&self, place: Option<u32>) -> ClientSettings {
        let mut settings = place.map_or_else(ClientSettings::default, |place| self.layout.place(place));
        let said =
            |told: &String| self.push.iter().any(|line| name_of(line) == name_of(told) && name_of(told) == "topology");
        let told = self.layout.told().into_iter().filter(|told| !said(told));
        settings.options = told.chain(self.push.iter().cloned()).collect();
        settings
    }
}

impl Attendant {
    pub(super) fn new(config: &ServerConfig, base: &Path) -> Result<Self, StartError> {
        let rules = Rules::of(config)?;
        let mut pool = Pool::new(rules.layout.places(), !rules.duplicates);
        rules.layout.taken().for_each(|place| pool.reserve(place));
        let pool_file = config.server.pool_file.as_ref().map(|file| PoolFile::open(base.join(file))).transpose()?;
        if let Some(file) = &pool_file {
            pool.load(&file.written, &rules.layout);
        }
        Ok(Self {
            rules,
            pool,
            pool_file,
            guests: BTreeMap::new(),
            by_client: HashMap::new(),
            by_name: HashMap::new(),
            admitted: 0,
            refused: 0,
        })
    }

    /// Listens until the server's engine or its last handle is gone.
    pub(super) async fn run(
        mut self,
        engine: EngineHandle<Core>,
        mut news: mpsc::Receiver<ServerEvent>,
        mut orders: mpsc::Receiver<Order>,
    ) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let changes = tokio::select! {
                event = news.recv() => match event {
                    Some(event) => self.hear(event, Instant::now()),
                    None => break,
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
                    self.write_pool().await;
                    Vec::new()
                }
            };
            if !changes.is_empty() && apply(&engine, changes).await.is_err() {
                break;
            }
        }
        self.write_pool().await;
    }

    fn hear(&mut self, event: ServerEvent, now: Instant) -> Vec<ServerChange> {
        match event {
            ServerEvent::Ask(request) => return self.answer(&request, now),
            ServerEvent::Joined(client) => {
                if let Some(guest) = self.guest(client) {
                    guest.shown.since = now;
                }
            }
            ServerEvent::Renewed(client) => {
                if let Some(guest) = self.guest(client) {
                    guest.shown.renewals += 1;
                }
            }
            ServerEvent::Moved(client, path) => {
                if let Some(guest) = self.guest(client) {
                    guest.shown.from = path.remote;
                }
            }
            ServerEvent::Said(..) => {}
            ServerEvent::Left(client, why) => {
                tracing::debug!(%why, "a client has left");
                self.forget(client);
            }
        }
        Vec::new()
    }

    fn guest(&mut self, client: ClientId) -> Option<&mut Inside> {
        self.by_client.get(&client).and_then(|number| self.guests.get_mut(number))
    }

    fn answer(&mut self, request: &AuthRequest, now: Instant) -> Vec<ServerChange> {
        if request.renewal {
            // Whoever renews is who came in: the core has seen to that.
            return vec![ServerChange::Answer(request.client, Answer::Accept(Box::default()))];
        }
        match self.admit(request.client, &name(request), request.from.remote, now) {
            Ok(changes) => changes,
            Err(why) => {
                self.refused += 1;
                vec![ServerChange::Answer(request.client, Answer::Refuse(why.to_owned()))]
            }
        }
    }

    /// Lets a client in.
    fn admit(
        &mut self,
        client: ClientId,
        name: &str,
        from: SocketAddr,
        now: Instant,
    ) -> Result<Vec<ServerChange>, &'static str> {
        let mut changes = Vec::new();
        if !self.rules.duplicates
            && let Some(before) = self.by_name.get(name).copied()
        {
            // It has come again, or somebody else with its papers: the last one counts.
            self.forget(before);
            changes.push(ServerChange::Forget(before, "another client of the same name came".to_owned()));
        }
        let place = self.pool.take(name).ok_or("no address is left")?;
        let settings = self.rules.settings(Some(place));
        let v4 = settings.address4.map(|(address, _)| IpAddr::from(address));
        let v6 = settings.address6.map(|(address, _)| IpAddr::from(address));
        let addresses = v4.into_iter().chain(v6).collect();
        let shown = Guest { name: for_people(name), from, addresses, since: now, renewals: 0 };
        self.admitted += 1;
        self.guests.insert(self.admitted, Inside { client, name: name.to_owned(), place: Some(place), shown });
        self.by_client.insert(client, self.admitted);
        if !self.rules.duplicates {
            self.by_name.insert(name.to_owned(), client);
        }
        changes.push(ServerChange::Answer(client, Answer::Accept(Box::new(settings))));
        Ok(changes)
    }

    /// What was a client's is free.
    fn forget(&mut self, client: ClientId) {
        let Some(guest) = self.by_client.remove(&client).and_then(|number| self.guests.remove(&number)) else { return };
        if self.by_name.get(&guest.name) == Some(&client) {
            self.by_name.remove(&guest.name);
        }
        if let Some(place) = guest.place {
            self.pool.free(place);
        }
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
            trouble: self.pool_file.as_ref().and_then(|file| file.trouble.clone()),
        }
    }

    async fn write_pool(&mut self) {
        if let Some(file) = &mut self.pool_file {
            file.write(self.pool.text(&self.rules.layout)).await;
        }
    }
}

impl PoolFile {
    fn open(path: PathBuf) -> Result<Self, StartError> {
        let read = std::fs::File::open(&path).and_then(|file| {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut std::io::Read::take(file, MAX_POOL_FILE), &mut text).map(|_| text)
        });
        match read {
            Ok(written) => Ok(Self { path, written, trouble: None }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self { path, written: String::new(), trouble: None })
            }
            Err(source) => Err(StartError::PoolFile { file: path, source }),
        }
    }

    /// Puts the text in the place of what was there, all at once.
    async fn write(&mut self, text: String) {
        if text == self.written {
            return;
        }
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        let written = async {
            tokio::fs::write(&beside, &text).await?;
            tokio::fs::rename(&beside, &self.path).await
        };
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

/// What a client is called: by its certificate, or, without one, by its user.
fn name(request: &AuthRequest) -> String {
    request.common_name.clone().unwrap_or_else(|| request.username.clone())
}

fn name_of(option: &str) -> &str {
    option.split_whitespace().next().unwrap_or_default()
}
