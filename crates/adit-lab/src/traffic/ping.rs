//! Echo requests by the real `ping`, and the times it prints.

use std::net::IpAddr;
use std::time::Duration;

use crate::ns::Namespace;

/// What a run of `ping` saw.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pings {
    /// Requests sent.
    pub sent: u32,
    /// Answers received, duplicates not counted.
    pub received: u32,
    /// Answers received again.
    pub duplicates: u32,
    /// Round trips in microseconds, as they came.
    pub times: Vec<f64>,
}

/// Whether one echo is answered within three seconds.
pub fn ping_once(from: &Namespace, to: IpAddr) -> bool {
    from.attempt(&format!("ping -n -c 1 -W 3 {to}")).is_ok()
}

/// Sends `count` echoes, one every `interval`, with `options` for `ping`.
#[track_caller]
pub fn ping(from: &Namespace, to: IpAddr, count: u32, interval: Duration, options: &str) -> Pings {
    let line = format!("ping -n -c {count} -i {} -W 5 {options} {to}", interval.as_secs_f64());
    let text = match from.attempt(&line) {
        Ok(text) => text,
        Err(failed) => failed.said, // exit code 1: not all were answered, which the numbers say
    };
    Pings::parse(&text).unwrap_or_else(|| panic!("`{line}` printed something else:\n{text}"))
}

impl Pings {
    /// Takes the output of iputils' ping apart.
    pub fn parse(text: &str) -> Option<Self> {
        let times = text.lines().filter(|line| !line.contains("DUP!")).filter_map(|line| {
            let (_, after) = line.split_once("time=")?;
            after.split_whitespace().next()?.parse::<f64>().ok().map(|millis| millis * 1_000.0)
        });
        let summary = text.lines().find(|line| line.contains("packets transmitted"))?;
        let number = |what: &str| {
            let part = summary.split(',').find(|part| part.contains(what))?;
            part.trim().trim_start_matches('+').split_whitespace().next()?.parse().ok()
        };
        let duplicates = number("duplicates").unwrap_or(0);
        Some(Self { sent: number("transmitted")?, received: number("received")?, duplicates, times: times.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_ping_is_taken_apart() {
        let text = "64 bytes from 10.7.0.2: icmp_seq=1 ttl=64 time=0.084 ms\n\
                    64 bytes from 10.7.0.2: icmp_seq=1 ttl=64 time=0.090 ms (DUP!)\n\
                    64 bytes from 10.7.0.2: icmp_seq=2 ttl=64 time=1.5 ms\n\n--- statistics ---\n\
                    3 packets transmitted, 2 received, +1 duplicates, 33% packet loss, time 402ms\n";
        let pings = Pings::parse(text).unwrap();
        assert_eq!((pings.sent, pings.received, pings.duplicates), (3, 2, 1));
        assert_eq!(pings.times, [84.0, 1500.0]);
        assert_eq!(Pings::parse("ping: unknown host"), None);
    }
}
