//! What is asked: one round of all probes, with random parts that follow from the seed.
//!
//! Not here: how a probe is carried out (`observe`).

mod clear;
mod hellos;
mod http1;
mod http2;
mod replay;
mod tunnel;

use super::Plan;
use super::dice::Dice;
use super::script::{Channel, Groups, Hello, Probe, Step, Until, Versions};

pub(super) const H1: &[&[u8]] = &[b"http/1.1"];
pub(super) const H2: &[&[u8]] = &[b"h2"];
const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];

/// All probes of one round.
pub(super) fn round(plan: &Plan, round: u32) -> Vec<Probe> {
    let mut set = Set { plan, dice: Dice::new(plan.seed, u64::from(round) + 1), probes: Vec::new(), first: round == 0 };
    clear::add(&mut set);
    hellos::add(&mut set);
    http1::add(&mut set);
    http2::add(&mut set);
    tunnel::add(&mut set);
    replay::add(&mut set);
    set.probes
}

/// A round as it is put together.
struct Set<'a> {
    plan: &'a Plan,
    dice: Dice,
    probes: Vec<Probe>,
    /// The first round has what is asked only once.
    first: bool,
}

impl Set<'_> {
    /// Over TCP.
    fn clear(&mut self, rule: &'static str, kind: &'static str, detail: String, steps: Vec<Step>) {
        self.add(rule, kind, detail, Channel::Clear, steps, Until::Quiet);
    }

    /// HTTP/1.1 over TLS.
    fn http1(&mut self, kind: &'static str, detail: String, steps: Vec<Step>) {
        let channel = Channel::Tls(self.hello(H1));
        self.add("R12", kind, detail, channel, steps, Until::Quiet);
    }

    /// HTTP/2 over TLS.
    fn http2(&mut self, kind: &'static str, detail: String, steps: Vec<Step>, until: Until) {
        let channel = Channel::Tls(self.hello(H2));
        self.add("R12", kind, detail, channel, steps, until);
    }

    fn add(
        &mut self,
        rule: &'static str,
        kind: &'static str,
        detail: String,
        channel: Channel,
        steps: Vec<Step>,
        until: Until,
    ) {
        let target_first = self.dice.coin();
        self.probes.push(Probe { rule, kind, detail, channel, steps, target_first, until });
    }

    fn hello(&self, alpn: &'static [&'static [u8]]) -> Hello {
        Hello {
            name: Some(self.plan.name.clone()),
            alpn,
            versions: Versions::Both,
            groups: Groups::All,
            resumes: false,
        }
    }

    /// A path that the site has.
    fn known_path(&mut self) -> String {
        match self.plan.paths.as_slice() {
            [] => "/".to_owned(),
            paths => self.dice.pick(paths).clone(),
        }
    }

    /// A path that no site has.
    fn unknown_path(&mut self) -> String {
        let mut path = String::new();
        for _ in 0..self.dice.between(1, 3) {
            path.push('/');
            path.push_str(&self.dice.word(3, 20));
        }
        path + *self.dice.pick(&["", "/", ".html", ".php", "?a=b", ".txt"])
    }
}

fn send(bytes: impl Into<Vec<u8>>) -> Vec<Step> {
    vec![Step::Send(bytes.into())]
}
