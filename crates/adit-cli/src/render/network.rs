//! How a network looks: its devices, invites and what a new device needs. Pure.
//!
//! Not here: codes to scan (`qr`).

use std::fmt::Write as _;

use super::units::{ago, bits_per_second, bytes, duration};
use super::{Style, Tone};
use zeroize::Zeroizing;

use crate::qr;
use crate::server::api::{AuditChain, AuditRow, InviteRow, NetworkReport, NewInvite, PeerRow};

/// The network itself.
pub(crate) fn network(network: &NetworkReport, style: Style) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}  {}", style.paint(Tone::Strong, &network.name), network.ranges.join("  "));
    let web = network.web.as_deref().map_or_else(String::new, |web| format!(", {web}"));
    let openvpn = network.openvpn_port.map_or_else(String::new, |port| format!(", openvpn {port}"));
    let _ = writeln!(out, "  reached at  {}: udp {}{web}{openvpn}", network.hosts.join(", "), network.udp_port);
    let _ = writeln!(out, "  public key  {}", network.public_key);
    let _ = writeln!(out, "  interface   {}", network.interface);
    let _ = writeln!(out, "  devices     {}, open invites {}", network.peers, network.open_invites);
    if let Some(metrics) = &network.metrics {
        let _ = writeln!(out, "  metrics     {metrics}");
    }
    if let Some(trouble) = &network.trouble {
        let _ = writeln!(out, "  {} {trouble}", style.paint(Tone::Bad, "trouble"));
    }
    out
}

/// The code for a text, if it is not too long for one; in a file it would be of no use.
fn code(text: &str, style: Style) -> String {
    // Without colours, too: `NO_COLOR` is about taste.
    let colours = style == Style::Colour;
    if !colours && !super::stdout_is_terminal() {
        return String::new();
    }
    qr::terminal(text, colours).map_or_else(|_| String::new(), |code| format!("{}\n", *code))
}

/// A new invite: the link, what to do with it, and the code; and what its device will be called, if not as was asked for.
pub(crate) fn invite(invite: &NewInvite, asked: Option<&str>, now: u64, style: Style) -> String {
    let uses = match invite.uses {
        1 => "one device".to_owned(),
        n => format!("{n} devices"),
    };
    let left = duration(invite.expires_unix.saturating_sub(now));
    let mut out = code(&Zeroizing::new(invite.link.expose().to_ascii_uppercase()), style);
    let _ = writeln!(out, "Invite {} for {uses}, good for {left}. On the device:\n", invite.invite);
    let _ = writeln!(out, "  {}\n", style.paint(Tone::Strong, &format!("adit join {}", invite.link.expose())));
    let _ = writeln!(out, "Whoever has this link can join: hand it on like a password.");
    if let Some((asked, name)) = asked.zip(invite.name.as_deref()).filter(|(asked, name)| asked != name) {
        let note = format!(
            "There is a device `{asked}` already, so the new one will be called `{name}`.\n\
             If it takes that one's place: `adit peer remove {asked}` before it joins."
        );
        let _ = writeln!(out, "\n{}", style.paint(Tone::Warning, &note));
    }
    out
}

/// The configuration for a WireGuard app.
pub(crate) fn wireguard(name: &str, profile: &str, style: Style) -> String {
    let mut out = code(profile, style);
    let _ = writeln!(out, "Scan the code with the WireGuard app, or save this as {name}.conf. It is shown only now.\n");
    let _ = writeln!(out, "{}", style.paint(Tone::Faint, profile.trim_end()));
    out
}

/// The configuration for an OpenVPN client.
pub(crate) fn openvpn(name: &str, configuration: &str, style: Style) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "Save this as {name}.ovpn and open it with any OpenVPN client from 2.6 on. It is shown only now.\n"
    );
    let _ = writeln!(out, "{}", style.paint(Tone::Faint, configuration.trim_end()));
    out
}

/// All devices, a line each.
pub(crate) fn peers(peers: &[PeerRow], now: u64, style: Style) -> String {
    if peers.is_empty() {
        return "No device has joined yet. `adit invite` invites one.\n".to_owned();
    }
    let rows: Vec<[String; 6]> = peers
        .iter()
        .map(|peer| {
            [
                peer.name.clone(),
                peer.state.clone(),
                peer.addresses.first().cloned().unwrap_or_default(),
                peer.transport.clone().unwrap_or_else(|| "-".to_owned()),
                ago(peer.last_handshake_unix.map(|at| now.saturating_sub(at))),
                format!("{} in, {} out", bytes(peer.received), bytes(peer.sent)),
            ]
        })
        .collect();
    let head = ["device", "state", "address", "by", "handshake", "traffic"].map(str::to_owned);
    let width = |column: usize| {
        let cells = rows.iter().chain([&head]).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut out = String::new();
    for (n, row) in [&head].into_iter().chain(&rows).enumerate() {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let line = cells.join("  ");
        let line = line.trim_end();
        let line = if n == 0 { style.paint(Tone::Faint, line) } else { line.to_owned() };
        let _ = writeln!(out, "{line}");
    }
    out
}

/// One device.
pub(crate) fn peer(peer: &PeerRow, now: u64, style: Style) -> String {
    let tone = if peer.state == "connected" { Tone::Good } else { Tone::Warning };
    let mut out = String::new();
    let _ = writeln!(out, "{}  {}", style.paint(Tone::Strong, &peer.name), style.paint(tone, &peer.state));
    let mut line = |what: &str, value: String| {
        let _ = writeln!(out, "  {what:12}{value}");
    };
    line("addresses", peer.addresses.join(", "));
    line(if peer.kind == "openvpn" { "certificate" } else { "public key" }, peer.public_key.clone());
    line("runs", peer.kind.clone());
    if !peer.groups.is_empty() {
        line("groups", peer.groups.join(", "));
    }
    if let Some(words) = &peer.check_words {
        line("check words", words.clone());
    }
    line("handshake", ago(peer.last_handshake_unix.map(|at| now.saturating_sub(at))));
    if let Some(endpoint) = &peer.endpoint {
        line("seen at", format!("{endpoint} over {}", peer.transport.as_deref().unwrap_or("udp")));
    }
    line("traffic", format!("{} in, {} out", bytes(peer.received), bytes(peer.sent)));
    let rate = |bits: u64| bits_per_second(bits as f64 / 8.0);
    match (peer.down_limit, peer.up_limit) {
        (None, None) => {}
        (down, up) => {
            let side = |bits: Option<u64>| bits.map_or_else(|| "unlimited".to_owned(), rate);
            line("limits", format!("{} down, {} up", side(down), side(up)));
        }
    }
    if let Some(quota) = &peer.quota {
        let per = if quota.per == "total" { "in all".to_owned() } else { format!("a {}", quota.per) };
        line("quota", format!("{} of {} {per}, then {}", bytes(quota.used), bytes(quota.bytes), quota.then));
    }
    line(
        "ends",
        match peer.expires_unix {
            None => "never".to_owned(),
            Some(at) if at <= now => format!("{} ago", duration(now - at)),
            Some(at) => format!("in {}", duration(at - now)),
        },
    );
    out
}

/// The log of changes, the newest first.
pub(crate) fn log(rows: &[AuditRow], style: Style) -> String {
    let mut out = String::new();
    for row in rows {
        let when = adit_control::UnixTime(row.unix);
        let by = style.paint(Tone::Faint, &format!("({}, {})", row.who, row.from));
        let _ = writeln!(out, "{when}  {}  {by}", row.what);
    }
    out
}

/// Whether the log is whole.
pub(crate) fn chain(chain: &AuditChain, style: Style) -> String {
    let mut out = String::new();
    let _ = match &chain.broken {
        Some(broken) if chain.since.is_none() => {
            writeln!(out, "{} {broken}", style.paint(Tone::Bad, "whether it is whole cannot be told:"))
        }
        Some(broken) => writeln!(out, "{} {broken}", style.paint(Tone::Bad, "not as it was written:")),
        None => writeln!(out, "{} {} entries", style.paint(Tone::Good, "whole:"), chain.entries),
    };
    match chain.since.zip(chain.since_unix) {
        Some((1, _)) | None => {}
        Some((number, unix)) => {
            let at = adit_control::UnixTime(unix);
            let _ = writeln!(out, "since entry {number} ({at}); those before it carry no hash");
        }
    }
    if let Some(newest) = &chain.newest {
        let _ = writeln!(out, "newest: {newest}");
        let _ =
            writeln!(out, "Kept elsewhere, it shows later that nothing up to there was made anew: --verify {newest}");
    }
    out
}

/// All invites, a line each.
pub(crate) fn invites(invites: &[InviteRow], now: u64, style: Style) -> String {
    if invites.is_empty() {
        return "There are no invites. `adit invite` makes one.\n".to_owned();
    }
    let mut out = String::new();
    for invite in invites {
        let name = invite.name.as_deref().unwrap_or("any device");
        let state = match invite.state.as_str() {
            "open" => {
                let left = duration(invite.expires_unix.saturating_sub(now));
                style.paint(Tone::Good, &format!("open for {left}, {} left", invite.uses_left))
            }
            other => style.paint(Tone::Faint, other),
        };
        let by = match invite.redeemed_by.as_slice() {
            [] => String::new(),
            names => format!(", used by {}", names.join(", ")),
        };
        let _ = writeln!(out, "{:>4}  {name}: {state}{by}", invite.invite);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str) -> PeerRow {
        PeerRow {
            name: name.to_owned(),
            kind: "adit".to_owned(),
            state: "connected".to_owned(),
            addresses: vec!["10.77.0.2".to_owned(), "fd00::2".to_owned()],
            public_key: "key".to_owned(),
            groups: Vec::new(),
            check_words: None,
            transport: Some("https".to_owned()),
            endpoint: Some("192.0.2.7:443".to_owned()),
            last_handshake_unix: Some(1_000),
            received: 2_048,
            sent: 5,
            down_limit: Some(20_000_000),
            up_limit: None,
            quota: None,
            expires_unix: Some(1_090),
            created_unix: 1,
        }
    }

    #[test]
    fn devices_stand_in_columns() {
        let shown = peers(&[row("phone"), row("a-laptop")], 1_030, Style::Plain);
        assert_eq!(
            shown,
            "device    state      address    by     handshake  traffic\n\
             phone     connected  10.77.0.2  https  30 s ago   2.00 KiB in, 5 B out\n\
             a-laptop  connected  10.77.0.2  https  30 s ago   2.00 KiB in, 5 B out\n"
        );
    }

    #[test]
    fn the_log_says_when_what_and_who() {
        let row = AuditRow {
            unix: 1_700_000_000,
            who: "uid 0".to_owned(),
            from: "this machine, process 7".to_owned(),
            what: "cut the device `phone` off".to_owned(),
        };
        let shown = log(&[row], Style::Plain);
        assert!(shown.contains("2023-11-14"), "{shown}");
        assert!(shown.contains("cut the device `phone` off  (uid 0, this machine, process 7)"), "{shown}");
    }

    #[test]
    fn a_log_without_hashes_is_not_shown_as_whole() {
        let broken = Some("entry 3: neither it nor any entry before it has a hash".to_owned());
        let wiped = AuditChain { entries: 3, since: None, since_unix: None, newest: None, broken };
        let shown = chain(&wiped, Style::Plain);
        assert_eq!(
            shown,
            "whether it is whole cannot be told: entry 3: neither it nor any entry before it has a hash\n"
        );
    }

    #[test]
    fn a_device_shows_its_limits_and_its_end() {
        let shown = peer(&row("phone"), 1_030, Style::Plain);
        assert!(shown.contains("limits      20.00 Mbit/s down, unlimited up"), "{shown}");
        assert!(shown.contains("ends        in 1 min"), "{shown}");
    }

    #[test]
    fn an_invite_for_a_name_that_is_taken_says_what_comes_of_it() {
        let made = |name: Option<&str>| NewInvite {
            invite: 3,
            name: name.map(str::to_owned),
            link: Zeroizing::new("adit:1:abc".to_owned()).into(),
            expires_unix: 1_000,
            uses: 1,
        };
        let shown = |asked, name| invite(&made(name), asked, 0, Style::Plain);
        let said = shown(Some("phone"), Some("phone-2"));
        assert!(said.contains("a device `phone` already") && said.contains("called `phone-2`"), "{said}");
        assert!(said.contains("`adit peer remove phone`"), "{said}");
        assert!(!shown(Some("phone"), Some("phone")).contains("already"));
        assert!(!shown(None, None).contains("already"));
    }
}
