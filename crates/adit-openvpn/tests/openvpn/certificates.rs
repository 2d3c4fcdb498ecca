//! OpenVPN's rules for certificates: what is accepted, and the words for what is not.

use std::time::Duration;

use adit_openvpn::{
    AuthFailure, ClientChange, ClientEvent, Ended, NameRule, PeerRules, Revoked, ServerChange, TlsSettings,
};
use adit_protocol::Protocol as _;

use crate::papers::{Paper, Papers, days};
use crate::world::{World, client_config, server_config};

/// Connects with such rules of the client and such a certificate of the server; what came of it, in words.
fn outcome(papers: &Papers, server: &Paper, rules: PeerRules) -> String {
    let mut config = server_config(papers);
    (config.tls.certificates, config.tls.key) = (server.chain(), Some(server.key()));
    let mut client = client_config(papers);
    client.tls = TlsSettings { peer: rules, ..client.tls };
    let mut world = World::new(config, vec![client]);
    let mut found = None;
    world.until("an outcome", |world| {
        found = world.clients[0].events.iter().find_map(|event| match event {
            ClientEvent::Connected(_) => Some("connected".to_owned()),
            ClientEvent::Ended(Ended::Session(end)) => Some(end.to_string()),
            ClientEvent::Ended(_)
            | ClientEvent::Connecting(_)
            | ClientEvent::Renewed
            | ClientEvent::Updated(_)
            | ClientEvent::Info(_) => None,
        });
        found.is_some()
    });
    found.unwrap()
}

fn trust(papers: &Papers) -> PeerRules {
    PeerRules { authorities: vec![papers.authority()], ..PeerRules::default() }
}

#[test]
fn a_name_is_compared_literally_if_one_is_demanded() {
    let papers = Papers::new();
    for (rule, good) in [
        (None, true),
        (Some(NameRule::Name("server".into())), true),
        (Some(NameRule::Name("serve".into())), false),
        (Some(NameRule::Name("*".into())), false),
        (Some(NameRule::NamePrefix("serv".into())), true),
        (Some(NameRule::NamePrefix("Serv".into())), false),
        (Some(NameRule::Subject("CN=server".into())), true),
        (Some(NameRule::Subject("server".into())), false),
    ] {
        let said = outcome(&papers, &papers.server(), PeerRules { name: rule.clone(), ..trust(&papers) });
        assert_eq!(said == "connected", good, "{rule:?}: {said}");
        assert!(good || said.contains("verify-x509-name"), "{said}");
    }
}

#[test]
fn a_clients_certificate_is_none_for_a_server() {
    let papers = Papers::new();
    let said = outcome(&papers, &papers.client(), trust(&papers));
    assert!(said.contains("for the other role"), "{said}");
}

#[test]
fn remote_cert_tls_wants_both_usages_stated() {
    let papers = Papers::new();
    let silent = papers.silent();
    assert_eq!(outcome(&papers, &silent, trust(&papers)), "connected");
    let said = outcome(&papers, &silent, PeerRules { role_stated: true, ..trust(&papers) });
    assert!(said.contains("remote-cert-tls server") && said.contains("key usage is missing"), "{said}");
}

#[test]
fn a_fingerprint_alone_accepts_a_certificate_that_signs_itself() {
    let papers = Papers::new();
    let lone = Papers::lone();
    let rules = |fingerprints| PeerRules { fingerprints, ..PeerRules::default() };
    assert_eq!(outcome(&papers, &lone, rules(vec![[0; 32], lone.fingerprint()])), "connected");
    let said = outcome(&papers, &lone, rules(vec![[0; 32]]));
    assert!(said.contains("peer-fingerprint"), "{said}");
    let said = outcome(&papers, &lone, trust(&papers));
    assert!(said.contains("is not accepted"), "{said}");
}

#[test]
fn another_authority_is_named_as_the_cause() {
    let (papers, others) = (Papers::new(), Papers::new());
    let said = outcome(&papers, &others.server(), trust(&papers));
    assert!(said.contains("`CN=server`") && said.contains("is `ca` that of this network?"), "{said}");
}

#[test]
fn what_is_out_of_date_is_refused_be_it_the_certificate_or_the_authority() {
    // The world's clock stands at 2027-01-15.
    let papers = Papers::new();
    let said = outcome(&papers, &papers.dated(days(2020), days(2026)), trust(&papers));
    assert!(said.contains("expired"), "{said}");
    let said = outcome(&papers, &papers.dated(days(2029), days(2030)), trust(&papers));
    assert!(said.contains("is the clock right?"), "{said}");
    let old = Papers::dated_authority(days(2010), days(2026));
    let said = outcome(&old, &old.server(), trust(&old));
    assert!(said.contains("the authority `CN=Test CA` expired on"), "{said}");
}

#[test]
fn an_authority_that_was_renewed_may_stand_beside_its_old_certificate() {
    let papers = Papers::new();
    let old = papers.authority_before(days(2010), days(2026));
    for authorities in [vec![old.clone(), papers.authority()], vec![papers.authority(), old.clone()]] {
        assert_eq!(outcome(&papers, &papers.server(), PeerRules { authorities, ..PeerRules::default() }), "connected");
    }
    let authorities = vec![old, papers.authority_before(days(2012), days(2020))];
    let said = outcome(&papers, &papers.server(), PeerRules { authorities, ..PeerRules::default() });
    assert!(said.contains("the authority `CN=Test CA` expired on"), "{said}");
}

#[test]
fn the_revoked_are_refused_and_a_list_out_of_date_refuses_all() {
    let papers = Papers::new();
    let (good, bad) = (papers.server(), papers.server());
    let rules = |until| PeerRules { revoked: vec![papers.revoked(&bad, until)], ..trust(&papers) };
    assert_eq!(outcome(&papers, &good, rules(days(2030))), "connected");
    let said = outcome(&papers, &bad, rules(days(2030)));
    assert!(said.contains("it was revoked"), "{said}");
    let said = outcome(&papers, &good, rules(days(2026)));
    assert!(said.contains("out of date"), "{said}");
}

/// A server, and a client whose certificate is this one.
fn world_of(papers: &Papers, paper: &Paper) -> World {
    let mut client = client_config(papers);
    (client.tls.certificates, client.tls.key) = (paper.chain(), Some(paper.key()));
    World::new(server_config(papers), vec![client])
}

#[test]
fn a_list_that_changes_while_the_server_runs_counts_at_once_for_all() {
    let papers = Papers::new();
    let (good, bad) = (papers.client(), papers.client());
    let by_list = |paper: &Paper| Revoked::of_lists(&[papers.revoked(paper, days(2090))]).unwrap();
    let by_number = |paper: &Paper| Revoked::of_serials([paper.serial()].into());
    for revoked in [&by_list as &dyn Fn(&Paper) -> Revoked, &by_number] {
        let mut world = world_of(&papers, &bad);
        world.until("connected", |world| world.clients[0].core.is_up());
        let change = |paper: &Paper| ServerChange::Revoke(Box::new(revoked(paper)));
        world.server.apply(world.now, change(&good));
        world.pass(Duration::from_secs(20));
        assert!(world.clients[0].core.is_up(), "another's was withdrawn");
        world.server.apply(world.now, change(&bad));
        let denied = AuthFailure::Denied("the certificate was revoked".into());
        world.until("gone", |world| world.clients[0].events.contains(&ClientEvent::Ended(Ended::Auth(denied.clone()))));
        world.clients[0].core.apply(world.now, ClientChange::Reconnect);
        world.pass(Duration::from_secs(300));
        assert!(!world.clients[0].core.is_up(), "it does not come in again");
        world.server.apply(world.now, ServerChange::Revoke(Box::default()));
        world.until("connected again", |world| world.clients[0].core.is_up());
    }
}
