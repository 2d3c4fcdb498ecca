//! Random histories of three devices: whatever happens, packets arrive unaltered, once and at their owner; and when the
//! network is well again, so is the tunnel.

use proptest::prelude::*;

use crate::story::{Step, Story, WAYS};
use crate::world::{ALICE, BOB, ms};

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// W-36, W-52, W-53, W-68, W-69, W-80, W-91.
    #[test]
    fn whatever_happened_packets_are_whole_single_and_at_home_and_the_tunnel_heals(
        steps in proptest::collection::vec(any_step(), 1..40),
        seed in any::<u64>(),
    ) {
        let mut story = Story::new(seed);
        for step in &steps {
            story.happen(step);
            story.check();
        }
        story.heal();
        story.fall_silent();
    }
}

/// The worlds of known stories that once went wrong elsewhere.
#[test]
fn both_restart_in_the_middle_of_a_handshake_and_the_tunnel_heals() {
    let mut story = Story::new(1);
    story.happen(&Step::Weather { loss: 128, twice: 60, late: 60, delay: ms(700) });
    for host in [ALICE, BOB, ALICE] {
        story.happen(&Step::BothSend);
        story.happen(&Step::Pass(ms(300)));
        story.happen(&Step::Restart(host));
        story.check();
    }
    story.heal();
    story.fall_silent();
}

fn any_step() -> impl Strategy<Value = Step> {
    let host = prop_oneof![Just(ALICE), Just(BOB)];
    let time = prop_oneof![
        4 => (0_u64..2_000).prop_map(ms),
        4 => (0_u64..20_000).prop_map(ms),
        2 => (0_u64..200_000).prop_map(ms),
        1 => (0_u64..1_000_000).prop_map(ms),
    ];
    prop_oneof![
        10 => (0..WAYS.len(), 1_usize..6).prop_map(|(way, packets)| Step::Send { way, packets }),
        1 => (0..WAYS.len(), 100_usize..200).prop_map(|(way, packets)| Step::Send { way, packets }),
        3 => Just(Step::BothSend),
        10 => time.prop_map(Step::Pass),
        1 => any::<u32>().prop_map(Step::WallClock),
        4 => (any::<u8>(), any::<u8>(), any::<u8>(), 1_u64..8_000).prop_map(|(loss, twice, late, delay)| Step::Weather {
            loss: loss / 2,
            twice: twice / 3,
            late: late / 2,
            delay: ms(delay),
        }),
        2 => (1_u16..).prop_map(Step::Roam),
        1 => (host.clone(), 0_u8..2).prop_map(|(host, byte)| Step::Psk { host, byte }),
        1 => Just(Step::Forget),
        2 => (0_usize..3).prop_map(Step::Restart),
        1 => (host.clone(), 0_u16..30).prop_map(|(host, seconds)| Step::Keepalive { host, seconds }),
        1 => (host.clone(), any::<bool>()).prop_map(|(host, load)| Step::UnderLoad { host, load }),
        1 => host.prop_map(Step::DownAndUp),
    ]
}
