//! What is in the way has its own sentence, and nothing is left of the attempt.

use crate::world::World;

#[test]
fn a_taken_port_is_named() {
    let world = World::configured();
    let _taken = world.a.inside(|| std::net::UdpSocket::bind("0.0.0.0:51820").unwrap());
    let before = world.a.network();
    let said = world.a.fails(1, &["up", &world.a.file()]);
    assert!(said.contains("the UDP port 51820 is taken") && said.contains("hint:"), "{said}");
    assert_eq!(world.a.network(), before);
}

#[test]
fn a_taken_interface_name_is_named() {
    let world = World::configured();
    let add = ["link", "add", &world.a.tunnel, "type", "veth", "peer", "name", "other"];
    assert!(world.a.command("ip").args(add).status().unwrap().success());
    let before = world.a.network();
    let said = world.a.fails(1, &["up", &world.a.file()]);
    assert!(said.contains("interface") && said.contains(&world.a.tunnel) && said.contains("hint:"), "{said}");
    assert_eq!(world.a.network(), before);
}

#[test]
fn up_twice_is_refused_and_names_reload() {
    let world = World::up();
    let said = world.a.fails(1, &["up", &world.a.file()]);
    assert!(said.contains("already up") && said.contains("adit reload"), "{said}");
    assert!(world.a.pings("10.77.0.2"));
}

#[test]
fn a_failing_command_of_the_profile_undoes_the_rest() {
    let world = World::configured();
    let text = std::fs::read_to_string(world.a.file()).unwrap();
    world.a.write(&text.replace("[Interface]", "[Interface]\nPostUp = false"));
    let before = world.a.network();
    let said = world.a.fails(1, &["up", &world.a.file()]);
    assert!(said.contains("PostUp"), "{said}");
    assert_eq!(world.a.network(), before);
}

#[test]
fn a_tunnel_that_is_not_up_is_named_with_those_that_are() {
    let world = World::up();
    let said = world.a.fails(3, &["down", "other"]);
    assert!(said.contains("other is not up") && said.contains(&world.a.tunnel), "{said}");
    world.a.fails(3, &["status", "other"]);
    world.a.fails(3, &["reload", "other"]);
}

#[test]
fn a_file_that_others_may_read_is_warned_of_and_taken() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::configured();
    std::fs::set_permissions(world.a.file(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let run = world.a.adit(&["up", &world.a.file()]);
    assert!(run.status.success());
    assert!(crate::world::err(&run).contains("chmod 600"), "{}", crate::world::err(&run));
}
