//! Which metrics there are, made of what is known at one moment. Pure; docs/spec/metrics.md is the list for readers.
//!
//! Not here: how they are written (`text`), who asks (`serve`).

use std::collections::HashMap;

use adit_control::{InviteState, Model, OverQuota, Peer, UnixTime, Usage};

use super::tally::Tally;
use super::text::{Kind, Page};
use crate::report::{PeerReport, TunnelReport};
use crate::server::desk::state_of;

/// Devices with series of their own; those that were admitted first. The others are in the sums.
const MAX_PEERS: usize = 1_000;

/// What is known.
pub(super) struct Seen<'a> {
    pub(super) model: &'a Model,
    pub(super) usage: &'a Usage,
    /// The daemon's last report.
    pub(super) tunnel: Option<&'a TunnelReport>,
    /// Whether what is decided is what runs.
    pub(super) runs: bool,
    pub(super) tally: &'a Tally,
    /// Whether the database did what it was last asked.
    pub(super) database_up: bool,
    /// Revisions that others made and this server has not read.
    pub(super) behind: u64,
    pub(super) audit_entries: u64,
    /// When this process began to serve.
    pub(super) begun: UnixTime,
    pub(super) now: UnixTime,
}

/// States of devices, as `adit peers` calls them.
const STATES: [&str; 5] = ["connected", "away", "disabled", "expired", "over-quota"];

/// The page of this moment.
pub(super) fn of(seen: &Seen<'_>) -> String {
    let mut page = Page::default();
    server(&mut page, seen);
    let reports: HashMap<&str, &PeerReport> =
        seen.tunnel.iter().flat_map(|tunnel| &tunnel.peers).map(|peer| (peer.public_key.as_str(), peer)).collect();
    let peers: Vec<_> =
        seen.model.peers.values().map(|peer| (peer, reports.get(peer.key.to_string().as_str()).copied())).collect();
    network(&mut page, seen, &peers);
    tunnel(&mut page, seen, &peers);
    devices(&mut page, seen, peers.get(..MAX_PEERS).unwrap_or(&peers));
    page.finish()
}

/// The process, its database and its log.
fn server(page: &mut Page, seen: &Seen<'_>) {
    page.family("adit_build", Kind::Info, "Which adit serves.").sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.family("adit_server_start_time_seconds", Kind::Gauge, "When the server began, since 1970.")
        .sample(&[], seen.begun.0);
    page.family("adit_tunnel_up", Kind::Gauge, "Whether the daemon runs what is decided.")
        .sample(&[], u8::from(seen.runs));
    page.family("adit_database_up", Kind::Gauge, "Whether the database did what it was last asked.")
        .sample(&[], u8::from(seen.database_up));
    page.family("adit_database_behind", Kind::Gauge, "Changes of other gateways not read yet.")
        .sample(&[], seen.behind);
    page.family("adit_revision", Kind::Gauge, "The revision of the network that is served.")
        .sample(&[], seen.model.revision);
    page.family("adit_audit_entries", Kind::Counter, "Entries of the log of changes.").sample(&[], seen.audit_entries);
}

/// Devices and invites as numbers.
fn network(page: &mut Page, seen: &Seen<'_>, peers: &[(&Peer, Option<&PeerReport>)]) {
    let mut states = STATES.map(|state| (state, 0_u64));
    for (peer, report) in peers {
        let state = state(seen, peer, *report);
        states.iter_mut().filter(|(name, _)| *name == state).for_each(|(_, n)| *n += 1);
    }
    let mut family = page.family("adit_peers", Kind::Gauge, "Devices, by state.");
    states.iter().for_each(|(state, n)| _ = family.sample(&[("state", state)], n));
    let hidden = peers.len().saturating_sub(MAX_PEERS);
    page.family("adit_peers_without_series", Kind::Gauge, "Devices that have no series of their own here.")
        .sample(&[], hidden);
    let mut family = page.family("adit_invites", Kind::Gauge, "Invites that are known, by state.");
    for (name, state) in [
        ("open", InviteState::Open),
        ("used", InviteState::Used),
        ("expired", InviteState::Expired),
        ("revoked", InviteState::Revoked),
    ] {
        family.sample(
            &[("state", name)],
            seen.model.invites.values().filter(|invite| invite.state(seen.now) == state).count(),
        );
    }
    page.family("adit_invites_redeemed", Kind::Counter, "Devices admitted by an invite.")
        .sample(&[], seen.tally.of_admitted());
    let mut family = page.family("adit_invites_refused", Kind::Counter, "Devices refused, by reason.");
    seen.tally.of_refused().for_each(|(reason, n)| _ = family.sample(&[("reason", reason)], n));
}

/// What the daemon says of the tunnel; absent until it has.
fn tunnel(page: &mut Page, seen: &Seen<'_>, peers: &[(&Peer, Option<&PeerReport>)]) {
    let Some(tunnel) = seen.tunnel else { return };
    let mut family = page.family("adit_peers_by_carrier", Kind::Gauge, "Connected devices, by what carries them.");
    for carrier in ["udp", "https", "openvpn"] {
        let on = |report: &&PeerReport| report.has_session && report.transport == carrier;
        family.sample(&[("carrier", carrier)], peers.iter().filter_map(|(_, report)| *report).filter(on).count());
    }
    page.family("adit_handshakes", Kind::Counter, "Handshakes completed.").sample(&[], tunnel.handshakes);
    let mut family = page.family("adit_dropped_packets", Kind::Counter, "Packets dropped, by reason.");
    for reason in adit_protocol::DropReason::ALL {
        family.sample(&[("reason", reason.name())], tunnel.drops.get(reason.name()).copied().unwrap_or(0));
    }
    page.family("adit_under_load", Kind::Gauge, "Whether handshakes are answered with cookies.")
        .sample(&[], u8::from(tunnel.under_load));
    if let Some(site) = &tunnel.web_site {
        page.family("adit_web_connections", Kind::Gauge, "Connections to the web site, of everybody.")
            .sample(&[], site.connections);
        page.family("adit_web_streams", Kind::Gauge, "Streams of devices inside them.").sample(&[], site.streams);
    }
}

/// Each device by its name.
fn devices(page: &mut Page, seen: &Seen<'_>, peers: &[(&Peer, Option<&PeerReport>)]) {
    // By number too: a name may go from one device to another.
    let labelled: Vec<_> = peers.iter().map(|(peer, report)| (*peer, *report, peer.id.0.to_string())).collect();
    let mut each = |name: &str, kind, help: &str, value: &dyn Fn(&Peer, Option<&PeerReport>) -> Option<u64>| {
        let mut family = page.family(name, kind, help);
        for (peer, report, id) in &labelled {
            if let Some(value) = value(peer, *report) {
                family.sample(&[("peer", peer.name.as_str()), ("id", id)], value);
            }
        }
    };
    each("adit_peer_connected", Kind::Gauge, "Whether the device is connected.", &|peer, report| {
        Some(u64::from(state(seen, peer, report) == "connected"))
    });
    each("adit_peer_last_handshake_time_seconds", Kind::Gauge, "When, since 1970.", &|_, report| {
        report.and_then(|report| report.last_handshake_unix)
    });
    each("adit_peer_received_bytes", Kind::Counter, "Bytes from the device, over restarts.", &|peer, _| {
        Some(seen.usage.of(peer.id).received)
    });
    each("adit_peer_sent_bytes", Kind::Counter, "Bytes to the device, over restarts.", &|peer, _| {
        Some(seen.usage.of(peer.id).sent)
    });
    each("adit_peer_quota_bytes", Kind::Gauge, "What the device may move in a period.", &|peer, _| {
        peer.quota.map(|quota| quota.bytes)
    });
    each("adit_peer_quota_used_bytes", Kind::Gauge, "What it has moved of that.", &|peer, _| {
        peer.quota.map(|quota| seen.usage.of(peer.id).in_period(quota.per, seen.now))
    });
    let sum = |of: fn(&adit_control::PeerUsage) -> u64| {
        seen.model.peers.keys().fold(0_u64, |sum, id| sum.saturating_add(of(&seen.usage.of(*id))))
    };
    let (received, sent) = (sum(|usage| usage.received), sum(|usage| usage.sent));
    page.family("adit_peers_received_bytes", Kind::Gauge, "Bytes from all devices that are admitted now.")
        .sample(&[], received);
    page.family("adit_peers_sent_bytes", Kind::Gauge, "Bytes to them.").sample(&[], sent);
}

fn state(seen: &Seen<'_>, peer: &Peer, report: Option<&PeerReport>) -> &'static str {
    let over = seen.usage.over(peer, seen.now);
    state_of(peer, over.is_some_and(|(quota, _)| quota.action == OverQuota::Block), report, seen.now)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use adit_control::{Kind as PeerKind, Name, PeerId, Period, Quota, Rate, UsageDelta};
    use adit_wireguard::PublicKey;

    use super::*;
    use crate::report::Traffic;

    const NOW: UnixTime = UnixTime(1_795_281_033);

    fn peer(id: u64, name: &str) -> Peer {
        let mut key = [3; 32];
        key[..8].copy_from_slice(&id.to_le_bytes());
        Peer {
            id: PeerId(id),
            name: Name::new(name).unwrap(),
            kind: PeerKind::Adit,
            key: PublicKey::new(key),
            https_key: None,
            v4: std::net::Ipv4Addr::from_bits(0x0a4d_0000 + u32::try_from(id).unwrap()),
            v6: std::net::Ipv6Addr::from_bits(u128::from(id)),
            groups: BTreeSet::new(),
            rate: Rate::default(),
            quota: None,
            expires: None,
            enabled: true,
            created: NOW,
            invite: None,
        }
    }

    fn report(peer: &Peer, carrier: &str) -> PeerReport {
        PeerReport {
            public_key: peer.key.to_string(),
            preshared_key: false,
            endpoint: None,
            transport: carrier.to_owned(),
            allowed_ips: Vec::new(),
            last_handshake_unix: Some(NOW.0 - 5),
            last_handshake_seconds_ago: Some(5),
            has_session: true,
            traffic: Traffic::default(),
            persistent_keepalive: 0,
            staged: 0,
            next: None,
        }
    }

    /// The page of these devices, the first of which is connected over HTTPS.
    fn page(peers: Vec<Peer>) -> String {
        let mut tunnel = TunnelReport::empty("home");
        tunnel.peers = peers.iter().take(1).map(|peer| report(peer, "https")).collect();
        (tunnel.handshakes, tunnel.drops) = (4, [("forged".to_owned(), 9)].into());
        let model = Model { peers: peers.into_iter().map(|peer| (peer.id, peer)).collect(), ..Model::default() };
        let mut usage = Usage::default();
        usage.add(&[UsageDelta { peer: PeerId(1), received: 70, sent: 30, seen: None }], NOW);
        let tally = Tally::default();
        tally.admitted();
        of(&Seen {
            model: &model,
            usage: &usage,
            tunnel: Some(&tunnel),
            runs: true,
            tally: &tally,
            database_up: false,
            behind: 2,
            audit_entries: 17,
            begun: NOW,
            now: NOW,
        })
    }

    #[track_caller]
    fn has(page: &str, line: &str) {
        assert!(page.lines().any(|l| l == line), "`{line}` is not in\n{page}");
    }

    #[test]
    fn what_is_known_is_on_the_page() {
        let quota = Quota { bytes: 100, per: Period::Month, action: OverQuota::Notify };
        let page =
            page(vec![Peer { quota: Some(quota), ..peer(1, "phone") }, Peer { enabled: false, ..peer(2, "tv") }]);
        for line in [
            "adit_peers{state=\"connected\"} 1",
            "adit_peers{state=\"disabled\"} 1",
            "adit_peers{state=\"over-quota\"} 0",
            "adit_peers_by_carrier{carrier=\"https\"} 1",
            "adit_peer_received_bytes_total{peer=\"phone\",id=\"1\"} 70",
            "adit_peer_sent_bytes_total{peer=\"phone\",id=\"1\"} 30",
            "adit_peer_quota_bytes{peer=\"phone\",id=\"1\"} 100",
            "adit_peer_quota_used_bytes{peer=\"phone\",id=\"1\"} 100",
            "adit_peer_connected{peer=\"tv\",id=\"2\"} 0",
            "adit_handshakes_total 4",
            "adit_dropped_packets_total{reason=\"forged\"} 9",
            "adit_dropped_packets_total{reason=\"replayed\"} 0",
            "adit_invites_redeemed_total 1",
            "adit_invites_refused_total{reason=\"expired\"} 0",
            "adit_database_up 0",
            "adit_database_behind 2",
            "adit_audit_entries_total 17",
            "adit_peers_received_bytes 70",
        ] {
            has(&page, line);
        }
        assert!(!page.contains("adit_peer_quota_bytes{peer=\"tv\""));
    }

    #[test]
    fn very_many_devices_do_not_make_very_many_series() {
        let many = page((1..=MAX_PEERS as u64 + 5).map(|id| peer(id, &format!("d{id}"))).collect());
        assert_eq!(many.lines().filter(|line| line.starts_with("adit_peer_connected{")).count(), MAX_PEERS);
        has(&many, "adit_peers_without_series 5");
        has(&many, &format!("adit_peers{{state=\"away\"}} {}", MAX_PEERS + 4));
    }

    /// docs/spec/metrics.md names each family, and none that there is not.
    #[test]
    fn the_list_for_readers_is_complete() {
        let page = page(vec![Peer {
            quota: Some(Quota { bytes: 1, per: Period::Day, action: OverQuota::Slow }),
            ..peer(1, "phone")
        }]);
        let written: BTreeSet<_> = page.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let listed = include_str!("../../../../../docs/spec/metrics.md");
        let listed: BTreeSet<_> =
            listed.lines().filter_map(|l| l.strip_prefix("| `")?.split('`').next()?.split('{').next()).collect();
        let only_of_a_web_site = ["adit_web_connections", "adit_web_streams"];
        let listed: BTreeSet<_> = listed.into_iter().filter(|name| !only_of_a_web_site.contains(name)).collect();
        assert_eq!(written, listed);
    }
}
