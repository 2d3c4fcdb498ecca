//! Who may come in, and with which address: a core around the server's core, which answers what that asks from a table.
//!
//! Nobody is waited for: a change of the table counts from the next packet on. A device that is not in the table any more hears
//! that it is to begin anew, and gets silence from then on, as strangers do. Not here: certificates (`papers`), limits (`meter`).

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use adit_openvpn::{
    Answer, AuthRequest, Carried, ClientId, ClientSettings, Metadata, MssFix, Server, ServerChange, ServerConfig,
    ServerEvent, ServerWrap, TlsSettingsError,
};
use adit_protocol::{
    Admission, Delivery, Drops, Inbound, IpPacket, Now, Open, Outbound, Output, Path, Protocol, Secret,
};

use super::papers::{Authority, PapersError};
use crate::merged::Owns;

/// Devices in the table: as many as a network has.
const MAX_MEMBERS: usize = 65_533;
/// Clients that are in at one time.
const MAX_SESSIONS: usize = 8_192;
/// What devices are told who are not in the table. Those that can come again later do so by themselves.
const NOT_LET_IN: &str = "TEMP:this device is not let in";
/// What devices are told that are not in the table any more: they begin anew, and hear nothing more.
const BEGIN_ANEW: &str = "RESTART";

/// The network around its devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ground {
    /// The server's own IPv4 address.
    pub v4: Ipv4Addr,
    /// The network's mask.
    pub mask: Ipv4Addr,
    /// The length of the network's IPv6 prefix.
    pub prefix6: u8,
    /// The largest packet inside, in bytes.
    pub mtu: u16,
}

/// A device that may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// SHA-256 of its certificate.
    pub certificate: [u8; 32],
    /// Its IPv4 address inside: nobody else's.
    pub v4: Ipv4Addr,
    /// Its IPv6 address inside.
    pub v6: Ipv6Addr,
}

/// A change of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MembersChange {
    /// Devices that are to be so, new ones and others.
    pub put: Vec<Member>,
    /// Those that are to go, by their certificates.
    pub remove: BTreeSet<[u8; 32]>,
    /// All that there are to be; others go.
    pub only: Option<BTreeSet<[u8; 32]>>,
}

/// A device in the table, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Which.
    pub member: Member,
    /// Where it is, outside, or was last.
    pub endpoint: Option<SocketAddr>,
    /// Whether packets flow.
    pub has_session: bool,
    /// When keys were last made with it, as time since the Unix epoch.
    pub last_keys: Option<Duration>,
    /// What it has moved since it came into the table.
    pub carried: Carried,
}

/// Why there is no server for OpenVPN.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Certificates and keys.
    #[error(transparent)]
    Papers(#[from] PapersError),
    /// What TLS makes of them.
    #[error(transparent)]
    Tls(#[from] TlsSettingsError),
}

/// The server's core, and its table.
#[derive(Debug)]
pub struct Members {
    core: Server,
    authority: Authority,
    ground: Ground,
    /// At most [`MAX_MEMBERS`].
    table: BTreeMap<[u8; 32], Entry>,
    /// Whose a session is: those that were let in and are not gone yet.
    here: BTreeMap<ClientId, [u8; 32]>,
}

#[derive(Debug)]
struct Entry {
    member: Member,
    session: Option<Session>,
    endpoint: Option<SocketAddr>,
    last_keys: Option<Duration>,
    /// Of sessions that have ended.
    before: Carried,
}

#[derive(Debug, Clone, Copy)]
struct Session {
    client: ClientId,
    /// Packets flow.
    up: bool,
}

impl Members {
    /// An empty table. `seed`: 32 random bytes of the operating system.
    ///
    /// # Errors
    /// Certificates cannot be made.
    pub fn new(authority: Authority, ground: Ground, seed: Secret<32>, now: Now) -> Result<Self, StartError> {
        let config = ServerConfig {
            wrap: ServerWrap::Keyed { shared: None, clients: Some(Box::new(authority.wrapping())) },
            tls: authority.server(SystemTime::UNIX_EPOCH + now.unix)?,
            known_keys: Some(BTreeSet::new()),
            meet_inside: true,
            mtu: ground.mtu,
            mssfix: MssFix::unsaid(ground.mtu, None),
            max_clients: MAX_SESSIONS,
            ..ServerConfig::default()
        };
        let core = Server::new(config, *seed.expose(), now)?;
        Ok(Self { core, authority, ground, table: BTreeMap::new(), here: BTreeMap::new() })
    }

    /// A new certificate of the server, for all who come or renew their keys from now on.
    ///
    /// # Errors
    /// It cannot be made: the one before stays.
    pub fn renew_certificate(&mut self, now: Now) -> Result<(), StartError> {
        let tls = self.authority.server(SystemTime::UNIX_EPOCH + now.unix)?;
        Ok(self.core.set_tls(tls)?)
    }

    /// Tells everybody who is in that the server goes: they begin anew by themselves.
    pub fn say_goodbye(&mut self, now: Now) {
        self.core.apply(now, ServerChange::Shutdown);
    }

    /// The largest packet inside, for those who come from now on.
    pub fn set_mtu(&mut self, mtu: usize) {
        self.core.set_mtu(u16::try_from(mtu).unwrap_or(u16::MAX));
    }

    /// How everybody in the table is.
    pub fn status(&self) -> Vec<MemberStatus> {
        let status = |entry: &Entry| {
            let now = entry.session.and_then(|session| self.core.carried(session.client)).unwrap_or_default();
            MemberStatus {
                member: entry.member,
                endpoint: entry.endpoint,
                has_session: entry.session.is_some_and(|session| session.up),
                last_keys: entry.last_keys,
                carried: and(entry.before, now),
            }
        };
        self.table.values().map(status).collect()
    }

    /// Whoever goes, goes at once; whoever stays does not notice.
    fn change(&mut self, now: Now, change: MembersChange) {
        let only = change.only;
        let stays = |certificate: &[u8; 32]| only.as_ref().is_none_or(|only| only.contains(certificate));
        let put: BTreeSet<_> = change.put.iter().map(|member| member.certificate).collect();
        let gone: Vec<_> = self.table.keys().copied().filter(|c| change.remove.contains(c) || !stays(c)).collect();
        for certificate in gone.into_iter().filter(|certificate| !put.contains(certificate) || !stays(certificate)) {
            self.remove(now, certificate);
        }
        for member in change.put.into_iter().filter(|member| stays(&member.certificate)) {
            self.put(now, member);
        }
    }

    fn put(&mut self, now: Now, member: Member) {
        if let Some(entry) = self.table.get_mut(&member.certificate) {
            let moves = std::mem::replace(&mut entry.member, member) != member;
            if let Some(session) = entry.session.filter(|_| moves) {
                // It gets its new address when it comes again.
                self.core.apply(now, ServerChange::Dismiss(session.client, BEGIN_ANEW.to_owned()));
            }
            return;
        }
        if self.table.len() >= MAX_MEMBERS {
            tracing::warn!("the table of OpenVPN devices is full: one more is not let in");
            return;
        }
        self.core.know_key(member.certificate, true);
        let entry = Entry { member, session: None, endpoint: None, last_keys: None, before: Carried::default() };
        self.table.insert(member.certificate, entry);
    }

    fn remove(&mut self, now: Now, certificate: [u8; 32]) {
        self.core.know_key(certificate, false);
        let Some(entry) = self.table.remove(&certificate) else { return };
        // What its sessions moved has been counted for it, and is nobody's from now on, also if it comes back.
        self.here.retain(|_, of| *of != certificate);
        if let Some(session) = entry.session {
            // No packet of it passes from here on, either way.
            self.core.apply(now, ServerChange::Dismiss(session.client, BEGIN_ANEW.to_owned()));
        }
    }

    fn hear(&mut self, now: Now, event: ServerEvent) {
        match event {
            ServerEvent::Ask(request) => self.answer(now, &request),
            ServerEvent::Joined(client) => self.with(client, |entry| {
                entry.last_keys = Some(now.unix);
                if let Some(session) = &mut entry.session {
                    session.up = true;
                }
            }),
            ServerEvent::Renewed(client) => self.with(client, |entry| entry.last_keys = Some(now.unix)),
            ServerEvent::Moved(client, path) => self.with(client, |entry| entry.endpoint = Some(path.remote)),
            ServerEvent::Said(..) => {}
            ServerEvent::Carried(client, carried) => {
                // Also of a session that another of the same device has taken the place of.
                let entry = self.here.get(&client).and_then(|certificate| self.table.get_mut(certificate));
                if let Some(entry) = entry {
                    entry.before = and(entry.before, carried);
                }
            }
            ServerEvent::Left(client, why) => {
                tracing::debug!(%why, "an OpenVPN device has left");
                self.with(client, |entry| entry.session = None);
                self.here.remove(&client);
            }
        }
    }

    /// The entry of the device whose present session this is.
    fn with(&mut self, client: ClientId, change: impl FnOnce(&mut Entry)) {
        let entry = self.here.get(&client).and_then(|certificate| self.table.get_mut(certificate));
        if let Some(entry) = entry.filter(|entry| entry.session.is_some_and(|session| session.client == client)) {
            change(entry);
        }
    }

    /// Whether a client may come in, or stay: its certificate is in the table, and its wrapped key was made for that.
    fn answer(&mut self, now: Now, request: &AuthRequest) {
        let client = request.client;
        let shown = request.certificate.filter(|shown| is_of(request.metadata.as_ref(), shown));
        let entry = shown.and_then(|shown| self.table.get_mut(&shown));
        let (Some(shown), Some(entry)) = (shown, entry) else {
            let no = Answer::Refuse(NOT_LET_IN.to_owned());
            return self.core.apply(now, ServerChange::Answer(client, no));
        };
        if request.renewal {
            let is_own = entry.session.is_some_and(|session| session.client == client);
            let answer = if is_own { Answer::Accept(Box::default()) } else { Answer::Refuse(NOT_LET_IN.to_owned()) };
            return self.core.apply(now, ServerChange::Answer(client, answer));
        }
        // It has come again, or another with its papers: the last one counts.
        let before = entry.session.replace(Session { client, up: false });
        entry.endpoint = Some(request.from.remote);
        let settings = self.ground.settings(&entry.member);
        self.here.insert(client, shown);
        if let Some(before) = before {
            self.core.apply(now, ServerChange::Forget(before.client, "it has come again".to_owned()));
        }
        self.core.apply(now, ServerChange::Answer(client, Answer::Accept(Box::new(settings))));
    }
}

/// Whether this was written into a key for the device with this certificate.
fn is_of(metadata: Option<&Metadata>, certificate: &[u8; 32]) -> bool {
    matches!(metadata, Some(Metadata::User(of)) if of.as_slice() == certificate)
}

const fn and(one: Carried, other: Carried) -> Carried {
    Carried { received: one.received.saturating_add(other.received), sent: one.sent.saturating_add(other.sent) }
}

impl Ground {
    fn settings(&self, member: &Member) -> ClientSettings {
        ClientSettings {
            address4: Some((member.v4, self.mask)),
            address6: Some((member.v6, self.prefix6)),
            networks: Vec::new(),
            options: vec!["topology subnet".to_owned(), format!("route-gateway {}", self.v4)],
        }
    }
}

impl Owns for Members {
    fn owns(&self, address: IpAddr) -> bool {
        self.core.owns(address)
    }
}

impl Protocol for Members {
    type Seal = <Server as Protocol>::Seal;
    type Open = <Server as Protocol>::Open;
    type Change = MembersChange;
    /// What there is to know is in [`Members::status`].
    type Event = Infallible;

    fn plan_outbound(&mut self, now: Now, packet: &IpPacket<'_>) -> Outbound<Self::Seal> {
        self.core.plan_outbound(now, packet)
    }

    fn plan_inbound(&mut self, now: Now, from: Path, datagram: &mut [u8]) -> Inbound<Self::Open> {
        self.core.plan_inbound(now, from, datagram)
    }

    fn commit_inbound(&mut self, now: Now, opened: <Self::Open as Open>::Opened, datagram: &[u8]) -> Delivery {
        self.core.commit_inbound(now, opened, datagram)
    }

    fn admit_inbound(&mut self, now: Now, packet: &IpPacket<'_>) -> Admission {
        self.core.admit_inbound(now, packet)
    }

    fn poll_inside(&mut self, now: Now) -> Option<&[u8]> {
        self.core.poll_inside(now)
    }

    fn handle_timeout(&mut self, now: Now) {
        self.core.handle_timeout(now);
    }

    fn poll_output(&mut self, now: Now) -> Output<Self> {
        loop {
            match self.core.poll_output(now) {
                Output::Event(event) => self.hear(now, event),
                Output::Transmit { to, datagram, tos } => return Output::Transmit { to, datagram, tos },
                Output::Seal { job, to, packet } => return Output::Seal { job, to, packet },
                Output::Timeout(at, why) => return Output::Timeout(at, why),
            }
        }
    }

    fn apply(&mut self, now: Now, change: MembersChange) {
        self.change(now, change);
    }

    fn drops(&self) -> Drops {
        self.core.drops()
    }

    fn overhead(&self) -> usize {
        self.core.overhead()
    }
}

#[cfg(test)]
mod tests;
