//! The table that `adit demo` ends with.

use super::status::offloads;
use super::units::bytes;
use super::{Style, Tone};
use crate::demo::{DemoReport, PeerFigures, Pings, Transfer};

/// What happened, as a table.
pub(crate) fn text(report: &DemoReport, style: Style) -> String {
    let mut text = String::new();
    let title = format!("Two adit {} peers in two network namespaces, {} CPUs", report.version, report.cpus);
    text.push_str(&format!("{}\n\n", style.paint(Tone::Strong, &title)));
    let mut row = |what: &str, figure: &str, remark: &str| {
        text.push_str(&format!("  {what:24} {figure:>17}   {}\n", style.paint(Tone::Faint, remark)));
    };
    row("first packet answered", &format!("{:.2} ms", report.handshake_ms), "with the handshake");
    row("ping through the tunnel", &ping(&report.ping), &ping_remark(&report.ping));
    for t in &report.transfers {
        row(&format!("TCP {}", arrow(t)), &format!("{:.2} Gbit/s", t.gbit_per_second), &transfer_remark(t));
    }
    text.push('\n');
    text.push_str(&peers(&report.peers, style));
    text
}

fn ping(p: &Pings) -> String {
    format!("{:.3} / {:.3} ms", p.min_ms, p.avg_ms)
}

fn ping_remark(p: &Pings) -> String {
    let lost = if p.lost == 0 { "none lost".to_owned() } else { format!("{} lost", p.lost) };
    format!("least / average of {}, {lost}", p.sent)
}

fn arrow(t: &Transfer) -> String {
    format!("{} → {}", t.from, t.to)
}

fn transfer_remark(t: &Transfer) -> String {
    format!(
        "{} in {:.1} s over one connection, every byte checked; {:.2} CPU s/GB, both ends",
        bytes(t.bytes),
        t.seconds,
        t.cpu_seconds_per_gb
    )
}

fn peers(peers: &[PeerFigures], style: Style) -> String {
    let mut text = String::new();
    let mut row = |what: &str, value: &dyn Fn(&PeerFigures) -> String, tone: Option<Tone>| {
        let cells: String = peers
            .iter()
            .map(|p| {
                let cell = format!("{:>18}", value(p));
                tone.map_or_else(|| cell.clone(), |tone| style.paint(tone, &cell))
            })
            .collect();
        text.push_str(&format!("  {what:24}{cells}\n"));
    };
    row("", &|p| p.name.clone(), Some(Tone::Strong));
    row("received", &|p| bytes(p.received), None);
    row("sent", &|p| bytes(p.sent), None);
    row("packets dropped", &|p| p.dropped.to_string(), None);
    row("memory", &|p| bytes(p.resident_kib * 1024), None);
    row("CPU time", &|p| format!("{:.2} s", p.cpu_seconds), None);
    for p in peers {
        text.push_str(&format!("  {:24} {}\n", p.name, offloads(&p.offloads)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Offloads;

    #[test]
    fn the_table_reads_like_this() {
        let expected = "\
Two adit 0.1.0 peers in two network namespaces, 2 CPUs

  first packet answered              1.53 ms   with the handshake
  ping through the tunnel   0.101 / 0.205 ms   least / average of 20, none lost
  TCP left → right               6.00 Gbit/s   3.49 GiB in 5.0 s over one connection, every byte checked; 0.90 CPU s/GB, both ends

                                        left             right
  received                          1.00 MiB          3.50 GiB
  sent                              3.50 GiB          1.00 MiB
  packets dropped                          0                 0
  memory                            9.00 MiB          9.00 MiB
  CPU time                            2.00 s            2.00 s
  left                     offloads: tun tso4, udp gso
  right                    no offloads
";
        assert_eq!(text(&sample(), Style::Plain), expected);
    }

    fn sample() -> DemoReport {
        let peer = |name: &str, received, sent, offloads| PeerFigures {
            name: name.to_owned(),
            received,
            sent,
            dropped: 0,
            resident_kib: 9216,
            cpu_seconds: 2.0,
            offloads,
        };
        let some = Offloads { inside: vec!["tso4".to_owned()], outside: vec!["gso".to_owned()] };
        DemoReport {
            schema: 1,
            version: "0.1.0".to_owned(),
            cpus: 2,
            handshake_ms: 1.53,
            ping: Pings { sent: 20, lost: 0, min_ms: 0.101, avg_ms: 0.205, max_ms: 0.4 },
            transfers: vec![Transfer {
                from: "left".to_owned(),
                to: "right".to_owned(),
                bytes: 3_750_000_000,
                seconds: 5.0,
                gbit_per_second: 6.0,
                cpu_seconds_per_gb: 0.9,
            }],
            peers: vec![peer("left", 1 << 20, 7 << 29, some), peer("right", 7 << 29, 1 << 20, Offloads::default())],
        }
    }
}
