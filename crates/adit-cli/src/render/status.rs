//! The human view of `adit status`.

use super::units::{ago, bits_per_second, bytes, duration, until};
use super::{Style, Tone};
use adit::status::{CarrierStatus, WebSiteStatus};

use crate::report::{
    Deadline, Offloads, OpenVpnReport, PeerReport, ServedClient, ServingReport, State, StatusReport, Traffic,
    TunnelReport,
};

/// Width of the labels, so that the values stand in a column.
const LABEL: usize = 11;

/// All tunnels as text.
pub(crate) fn text(report: &StatusReport, why: bool, style: Style) -> String {
    let tunnels: Vec<_> = report.tunnels.iter().map(|t| tunnel(t, why, style)).collect();
    tunnels.join("\n")
}

fn tunnel(t: &TunnelReport, why: bool, style: Style) -> String {
    let mut page = Page { style, text: String::new(), indent: 2 };
    page.text = format!("{}  {}", style.paint(Tone::Strong, &t.name), state(t, style));
    page.text.push('\n');
    page.row("interface", &interface(t));
    if t.openvpn.is_none() && t.openvpn_server.is_none() {
        page.row("public key", t.public_key.as_deref().unwrap_or("none"));
    }
    page.row("transport", &transport(t));
    if let Some(client) = &t.openvpn {
        openvpn(&mut page, client);
    }
    if let Some(server) = &t.openvpn_server {
        page.row("clients", &clients(server));
    }
    if let Some(carrier) = &t.carrier {
        carriers(&mut page, carrier);
    }
    if let Some(port) = t.openvpn_port {
        page.row("openvpn", &format!("udp port {port}"));
    }
    if let Some(site) = &t.web_site {
        page.row("web site", &web_site(site));
        if let Some(trouble) = &site.trouble {
            page.row("note", &page.style.paint(Tone::Warning, &format!("nobody is served: {trouble}")));
        }
        if let Some(pin) = &site.pin {
            page.row("pin", pin);
        }
    }
    page.row("traffic", &traffic(&t.traffic));
    let dropped = drops(t);
    if !dropped.is_empty() {
        page.row("dropped", &dropped);
    }
    if t.under_load {
        page.row("load", &style.paint(Tone::Warning, "under load: handshakes are answered with cookies"));
    }
    if let Some(next) = &t.next {
        page.row("next", &deadline(next));
    }
    if let Some(file) = &t.file {
        page.row("file", &file.display().to_string());
    }
    for note in &t.notes {
        page.row("note", &style.paint(Tone::Warning, note));
    }
    for p in &t.peers {
        peer(&mut page, p, why);
    }
    for client in t.openvpn_server.iter().flat_map(|server| &server.clients) {
        served(&mut page, client);
    }
    page.text
}

/// How many clients an OpenVPN server has.
fn clients(server: &ServingReport) -> String {
    let turned_away = if server.refused == 0 { String::new() } else { format!("; {} turned away", server.refused) };
    format!("{} of at most {}; {} let in so far{turned_away}", server.clients.len(), server.most, server.admitted)
}

/// A client of an OpenVPN server.
fn served(page: &mut Page, client: &ServedClient) {
    let name = page.style.paint(Tone::Strong, &client.name);
    page.text.push_str(&format!("\n  client {name}\n"));
    page.indent = 4;
    page.row("from", &client.from);
    page.row("addresses", &list(&client.addresses, "none"));
    if !client.networks.is_empty() {
        page.row("behind it", &client.networks.join(", "));
    }
    page.row("connection", &connection(client.connected_seconds, client.renewals));
}

fn connection(since: u64, renewals: u64) -> String {
    let renewals = if renewals == 1 { "once".to_owned() } else { format!("{renewals} times") };
    format!("for {}; keys renewed {renewals}", duration(since))
}

/// What only an OpenVPN client has.
fn openvpn(page: &mut Page, client: &OpenVpnReport) {
    page.row("server", client.server.as_deref().unwrap_or("not known yet"));
    if let Some(cipher) = &client.cipher {
        page.row("cipher", cipher);
    }
    if let Some(since) = client.connected_seconds {
        page.row("connection", &connection(since, client.renewals));
    }
    for text in client.said.iter().chain(&client.trouble) {
        page.row("note", &page.style.paint(Tone::Warning, text));
    }
}

fn peer(page: &mut Page, p: &PeerReport, why: bool) {
    let key = page.style.paint(Tone::Strong, &p.public_key);
    page.text.push_str(&format!("\n  peer {key}\n"));
    page.indent = 4;
    let over = match p.transport.as_str() {
        "https" => " over HTTPS",
        "openvpn" => " by OpenVPN",
        _ => "",
    };
    page.row("endpoint", &format!("{}{over}", p.endpoint.as_deref().unwrap_or("not known yet")));
    page.row("handshake", &ago(p.last_handshake_seconds_ago));
    page.row("traffic", &traffic(&p.traffic));
    page.row("allowed", &list(&p.allowed_ips, "nothing"));
    if p.preshared_key {
        page.row("secret", "a pre-shared key is set");
    }
    if p.persistent_keepalive > 0 {
        page.row("keepalive", &format!("every {}", duration(p.persistent_keepalive.into())));
    }
    if p.staged > 0 {
        page.row("waiting", &format!("{} packets for a handshake", p.staged));
    }
    if why {
        page.row("next", &p.next.as_ref().map_or_else(|| "nothing to do".to_owned(), deadline));
    }
}

/// Text that grows by labelled rows.
struct Page {
    style: Style,
    text: String,
    indent: usize,
}

impl Page {
    fn row(&mut self, label: &str, value: &str) {
        let label = self.style.paint(Tone::Faint, &format!("{label:LABEL$}"));
        self.text.push_str(&format!("{:indent$}{label} {value}\n", "", indent = self.indent));
    }
}

fn state(t: &TunnelReport, style: Style) -> String {
    let for_ = duration(t.up_seconds);
    match t.state {
        State::Starting => style.paint(Tone::Warning, "starting"),
        State::Waiting if t.openvpn_server.is_some() => {
            format!("{}, up for {for_}", style.paint(Tone::Good, "waiting for clients"))
        }
        State::Waiting if t.openvpn.is_some() => {
            format!("{}, up for {for_}", style.paint(Tone::Warning, "not connected"))
        }
        State::Waiting => format!("{}, up for {for_}", style.paint(Tone::Warning, "no handshake yet")),
        State::Connected => format!("{}, up for {for_}", style.paint(Tone::Good, "connected")),
        State::Stopping => style.paint(Tone::Warning, "stopping"),
        State::Failed => style.paint(Tone::Bad, "failed"),
    }
}

fn interface(t: &TunnelReport) -> String {
    let mtu = t.mtu.map(|m| format!("MTU {m}"));
    let mark = (t.fwmark != 0).then(|| format!("mark {:#x}", t.fwmark));
    let parts: Vec<String> = [Some(list(&t.addresses, "no address")), mtu, mark].into_iter().flatten().collect();
    parts.join(", ")
}

fn transport(t: &TunnelReport) -> String {
    let port = t.listen_port.map(|p| format!(" port {p}")).unwrap_or_default();
    format!("{}{port}; {}", t.transport, offloads(&t.offloads))
}

/// Which of several transports is in use, and why.
fn carriers(page: &mut Page, c: &CarrierStatus) {
    page.row("why", &format!("{}, for {}", c.why, duration(c.for_seconds)));
    if c.order.iter().any(|carrier| carrier == "https") {
        let at = c.server.map(|server| format!(", {server}")).unwrap_or_default();
        let looks = c.looks_like.as_ref().map(|looks| format!("; looks like {looks}")).unwrap_or_default();
        page.row("https", &format!("{}{at}{looks}", c.https));
    }
    if let Some(warning) = &c.warning {
        page.row("note", &page.style.paint(Tone::Warning, warning));
    }
}

fn web_site(site: &WebSiteStatus) -> String {
    let at: Vec<_> = site.listening.iter().map(ToString::to_string).collect();
    format!("{}; {} connections, {} of peers", at.join(", "), site.connections, site.streams)
}

/// Offloads as a phrase.
pub(crate) fn offloads(o: &Offloads) -> String {
    if o.inside.is_empty() && o.outside.is_empty() {
        return "no offloads".to_owned();
    }
    let side = |name: &str, what: &[String]| (!what.is_empty()).then(|| format!("{name} {}", what.join(" ")));
    let sides: Vec<_> = [side("tun", &o.inside), side("udp", &o.outside)].into_iter().flatten().collect();
    format!("offloads: {}", sides.join(", "))
}

fn traffic(t: &Traffic) -> String {
    let rate = |r: Option<u64>| r.map(|r| format!(" ({})", bits_per_second(r as f64))).unwrap_or_default();
    format!(
        "{} received{}, {} sent{}",
        bytes(t.received),
        rate(t.received_per_second),
        bytes(t.sent),
        rate(t.sent_per_second)
    )
}

fn drops(t: &TunnelReport) -> String {
    let reasons: Vec<_> = t.drops.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
    reasons.join(", ")
}

fn deadline(d: &Deadline) -> String {
    format!("{} {}", d.why, until(d.in_ms))
}

fn list(items: &[String], none: &str) -> String {
    if items.is_empty() { none.to_owned() } else { items.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::SCHEMA;

    #[test]
    fn a_connected_tunnel_reads_like_this() {
        let expected = "\
home  connected, up for 3 min 5 s
  interface   10.0.0.2/24, fd00::2/64, MTU 1420
  public key  ugViDinrHVDhkpj9GJV9FBbxC39S5yL8NV5FvcVGwEE=
  transport   udp port 51820; offloads: tun tso4 tso6, udp gso gro
  traffic     1.50 GiB received (800.00 Mbit/s), 2.00 MiB sent (8.00 Mbit/s)
  dropped     1 forged, 4 no-route
  next        new handshake in 98 s
  file        /etc/adit/home.conf

  peer L+V9o0fNYkMVKNqsX7spBzD/9oSvxM/C7ZCZX1jLO3Q=
    endpoint    192.0.2.1:51820
    handshake   12 s ago
    traffic     1.50 GiB received, 2.00 MiB sent
    allowed     0.0.0.0/0, ::/0
    secret      a pre-shared key is set
    keepalive   every 25 s
    next        new handshake in 98 s
";
        // 98 s is 1 min 38 s as everywhere else.
        let expected = expected.replace("98 s", "1 min 38 s");
        assert_eq!(text(&sample(), true, Style::Plain), expected);
    }

    #[test]
    fn a_peer_that_never_answered_reads_like_this() {
        let mut report = sample();
        let tunnel = &mut report.tunnels[0];
        tunnel.state = State::Waiting;
        tunnel.drops.clear();
        let peer = &mut tunnel.peers[0];
        (peer.endpoint, peer.last_handshake_unix, peer.last_handshake_seconds_ago) = (None, None, None);
        (peer.has_session, peer.staged) = (false, 3);
        let shown = text(&report, false, Style::Plain);
        for line in [
            "home  no handshake yet, up for 3 min 5 s\n",
            "    endpoint    not known yet\n",
            "    handshake   never\n",
            "    waiting     3 packets for a handshake\n",
        ] {
            assert!(shown.contains(line), "{line:?} is not in:\n{shown}");
        }
    }

    /// The schema is a promise: docs/spec/status.md shows this very text.
    #[test]
    fn the_json_is_the_documented_one() {
        let shown = serde_json::to_string_pretty(&sample()).unwrap();
        let documented = include_str!("../../../../docs/spec/status.md");
        assert!(documented.contains(&shown), "docs/spec/status.md does not hold:\n{shown}");
    }

    fn sample() -> StatusReport {
        let moving = |received, sent| Traffic {
            received: 3 << 29,
            sent: 2 << 20,
            received_per_second: received,
            sent_per_second: sent,
        };
        let next = || Some(Deadline { in_ms: 98_000, why: "new handshake".to_owned() });
        StatusReport {
            schema: SCHEMA,
            version: "0.1.0".to_owned(),
            tunnels: vec![TunnelReport {
                name: "home".to_owned(),
                state: State::Connected,
                up_seconds: 185,
                file: Some("/etc/adit/home.conf".into()),
                addresses: vec!["10.0.0.2/24".to_owned(), "fd00::2/64".to_owned()],
                mtu: Some(1420),
                public_key: Some("ugViDinrHVDhkpj9GJV9FBbxC39S5yL8NV5FvcVGwEE=".to_owned()),
                listen_port: Some(51820),
                fwmark: 0,
                transport: "udp".to_owned(),
                carrier: None,
                web_site: None,
                openvpn_port: None,
                openvpn: None,
                openvpn_server: None,
                offloads: Offloads {
                    inside: vec!["tso4".to_owned(), "tso6".to_owned()],
                    outside: vec!["gso".to_owned(), "gro".to_owned()],
                },
                traffic: moving(Some(100_000_000), Some(1_000_000)),
                drops: [("forged".to_owned(), 1), ("no-route".to_owned(), 4)].into(),
                handshakes: 3,
                under_load: false,
                next: next(),
                notes: Vec::new(),
                peers: vec![PeerReport {
                    public_key: "L+V9o0fNYkMVKNqsX7spBzD/9oSvxM/C7ZCZX1jLO3Q=".to_owned(),
                    preshared_key: true,
                    endpoint: Some("192.0.2.1:51820".to_owned()),
                    transport: "udp".to_owned(),
                    allowed_ips: vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()],
                    last_handshake_unix: Some(1_800_000_000),
                    last_handshake_seconds_ago: Some(12),
                    has_session: true,
                    traffic: moving(None, None),
                    persistent_keepalive: 25,
                    staged: 0,
                    next: next(),
                }],
            }],
        }
    }
}
