//! What happens between a client and a server on a network that does no harm.

use std::time::Duration;

use adit_openvpn::options::{FilterAction, PullFilter, Pulling};
use adit_openvpn::{
    Answer, AuthFailure, Cipher, ClientChange, ClientConfig, ClientEvent, ClientSettings, ControlWrap, Digest,
    Direction, Ended, Framing, Metadata, Remote, ServerChange, ServerConfig, ServerEvent, ServerKey, ServerWrap,
    SharedWrap, StaticKey, Times, TlsSettings, Update,
};
use adit_protocol::{DropReason, Path, Protocol as _, Secret};

use crate::papers::Papers;
use crate::world::{World, client_config, packet, server_at, server_config};

const NET: [u8; 4] = [10, 8, 0, 1];

fn key() -> StaticKey {
    StaticKey::new(Secret::new(std::array::from_fn(|i| (i * 7) as u8)))
}

/// Packets go both ways.
#[track_caller]
pub(crate) fn exchanges_packets(world: &mut World) {
    for number in 0..20 {
        world.up(0, &packet(World::inner(0), NET, number));
        world.down(&packet(NET, World::inner(0), number));
        world.pass(Duration::from_millis(15));
        assert_eq!(world.arrived.pop().unwrap(), packet(World::inner(0), NET, number));
        assert_eq!(world.clients[0].arrived.pop().unwrap(), packet(NET, World::inner(0), number));
    }
}

fn renewals(world: &World) -> usize {
    world.clients[0].events.iter().filter(|event| **event == ClientEvent::Renewed).count()
}

#[test]
fn every_envelope_carries_a_session_and_its_renewals() {
    let server_key = ServerKey::new(Secret::new([3; 128]));
    let v2 = server_key.wrap(key(), &Metadata::Timestamp(7)).unwrap();
    let auth = |direction| ControlWrap::TlsAuth { key: key(), digest: Digest::Sha256, direction };
    let shared = |direction| SharedWrap::TlsAuth { key: key(), digest: Digest::Sha256, direction };
    let keyed = |shared: SharedWrap| ServerWrap::Keyed { shared: Some(Box::new(shared)), clients: None };
    let both =
        ServerWrap::Keyed { shared: Some(Box::new(SharedWrap::TlsCrypt(key()))), clients: Some(Box::new(server_key)) };
    for (client, server) in [
        (ControlWrap::Plain, ServerWrap::Plain),
        (auth(None), keyed(shared(None))),
        (auth(Some(Direction::Inverse)), keyed(shared(Some(Direction::Normal)))),
        (ControlWrap::TlsCrypt(key()), keyed(SharedWrap::TlsCrypt(key()))),
        (ControlWrap::TlsCryptV2(v2), both),
    ] {
        let name = format!("{client:?}");
        let papers = Papers::new();
        let mut config = server_config(&papers);
        config.wrap = server;
        let mut world = World::new(config, vec![ClientConfig { wraps: vec![client], ..client_config(&papers) }]);
        world.until(&name, |world| world.clients[0].core.is_up());
        exchanges_packets(&mut world);
        for wanted in 1..=9 {
            world.clients[0].core.apply(world.now, ClientChange::Renegotiate);
            world.until(&name, |world| renewals(world) == wanted);
            exchanges_packets(&mut world);
        }
    }
}

#[test]
fn each_remote_has_its_own_envelope() {
    let papers = Papers::new();
    let other = || StaticKey::new(Secret::new([8; 256]));
    let mut config = server_config(&papers);
    config.wrap = ServerWrap::Keyed { shared: Some(Box::new(SharedWrap::TlsCrypt(key()))), clients: None };
    let wraps = vec![ControlWrap::TlsCrypt(other()), ControlWrap::Plain, ControlWrap::TlsCrypt(key())];
    let remotes = (0..4).map(|wrap| Remote { path: Path::to(server_at()), wrap }).collect();
    let client = ClientConfig { wraps, remotes, ..client_config(&papers) };
    let mut world = World::new(config, vec![client]);
    world.until("the third is the one", |world| world.clients[0].core.is_up());
    exchanges_packets(&mut world);
    let attempts = world.clients[0].events.iter().filter(|event| matches!(event, ClientEvent::Connecting(_)));
    assert_eq!(attempts.count(), 3);
    // The later envelope is mixed with the key of this one.
    world.clients[0].core.apply(world.now, ClientChange::Renegotiate);
    world.until("renewed", |world| renewals(world) == 1);
    exchanges_packets(&mut world);
}

#[test]
fn every_cipher_and_framing_carries_packets() {
    for cipher in Cipher::ALL {
        for framing in [Framing::None, Framing::Lzo, Framing::Swap, Framing::StubV2] {
            let papers = Papers::new();
            let mut server = server_config(&papers);
            (server.ciphers, server.framing) = (vec![cipher], framing);
            let client = ClientConfig { ciphers: vec![cipher], framing, ..client_config(&papers) };
            let mut world = World::new(server, vec![client]);
            world.until("connected", |world| world.clients[0].core.is_up());
            exchanges_packets(&mut world);
        }
    }
}

#[test]
fn either_version_of_tls_will_do() {
    for (only_tls12, only_tls13) in [(true, false), (false, true)] {
        let papers = Papers::new();
        let client = client_config(&papers);
        let tls = TlsSettings { only_tls12, only_tls13, ..client.tls };
        let mut world = World::new(server_config(&papers), vec![ClientConfig { tls, ..client }]);
        world.until("connected", |world| world.clients[0].core.is_up());
        exchanges_packets(&mut world);
    }
}

#[test]
fn packets_sent_before_there_are_keys_arrive_when_there_are() {
    let papers = Papers::new();
    let mut world = World::new(server_config(&papers), vec![client_config(&papers)]);
    for number in 0..3 {
        world.up(0, &packet(World::inner(0), NET, number));
    }
    world.until("all of them", |world| world.arrived.len() == 3);
}

#[test]
fn renewing_keys_loses_no_packet_whoever_begins_or_both_at_once() {
    for (by_client, by_server) in [(true, false), (false, true), (true, true)] {
        let mut world = World::connected();
        let Some(ServerEvent::Joined(client)) = world.news.pop() else { panic!("{:?}", world.news) };
        for round in 1..=4 {
            if by_client {
                world.clients[0].core.apply(world.now, ClientChange::Renegotiate);
            }
            if by_server {
                world.server.apply(world.now, ServerChange::Renegotiate(client));
            }
            let mut number = 0;
            world.until("new keys", |world| {
                number += 1;
                world.up(0, &packet(World::inner(0), NET, number));
                world.down(&packet(NET, World::inner(0), number));
                renewals(world) == round
            });
            world.pass(Duration::from_secs(90));
            assert_eq!((world.arrived.len(), world.clients[0].arrived.len()), (number as usize, number as usize));
            world.arrived.clear();
            world.clients[0].arrived.clear();
        }
    }
}

/// Whoever has new keys sends with the old ones until the other end has shown that it has them too.
#[test]
fn new_keys_are_not_sent_with_at_once_even_where_the_peer_renews_alone() {
    for renegotiate in [0, 3600] {
        let papers = Papers::new();
        let times = Times { renegotiate: Duration::from_secs(renegotiate), ..Times::default() };
        let mut world = World::new(server_config(&papers), vec![ClientConfig { times, ..client_config(&papers) }]);
        world.until("connected", |world| world.clients[0].core.is_up());
        world.clients[0].core.apply(world.now, ClientChange::Renegotiate);
        world.until("new keys", |world| renewals(world) == 1);
        let mut key_id = || {
            world.up(0, &packet(World::inner(0), NET, 1));
            let data = world.overheard().into_iter().rev().find(|(.., datagram)| datagram[0] >> 3 == 9);
            world.pass(Duration::from_secs(61));
            data.unwrap().2[0] & 7
        };
        assert_eq!((key_id(), key_id()), (0, 1), "every {renegotiate} s");
    }
}

#[test]
fn keys_are_renewed_by_themselves_every_hour() {
    let mut world = World::connected();
    world.pass(Duration::from_secs(3 * 3600 + 300));
    assert_eq!(renewals(&world), 3);
    exchanges_packets(&mut world);
}

#[test]
fn pings_keep_an_idle_connection_alive_and_silence_ends_it() {
    let mut world = World::connected();
    world.pass(Duration::from_secs(1800));
    assert!(world.clients[0].core.is_up() && world.server.clients() == 1);
    world.weather.loss = 100;
    world.pass(Duration::from_secs(61));
    assert!(world.clients[0].events.contains(&ClientEvent::Ended(Ended::Silent(60))));
    world.pass(Duration::from_secs(70));
    assert_eq!(world.server.sessions(), 0);
    world.weather.loss = 0;
    world.until("connected again", |world| world.clients[0].core.is_up());
}

#[test]
fn a_goodbye_is_heard_at_once() {
    let mut world = World::connected();
    world.clients[0].core.apply(world.now, ClientChange::Disconnect);
    world.pass(Duration::from_millis(50));
    assert_eq!(world.server.sessions(), 0);
    assert!(matches!(world.clients[0].events.last(), Some(ClientEvent::Ended(Ended::Asked))));
}

/// Over TCP each stream that a client left behind would stay open.
#[test]
fn over_streams_nobody_is_followed_from_one_to_another() {
    let papers = Papers::new();
    let mut world = World::new(ServerConfig { stream: true, ..server_config(&papers) }, vec![client_config(&papers)]);
    world.until("connected", |world| world.clients[0].core.is_up());
    let at = world.clients[0].at;
    world.clients[0].at = ([203, 0, 113, 7], 5555).into();
    world.up(0, &packet(World::inner(0), NET, 1));
    world.pass(Duration::from_millis(50));
    assert!(!world.news.iter().any(|event| matches!(event, ServerEvent::Moved(..))));
    world.clients[0].at = at;
    exchanges_packets(&mut world);
}

#[test]
fn a_client_that_moves_is_followed_and_nobody_elses_place_is_taken() {
    let papers = Papers::new();
    let mut world = World::new(server_config(&papers), vec![client_config(&papers), client_config(&papers)]);
    world.until("both", |world| world.clients.iter().all(|guest| guest.core.is_up()));
    world.clients[0].at = ([203, 0, 113, 7], 5555).into();
    world.up(0, &packet(World::inner(0), NET, 1));
    world.pass(Duration::from_millis(50));
    let to = Path::to(world.clients[0].at);
    assert!(world.news.iter().any(|event| matches!(event, ServerEvent::Moved(_, path) if *path == to)));
    exchanges_packets(&mut world);

    // A packet of the first, sent on by the second: it enters, but the second keeps its place.
    world.up(0, &packet(World::inner(0), NET, 9));
    let stolen = world.overheard().pop().unwrap().2;
    let second = world.clients[1].at;
    world.arrive(server_at(), second, stolen);
    world.down(&packet(NET, World::inner(1), 5));
    world.pass(Duration::from_millis(50));
    assert_eq!(world.clients[1].arrived, [packet(NET, World::inner(1), 5)]);
}

#[test]
fn nobody_sends_under_anothers_address() {
    let mut world = World::connected();
    world.up(0, &packet([10, 8, 0, 77], NET, 1));
    world.pass(Duration::from_millis(50));
    assert!(world.arrived.is_empty());
    assert_eq!(world.server.drops().of(DropReason::WrongSource), 1);
}

#[test]
fn a_packet_seen_twice_enters_once() {
    let mut world = World::connected();
    world.weather.twice = 100;
    world.up(0, &packet(World::inner(0), NET, 1));
    world.pass(Duration::from_millis(50));
    assert_eq!(world.arrived.len(), 1);
    assert_eq!(world.server.drops().of(DropReason::Replayed), 1);
}

#[test]
fn networks_behind_a_client_are_its_own() {
    let papers = Papers::new();
    let mut world = World::new(server_config(&papers), vec![client_config(&papers)]);
    world.door = |_| {
        Answer::Accept(Box::new(ClientSettings {
            address4: Some((World::inner(0).into(), [255, 255, 255, 0].into())),
            address6: Some(("fd00::2".parse().unwrap(), 64)),
            networks: vec!["192.168.9.0/24".parse().unwrap()],
            options: (0..150).map(|n| format!("route 10.{n}.0.0 255.255.0.0")).collect(),
        }))
    };
    world.until("connected", |world| world.clients[0].core.is_up());
    let Some(ClientEvent::Connected(pushed)) = world.clients[0].events.last() else { panic!("no settings") };
    assert_eq!(pushed.options.len(), 150);
    assert!(pushed.exported_keys && pushed.epoch_keys && pushed.dynamic_envelope && pushed.control_exit);
    assert_eq!((pushed.address6, pushed.mtu), (Some(("fd00::2".parse().unwrap(), 64)), Some(1500)));
    world.down(&packet(NET, [192, 168, 9, 4], 1));
    world.up(0, &packet([192, 168, 9, 4], NET, 2));
    world.pass(Duration::from_millis(50));
    assert_eq!((world.clients[0].arrived.len(), world.arrived.len()), (1, 1));
}

#[test]
fn settings_change_while_packets_flow_and_what_cannot_change_makes_a_new_connection() {
    let mut world = World::connected();
    let Some(ServerEvent::Joined(client)) = world.news.pop() else { panic!("{:?}", world.news) };
    let updates: Vec<_> = (0..150).map(|n| Update::Set(format!("route 10.{n}.0.0 255.255.0.0"))).collect();
    world.server.apply(world.now, ServerChange::Update(client, updates.clone()));
    world.until("the update", |world| world.clients[0].events.contains(&ClientEvent::Updated(updates.clone())));
    exchanges_packets(&mut world);
    world.server.apply(world.now, ServerChange::Say(client, "PUSH_UPDATE,cipher AES-128-GCM".into()));
    world
        .until("an end", |world| matches!(world.clients[0].events.last(), Some(ClientEvent::Ended(Ended::Restart(_)))));
    world.until("connected again", |world| world.clients[0].core.is_up());
}

#[test]
fn a_server_turns_pings_off_with_zero() {
    let papers = Papers::new();
    let mut server = server_config(&papers);
    server.keepalive = None;
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let client = ClientConfig { ping: seconds(5), ping_restart: seconds(30), ..client_config(&papers) };
    let mut world = World::new(server, vec![client]);
    world.door = |_| {
        let options = vec!["ping 0".into(), "ping-restart 0".into()];
        Answer::Accept(Box::new(ClientSettings { options, ..ClientSettings::default() }))
    };
    world.until("connected", |world| world.clients[0].core.is_up());
    world.weather.loss = 100;
    world.pass(Duration::from_secs(3000));
    assert!(world.clients[0].core.is_up());
}

#[test]
fn without_a_common_cipher_both_learn_why() {
    let papers = Papers::new();
    let client = ClientConfig { ciphers: vec![Cipher::Aes128Cbc], ..client_config(&papers) };
    let mut world = World::new(server_config(&papers), vec![client]);
    world.until("refused", |world| {
        let cause = |event: &ClientEvent| {
            matches!(event, ClientEvent::Ended(Ended::Auth(AuthFailure::Denied(why))) if why.contains("no shared cipher"))
        };
        world.clients[0].events.iter().any(cause)
    });
}

#[test]
fn flags_of_packets_that_nobody_knows_end_it_with_words() {
    let papers = Papers::new();
    let mut world = World::new(server_config(&papers), vec![client_config(&papers)]);
    world.door = |_| {
        let options = vec!["protocol-flags tls-ekm frobnicate".into()];
        Answer::Accept(Box::new(ClientSettings { options, ..ClientSettings::default() }))
    };
    let flags = ClientEvent::Ended(Ended::Flags("tls-ekm frobnicate".into()));
    world.until("an end", |world| world.clients[0].events.contains(&flags));
    assert!(!world.clients[0].core.is_up());
}

/// A filter holds for what the connection itself is told too, and for changes while it lives.
#[test]
fn a_filter_of_the_configuration_decides_what_is_taken() {
    let papers = Papers::new();
    let filter = |action, beginning: &str| PullFilter { action, beginning: beginning.to_owned() };
    let filters = vec![
        filter(FilterAction::Ignore, "ping-restart"),
        filter(FilterAction::Ignore, "route "),
        filter(FilterAction::Reject, "dns"),
    ];
    let pulling = Pulling { pull: true, filters, ..Pulling::default() };
    let client = ClientConfig { pulling, ping_restart: Some(Duration::from_secs(30)), ..client_config(&papers) };
    let mut world = World::new(server_config(&papers), vec![client]);
    world.door = |_| {
        let options =
            ["\"ping-restart\" 0", "route  10.0.0.0 255.0.0.0", "topology subnet"].map(str::to_owned).to_vec();
        Answer::Accept(Box::new(ClientSettings { options, ..ClientSettings::default() }))
    };
    world.until("connected", |world| world.clients[0].core.is_up());
    let Some(ClientEvent::Connected(pushed)) = world.clients[0].events.last() else { panic!("no settings") };
    assert_eq!((pushed.options.as_slice(), pushed.ping_restart), (&["topology subnet".to_owned()][..], None));
    let Some(ServerEvent::Joined(client)) = world.news.pop() else { panic!("{:?}", world.news) };
    world.server.apply(world.now, ServerChange::Say(client, "PUSH_UPDATE,-route,?route 10.0.0.0 255.0.0.0".into()));
    let removed = ClientEvent::Updated(vec![Update::Remove("route".into())]);
    world.until("the update", |world| world.clients[0].events.contains(&removed));
    world.server.apply(world.now, ServerChange::Say(client, "PUSH_UPDATE,dns search-domains a".into()));
    world.until("an end", |world| {
        matches!(world.clients[0].events.last(), Some(ClientEvent::Ended(Ended::Rejected(_))))
    });
}

#[test]
fn a_server_that_shuts_down_says_so_and_clients_come_back() {
    let mut world = World::connected();
    world.server.apply(world.now, ServerChange::Shutdown);
    world.pass(Duration::from_millis(100));
    assert!(world.clients[0].events.iter().any(|event| matches!(event, ClientEvent::Ended(Ended::Restart(_)))));
    world.until("back", |world| world.clients[0].core.is_up());
}

#[test]
fn a_dismissed_clients_packets_flow_no_more_at_once() {
    let mut world = World::connected();
    let Some(ServerEvent::Joined(client)) = world.news.pop() else { panic!("{:?}", world.news) };
    world.up(0, &packet(World::inner(0), NET, 1));
    world.server.apply(world.now, ServerChange::Dismiss(client, "AUTH_FAILED,disabled".into()));
    world.pass(Duration::from_secs(10));
    assert!(world.arrived.is_empty());
    assert_eq!(world.server.sessions(), 0);
    let denied = ClientEvent::Ended(Ended::Auth(AuthFailure::Denied("disabled".into())));
    assert!(world.clients[0].events.contains(&denied));
}

#[test]
fn an_exchange_that_is_never_finished_is_given_up() {
    let papers = Papers::new();
    let mut world = World::new(server_config(&papers), vec![client_config(&papers)]);
    world.until("a session", |world| world.server.sessions() == 1);
    world.weather.loss = 100;
    world.pass(Times::default().hand_window + Duration::from_secs(1));
    assert_eq!(world.server.sessions(), 0);
    assert!(matches!(
        world.clients[0].events.iter().rev().find(|e| !matches!(e, ClientEvent::Connecting(_))),
        Some(ClientEvent::Ended(Ended::Session(_)))
    ));
}

/// An inner packet of IPv6.
fn packet6() -> Vec<u8> {
    let address = |last: u8| [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    [&[0x60, 0, 0, 0, 0, 4, 17, 64], &address(2)[..], &address(1), &[0; 4]].concat()
}

#[test]
fn where_ipv6_is_blocked_none_leaves_not_even_what_waited() {
    let papers = Papers::new();
    let blocked = |pulling, block_ipv6| {
        let client = ClientConfig { pulling, block_ipv6, ..client_config(&papers) };
        let mut world = World::new(server_config(&papers), vec![client]);
        world.door = |_| {
            let address6 = Some(("fd00::2".parse().unwrap(), 64));
            let options = vec!["block-ipv6".into()];
            Answer::Accept(Box::new(ClientSettings { address6, options, ..ClientSettings::default() }))
        };
        world.up(0, &packet6());
        world.until("connected", |world| world.clients[0].core.is_up());
        world.up(0, &packet6());
        world.pass(Duration::from_millis(100));
        world
    };
    let (pull, nopull) =
        (Pulling { pull: true, ..Pulling::default() }, Pulling { pull: true, no_routes: true, ..Pulling::default() });
    for (pulling, own, arrive) in [(pull.clone(), false, 0), (nopull.clone(), false, 2), (nopull, true, 0)] {
        let world = blocked(pulling, own);
        assert_eq!(world.arrived.len(), arrive, "the file's own line: {own}");
        assert_eq!(world.clients[0].core.drops().of(DropReason::NoRoute), 2 - arrive as u64);
    }
    let mut world = blocked(pull, false);
    let Some(ServerEvent::Joined(client)) = world.news.pop() else { panic!("{:?}", world.news) };
    world.server.apply(world.now, ServerChange::Update(client, vec![Update::Remove("block-ipv6".into())]));
    world.pass(Duration::from_millis(100));
    world.up(0, &packet6());
    world.pass(Duration::from_millis(100));
    assert_eq!(world.arrived.len(), 1, "when it holds no more, they pass");
}

#[test]
fn a_reply_and_a_change_that_come_in_turns_are_not_mixed_and_neither_grows_without_end() {
    let mut world = World::connected();
    let Some(ServerEvent::Joined(client)) = world.news.last() else { panic!("{:?}", world.news) };
    let client = *client;
    let say = |world: &mut World, text: &str| {
        world.server.apply(world.now, ServerChange::Say(client, text.to_owned()));
        world.pass(Duration::from_millis(100));
    };
    say(&mut world, "PUSH_REPLY,auth-token begun,push-continuation 2");
    say(&mut world, "PUSH_UPDATE,-route,push-continuation 2");
    say(&mut world, "PUSH_REPLY,push-continuation 1");
    assert!(world.clients[0].core.is_up(), "{:?}", world.clients[0].events);
    say(&mut world, "PUSH_UPDATE,-dns,push-continuation 1");
    let both = vec![Update::Remove("route".into()), Update::Remove("dns".into())];
    assert_eq!(world.clients[0].events.last(), Some(&ClientEvent::Updated(both)));
    for kind in ["PUSH_REPLY", "PUSH_UPDATE"] {
        world.until("connected", |world| world.clients[0].core.is_up());
        world.clients[0].events.clear();
        let joined = |news: ServerEvent| if let ServerEvent::Joined(client) = news { Some(client) } else { None };
        let client = world.news.drain(..).rev().find_map(joined).unwrap_or(client);
        let piece = format!("{kind}{},push-continuation 2", ",-dns".repeat(1500));
        for _ in 0..3 {
            world.server.apply(world.now, ServerChange::Say(client, piece.clone()));
        }
        world.until("an end", |world| {
            world.clients[0].events.iter().any(
                |event| matches!(event, ClientEvent::Ended(end) if end.to_string().contains("longer than any client")),
            )
        });
    }
}
