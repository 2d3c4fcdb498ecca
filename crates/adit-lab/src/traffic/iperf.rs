//! iperf3, and the numbers of its JSON.

use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::ns::Namespace;
use crate::poll;

/// What one run of iperf3 over TCP moved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Iperf {
    /// Bytes that arrived.
    pub bytes: f64,
    /// Bits per second that arrived.
    pub bits_per_second: f64,
}

/// A server in a namespace. Dropping it ends it.
#[derive(Debug)]
pub struct IperfServer(Child);

impl IperfServer {
    /// Starts it, and waits until it listens.
    #[track_caller]
    pub fn start(namespace: &Namespace) -> Self {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace.name(), "iperf3", "--server"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server = Self(child.unwrap_or_else(|error| panic!("cannot start iperf3: {error}")));
        poll::until("iperf3 to listen", poll::PATIENCE, || {
            namespace.run("ss -Hltn sport = :5201").contains("5201").then_some(())
        });
        server
    }
}

impl Drop for IperfServer {
    fn drop(&mut self) {
        let _gone_already = self.0.kill();
        let _gone_already = self.0.wait();
    }
}

/// Runs a TCP test of so many streams; `reverse` lets the server send.
#[track_caller]
pub fn iperf(from: &Namespace, to: IpAddr, streams: u32, seconds: Duration, reverse: bool) -> Iperf {
    let reverse = if reverse { "--reverse" } else { "" };
    let line = format!("iperf3 --client {to} --parallel {streams} --time {} {reverse} --json", seconds.as_secs());
    // A server is still busy for a moment after its last client has gone, and says so, or hangs up.
    poll::until(&line, poll::PATIENCE, || {
        let text = from.attempt(&line).unwrap_or_else(|failed| failed.said);
        let moved = Iperf::parse(&text);
        let busy =
            ["is busy", "unable to receive control message", "unable to connect to server: Connection reset by peer"];
        let is_busy = busy.iter().any(|said| text.contains(said));
        assert!(moved.is_some() || is_busy, "`{line}` printed something else:\n{text}");
        moved
    })
}

impl Iperf {
    /// Takes `end.sum_received` out of the JSON.
    pub fn parse(text: &str) -> Option<Self> {
        let json: Value = serde_json::from_str(text).ok()?;
        let sum = json.get("end")?.get("sum_received")?;
        Some(Self { bytes: sum.get("bytes")?.as_f64()?, bits_per_second: sum.get("bits_per_second")?.as_f64()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrived_is_what_counts() {
        let text = r#"{"end":{"sum_sent":{"bytes":9,"bits_per_second":8.0},"sum_received":{"bytes":5,"bits_per_second":4.5}}}"#;
        assert_eq!(Iperf::parse(text), Some(Iperf { bytes: 5.0, bits_per_second: 4.5 }));
        assert_eq!(Iperf::parse(r#"{"error":"unable to connect"}"#), None);
    }
}
