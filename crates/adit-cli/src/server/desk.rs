//! Answers the commands: each becomes a decision, or a report of what is known.
//!
//! Not here: what is said to and fro (`api`), deciding (`adit-control`), running what was decided (`gateway`, `link`).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use adit::invite::{Invite, enrol_address};
use adit::join::check_words;
use adit::transport::config::Pin;
use adit_control::{
    Actor, App, AuditHash, AuditRow as Row, Backup, Command, HttpsKey, InviteId, InviteState, Keys, Kind, Limits,
    Model, Name, Network, NewInvite, NewPeer, Outcome, OverQuota, Peer, Period, Policy, Protocol, Quota, Rate, Service,
    ServiceError, Traffic, UnixTime,
};
use adit_protocol::Secret;
use adit_wireguard::PublicKey;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::api::{
    self, Admitted, Ask, AuditChain, AuditRow, InviteRow, NetworkReport, NewInvite as MadeInvite, PeerChange, PeerRow,
    PolicyReport, PolicyTest, QuotaRow,
};
use super::handout::{for_wireguard, offer, prefix};
use super::link::Link;
use super::metrics::Tally;
use super::ovpn;
use crate::exit::{Failure, Result};
use crate::report::{PeerReport, TunnelReport};
use crate::rpc::{self, Certified, Json, MAX_REQUEST};
use crate::socket::{Answers, Caller, IDLE};

/// Whoever is asked.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) service: Service,
    pub(crate) link: Link,
    pub(crate) interface: String,
    /// How the tunnel was when it was last asked.
    pub(crate) seen: Mutex<Option<TunnelReport>>,
    /// Where backups are made.
    pub(crate) backups: PathBuf,
    /// The number of the next.
    pub(crate) last_backup: AtomicU64,
    /// The last revision that the daemon runs.
    pub(crate) running: watch::Sender<u64>,
    /// Where metrics are served, if they are.
    pub(crate) metrics: Option<SocketAddr>,
    /// The UDP port for OpenVPN clients, if there may be any.
    pub(crate) openvpn: Option<u16>,
    /// What is counted for them.
    pub(crate) tally: Tally,
    /// The group whose members may decide, too.
    pub(crate) members: Option<u32>,
}

impl Answers for Desk {
    type Method = Ask;
    type Talk = ();

    fn may_speak(&self, caller: Caller) -> Result<()> {
        caller.check("only root may decide about this network")
    }

    fn group(&self) -> Option<u32> {
        self.members
    }

    fn admit(&self, caller: Caller, (): &mut (), method: &Ask) -> Result<()> {
        // Everything there is at once, and files in root's directory.
        if matches!(method, Ask::Backup | Ask::Restore { .. }) {
            return caller.check_owner("only root may back up or restore a network");
        }
        Ok(())
    }

    /// The longest is a policy, every byte of it escaped.
    fn bounds(&self, (): &()) -> (usize, Duration) {
        (MAX_REQUEST + 2 * adit_control::MAX_TEXT, IDLE)
    }

    async fn perform(self: Arc<Self>, caller: Caller, ask: Ask) -> Result<Json> {
        match ask {
            Ask::Network => rpc::value(&self.report()?),
            Ask::Invite { name, seconds, uses, groups } => {
                rpc::value(&self.invite(&actor(caller), name.as_deref(), seconds, uses, &groups).await?)
            }
            Ask::Invites => rpc::value(&self.invites()),
            Ask::Revoke { invite } => self.done(caller, Command::RevokeInvite(InviteId(invite))).await,
            Ask::Admit { name, public_key, groups } => {
                let (name, key, groups) = (self::name(&name)?, key(&public_key)?, names(&groups)?);
                let new = NewPeer { name, app: App::WireGuard, key, groups, expires: None };
                self.admitted(caller, Command::AddPeer(new)).await
            }
            Ask::AdmitOpenvpn { name, public_key, groups } => {
                let (name, groups) = (self::name(&name)?, names(&groups)?);
                let papers = self.certify(&name, public_key).await?;
                let key = key(&papers.fingerprint)?;
                let new = NewPeer { name, app: App::OpenVpn, key, groups, expires: None };
                self.admitted_openvpn(caller, Command::AddPeer(new), &papers).await
            }
            Ask::Peers => rpc::value(&self.peers()),
            Ask::Change { name, change } => self.change(caller, &name, change).await,
            Ask::Policy => rpc::value(&self.policy()),
            Ask::CheckPolicy { text } => rpc::value(&self.parsed(&text)?.1),
            Ask::ApplyPolicy { text } => {
                let (policy, report) = self.parsed(&text)?;
                self.enforce(&actor(caller), Command::SetPolicy(policy)).await?;
                rpc::value(&report)
            }
            Ask::TestPolicy { from, to } => rpc::value(&self.test_policy(&from, &to)?),
            Ask::Audit { most } => rpc::value(&self.audit(most).await?),
            Ask::VerifyAudit { kept } => rpc::value(&self.verify(kept.as_deref()).await?),
            Ask::Backup => rpc::value(&self.backup().await?),
            Ask::Restore { file, called } => {
                let key = self.made(&self.model())?.key;
                let file = self.backups.join(file);
                let backup = Backup { file: &file, called: &called, key: Some(key) };
                self.service.restore(&backup, &actor(caller), now()).await.map_err(|e| Failure::failed(&e))?;
                self.until_run(self.model().revision).await?;
                rpc::value(&())
            }
        }
    }
}

/// The user and process that ask, for the log.
fn actor(caller: Caller) -> Actor {
    let process = caller.pid.map_or_else(String::new, |pid| format!(", process {pid}"));
    Actor::new(&format!("uid {}", caller.uid), &format!("this machine{process}"))
}

impl Desk {
    /// What is decided at the moment.
    pub(crate) fn model(&self) -> Arc<Model> {
        self.service.model()
    }

    /// Decides, and waits until the tunnel runs it; if it does not, only the log says so, for the outcome holds what is not
    /// given twice.
    pub(crate) async fn execute(&self, actor: &Actor, command: Command) -> Result<Outcome> {
        let outcome = self.service.execute(command, actor.clone(), now()).await.map_err(|e| refused(&e))?;
        self.run_or_say(self.model().revision).await;
        Ok(outcome)
    }

    /// Waits until the daemon runs this revision; if it does not, the log says so.
    pub(crate) async fn run_or_say(&self, revision: u64) {
        if let Err(late) = self.until_run(revision).await {
            tracing::warn!("{late}");
        }
    }

    /// Decides what is about those who are there: it counts once the tunnel runs it.
    async fn enforce(&self, actor: &Actor, command: Command) -> Result<()> {
        self.service.execute(command, actor.clone(), now()).await.map_err(|e| refused(&e))?;
        self.until_run(self.model().revision).await
    }

    /// The daemon runs this revision now.
    pub(crate) fn ran(&self, revision: u64) {
        self.running.send_replace(revision);
    }

    /// Waits until the daemon runs this revision, or a later one; not for ever, as it may be away.
    async fn until_run(&self, revision: u64) -> Result<()> {
        let mut running = self.running.subscribe();
        let runs = running.wait_for(|running| *running >= revision);
        if tokio::time::timeout(PATIENCE, runs).await.is_ok() {
            return Ok(());
        }
        let why = self.link.trouble().map_or_else(String::new, |trouble| format!(": {trouble}"));
        Err(Failure::failed(format!("it is decided and written down, but does not run yet{why}"))
            .hint("it will as soon as it can; `adit server status` says whether something is wrong"))
    }

    /// The key that the web site proves to have, if the daemon has said so.
    pub(crate) fn pin(&self) -> Option<[u8; 32]> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let pin: Pin = seen.as_ref()?.web_site.as_ref()?.pin.as_ref()?.parse().ok()?;
        Some(*pin.hash())
    }

    fn made<'a>(&self, model: &'a Model) -> Result<&'a Network> {
        model.network.as_ref().ok_or_else(|| Failure::failed("there is no network yet"))
    }

    /// The network, for people.
    pub(crate) fn report(&self) -> Result<NetworkReport> {
        let model = self.model();
        let network = self.made(&model)?;
        let now = now();
        Ok(NetworkReport {
            name: network.name.to_string(),
            interface: self.interface.clone(),
            hosts: network.hosts.iter().map(ToString::to_string).collect(),
            ranges: vec![network.v4.to_string(), network.v6.to_string()],
            udp_port: network.port,
            web: network.web.as_ref().map(|web| match web.port {
                443 => format!("https://{}", web.host),
                port => format!("https://{}:{port}", web.host),
            }),
            openvpn_port: self.openvpn,
            public_key: network.key.to_string(),
            peers: model.peers.len(),
            open_invites: model.invites.values().filter(|invite| invite.state(now) == InviteState::Open).count(),
            metrics: self.metrics.map(|at| format!("http://{at}/metrics")),
            trouble: self.link.trouble(),
        })
    }

    /// The secret is made here and not kept: only its public halves are.
    pub(crate) async fn invite(
        &self,
        actor: &Actor,
        name: Option<&str>,
        seconds: u64,
        uses: u32,
        groups: &[String],
    ) -> Result<MadeInvite> {
        let model = self.model();
        let network = self.made(&model)?;
        let mut secret = Secret::new([0; 16]);
        getrandom::fill(secret.expose_mut())
            .map_err(|e| Failure::failed(format!("no random numbers for an invite: {e}")))?;
        let expires = now().after(Duration::from_secs(seconds));
        let invite = Invite {
            network: network.name.to_string(),
            secret,
            expires: expires.0,
            server: network.key,
            prefix: prefix(network),
            hosts: network.hosts.iter().map(ToString::to_string).collect(),
            udp_port: Some(network.port),
            https: offer(network),
        };
        let https_key = invite.https_key().ok_or_else(|| Failure::failed("the invite has no key for HTTPS"))?;
        let new = NewInvite {
            name: name.map(self::name).transpose()?,
            key: invite.public_key(),
            https_key: HttpsKey::new(*https_key.as_bytes()),
            address: enrol_address(prefix(network), &invite.public_key()),
            expires,
            uses,
            groups: names(groups)?,
        };
        let name = new.name.as_ref().map(|name| model.free_name(name).to_string());
        let link = invite.to_link().map_err(Failure::failed)?.into();
        let outcome = self.execute(actor, Command::CreateInvite(new)).await?;
        let Outcome::Invite(id) = outcome else { return Err(Failure::failed("the invite was not made")) };
        Ok(MadeInvite { invite: id.0, name, link, expires_unix: expires.0, uses })
    }

    fn invites(&self) -> Vec<InviteRow> {
        let (model, now) = (self.model(), now());
        let row = |invite: &adit_control::Invite| InviteRow {
            invite: invite.id.0,
            name: invite.name.as_ref().map(ToString::to_string),
            state: match invite.state(now) {
                InviteState::Open => "open",
                InviteState::Used => "used",
                InviteState::Expired => "expired",
                InviteState::Revoked => "revoked",
            }
            .to_owned(),
            uses_left: invite.uses_left(),
            expires_unix: invite.expires.0,
            redeemed_by: invite
                .redeemed
                .iter()
                .map(|by| {
                    model.peers.get(&by.peer).map_or_else(|| format!("number {}", by.peer), |p| p.name.to_string())
                })
                .collect(),
        };
        model.invites.values().map(row).collect()
    }

    async fn done(&self, caller: Caller, command: Command) -> Result<Json> {
        self.enforce(&actor(caller), command).await?;
        rpc::value(&())
    }

    async fn admitted(&self, caller: Caller, command: Command) -> Result<Json> {
        let Outcome::Peer(id) = self.execute(&actor(caller), command).await? else {
            return Err(Failure::failed("the device was not admitted"));
        };
        let model = self.model();
        let peer = model.peers.get(&id).ok_or_else(|| Failure::failed("the device is gone again"))?;
        let network = self.made(&model)?;
        let profile = Zeroizing::new(for_wireguard(network, peer)).into();
        rpc::value(&Admitted { name: peer.name.to_string(), profile })
    }

    /// Papers for an OpenVPN client, which are good for nothing until it is admitted.
    async fn certify(&self, name: &Name, public_key: String) -> Result<Certified> {
        self.openvpn_port()?;
        self.link.certify(name.to_string(), public_key).await
    }

    fn openvpn_port(&self) -> Result<u16> {
        self.openvpn.ok_or_else(|| {
            Failure::usage("this server does not admit OpenVPN clients")
                .hint("end `adit server up`, and start it again with --openvpn; it is remembered from then on")
        })
    }

    async fn admitted_openvpn(&self, caller: Caller, command: Command, papers: &Certified) -> Result<Json> {
        let Outcome::Peer(id) = self.execute(&actor(caller), command).await? else {
            return Err(Failure::failed("the device was not admitted"));
        };
        let model = self.model();
        let peer = model.peers.get(&id).ok_or_else(|| Failure::failed("the device is gone again"))?;
        let profile = ovpn::configuration(self.made(&model)?, self.openvpn_port()?, papers).into();
        rpc::value(&Admitted { name: peer.name.to_string(), profile })
    }

    async fn change(&self, caller: Caller, name: &str, change: PeerChange) -> Result<Json> {
        let model = self.model();
        let peer = model.find_peer(name).ok_or_else(|| unknown(&model, name))?;
        let id = peer.id;
        let command = match change {
            PeerChange::Rename { to } => Command::Rename(id, self::name(&to)?),
            PeerChange::Rate { down, up } => {
                let limit = |new: Option<u64>, old: Option<u64>| new.map_or(old, |rate| (rate > 0).then_some(rate));
                let rate = Rate { down: limit(down, peer.rate.down), up: limit(up, peer.rate.up) };
                Command::Limit(id, Limits { rate: Some(rate), ..Limits::default() })
            }
            PeerChange::Quota { bytes, per, then } => {
                let quota = if bytes == 0 { None } else { Some(quota(bytes, &per, &then)?) };
                Command::Limit(id, Limits { quota: Some(quota), ..Limits::default() })
            }
            PeerChange::Expire { seconds } => Command::Expire(id, seconds.map(|s| now().after(Duration::from_secs(s)))),
            PeerChange::Disable => Command::Disable(id),
            PeerChange::Enable => Command::Enable(id),
            PeerChange::Rotate { public_key } if peer.kind == Kind::OpenVpn => {
                let papers = self.certify(&peer.name, public_key).await?;
                let keys = Keys { key: key(&papers.fingerprint)?, https_key: None };
                return self.admitted_openvpn(caller, Command::Rotate(id, keys), &papers).await;
            }
            PeerChange::Rotate { public_key } => {
                let keys = Keys { key: key(&public_key)?, https_key: None };
                return self.admitted(caller, Command::Rotate(id, keys)).await;
            }
            PeerChange::Groups { groups } => Command::SetGroups(id, names(&groups)?),
            PeerChange::Remove => Command::Remove(id),
        };
        self.done(caller, command).await
    }

    fn peers(&self) -> Vec<PeerRow> {
        let (model, now) = (self.model(), now());
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen: std::collections::HashMap<&str, &PeerReport> =
            seen.iter().flat_map(|tunnel| &tunnel.peers).map(|peer| (peer.public_key.as_str(), peer)).collect();
        model.peers.values().map(|peer| self.row(peer, seen.get(peer.key.to_string().as_str()).copied(), now)).collect()
    }

    fn row(&self, peer: &Peer, seen: Option<&PeerReport>, now: UnixTime) -> PeerRow {
        let used = self.service.usage().of(peer.id);
        let quota = peer.quota.map(|quota| {
            let (per, then) = quota_words(quota);
            let used = used.in_period(quota.per, now);
            QuotaRow { bytes: quota.bytes, used, per: per.to_owned(), then: then.to_owned() }
        });
        let is_over = quota.as_ref().is_some_and(|quota| quota.used >= quota.bytes && quota.then == "block");
        let state = state_of(peer, is_over, seen, now);
        PeerRow {
            name: peer.name.to_string(),
            kind: match peer.kind {
                Kind::Adit => "adit",
                Kind::WireGuard => "wireguard",
                Kind::OpenVpn => "openvpn",
            }
            .to_owned(),
            state: state.to_owned(),
            addresses: vec![peer.v4.to_string(), peer.v6.to_string()],
            public_key: peer.key.to_string(),
            groups: peer.groups.iter().map(ToString::to_string).collect(),
            check_words: self.check_words(peer),
            transport: seen.filter(|seen| seen.endpoint.is_some()).map(|seen| seen.transport.clone()),
            endpoint: seen.and_then(|seen| seen.endpoint.clone()),
            last_handshake_unix: seen.and_then(|seen| seen.last_handshake_unix),
            received: used.received,
            sent: used.sent,
            down_limit: peer.rate.down,
            up_limit: peer.rate.up,
            quota,
            expires_unix: peer.expires.map(|at| at.0),
            created_unix: peer.created.0,
        }
    }

    fn check_words(&self, peer: &Peer) -> Option<String> {
        let model = self.model();
        let (invite, network) = (model.invites.get(&peer.invite?)?, model.network.as_ref()?);
        // Other words belong to a key that came later.
        let redeemed = invite.redeemed.iter().any(|by| by.peer == peer.id && by.key == peer.key);
        redeemed.then(|| check_words(&invite.key, &peer.key, &network.key).join(" "))
    }

    fn policy(&self) -> PolicyReport {
        let model = self.model();
        PolicyReport { text: model.policy.to_text(&model), changes: Vec::new() }
    }

    fn parsed(&self, text: &str) -> Result<(Policy, PolicyReport)> {
        let model = self.model();
        let policy = Policy::parse(text, &model).map_err(Failure::usage)?;
        let diff = model.policy.diff(&policy);
        let line = |sign: char, rule: &adit_control::Rule| format!("{sign} {}", rule.shown(&model));
        let changes =
            diff.removed.iter().map(|rule| line('-', rule)).chain(diff.added.iter().map(|rule| line('+', rule)));
        let report = PolicyReport { text: policy.to_text(&model), changes: changes.collect() };
        Ok((policy, report))
    }

    fn test_policy(&self, from: &str, to: &str) -> Result<PolicyTest> {
        let model = self.model();
        let peer = model.find_peer(from).ok_or_else(|| unknown(&model, from))?;
        let (place, traffic) = destination(to)?;
        let address = match place.parse() {
            Ok(address) => address,
            Err(_) => model.find_peer(place).map(|peer| peer.v4.into()).ok_or_else(|| unknown(&model, place))?,
        };
        Ok(match model.policy.allows(&model, peer, address, traffic) {
            Some(rule) => PolicyTest { allowed: true, why: format!("by the rule {}", rule.shown(&model)) },
            None => PolicyTest { allowed: false, why: "no rule allows it".to_owned() },
        })
    }

    async fn audit(&self, most: u32) -> Result<Vec<AuditRow>> {
        let rows = self.service.audit(None, most.min(MAX_AUDIT)).await.map_err(|e| Failure::failed(&e))?;
        let row = |row: Row| AuditRow { unix: row.at.0, who: row.who, from: row.origin, what: row.what };
        Ok(rows.into_iter().map(row).collect())
    }

    async fn verify(&self, kept: Option<&str>) -> Result<AuditChain> {
        let wrong = || {
            Failure::usage("what was kept of the log is NUMBER:HASH").hint("as `adit server log --verify` printed it")
        };
        let read = |text: &str| {
            let (number, hash) = text.split_once(':')?;
            Some((number.parse().ok()?, hash.parse::<AuditHash>().ok()?))
        };
        let kept = kept.map(|text| read(text).ok_or_else(wrong)).transpose()?;
        let chain = self.service.verify_audit(kept).await.map_err(|e| Failure::failed(&e))?;
        Ok(AuditChain {
            entries: chain.entries,
            since: chain.since.map(|(number, _)| number),
            since_unix: chain.since.map(|(_, at)| at.0),
            newest: chain.newest.map(|(number, hash)| format!("{number}:{hash}")),
            broken: chain.broken.map(|(number, why)| format!("entry {number}: {why}")),
        })
    }

    /// The number of a backup that was made; those who ask know where backups are.
    async fn backup(&self) -> Result<u64> {
        let number = self.last_backup.fetch_add(1, Ordering::Relaxed);
        let file = self.backups.join(api::backup_name(number));
        self.service.backup(&file, now()).await.map_err(|e| Failure::failed(&e))?;
        Ok(number)
    }
}

/// A device's state in a word: why it is cut off if it is, else whether it is there. `is_over`: a quota that blocks.
pub(super) fn state_of(peer: &Peer, is_over: bool, seen: Option<&PeerReport>, now: UnixTime) -> &'static str {
    match seen {
        _ if !peer.enabled => "disabled",
        _ if peer.is_expired(now) => "expired",
        _ if is_over => "over-quota",
        Some(seen) if seen.has_session => "connected",
        Some(_) | None => "away",
    }
}

/// How long a change may take to be run before the command is answered all the same.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most rows of the log that are given at once.
const MAX_AUDIT: u32 = 1_000;

/// `PLACE:PORT/PROTOCOL`, or a place alone: what is asked there.
fn destination(text: &str) -> Result<(&str, Traffic)> {
    let wrong = || {
        Failure::usage(format!("`{text}` is nothing to be reached"))
            .hint("DEVICE:PORT/tcp, ADDRESS:PORT/udp, or a device or address alone for a ping; IPv6 in brackets")
    };
    let alone = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if alone.parse::<std::net::IpAddr>().is_ok() || !text.contains(':') {
        return Ok((alone, Traffic::Other));
    }
    let (place, service) = text.rsplit_once(':').ok_or_else(wrong)?;
    let place = place.trim_start_matches('[').trim_end_matches(']');
    if place.is_empty() {
        return Err(wrong());
    }
    let (port, protocol) = service.split_once('/').unwrap_or((service, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return Err(wrong()),
    };
    let port = port.parse().map_err(|_| wrong())?;
    Ok((place, Traffic::To(protocol, port)))
}

fn quota(bytes: u64, per: &str, then: &str) -> Result<Quota> {
    let per = match per {
        "day" => Period::Day,
        "month" => Period::Month,
        "total" => Period::Total,
        other => return Err(Failure::usage(format!("`{other}` is no period")).hint("day, month or total")),
    };
    let action = match then {
        "slow" => OverQuota::Slow,
        "block" => OverQuota::Block,
        "notify" => OverQuota::Notify,
        other => return Err(Failure::usage(format!("`{other}` is no action")).hint("slow, block or notify")),
    };
    Ok(Quota { bytes, per, action })
}

const fn quota_words(quota: Quota) -> (&'static str, &'static str) {
    let per = match quota.per {
        Period::Day => "day",
        Period::Month => "month",
        Period::Total => "total",
    };
    let then = match quota.action {
        OverQuota::Slow => "slow",
        OverQuota::Block => "block",
        OverQuota::Notify => "notify",
    };
    (per, then)
}

fn name(text: &str) -> Result<Name> {
    Name::new(text).map_err(Failure::usage)
}

fn names(texts: &[String]) -> Result<BTreeSet<Name>> {
    texts.iter().map(|text| name(text)).collect()
}

fn key(text: &str) -> Result<PublicKey> {
    PublicKey::from_base64(text).map_err(|e| Failure::usage(format!("not a public key: {e}")))
}

fn unknown(model: &Model, name: &str) -> Failure {
    let names: Vec<_> = model.peers.values().map(|peer| peer.name.to_string()).take(20).collect();
    let known =
        if names.is_empty() { "there is none yet: `adit invite` invites one".to_owned() } else { names.join(", ") };
    Failure::usage(format!("there is no device called `{name}`")).hint(format!("known: {known}"))
}

/// The machine's clock.
pub(crate) fn now() -> UnixTime {
    UnixTime::of(SystemTime::now())
}

fn refused(error: &ServiceError) -> Failure {
    match error {
        ServiceError::Refused(refusal) => Failure::usage(refusal),
        ServiceError::Store(trouble) => Failure::failed(trouble),
    }
}
