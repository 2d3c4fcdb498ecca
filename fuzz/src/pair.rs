//! Histories of three devices.

use std::time::Duration;

use crate::story::{Step, Story, WAYS};
use crate::world::{ALICE, BOB, ms};

/// So many steps of one input are looked at.
const MAX_STEPS: usize = 60;

/// Bytes as the steps of a story, four bytes each.
pub fn device_pair(data: &[u8]) {
    let (steps, _) = data.as_chunks::<4>();
    let mut story = Story::new(data.len() as u64);
    for bytes in steps.iter().take(MAX_STEPS) {
        story.happen(&step(*bytes));
        story.check();
    }
    story.heal();
    story.fall_silent();
}

fn step([kind, a, b, c]: [u8; 4]) -> Step {
    let host = if a % 2 == 0 { ALICE } else { BOB };
    match kind % 16 {
        0..=3 => Step::Send { way: usize::from(a) % WAYS.len(), packets: 1 + usize::from(b) },
        4 => Step::BothSend,
        5..=8 => Step::Pass(time(a, b)),
        9 => Step::Weather { loss: a / 2, twice: b / 3, late: c / 2, delay: ms(u64::from(a ^ c) * 31) },
        10 => Step::Roam(u16::from_le_bytes([b, c]).max(1)),
        11 => Step::Psk { host, byte: b % 2 },
        12 if a % 2 == 0 => Step::Forget,
        12 => Step::WallClock(u32::from_le_bytes([a, b, c, b])),
        13 => Step::Restart(usize::from(a) % 3),
        14 if b % 2 == 0 => Step::Keepalive { host, seconds: c.into() },
        14 => Step::UnderLoad { host, load: c % 2 == 0 },
        _ => Step::DownAndUp(host),
    }
}

/// From a millisecond to a quarter of an hour.
fn time(a: u8, b: u8) -> Duration {
    ms(u64::from(a) << (b % 13))
}
