//! The same over networks that lose, repeat and reorder: every seed is another history.

use std::time::Duration;

use adit_openvpn::{ClientChange, ClientEvent, ServerChange, ServerEvent, Times};
use adit_protocol::Protocol as _;
use proptest::prelude::*;

use crate::papers::Papers;
use crate::world::{Weather, World, client_config, packet, server_config};

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Sessions come about and keys are renewed over any network that carries some of what it is given; afterwards packets
    /// flow both ways, and none enters twice.
    #[test]
    fn sessions_come_about_and_live_through_renewals(
        seed in any::<u64>(),
        loss in 0_u32..30,
        twice in 0_u32..30,
        late in 0_u32..50,
        renewals in prop::collection::vec(any::<(bool, bool)>(), 0..4),
    ) {
        let papers = Papers::new();
        let mut world = World::new(server_config(&papers), vec![client_config(&papers), client_config(&papers)]).seed(seed);
        world.weather = Weather { loss, twice, late };
        world.until("both connected", |world| world.clients.iter().all(|guest| guest.core.is_up()));
        for (by_client, by_server) in renewals {
            let joined = world.news.iter().rev().find_map(|event| {
                if let ServerEvent::Joined(client) = event { Some(*client) } else { None }
            });
            if by_client {
                world.clients[0].core.apply(world.now, ClientChange::Renegotiate);
            }
            if let (true, Some(client)) = (by_server, joined) {
                world.server.apply(world.now, ServerChange::Renegotiate(client));
            }
            world.pass(Times::default().hand_window * 2);
            world.until("connected still, or again", |world| world.clients.iter().all(|guest| guest.core.is_up()));
        }
        world.weather = Weather { twice: 100, ..Weather::default() };
        world.pass(Duration::from_secs(120));
        world.until("connected", |world| world.clients.iter().all(|guest| guest.core.is_up()));
        world.arrived.clear();
        world.clients.iter_mut().for_each(|guest| guest.arrived.clear());
        for number in 0..10 {
            world.up(0, &packet(World::inner(0), [10, 8, 0, 1], number));
            world.up(1, &packet(World::inner(1), [10, 8, 0, 1], number));
            world.down(&packet([10, 8, 0, 1], World::inner(0), number));
            world.down(&packet([10, 8, 0, 1], World::inner(1), number));
        }
        world.pass(Duration::from_secs(1));
        prop_assert_eq!(world.arrived.len(), 20);
        prop_assert_eq!(world.clients.iter().map(|guest| guest.arrived.len()).collect::<Vec<_>>(), [10, 10]);
        let failed = world.clients.iter().flat_map(|guest| &guest.events).filter(|event| matches!(event, ClientEvent::Ended(_)));
        prop_assert!(loss > 0 || failed.count() == 0);
    }
}
