//! Who is let in, and what becomes of what was theirs: without a core.

use super::*;
use crate::openvpn::server::testing::config;

#[test]
fn a_name_has_one_line_and_no_orders_for_a_terminal() {
    assert_eq!(on_one_line("mallory\n\u{1b}[31m  client root\r\n"), "mallory [31m  client root ");
}

fn attendant(lines: &str) -> Attendant {
    let files = Files { base: "/".into(), scratch: "/nonexistent/scratch".into(), revoked: None };
    Attendant::new(&config(&format!("server 10.8.0.0 255.255.255.0\ntopology subnet\n{lines}")), &files, &[0; 32])
        .unwrap()
}

fn found(client: ClientId, name: &str, lines: &str, renewal: bool) -> Found {
    let entry = adit_openvpn::options::parse_client_entry(lines).0.unwrap();
    let known = Known {
        name: Some(name.to_owned()).filter(|name| !name.is_empty()),
        shown: name.to_owned(),
        entry,
        token: None,
    };
    let from = adit_protocol::Path::to(([192, 0, 2, 7], 1234).into());
    Found { client, from, renewal, outcome: Ok(known) }
}

fn is_in(changes: &[ServerChange], who: ClientId) -> bool {
    matches!(changes.last(), Some(ServerChange::Answer(client, Answer::Accept(_))) if *client == who)
}

fn is_refused(changes: &[ServerChange], who: ClientId) -> bool {
    matches!(changes.last(), Some(ServerChange::Answer(client, Answer::Refuse(_))) if *client == who)
}

/// Its own file was changed in between: the earlier session does not stay in with what was freed.
#[tokio::test]
async fn who_comes_again_and_is_refused_is_out_with_the_session_before() {
    let (mut all, now) = (attendant(""), Instant::now());
    let [other, before, again] = [1, 2, 3].map(|n| ClientId::new(n, n.into()));
    assert!(is_in(&all.answer(found(other, "other", "iroute 198.51.7.0 255.255.255.0\n", false), now), other));
    assert!(is_in(&all.answer(found(before, "alice", "", false), now), before));
    assert!(is_in(&all.answer(found(before, "alice", "", true), now), before), "it renews its keys");
    let changes = all.answer(found(again, "alice", "iroute 198.51.7.0 255.255.255.0\n", false), now);
    assert!(matches!(changes.first(), Some(ServerChange::Forget(client, _)) if *client == before), "{changes:?}");
    assert!(is_refused(&changes, again) && changes.len() == 2, "{changes:?}");
    assert!(is_refused(&all.answer(found(before, "alice", "", true), now), before), "and renews nothing");
    assert_eq!(all.guests.len(), 1);
}

#[tokio::test]
async fn what_is_found_out_of_who_has_left_counts_for_nothing() {
    let mut all = attendant("");
    let client = ClientId::new(1, 1);
    let asked = all.examined.spawn(std::future::pending());
    let id = asked.id();
    all.asked.insert(client, asked);
    assert!(!all.is_asked(ClientId::new(1, 2), id), "it is another's");
    all.hear(ServerEvent::Left(client, String::new()), Instant::now());
    assert!(!all.is_asked(client, id) && all.asked.is_empty());
    assert!(all.examined.join_next().await.unwrap().unwrap_err().is_cancelled());
}

#[test]
fn what_a_killed_daemon_left_of_a_login_is_removed() {
    let base = std::env::temp_dir().join(format!("adit-attendant-{}", std::process::id()));
    let files = Files { base: base.clone(), scratch: base.join("scratch"), revoked: None };
    std::fs::create_dir_all(files.scratch.join("0123")).unwrap();
    std::fs::write(files.scratch.join("0123/login"), "alice\nopen sesame\n").unwrap();
    Attendant::new(&config("server 10.8.0.0 255.255.255.0\n"), &files, &[0; 32]).unwrap();
    assert!(!files.scratch.exists());
    std::fs::remove_dir_all(&base).unwrap();
}

#[tokio::test]
async fn addresses_of_a_clients_file_are_given_to_nobody_else() {
    let (mut all, now) = (attendant("server-ipv6 fd00:8::/64\n"), Instant::now());
    let clients: [_; 6] = std::array::from_fn(|n| ClientId::new(n as u32, n as u64));
    let mut comes = |n: usize, name: &str, lines: &str| all.answer(found(clients[n], name, lines, false), now);
    // Its IPv6 address is that of the first place, which is its own then.
    assert!(is_in(&comes(0, "fixed", "ifconfig-ipv6-push fd00:8::1000/64\n"), clients[0]));
    for (n, name) in [(1, "alice"), (2, "bob")] {
        assert!(is_in(&comes(n, name, ""), clients[n]), "{name} comes in beside");
    }
    assert!(is_refused(&comes(3, "late", "ifconfig-push 10.8.0.3 255.255.255.0\n"), clients[3]), "alice has it");
    for network in ["iroute 10.8.0.7 255.255.255.255\n", "iroute-ipv6 fd00:8::1080/121\n"] {
        assert!(is_refused(&comes(4, "greedy", network), clients[4]), "{network}");
    }
    assert!(is_in(
        &comes(5, "apart", "ifconfig-push 10.8.0.9 255.255.255.0\nifconfig-ipv6-push fd00:8::1003/64\n"),
        clients[5]
    ));
    assert_eq!(
        all.guests.values().map(|guest| guest.places.clone()).collect::<Vec<_>>(),
        [vec![0], vec![1], vec![2], vec![7, 3]]
    );
    all.forget(clients[5]);
    assert!(all.pool.claim(7, "") && all.pool.claim(3, ""), "both are free again");
}

#[tokio::test]
async fn clients_without_a_name_do_not_take_each_others_place() {
    let (mut all, now) = (attendant(""), Instant::now());
    for n in 1..4 {
        let client = ClientId::new(n, n.into());
        let changes = all.answer(found(client, "", "", false), now);
        assert!(is_in(&changes, client) && changes.len() == 1, "{changes:?}");
    }
    assert_eq!((all.guests.len(), all.by_name.len()), (3, 0));
}
