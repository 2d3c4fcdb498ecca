//! Who comes in: passwords, tokens in their place, questions, and owners who take their time.

use std::time::Duration;

use adit_openvpn::{
    Answer, AuthFailure, AuthRequest, ClientChange, ClientConfig, ClientEvent, ClientId, ClientSettings, ControlWrap,
    Credentials, Ended, Metadata, ServerChange, ServerConfig, ServerEvent, ServerKey, ServerWrap, StaticKey,
};
use adit_protocol::{DropReason, Path, Protocol as _, Secret};

use crate::papers::Papers;
use crate::stories::exchanges_packets;
use crate::world::{World, client_config, packet, server_at, server_config};

#[test]
fn the_keys_of_a_renewal_are_not_used_before_the_owner_has_answered() {
    let renewed = |world: &World| world.news.iter().any(|event| matches!(event, ServerEvent::Renewed(_)));
    let answers: [fn(&AuthRequest) -> Answer; 2] =
        [|_| Answer::Refuse("no longer".into()), |_| Answer::Pending(Duration::from_secs(300))];
    for (n, door) in answers.into_iter().enumerate() {
        let mut world = World::connected();
        let Some(ServerEvent::Joined(client)) = world.news.pop() else { panic!("{:?}", world.news) };
        world.door = door;
        world.clients[0].core.apply(world.now, ClientChange::Renegotiate);
        world.pass(Duration::from_secs(10));
        assert!(!renewed(&world));
        if n == 0 {
            let denied = ClientEvent::Ended(Ended::Auth(AuthFailure::Denied("no longer".into())));
            assert!(world.clients[0].events.contains(&denied));
            continue;
        }
        let accept = Answer::Accept(Box::default());
        world.server.apply(world.now, ServerChange::Answer(client, accept));
        world.pass(Duration::from_secs(1));
        assert!(renewed(&world));
        exchanges_packets(&mut world);
    }
}

/// A server whose clients have keys of their own, and a client whose key was made then.
fn with_own_keys(made: i64, max_key_age: Option<Duration>) -> (World, [u8; 32]) {
    let papers = Papers::new();
    let server_key = ServerKey::new(Secret::new([3; 128]));
    let key = server_key.wrap(StaticKey::new(Secret::new([5; 256])), &Metadata::Timestamp(made)).unwrap();
    let name = key.name();
    let wrap = ServerWrap::Keyed { shared: None, clients: Some(Box::new(server_key)) };
    let server = ServerConfig { wrap, max_key_age, ..server_config(&papers) };
    let client = ClientConfig { wraps: vec![ControlWrap::TlsCryptV2(key)], ..client_config(&papers) };
    (World::new(server, vec![client]), name)
}

/// When the world begins.
const BEGINNING: i64 = 1_800_000_000;

#[test]
fn a_key_that_is_refused_ends_the_connection_and_gets_silence() {
    let (mut world, name) = with_own_keys(BEGINNING, Some(Duration::from_secs(60)));
    world.door = |request| {
        KEYS.with_borrow_mut(|keys| keys.extend(request.key_name));
        Answer::Accept(Box::default())
    };
    world.until("connected", |world| world.clients[0].core.is_up());
    assert_eq!(KEYS.take(), [name]);
    world.server.apply(world.now, ServerChange::RefuseKeys([[1; 32], name].into()));
    world.pass(Duration::from_secs(6));
    let denied = ClientEvent::Ended(Ended::Auth(AuthFailure::Denied("the key is refused".into())));
    assert!(world.clients[0].events.contains(&denied));
    let sent = world.sent_by_server;
    world.clients[0].core.apply(world.now, ClientChange::Reconnect);
    world.pass(Duration::from_secs(300));
    assert_eq!((world.server.sessions(), world.sent_by_server), (0, sent));
}

#[test]
fn a_key_that_is_too_old_gets_silence() {
    let (mut world, _) = with_own_keys(BEGINNING - 61, Some(Duration::from_secs(60)));
    world.pass(Duration::from_secs(300));
    assert_eq!((world.server.sessions(), world.sent_by_server), (0, 0));
    assert!(world.server.drops().of(DropReason::BadHandshake) > 10);
}

#[test]
fn the_owner_learns_which_certificate_it_is_at_every_renewal() {
    let papers = Papers::new();
    let (paper, mut client) = (papers.client(), client_config(&papers));
    (client.tls.certificates, client.tls.key) = (paper.chain(), Some(paper.key()));
    let mut world = World::new(server_config(&papers), vec![client]);
    world.door = |request| {
        KEYS.with_borrow_mut(|keys| keys.extend(request.certificate));
        Answer::Accept(Box::default())
    };
    world.until("connected", |world| world.clients[0].core.is_up());
    world.clients[0].core.apply(world.now, ClientChange::Renegotiate);
    world.until("renewed", |world| world.clients[0].events.contains(&ClientEvent::Renewed));
    assert_eq!(KEYS.take(), [paper.fingerprint(); 2]);
}

fn with_password(papers: &Papers, password: &str) -> ClientConfig {
    let credentials = Credentials { username: "alice".into(), password: password.to_owned().into() };
    ClientConfig { credentials: Some(credentials), ..client_config(papers) }
}

#[test]
fn a_wrong_password_is_refused_with_words_and_a_right_one_let_in() {
    let papers = Papers::new();
    let mut world = World::new(server_config(&papers), vec![with_password(&papers, "wrong")]);
    world.door = |request| {
        assert_eq!((request.common_name.as_deref(), request.username.as_str()), (Some("client"), "alice"));
        if request.password.expose() == "right" { Answer::Accept(Box::default()) } else { Answer::Refuse("no".into()) }
    };
    let denied = ClientEvent::Ended(Ended::Auth(AuthFailure::Denied("no".into())));
    world.until("refused", |world| world.clients[0].events.contains(&denied));
    world.pass(Duration::from_secs(600));
    assert_eq!(world.server.sessions(), 0, "it does not try again by itself");
    let credentials = Credentials { username: "alice".into(), password: "right".to_owned().into() };
    world.clients[0].core.apply(world.now, ClientChange::Credentials(credentials));
    world.until("let in", |world| world.clients[0].core.is_up());
}

#[test]
fn a_challenge_reaches_the_user_and_its_answer_the_server() {
    let papers = Papers::new();
    let mut world = World::new(server_config(&papers), vec![with_password(&papers, "pw")]);
    world.door = |request| match request.password.expose() {
        "CRV1::state7::123456" => Answer::Accept(Box::default()),
        _ => Answer::Refuse("CRV1:R,E:state7:YWxpY2U=:Enter the code".into()),
    };
    world.until("asked", |world| {
        world.clients[0].events.iter().any(|event| {
            matches!(event, ClientEvent::Ended(Ended::Auth(AuthFailure::Challenge { question, .. })) if question == "Enter the code")
        })
    });
    let credentials = Credentials { username: "alice".into(), password: "CRV1::state7::123456".to_owned().into() };
    world.clients[0].core.apply(world.now, ClientChange::Credentials(credentials));
    world.until("let in", |world| world.clients[0].core.is_up());
}

#[test]
fn a_token_takes_the_place_of_the_password_until_the_server_refuses_it() {
    let papers = Papers::new();
    let mut world = World::new(server_config(&papers), vec![with_password(&papers, "right")]);
    world.door = |request| match request.password.expose() {
        "right" => Answer::Accept(Box::new(ClientSettings {
            options: vec!["auth-token SESS_ID_AT_x".into()],
            ..ClientSettings::default()
        })),
        other => panic!("{other}"),
    };
    world.until("in with the password", |world| world.clients[0].core.is_up());
    world.door = |request| match request.password.expose() {
        "SESS_ID_AT_x" => Answer::Refuse("the token is over".into()),
        "right" => Answer::Accept(Box::default()),
        other => panic!("{other}"),
    };
    world.clients[0].core.apply(world.now, ClientChange::Reconnect);
    let over = ClientEvent::Ended(Ended::Auth(AuthFailure::SessionOver("the token is over".into())));
    world.until("the token is refused", |world| world.clients[0].events.contains(&over));
    world.until("in with the password again", |world| world.clients[0].core.is_up());
}

#[test]
fn a_user_who_is_asked_elsewhere_has_the_time_that_the_server_gives() {
    let papers = Papers::new();
    for (seconds, after, is_in) in [(300, 290, true), (300, 310, false), (40_000, 1790, true), (40_000, 1860, false)] {
        let mut world = World::new(server_config(&papers), vec![client_config(&papers)]);
        world.door = match seconds {
            300 => |_| Answer::Pending(Duration::from_secs(300)),
            _ => |_| Answer::Pending(Duration::from_secs(40_000)),
        };
        let told = ClientEvent::Info(format!("AUTH_PENDING,timeout {seconds}"));
        world.until("asked", |world| world.clients[0].events.contains(&told));
        world.pass(Duration::from_secs(after));
        let failed = world.clients[0].events.iter().any(|event| matches!(event, ClientEvent::Ended(_)));
        assert_eq!(!failed, is_in, "{seconds} s, answered after {after} s: {:?}", world.clients[0].events);
    }
}

#[test]
fn who_is_asked_elsewhere_comes_in_when_the_answer_is_yes() {
    let papers = Papers::new();
    let mut world = World::new(server_config(&papers), vec![client_config(&papers)]);
    world.door = |request| {
        ASKED.with(|asked| asked.set(Some(request.client)));
        Answer::Pending(Duration::from_secs(300))
    };
    world.until("asked", |_| ASKED.with(std::cell::Cell::get).is_some());
    world.pass(Duration::from_secs(200));
    assert!(!world.clients[0].core.is_up());
    let client = ASKED.with(std::cell::Cell::take).unwrap();
    let settings = ClientSettings {
        address4: Some((World::inner(0).into(), [255, 255, 255, 0].into())),
        ..ClientSettings::default()
    };
    world.server.apply(world.now, ServerChange::Answer(client, Answer::Accept(Box::new(settings))));
    world.until("in", |world| world.clients[0].core.is_up());
    exchanges_packets(&mut world);
}

thread_local! {
    /// Who was asked about.
    static ASKED: std::cell::Cell<Option<ClientId>> = const { std::cell::Cell::new(None) };
    /// Names of keys, or of certificates, that were asked about.
    static KEYS: std::cell::RefCell<Vec<[u8; 32]>> = const { std::cell::RefCell::new(Vec::new()) };
}

#[test]
fn a_busy_server_is_left_alone_for_as_long_as_it_asks() {
    let papers = Papers::new();
    let elsewhere = Path::to(([192, 0, 2, 2], 1194).into());
    for (said, next) in [
        ("TEMP[backoff 100,advance no]:busy", Path::to(server_at())),
        ("TEMP[backoff 100]:busy", Path::to(server_at())),
        ("TEMP[backoff 100,advance remote]:busy", elsewhere),
    ] {
        let config =
            ClientConfig { remotes: vec![Path::to(server_at()).into(), elsewhere.into()], ..client_config(&papers) };
        let mut world = World::new(server_config(&papers), vec![config]);
        world.door = match said.contains("remote") {
            true => |_| Answer::Refuse("TEMP[backoff 100,advance remote]:busy".into()),
            false if said.contains("no]") => |_| Answer::Refuse("TEMP[backoff 100,advance no]:busy".into()),
            false => |_| Answer::Refuse("TEMP[backoff 100]:busy".into()),
        };
        let refused = ClientEvent::Ended(Ended::Auth(AuthFailure::Temporary(said["TEMP".len()..].into())));
        world.until("refused", |world| world.clients[0].events.last() == Some(&refused));
        world.pass(Duration::from_secs(99));
        assert_eq!(world.clients[0].events.last(), Some(&refused));
        world.pass(Duration::from_secs(2));
        assert!(world.clients[0].events.contains(&refused));
        let attempts = world.clients[0]
            .events
            .iter()
            .filter_map(|event| if let ClientEvent::Connecting(path) = event { Some(*path) } else { None });
        assert_eq!(attempts.collect::<Vec<_>>(), [Path::to(server_at()), next], "{said}");
    }
}

#[test]
fn a_renewal_brings_the_next_token_and_both_are_over_when_the_server_says_so() {
    let papers = Papers::new();
    let mut world = World::new(server_config(&papers), vec![with_password(&papers, "right")]);
    world.door = |_| {
        let options = vec!["auth-token-user Ym9i".into(), "auth-token first".into()];
        Answer::Accept(Box::new(ClientSettings { options, ..ClientSettings::default() }))
    };
    world.until("in with the password", |world| world.clients[0].core.is_up());
    let Some(ServerEvent::Joined(client)) = world.news.pop() else { panic!("{:?}", world.news) };
    world.server.apply(world.now, ServerChange::Say(client, "PUSH_REPLY,auth-token second".into()));
    world.pass(Duration::from_millis(100));
    world.door = |request| match (request.username.as_str(), request.password.expose()) {
        ("bob", "second") => Answer::Refuse("SESSION:it was long".into()),
        ("alice", "right") => Answer::Refuse("no more".into()),
        other => panic!("{other:?}"),
    };
    world.clients[0].core.apply(world.now, ClientChange::Reconnect);
    let denied = ClientEvent::Ended(Ended::Auth(AuthFailure::Denied("no more".into())));
    world.until("denied", |world| world.clients[0].events.contains(&denied));
    assert!(
        world.clients[0]
            .events
            .contains(&ClientEvent::Ended(Ended::Auth(AuthFailure::SessionOver("it was long".into()))))
    );
    let attempts = world.clients[0].events.len();
    world.pass(Duration::from_secs(600));
    assert_eq!(world.clients[0].events.len(), attempts, "it does not try again by itself");
}

/// Two clients, and what arrives at the second of what the first sends to it.
fn between(client_to_client: bool) -> (Vec<Vec<u8>>, World) {
    let papers = Papers::new();
    let config = ServerConfig { client_to_client, ..server_config(&papers) };
    let mut world = World::new(config, vec![client_config(&papers), client_config(&papers)]);
    world.until("both are in", |world| world.clients.iter().all(|guest| guest.core.is_up()));
    let inside: Vec<[u8; 4]> = (0..2).map(|n| World::inner((world.clients[n].at.port() % 200) as u8)).collect();
    world.up(0, &packet(inside[0], inside[1], 7));
    world.up(0, &packet(inside[0], inside[0], 8));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.arrived, Vec::<Vec<u8>>::new(), "nothing of it enters the inside");
    (world.clients[1].arrived.clone(), world)
}

#[test]
fn clients_reach_each_other_only_where_the_server_says_so() {
    let (arrived, world) = between(true);
    assert_eq!(arrived.len(), 1, "{:?}", world.server.drops());
    assert_eq!(arrived[0][20..], 7_u32.to_be_bytes());
    let (arrived, world) = between(false);
    assert!(arrived.is_empty());
    assert_eq!(world.server.drops().of(DropReason::Apart), 2);
}

#[test]
fn where_clients_meet_inside_whoever_is_there_gets_what_they_send_each_other() {
    let papers = Papers::new();
    let config = ServerConfig { meet_inside: true, ..server_config(&papers) };
    let mut world = World::new(config, vec![client_config(&papers), client_config(&papers)]);
    world.until("both are in", |world| world.clients.iter().all(|guest| guest.core.is_up()));
    let inside: Vec<[u8; 4]> = (0..2).map(|n| World::inner((world.clients[n].at.port() % 200) as u8)).collect();
    world.up(0, &packet(inside[0], inside[1], 7));
    world.up(0, &packet([10, 9, 9, 9], inside[1], 8));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.arrived, [packet(inside[0], inside[1], 7)], "and nothing that pretends to be somebody else's");
    assert!(world.clients[1].arrived.is_empty());
    assert!(world.server.owns(inside[1].into()) && !world.server.owns([10, 9, 9, 9].into()));
}

#[test]
fn what_a_client_moves_is_counted_and_said_when_it_goes() {
    let mut world = World::connected();
    let client = *world.server.present().first().unwrap();
    let before = world.server.carried(client).unwrap();
    let own = World::inner((world.clients[0].at.port() % 200) as u8);
    world.up(0, &packet(own, [192, 0, 2, 9], 7));
    world.pass(Duration::from_millis(100));
    let after = world.server.carried(client).unwrap();
    assert!(after.received - before.received > 24 && after.sent == before.sent, "{before:?} {after:?}");
    world.server.apply(world.now, ServerChange::Forget(client, "it is enough".into()));
    world.drain();
    let [.., ServerEvent::Carried(who, all), ServerEvent::Left(..)] = world.news.as_slice() else {
        panic!("{:?}", world.news)
    };
    assert_eq!((*who, *all, world.server.carried(client)), (client, after, None));
}

#[test]
fn a_client_that_is_forgotten_is_gone_at_once_and_hears_nothing() {
    let mut world = World::connected();
    let client = *world.server.present().first().unwrap();
    let sent = world.sent_by_server;
    world.server.apply(world.now, ServerChange::Forget(client, "another one came".into()));
    world.drain();
    assert_eq!((world.server.sessions(), world.sent_by_server), (0, sent));
    assert!(
        matches!(world.news.last(), Some(ServerEvent::Left(gone, why)) if *gone == client && why.contains("another"))
    );
    assert!(world.server.present().is_empty());
}
