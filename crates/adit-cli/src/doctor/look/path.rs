//! Packets of several lengths through a tunnel: whether anything comes back, and up to which length.
//!
//! None is longer than the interface takes, so none is cut on this machine; what is lost is lost on the way.

use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::super::seen::{NotMeasured, Path};
use crate::ping::{self, USUAL};

/// How long a tunnel may take until something comes back: a handshake is repeated after 5 s, and another carrier used after
/// 13 s of silence.
const FIRST_ANSWER: Duration = Duration::from_secs(18);
/// For one answer.
const PATIENCE: Duration = Duration::from_millis(900);
/// A length counts as lost after so many.
const TRIES: u16 = 3;
/// The length is found this exactly.
const STEP: u16 = 8;

/// Sends them through this interface, which takes up to `mtu` bytes.
pub(super) async fn measure(interface: String, mtu: u32, addresses: Vec<Ipv4Addr>) -> Result<Path, NotMeasured> {
    let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
    let none = Path { to: None, small: false, longest: None, mtu };
    if addresses.is_empty() {
        return Ok(none);
    }
    let measured = tokio::task::spawn_blocking(move || {
        let mut sequence = 0;
        let found = first_to_answer(&interface, &addresses, &mut sequence)?;
        let Some(to) = found else { return Ok(Path { to: addresses.first().copied(), ..none }) };
        // That something came back is known, whatever becomes of the interface now.
        let longest = longest(mtu, |length| gets_through(&interface, to, length, &mut sequence))
            .inspect_err(|error| tracing::debug!("no more pings: {error}"));
        Ok(Path { to: Some(to), small: true, longest: longest.ok(), mtu })
    });
    let measured: io::Result<Path> = measured.await.map_err(|e| NotMeasured::Failed(e.to_string()))?;
    measured.map_err(|error| {
        let is_denied = error.kind() == io::ErrorKind::PermissionDenied;
        if is_denied { NotMeasured::Denied } else { NotMeasured::Failed(error.to_string()) }
    })
}

fn first_to_answer(interface: &str, addresses: &[Ipv4Addr], sequence: &mut u16) -> io::Result<Option<Ipv4Addr>> {
    let begun = Instant::now();
    for to in addresses.iter().cycle() {
        *sequence += 1;
        match ping::ping(interface, *to, *sequence, USUAL, PATIENCE) {
            Ok(Some(_)) => return Ok(Some(*to)),
            Ok(None) => {}
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Err(e),
            // No key for it at the moment, or no way: as good as no answer.
            Err(_) => std::thread::sleep(PATIENCE),
        }
        if begun.elapsed() > FIRST_ANSWER {
            return Ok(None);
        }
    }
    Ok(None)
}

fn gets_through(interface: &str, to: Ipv4Addr, length: u16, sequence: &mut u16) -> io::Result<bool> {
    for _ in 0..TRIES {
        *sequence += 1;
        if ping::ping(interface, to, *sequence, length, PATIENCE)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The longest that gets through, to within [`STEP`]; small ones are known to.
fn longest(mtu: u16, mut gets_through: impl FnMut(u16) -> io::Result<bool>) -> io::Result<u16> {
    if gets_through(mtu)? {
        return Ok(mtu);
    }
    let (mut through, mut lost) = (USUAL, mtu);
    while lost.saturating_sub(through) > STEP {
        let middle = through + (lost - through) / 2;
        if gets_through(middle)? { through = middle } else { lost = middle }
    }
    Ok(through)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_that_gets_through_is_found() {
        let mut asked = 0;
        let mut find = |limit: u16| {
            longest(1420, |length| {
                asked += 1;
                Ok(length <= limit)
            })
            .unwrap()
        };
        assert_eq!(find(1420), 1420);
        let found = find(1200);
        assert!((1200 - STEP..=1200).contains(&found), "{found}");
        assert!(asked < 16);
    }
}
