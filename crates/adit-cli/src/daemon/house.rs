//! All tunnels of one daemon, by name.
//!
//! Each is kept by a task of its own (`keeper`), so that none waits for another and none takes another down.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use adit::openvpn::network::Authority;
use base64ct::{Base64, Encoding as _};
use tokio::sync::Notify;

use super::door::Confinements;
use super::keeper::Keeper;
use crate::exit::{Failure, Result};
use crate::places::Places;
use crate::process;
use crate::report::{SCHEMA, State, StatusReport};
use crate::rpc::{Certified, Done, Info, Login, PeersChange, Served, ServedPeers};
use crate::server;
use crate::tunnel::{Asked, Wanted};

/// The most tunnels of one daemon.
const MAX_TUNNELS: usize = 256;

/// The tunnels.
#[derive(Debug)]
pub(crate) struct House {
    places: Places,
    /// The group whose members may ask.
    members: Option<u32>,
    tunnels: Mutex<BTreeMap<String, Arc<Keeper>>>,
    confinements: Confinements,
    changed: Notify,
}

impl House {
    /// One without tunnels.
    pub(super) fn new(places: Places, members: Option<u32>) -> Self {
        Self {
            places,
            members,
            tunnels: Mutex::default(),
            confinements: Confinements::default(),
            changed: Notify::new(),
        }
    }

    /// Whether a person brought this up from a file.
    pub(super) fn is_of_a_file(&self, name: &str) -> bool {
        self.tunnels().get(name).is_some_and(|keeper| keeper.file().is_some())
    }

    /// The file that a tunnel was brought up from, if there is the tunnel, and if it has one.
    pub(super) fn file_of(&self, name: &str) -> Option<Option<PathBuf>> {
        self.tunnels().get(name).map(|keeper| keeper.file().map(Path::to_owned))
    }

    /// The connections that are for one network alone.
    pub(super) const fn confinements(&self) -> &Confinements {
        &self.confinements
    }

    /// The group whose members may ask.
    pub(super) const fn members(&self) -> Option<u32> {
        self.members
    }

    /// Who this is.
    pub(super) fn info(&self) -> Info {
        let pid = std::process::id();
        Info {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid,
            resident_kib: process::resident_kib(pid),
            tunnels: self.tunnels().keys().cloned().collect(),
        }
    }

    /// Brings a tunnel up from its file.
    pub(super) async fn up(&self, name: &str, file: &Path, login: Option<Login>) -> Result<Done> {
        let keeper = self.move_in(name, Some(file.to_owned()))?;
        // A key behind a password takes as long as the file says, within bounds: the other tunnels go on.
        let of = file.to_owned();
        let asked = tokio::task::spawn_blocking(move || Wanted::of_file(&of, login)).await;
        let asked = asked.unwrap_or_else(|e| Err(Failure::failed(format!("reading the file failed inside: {e}"))));
        self.begin(name, keeper, asked).await
    }

    /// Runs a network, or makes the one that runs be as said.
    pub(super) async fn serve(&self, name: &str, served: Box<Served>) -> Result<Done> {
        let there = self.tunnels().get(name).cloned();
        if let Some(keeper) = there.filter(|keeper| keeper.state() != State::Failed) {
            return keeper.serve(served).await;
        }
        if served.peers == ServedPeers::Stay {
            return Err(Failure::not_connected(format!("{name} is not up")).hint("say the whole network"));
        }
        let keeper = self.move_in(name, None)?;
        let asked = Asked::of_served(*served, &self.places).map(Box::new).map(Wanted::WireGuard);
        self.begin(name, keeper, asked).await
    }

    /// Changes some peers of a network that runs.
    pub(super) async fn change_peers(&self, name: &str, change: Box<PeersChange>) -> Result<Done> {
        self.keeper(name)?.change_peers(change).await
    }

    /// Certifies the key of an OpenVPN client, as the authority of the network whose private key is in the server's directory.
    pub(super) fn certify(&self, device: &str, public_key: &str) -> Result<Certified> {
        let key = server::key_for_the_daemon(&self.places.server_state())?;
        let no_key = |e: &dyn std::fmt::Display| Failure::usage(format!("the key that is to be certified: {e}"));
        let point = Base64::decode_vec(public_key).map_err(|e| no_key(&e))?;
        let papers = Authority::of(&key).and_then(|authority| authority.admit(device, &point));
        let papers = papers.map_err(|e| no_key(&e))?;
        Ok(Certified {
            authority: papers.authority,
            certificate: papers.certificate,
            fingerprint: Base64::encode_string(&papers.fingerprint),
            wrapped: papers.wrapped.into(),
        })
    }

    async fn begin(&self, name: &str, keeper: Arc<Keeper>, asked: Result<Wanted>) -> Result<Done> {
        let up = async { keeper.up(asked?, &self.places).await };
        match up.await {
            Ok(done) => {
                let file = keeper.file().map(|file| format!(", from {}", file.display()));
                tracing::info!("{name} is up{}", file.unwrap_or_default());
                Ok(done)
            }
            Err(failure) => {
                tracing::warn!("{name} did not come up: {failure}");
                self.move_out(name, &keeper);
                Err(failure)
            }
        }
    }

    /// Takes it down.
    pub(super) async fn down(&self, name: &str) -> Result<Done> {
        let keeper = self.keeper(name)?;
        let done = keeper.down().await;
        // Whatever went wrong, there is nothing of it left to talk to.
        self.move_out(name, &keeper);
        tracing::info!("{name} is down");
        done
    }

    /// Reads its file again.
    pub(super) async fn reload(&self, name: &str) -> Result<Done> {
        let done = self.keeper(name)?.reload().await?;
        tracing::info!("{name} is reloaded");
        Ok(done)
    }

    /// Makes again what was made for it and is gone.
    pub(super) async fn mend(&self, name: &str) -> Result<Done> {
        let done = self.keeper(name)?.mend().await?;
        done.notes.iter().for_each(|note| tracing::info!("{name} is mended: {note}"));
        Ok(done)
    }

    /// Reads every file again; a wrong one changes nothing and is said in the log.
    pub(super) async fn reload_all(&self) {
        // A network has no file; who decides about it says what changes.
        let of_files: Vec<_> =
            self.tunnels().iter().filter(|(_, keeper)| keeper.file().is_some()).map(|(name, _)| name.clone()).collect();
        for name in of_files {
            if let Err(failure) = self.reload(&name).await {
                tracing::error!("{name} is not reloaded: {failure}");
            }
        }
    }

    /// Takes all down, side by side.
    pub(super) async fn down_all(self: &Arc<Self>) {
        let mut tasks = tokio::task::JoinSet::new();
        for name in self.names() {
            let house = self.clone();
            tasks.spawn(async move {
                if let Err(failure) = house.down(&name).await {
                    tracing::error!("{name} is not down in order: {failure}");
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(e) = ended {
                tracing::error!("taking a tunnel down failed in a way it should not: {e}");
            }
        }
    }

    /// How all are, or one.
    pub(super) async fn status(&self, name: Option<&str>) -> Result<StatusReport> {
        let keepers: Vec<_> = match name {
            Some(name) => vec![self.keeper(name)?],
            None => self.tunnels().values().cloned().collect(),
        };
        let mut tunnels = Vec::new();
        for keeper in keepers {
            tunnels.push(keeper.report().await);
        }
        Ok(StatusReport { schema: SCHEMA, version: env!("CARGO_PKG_VERSION").to_owned(), tunnels })
    }

    /// Whether it owns nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.tunnels().is_empty()
    }

    /// Waits until it owns nothing.
    pub(super) async fn emptied(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_empty() {
                return;
            }
            changed.await;
        }
    }

    fn move_in(&self, name: &str, file: Option<PathBuf>) -> Result<Arc<Keeper>> {
        let mut tunnels = self.tunnels();
        if let Some(there) = tunnels.get(name)
            && there.state() != State::Failed
        {
            return Err(Failure::failed(format!("{name} is already up"))
                .hint(format!("apply a changed file with `adit reload {name}`, or take it down first")));
        }
        if tunnels.len() >= MAX_TUNNELS {
            return Err(Failure::failed(format!("this daemon already owns {MAX_TUNNELS} tunnels")));
        }
        let keeper = Arc::new(Keeper::new(name.to_owned(), file));
        tunnels.insert(name.to_owned(), keeper.clone());
        Ok(keeper)
    }

    fn move_out(&self, name: &str, keeper: &Arc<Keeper>) {
        let mut tunnels = self.tunnels();
        if tunnels.get(name).is_some_and(|there| Arc::ptr_eq(there, keeper)) {
            tunnels.remove(name);
        }
        drop(tunnels);
        self.changed.notify_waiters();
    }

    fn keeper(&self, name: &str) -> Result<Arc<Keeper>> {
        let tunnels = self.tunnels();
        tunnels.get(name).cloned().ok_or_else(|| {
            let names: Vec<_> = tunnels.keys().map(String::as_str).collect();
            let known =
                if names.is_empty() { "no tunnel is up".to_owned() } else { format!("up: {}", names.join(", ")) };
            Failure::not_connected(format!("{name} is not up")).hint(known)
        })
    }

    fn names(&self) -> Vec<String> {
        self.tunnels().keys().cloned().collect()
    }

    fn tunnels(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Keeper>>> {
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
