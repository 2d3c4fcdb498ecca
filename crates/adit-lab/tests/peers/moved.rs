//! An interface that is moved to another network namespace: its sockets stay where it was born.

use adit_lab::ns::{Family, Namespace, Side, World};
use adit_lab::traffic;
use adit_lab::tunnel::{Pairing, Tunnel};

use crate::pairings::for_each_pairing;

for_each_pairing!(an_interface_can_move_to_another_namespace);

fn an_interface_can_move_to_another_namespace(pairing: &Pairing) {
    let mut tunnel = Tunnel::new(World::direct(), pairing);
    tunnel.connect_from(Side::Alice);
    for side in [Side::Alice, Side::Bob] {
        let end = tunnel.end_mut(side);
        let cell = Namespace::new();
        end.inside.run(&format!("ip link set {} netns {}", end.daemon.interface(), cell.name()));
        end.inside = cell;
        end.bring_up();
        tunnel.connect_from(side);
        assert!(tunnel.end_mut(side).daemon.is_alive());
    }
    for (side, family) in [(Side::Alice, Family::V4), (Side::Bob, Family::V6)] {
        let (from, to) = (tunnel.end(side), tunnel.end(side.other()));
        traffic::tcp(&from.inside, (&to.inside, to.address(family)), 8 << 20).finish();
    }
    let outside: Vec<_> = [&tunnel.alice, &tunnel.bob].map(|end| end.inside.run("ip -br link")).into();
    assert!(
        outside.iter().all(|links| !links.contains("eth0")),
        "the cells have no way out but the tunnel: {outside:?}"
    );
    tunnel.alice.set("listen-port 40404");
    tunnel.connect_from(Side::Alice);
}
