//! Who is let in, and what becomes of what was theirs: without a core.

use super::*;
use crate::openvpn::server::testing::config;

#[test]
fn a_name_has_one_line_and_no_orders_for_a_terminal() {
    assert_eq!(on_one_line("mallory\n\u{1b}[31m  client root\r\n"), "mallory [31m  client root ");
}

fn attendant(lines: &str) -> Attendant {
    let files = Files { base: "/".into(), scratch: "/nonexistent/scratch".into() };
    Attendant::new(&config(&format!("server 10.8.0.0 255.255.255.0\ntopology subnet\n{lines}")), &files, &[0; 32])
        .unwrap()
}

fn found(client: ClientId, name: &str, lines: &str, renewal: bool) -> Found {
    let entry = adit_openvpn::options::parse_client_entry(lines).0.unwrap();
    let known = Known { name: name.to_owned(), entry, token: None };
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
    let files = Files { base: base.clone(), scratch: base.join("scratch") };
    std::fs::create_dir_all(files.scratch.join("0123")).unwrap();
    std::fs::write(files.scratch.join("0123/login"), "alice\nopen sesame\n").unwrap();
    Attendant::new(&config("server 10.8.0.0 255.255.255.0\n"), &files, &[0; 32]).unwrap();
    assert!(!files.scratch.exists());
    std::fs::remove_dir_all(&base).unwrap();
}
