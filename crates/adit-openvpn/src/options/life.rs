//! How long a tunnel lives: pings, silence, idleness, attempts.
//!
//! Not here: making keys anew (`tls`).

use std::time::Duration;

use super::catalogue::{BOTH, CLIENT, Entry, PUSHED, SERVER, ignored, read};
use super::draft::Draft;
use super::finding::{Outcome, Said, refuse};
use super::lexer::Directive;
use super::value::{number, seconds, small};

/// The longest time between pings, and of silence: a day, as in OpenVPN 2.7.
const MAX_PING: Duration = Duration::from_secs(86_400);

/// How long a tunnel lives. `None` and zero: that rule does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Life {
    /// A ping is sent after so much silence of our own.
    pub ping: Option<Duration>,
    /// After so much silence of the other end.
    pub silence: Option<(Duration, OnSilence)>,
    /// Silence counts only while a remote is known (`ping-timer-rem`).
    pub only_with_remote: bool,
    /// The tunnel ends when fewer than so many bytes pass in this time.
    pub idle: Option<(Duration, u64)>,
    /// The tunnel ends after this time.
    pub session: Option<Duration>,
}

/// What happens when the other end is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnSilence {
    /// The connection is made anew.
    Restart,
    /// The tunnel ends.
    Exit,
}

/// Which server is tried, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attempts {
    /// Remotes are tried in random order.
    pub shuffled: bool,
    /// A random label is put before the name of a remote, so that no resolver answers from memory.
    pub random_hostname: bool,
    /// How long a name that does not resolve is tried again; `None`: for ever.
    pub resolve_for: Option<Duration>,
    /// How often all remotes are tried; `None`: for ever.
    pub most: Option<u32>,
}

const HERE: u8 = BOTH | PUSHED;

/// The options of this area.
pub(super) const TABLE: &[Entry] = &[
    read("connect-retry-max", BOTH, 1, 1, |draft, d| {
        draft.attempts.most = Some(small(d, 1, 0..=u32::MAX)?).filter(|n| *n > 0);
        Ok(Said::Accepted)
    }),
    read("inactive", HERE, 1, 2, |draft, d| {
        let bytes = if d.arguments() > 1 { number(d, 2, 0..=u64::MAX)? } else { 0 };
        draft.life.idle = Some((seconds(d, 1)?, bytes)).filter(|(time, _)| !time.is_zero());
        Ok(Said::Accepted)
    }),
    read("keepalive", HERE, 2, 2, keepalive),
    read("ping", HERE, 1, 1, |draft, d| {
        draft.life.ping = Some(ping_time(d, 1)?).filter(|time| !time.is_zero());
        Ok(Said::Accepted)
    }),
    read("ping-exit", HERE, 1, 1, |draft, d| silence(draft, d, OnSilence::Exit)),
    read("ping-restart", HERE, 1, 1, |draft, d| silence(draft, d, OnSilence::Restart)),
    read("ping-timer-rem", HERE, 0, 0, |draft, _| {
        draft.life.only_with_remote = true;
        Ok(Said::Accepted)
    }),
    read("remote-random", CLIENT, 0, 0, |draft, _| {
        draft.attempts.shuffled = true;
        Ok(Said::Accepted)
    }),
    read("remote-random-hostname", CLIENT, 0, 0, |draft, _| {
        draft.attempts.random_hostname = true;
        Ok(Said::Accepted)
    }),
    read("resolv-retry", BOTH, 1, 1, |draft, d| {
        draft.attempts.resolve_for = if d.word(1) == Some("infinite") { None } else { Some(seconds(d, 1)?) };
        Ok(Said::Accepted)
    }),
    read("session-timeout", HERE, 1, 1, |draft, d| {
        draft.life.session = Some(seconds(d, 1)?).filter(|time| !time.is_zero());
        Ok(Said::Accepted)
    }),
    ignored("persist-key", HERE, 0, 0, "keys are kept while the tunnel is up, in any case"),
    ignored("persist-local-ip", HERE, 0, 0, "the address to send from follows the machine's network"),
    ignored("persist-remote-ip", HERE, 0, 0, "the address of the server that answered is kept, in any case"),
    ignored("persist-tun", HERE, 0, 0, "the interface stays while the tunnel is up, in any case"),
];

fn ping_time(d: &Directive, n: usize) -> Result<Duration, super::finding::Refusal> {
    let time = seconds(d, n)?;
    if time > MAX_PING {
        return refuse(
            n,
            "a day is the longest time between pings",
            "write a number of seconds up to 86400, such as 10",
        );
    }
    Ok(time)
}

fn keepalive(draft: &mut Draft, d: &Directive) -> Outcome {
    let (ping, restart) = (ping_time(d, 1)?, ping_time(d, 2)?);
    if ping.is_zero() || restart < ping * 2 {
        let instead = format!("write keepalive {0} {1}", ping.as_secs().max(10), ping.as_secs().max(10) * 6);
        return refuse(2, "the second time must be at least twice the first, and both more than nothing", instead);
    }
    draft.life.ping = Some(ping);
    // A server waits twice as long as its clients, so that they come again before they are given up.
    let restart = if draft.place == SERVER { restart * 2 } else { restart };
    draft.life.silence = Some((restart, OnSilence::Restart));
    Ok(Said::Accepted)
}

fn silence(draft: &mut Draft, d: &Directive, then: OnSilence) -> Outcome {
    draft.life.silence = Some((ping_time(d, 1)?, then)).filter(|(time, _)| !time.is_zero());
    Ok(Said::Accepted)
}
