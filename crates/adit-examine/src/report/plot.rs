//! The picture a person would look at first: packets over time, from the client above the line, from the server below.

use std::fmt::Write as _;
use std::time::Duration;

use crate::flow::{Flow, Seen};

/// Points of one picture; of more packets, every n-th is drawn.
pub const MAX_POINTS: usize = 4000;

const WIDTH: f64 = 960.0;
const HALF: f64 = 90.0;
const LEFT: f64 = 84.0;

/// A flow as SVG.
pub(super) fn svg(flow: &Flow) -> String {
    let packets: Vec<&Seen> = flow.packets.iter().filter(|packet| packet.length > 0).collect();
    let (Some(first), Some(last)) = (packets.first(), packets.last()) else {
        return "<p>no packet with payload</p>".to_owned();
    };
    let (begin, span) = (first.at, seconds(first.at, last.at).max(1e-3));
    let largest = packets.iter().map(|packet| packet.length).max().unwrap_or(1).max(1);
    let (height, right) = (2.0 * HALF + 40.0, LEFT + WIDTH + 30.0);
    let middle = HALF + 10.0;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {right} {height}\" role=\"img\" aria-label=\"sizes of packets over time\">\n\
         <line class=\"axis\" x1=\"{LEFT}\" y1=\"{middle}\" x2=\"{}\" y2=\"{middle}\"/>\n",
        LEFT + WIDTH
    );
    let (top, bottom) = (middle - HALF + 4.0, middle + HALF);
    for (y, text) in
        [(top, format!("{largest} B up")), (bottom, format!("{largest} B down")), (middle + 4.0, "0".into())]
    {
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{y:.0}\" text-anchor=\"end\">{text}</text>", LEFT - 6.0);
    }
    for step in 0..=4 {
        let part = f64::from(step) / 4.0;
        let (x, time) = (LEFT + part * WIDTH, part * span);
        let _ = writeln!(svg, "<text x=\"{x:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{time:.3} s</text>", height - 4.0);
    }
    let every = packets.len().div_ceil(MAX_POINTS);
    for up in [true, false] {
        let _ = write!(svg, "<path class=\"{}\" d=\"", if up { "up" } else { "down" });
        for packet in packets.iter().step_by(every).filter(|packet| packet.up == up) {
            let x = LEFT + seconds(begin, packet.at) / span * WIDTH;
            let length = f64::from(packet.length) / f64::from(largest) * HALF;
            let _ = write!(svg, "M{x:.1} {middle}v{:.1}", if up { -length } else { length });
        }
        svg.push_str("\"/>\n");
    }
    svg.push_str("</svg>\n");
    if every > 1 {
        let _ = writeln!(svg, "<p class=\"faint\">every {every}th of {} packets is drawn</p>", packets.len());
    }
    svg
}

fn seconds(from: Duration, to: Duration) -> f64 {
    to.saturating_sub(from).as_secs_f64()
}
