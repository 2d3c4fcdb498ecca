//! What the process of a web site writes to its standard error: repeated, cleaned, and not too much.
//!
//! Whoever has taken that process over can write what they like, as fast as they like, and the daemon's log may lie in memory.
//! Not here: what the two say to each other otherwise (`adit_transport::apart`).

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Duration, Instant, sleep};

/// The longest line; what is longer goes on in the next.
const MAX_LINE: usize = 500;
/// Bytes that are written at once at most, and those that come to it each second: 5 MiB a day.
const BURST: u64 = 256 * 1024;
const EACH_SECOND: u64 = 64;
/// Between two looks at what there is, so that who writes without end costs little.
const BREAK: Duration = Duration::from_millis(5);

/// How much may still be written: for all the processes of a web site together.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u64,
    since: Instant,
    /// Whether it was said that something is left out, since there was much left.
    left_out: bool,
}

impl Allowance {
    pub(super) fn new() -> Self {
        Self { left: BURST, since: Instant::now(), left_out: false }
    }

    fn takes(&mut self, len: usize) -> bool {
        let seconds = self.since.elapsed().as_secs();
        self.since += Duration::from_secs(seconds);
        self.left = self.left.saturating_add(seconds.saturating_mul(EACH_SECOND)).min(BURST);
        self.left_out &= self.left < BURST / 2;
        let rest = self.left.checked_sub(len as u64);
        self.left = rest.unwrap_or(self.left);
        rest.is_some()
    }
}

/// Hands lines on until the stream ends. May be dropped at any time.
pub(super) async fn repeat(mut from: impl AsyncRead + Unpin, allowance: &mut Allowance, mut write: impl FnMut(&str)) {
    let (mut line, mut some) = (Vec::with_capacity(MAX_LINE), [0; 4096]);
    while let Ok(read @ 1..) = from.read(&mut some).await {
        for byte in &some[..read] {
            if *byte != b'\n' {
                line.push(*byte);
            }
            if *byte == b'\n' || line.len() == MAX_LINE {
                say(&line, allowance, &mut write);
                line.clear();
            }
        }
        sleep(BREAK).await;
    }
    say(&line, allowance, &mut write);
}

fn say(line: &[u8], allowance: &mut Allowance, write: &mut impl FnMut(&str)) {
    let line = String::from_utf8_lossy(line).replace(|c: char| c.is_control(), " ");
    if line.trim().is_empty() {
        return;
    }
    let line = format!("web site: {line}");
    if allowance.takes(line.len() + 1) {
        write(&line);
    } else if !std::mem::replace(&mut allowance.left_out, true) {
        write("web site: (its process says too much; what it says is left out for a while)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn written(bytes: &[u8], allowance: &mut Allowance) -> Vec<String> {
        let mut lines = Vec::new();
        repeat(bytes, allowance, |line| lines.push(line.to_owned())).await;
        lines
    }

    #[tokio::test(start_paused = true)]
    async fn lines_are_cleaned_and_named() {
        let lines = written(b"well\n\x1b[2J\xff\r\n\n  \nunfinished", &mut Allowance::new()).await;
        assert_eq!(lines, ["web site: well", "web site:  [2J\u{fffd} ", "web site: unfinished"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_has_an_end() {
        let lines = written(&[b'x'; 1200], &mut Allowance::new()).await;
        assert_eq!(lines.iter().map(|line| line.len() - "web site: ".len()).collect::<Vec<_>>(), [500, 500, 200]);
    }

    /// Also of one that is started again and again.
    #[tokio::test(start_paused = true)]
    async fn who_says_too_much_is_not_repeated() {
        let (begun, mut allowance) = (Instant::now(), Allowance::new());
        let flood = "flood\n".repeat(100_000);
        let lines = written(flood.as_bytes(), &mut allowance).await;
        assert!(lines.len() > 1000, "{}", lines.len());
        let mut bytes: u64 = lines.iter().map(|line| line.len() as u64 + 1).sum();
        for _ in 0..3 {
            bytes +=
                written(flood.as_bytes(), &mut allowance).await.iter().map(|line| line.len() as u64 + 1).sum::<u64>();
        }
        let seconds = begun.elapsed().as_secs() + 1;
        let note = 100;
        assert!(seconds < 10 && bytes <= BURST + seconds * EACH_SECOND + note, "{bytes} in {seconds} s");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(written(b"well\n", &mut allowance).await, ["web site: well"]);
    }
}
