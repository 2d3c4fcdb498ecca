//! Every probe put to both servers; what differs is asked again until it is sure.
//!
//! Not here: one probe (`observe`), what is asked (`catalog`), how it is told (`report`).

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::answer::Observation;
use super::observe::observe;
use super::report::{self, Comparison, Difference, RuleCount, Timing};
use super::script::Probe;
use super::{Plan, catalog, timing};

/// How often two servers must differ, asked again when little else is going on, before it counts. A server that answers in
/// two ways, as who is first decides, must have the time to show both.
const REPEATS: usize = 6;
/// Probes of one kind that are asked again.
const SUSPECTS_OF_KIND: usize = 3;
/// Kinds of probes that are asked again at a time.
const KINDS_AT_A_TIME: usize = 12;
/// Times of one kind that are kept.
const MAX_TIMES: usize = 10_000;

/// Why two servers cannot be compared.
#[derive(Debug, thiserror::Error)]
#[error("{server} does not take connections: {source}")]
pub struct Unreachable {
    /// Which.
    pub server: SocketAddr,
    /// Why not.
    pub source: io::Error,
}

/// Puts the whole set of probes to both servers, as often as planned, and says what differs.
///
/// # Errors
/// One of them cannot be reached: then nothing would differ.
pub async fn compare(plan: &Plan) -> Result<Comparison, Unreachable> {
    for server in [plan.target, plan.against] {
        let connected = timeout(plan.patience.connect, TcpStream::connect(server)).await;
        connected.map_err(io::Error::from).flatten().map_err(|source| Unreachable { server, source })?;
    }
    let mut tally = Tally::default();
    let shared = Arc::new(plan.clone());
    let mut running = JoinSet::new();
    for round in 0..plan.rounds {
        for probe in catalog::round(plan, round) {
            if running.len() >= plan.parallel.max(1)
                && let Some(Ok((probe, here, there))) = running.join_next().await
            {
                tally.note(probe, &here, &there);
            }
            running.spawn(ask_both(Arc::clone(&shared), probe));
        }
    }
    while let Some(finished) = running.join_next().await {
        if let Ok((probe, here, there)) = finished {
            tally.note(probe, &here, &there);
        }
    }
    let (differences, unsteady) = ask_again(&shared, std::mem::take(&mut tally.suspects)).await;
    Ok(tally.into_comparison(plan, differences, unsteady))
}

/// Asks both, one after the other; who is first is left to chance.
async fn ask_both(plan: Arc<Plan>, probe: Probe) -> (Probe, Observation, Observation) {
    if probe.target_first {
        let here = observe(&probe, plan.target, plan.patience).await;
        let there = observe(&probe, plan.against, plan.patience).await;
        (probe, here, there)
    } else {
        let there = observe(&probe, plan.against, plan.patience).await;
        let here = observe(&probe, plan.target, plan.patience).await;
        (probe, here, there)
    }
}

/// Probes whose answers differed. Those that were only late, or that a server answers in several ways, fall out here.
async fn ask_again(plan: &Arc<Plan>, suspects: BTreeMap<&'static str, Suspects>) -> (Vec<Difference>, u64) {
    let mut differences = Vec::new();
    let mut unsteady = 0;
    let mut running = JoinSet::new();
    let mut take = |finished: (u64, Vec<Difference>)| {
        unsteady += if finished.1.is_empty() { finished.0 } else { 0 };
        differences.extend(finished.1);
    };
    for suspects in suspects.into_values() {
        if running.len() >= KINDS_AT_A_TIME
            && let Some(Ok(finished)) = running.join_next().await
        {
            take(finished);
        }
        running.spawn(ask_kind_again(Arc::clone(plan), suspects));
    }
    while let Some(finished) = running.join_next().await {
        if let Ok(finished) = finished {
            take(finished);
        }
    }
    differences.sort_by_key(|difference| (difference.rule, difference.probe, difference.aspect));
    (differences, unsteady)
}

/// How many probes of a kind were suspect, and what is sure of it.
async fn ask_kind_again(plan: Arc<Plan>, Suspects { probes, count }: Suspects) -> (u64, Vec<Difference>) {
    for probe in probes {
        let Some(found) = differs_always(&plan, &probe).await else { continue };
        let difference = |(aspect, target, against)| Difference {
            rule: probe.rule,
            probe: probe.kind,
            detail: probe.detail.clone(),
            aspect,
            target,
            against,
            seen: count,
        };
        return (count, found.into_iter().map(difference).collect());
    }
    (count, Vec::new())
}

/// What differs, if no answer of the one is also one of the other.
async fn differs_always(plan: &Plan, probe: &Probe) -> Option<Vec<(&'static str, String, String)>> {
    let patience = plan.patience.longer();
    let (mut here, mut there): (Vec<Observation>, Vec<Observation>) = (Vec::new(), Vec::new());
    for _ in 0..REPEATS {
        let (one, other) = tokio::join!(observe(probe, plan.target, patience), observe(probe, plan.against, patience));
        here.push(one);
        there.push(other);
        if here.iter().any(|one| there.iter().any(|other| one.equals(other))) {
            return None;
        }
    }
    Some(here.last()?.differences(there.last()?))
}

/// Probes of one kind whose answers differed.
#[derive(Debug, Default)]
struct Suspects {
    probes: Vec<Probe>,
    count: u64,
}

#[derive(Debug, Default)]
struct Tally {
    rules: BTreeMap<&'static str, u64>,
    times: BTreeMap<&'static str, (Vec<u64>, Vec<u64>)>,
    suspects: BTreeMap<&'static str, Suspects>,
    unconnected: u64,
}

impl Tally {
    fn note(&mut self, probe: Probe, here: &Observation, there: &Observation) {
        *self.rules.entry(probe.rule).or_default() += 1;
        let failed = |one: &Observation| one.facts.iter().any(|fact| fact.aspect == "connection");
        self.unconnected += u64::from(failed(here)) + u64::from(failed(there));
        if let (Some(one), Some(other)) = (here.took, there.took) {
            let (ours, theirs) = self.times.entry(probe.kind).or_default();
            if ours.len() < MAX_TIMES {
                let micros = |took: std::time::Duration| u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                ours.push(micros(one));
                theirs.push(micros(other));
            }
        }
        if !here.equals(there) {
            let suspects = self.suspects.entry(probe.kind).or_default();
            suspects.count += 1;
            if suspects.probes.len() < SUSPECTS_OF_KIND {
                suspects.probes.push(probe);
            }
        }
    }

    fn into_comparison(mut self, plan: &Plan, differences: Vec<Difference>, unsteady: u64) -> Comparison {
        let mut timing: Vec<_> =
            self.times.iter_mut().map(|(kind, (ours, theirs))| timed(kind, ours, theirs)).collect();
        timing.sort_by(|one, other| one.probability.total_cmp(&other.probability));
        let differing = |rule| differences.iter().filter(|difference: &&Difference| difference.rule == rule).count();
        let rules = report::RULES.iter().map(|(id, name)| RuleCount {
            id,
            name,
            probes: self.rules.get(id).copied().unwrap_or_default(),
            differences: differing(*id),
        });
        Comparison {
            schema: 1,
            target: plan.target.to_string(),
            against: plan.against.to_string(),
            name: plan.name.clone(),
            seed: plan.seed,
            rounds: plan.rounds,
            probes: self.rules.values().sum(),
            different: !differences.is_empty(),
            rules: rules.collect(),
            differences,
            unsteady,
            unconnected: self.unconnected,
            timing,
        }
    }
}

fn timed(kind: &'static str, ours: &mut [u64], theirs: &mut [u64]) -> Timing {
    let probability = timing::probability_of_one_source(ours, theirs);
    Timing {
        probe: kind,
        samples: ours.len(),
        probability,
        target_micros: timing::median(ours),
        against_micros: timing::median(theirs),
    }
}
