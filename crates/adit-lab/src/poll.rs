//! Waiting for something to become true. Not here: fixed sleeps, which are either too short or too long.

use std::time::{Duration, Instant};

/// Looks every 50 ms until `look` finds something, and panics with `what` after `patience`.
///
/// Patience is for a machine that has stopped to breathe: it is no statement about how fast something should be.
#[track_caller]
pub fn until<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not seen within {patience:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The patience that suits nearly everything: long enough for several handshake retries on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
