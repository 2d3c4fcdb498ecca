//! Redeeming an invite: a tunnel with the invite's key, whose inside is this program, one question through it, one answer.
//!
//! Needs no root: no interface, no route. Both carriers are used as in every tunnel, UDP first, HTTPS where that does not
//! get through. Not here: the question itself (`enrol`), what becomes of the answer (whoever asked).

mod words;

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adit_engine::{PacketChannel, UdpOptions, packet_pair};
use adit_transport::config::Hello;
use adit_transport::ladder::{Https, Reason};
use adit_wireguard::PrivateKey;
use tokio::time::{Instant, timeout_at};

pub use words::check_words;

use crate::carriers::{Carriers, OpenError, Surroundings};
use crate::enrol::profile::Way;
use crate::enrol::{self, Datagram, MAX_SYSTEM, Membership, Refusal, Reply, Request};
use crate::https::HttpsKey;
use crate::invite::{Invite, LinkError, MAX_NAME};
use crate::outside::Visitor;
use crate::profile::wg_quick::{Interface, Peer, Profile};
use crate::resolve::{Prefer, look_up};
use crate::tunnel::{StartError, Tunnel};

/// The largest packet inside: what every link of IPv6 carries (RFC 8200 §5).
const MTU: usize = 1280;
/// Packets that may wait at the inside.
const QUEUE: usize = 16;
/// When the question is asked for the second time. Doubled with each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest time between two questions.
const LAST_WAIT: Duration = Duration::from_secs(4);
/// The least port that stands for nothing else (RFC 6335 §6).
const FIRST_PORT: u16 = 49_152;

/// How an invite is redeemed.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long it may take in all, over all hosts and carriers.
    pub limit: Duration,
    /// What this device is, for the people at the server; cut to what fits.
    pub system: String,
    /// The firewall mark of the sockets; 0 is none.
    pub fwmark: u32,
    /// What the TLS handshake looks like; `None` is a browser's, where this program can.
    pub hello: Option<Hello>,
}

impl Default for Options {
    fn default() -> Self {
        Self { limit: Duration::from_secs(60), system: String::new(), fwmark: 0, hello: None }
    }
}

/// Why an invite could not be redeemed.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Nobody answered, and by the clock of this machine its time is over.
    #[error("nobody answered, and {0}")]
    Expired(LinkError),
    /// Nobody answered, at any of these places.
    #[error("nobody answered: {}\n  hint: is the server running, and does its firewall let these ports through? An invite that the server does not know gets no answer either", places(.0))]
    Silent(Vec<Tried>),
    /// A server is there, and is not the one that invites.
    #[error(
        "the server at {host} is not the one that invites: {why}\n  hint: if it was set up anew, ask for a new invite; otherwise somebody is between you and it"
    )]
    WrongServer {
        /// Where.
        host: String,
        /// What is wrong with it.
        why: String,
    },
    /// The server is there, and does not answer the question.
    #[error(
        "the server at {host} is reached, but its program that admits devices does not answer\n  hint: try again with the same link; on the server, `adit status` and its log say more"
    )]
    NoReply {
        /// Where.
        host: String,
    },
    /// The server says no.
    #[error("{0}")]
    Refused(Refusal),
    /// No socket of this machine.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No tunnel of this program.
    #[error(transparent)]
    Start(#[from] StartError),
    /// No key of this program.
    #[error("a key cannot be made: it must not be all zero")]
    NoKey,
    /// The tunnel ended while it was used.
    #[error("the tunnel of the invite ended: {0}")]
    Ended(String),
}

/// A place where nobody answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The host.
    pub host: String,
    /// Why its name stands for no address, if it does not.
    pub not_found: Option<String>,
    /// The UDP port there, if the invite names one.
    pub udp_port: Option<u16>,
    /// The web site there, if the invite names one, and how far the connection came.
    pub https: Option<(String, String)>,
}

/// What came of one host.
enum Outcome {
    Reply(Reply),
    /// A handshake, but no answer.
    NoReply,
    /// It proved to be somebody else.
    Wrong(String),
    Silent(Tried),
}

/// Asks the server to admit the device with this key under this name. Must be called on a tokio runtime with I/O and time
/// enabled.
///
/// The same key may be used again for the same invite: then the answer is the same.
///
/// # Errors
/// [`JoinError`] says why, and what to do.
pub async fn redeem(
    invite: &Invite,
    device: &PrivateKey,
    name: &str,
    options: &Options,
) -> Result<Membership, JoinError> {
    let request = Request {
        version: enrol::VERSION,
        key: device.public_key(),
        https_key: HttpsKey::of(device).ok_or(JoinError::NoKey)?,
        name: cut(name, MAX_NAME),
        system: cut(&options.system, MAX_SYSTEM),
    };
    let question = request.emit();
    let deadline = Instant::now() + options.limit;
    let mut tried = Vec::new();
    let mut unanswered = None;
    for (at, host) in invite.hosts.iter().enumerate() {
        // The time that is left, in equal parts.
        let left = (invite.hosts.len() - at).try_into().unwrap_or(u32::MAX);
        let until = Instant::now() + deadline.saturating_duration_since(Instant::now()) / left;
        match ask_at(invite, host, &question, options, until).await? {
            Outcome::Reply(Reply::Admitted(membership)) if membership.server == invite.server => {
                return Ok(nearest_first(membership, host));
            }
            Outcome::Reply(Reply::Admitted(_)) => {
                let why = "it names another server's key".to_owned();
                unanswered = Some(JoinError::WrongServer { host: host.clone(), why });
            }
            // Another gateway of the same network may be able to.
            Outcome::Reply(Reply::Refused(Refusal::Unable)) => unanswered = Some(JoinError::Refused(Refusal::Unable)),
            Outcome::Reply(Reply::Refused(refusal)) => return Err(JoinError::Refused(refusal)),
            Outcome::NoReply => unanswered = Some(JoinError::NoReply { host: host.clone() }),
            Outcome::Wrong(why) => unanswered = Some(JoinError::WrongServer { host: host.clone(), why }),
            Outcome::Silent(place) => tried.push(place),
        }
    }
    Err(unanswered.unwrap_or_else(|| silent(invite, tried)))
}

/// Nobody answered: a clock that says that the invite is over may be why.
fn silent(invite: &Invite, tried: Vec<Tried>) -> JoinError {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    match invite.check_time(now) {
        Ok(()) => JoinError::Silent(tried),
        Err(expired) => JoinError::Expired(expired),
    }
}

/// The host that answered is the first choice from now on.
fn nearest_first(mut membership: Membership, host: &str) -> Membership {
    if let Some(at) = membership.hosts.iter().position(|known| known == host) {
        membership.hosts[..=at].rotate_right(1);
    }
    membership
}

/// Asks at one host until there is an answer, or the time is over.
async fn ask_at(
    invite: &Invite,
    host: &String,
    question: &[u8],
    options: &Options,
    until: Instant,
) -> Result<Outcome, JoinError> {
    let profile = profile(invite, host, options);
    let udp = UdpOptions { fwmark: options.fwmark, ..UdpOptions::default() };
    let (carriers, outside) = Carriers::open(&profile, udp, Surroundings::default()).await?;
    let (inside, mut app) = packet_pair(MTU, QUEUE);
    let tunnel_options = crate::Options { outside, ..crate::Options::default() };
    let tunnel = Tunnel::start_profile(&profile, inside, carriers, tunnel_options).await?;
    let mut postponed = None;
    // Ours to the end: a tunnel whose inside is gone stops.
    let outcome = match timeout_at(until, converse(&mut app, invite, question, &mut postponed)).await {
        Ok(Some(reply)) => Outcome::Reply(reply),
        Ok(None) => return Err(JoinError::Ended(tunnel.stopped().await.to_string())),
        Err(_time_is_over) => match postponed {
            Some(reply) => Outcome::Reply(reply),
            None => without_answer(&tunnel, &profile, invite, host).await,
        },
    };
    tunnel.stop().await;
    Ok(outcome)
}

/// How far it came.
async fn without_answer(tunnel: &Tunnel, profile: &Profile, invite: &Invite, host: &str) -> Outcome {
    let status = tunnel.status().await.ok();
    if status.as_ref().is_some_and(|status| status.peers.iter().any(|peer| peer.has_session)) {
        return Outcome::NoReply;
    }
    if let Some(shown) = tunnel.outside().visitor().map(Visitor::shown) {
        // What was found stays the reason also when HTTPS was given up for it.
        if let (Https::Refused(why), _) | (_, Reason::Refused(why)) = (shown.https, shown.reason) {
            return Outcome::Wrong(why);
        }
    }
    let not_found = match profile.peers.first().and_then(Peer::way) {
        Some(way) => look_up(&way, Prefer::System).await.err().map(|error| error.to_string()),
        None => None,
    };
    let came_to = status.and_then(|status| status.carrier).map_or_else(String::new, |carrier| carrier.https);
    let https = invite.https.as_ref().map(|https| (format!("https://{}:{}", https.name, https.port), came_to));
    Outcome::Silent(Tried { host: host.to_owned(), not_found, udp_port: invite.udp_port, https })
}

/// The tunnel of an invite: it reaches one address, from one.
fn profile(invite: &Invite, host: &String, options: &Options) -> Profile {
    let way = Way { hosts: std::slice::from_ref(host), udp_port: invite.udp_port, https: invite.https.as_ref() };
    let mut peer = Peer { allowed_ips: vec![IpAddr::from(invite.server_address()).into()], ..way.peer(invite.server) };
    if let Some(https) = &mut peer.https {
        https.hello = options.hello;
    }
    let interface = Interface {
        private_key: Some(invite.private_key()),
        addresses: vec![IpAddr::from(invite.address()).into()],
        ..Interface::default()
    };
    Profile { interface, peers: vec![peer], web_site: None }
}

/// Asks, again and again, until an answer comes that will stay the same; the others go to `postponed`. `None` if the tunnel
/// has ended.
async fn converse(
    app: &mut PacketChannel,
    invite: &Invite,
    question: &[u8],
    postponed: &mut Option<Reply>,
) -> Option<Reply> {
    let (here, there) = ((invite.address(), port()), (invite.server_address(), enrol::PORT));
    let packet = Datagram { from: here, to: there, payload: question }.emit();
    let mut wait = FIRST_WAIT;
    loop {
        app.send(packet.clone()).await.ok()?;
        let again = Instant::now() + wait;
        while let Ok(received) = timeout_at(again, app.recv()).await {
            let received = received?;
            let answer = Datagram::parse(&received).filter(|answer| (answer.from, answer.to) == (there, here));
            match answer.and_then(|answer| Reply::parse(answer.payload).ok()) {
                None => {}
                Some(reply @ Reply::Refused(Refusal::Unable)) => *postponed = Some(reply),
                Some(reply) => return Some(reply),
            }
        }
        wait = (2 * wait).min(LAST_WAIT);
    }
}

/// A port of our own. Nobody else is at our address, so that any will do.
fn port() -> u16 {
    FIRST_PORT | getrandom::u32().unwrap_or_default() as u16
}

/// As much of a text as fits, and nothing that does not show.
fn cut(text: &str, most: usize) -> String {
    let mut cut = String::new();
    for letter in text.chars().filter(|letter| crate::invite::is_plain(letter.encode_utf8(&mut [0; 4]), 4)) {
        if cut.len() + letter.len_utf8() > most {
            break;
        }
        cut.push(letter);
    }
    cut
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.not_found {
            return write!(f, "the name {} is not found ({why})", self.host);
        }
        if let Some(port) = self.udp_port {
            write!(f, "not {} on UDP port {port}", self.host)?;
        }
        let Some((site, came_to)) = &self.https else { return Ok(()) };
        let and = if self.udp_port.is_some() { ", and " } else { "" };
        write!(f, "{and}not {site} ({came_to})")
    }
}

fn places(tried: &[Tried]) -> String {
    tried.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;
