//! Rules as `nft -j list ruleset` prints them, and what becomes of a packet.

use super::*;

/// A ruleset of one table `t` of the family `inet`, of chains with their rules.
fn ruleset(chains: &[(&str, &str, &[&str])]) -> String {
    let mut entries = Vec::new();
    for (name, hook, rules) in chains {
        entries.push(format!(r#"{{"chain":{{"family":"inet","table":"t","name":"{name}"{hook}}}}}"#));
        for rule in *rules {
            entries.push(format!(r#"{{"rule":{{"family":"inet","table":"t","chain":"{name}","expr":[{rule}]}}}}"#));
        }
    }
    format!(r#"{{"nftables":[{{"metainfo":{{}}}},{}]}}"#, entries.join(","))
}

const DROPS: &str = r#","type":"filter","hook":"input","prio":0,"policy":"drop""#;
const ACCEPTS: &str = r#","type":"filter","hook":"input","prio":0,"policy":"accept""#;
const PORT: &str = r#"{"match":{"op":"==","left":{"payload":{"protocol":"udp","field":"dport"}},"right":51820}}"#;
const PORTS: &str = r#"{"match":{"op":"==","left":{"payload":{"protocol":"udp","field":"dport"}},"right":{"set":[53,{"range":[51000,52000]}]}}}"#;
const OTHER: &str = r#"{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":51820}}"#;
const KNOWN: &str = r#"{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":["established","related"]}}"#;
const LOOPBACK: &str = r#"{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"lo"}}"#;
const FROM_SOME: &str = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":{"prefix":{"addr":"10.0.0.0","len":8}}}}"#;
const EXTENSION: &str = r#"{"xt":{"type":"match","name":"owner"}}"#;

fn passage() -> Passage {
    Passage {
        hook: Hook::Input,
        v6: false,
        from: Some("eth0".into()),
        to: None,
        destination: None,
        port: Some((Transport::Udp, 51820)),
    }
}

fn is_dropped(chains: &[(&str, &str, &[&str])]) -> bool {
    !dropped_by(&ruleset(chains), &passage()).is_empty()
}

fn rule(words: &[&str], verdict: &str) -> String {
    format!("{},{verdict}", words.join(","))
}

const ACCEPT: &str = r#"{"accept":null}"#;
const DROP: &str = r#"{"drop":null}"#;

#[test]
fn a_policy_of_drop_drops_what_no_rule_accepts() {
    let (known, other) = (rule(&[KNOWN], ACCEPT), rule(&[OTHER], ACCEPT));
    let loopback = rule(&[LOOPBACK], ACCEPT);
    let chains: [(&str, &str, &[&str]); 1] = [("in", DROPS, &[&known, &other, &loopback])];
    let found = dropped_by(&ruleset(&chains), &passage());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].to_string(), "nftables inet t in, by its policy");
    assert!(!is_dropped(&[("in", ACCEPTS, &[&known])]));
}

#[test]
fn a_rule_that_accepts_it_saves_it_however_it_says_so() {
    for accepts in [rule(&[PORT], ACCEPT), rule(&[PORTS], ACCEPT), ACCEPT.to_owned()] {
        assert!(!is_dropped(&[("in", DROPS, &[&accepts])]), "{accepts}");
    }
    let accepts = rule(&[PORT], ACCEPT);
    let jump = r#"{"jump":{"target":"allowed"}}"#;
    assert!(!is_dropped(&[("in", DROPS, &[jump]), ("allowed", "", &[&accepts])]));
    let returns = r#"{"return":null}"#;
    assert!(is_dropped(&[("in", DROPS, &[jump]), ("allowed", "", &[returns, &accepts])]));
}

#[test]
fn a_rule_that_drops_it_is_found_under_a_policy_of_accept() {
    let drops = rule(&[PORT], DROP);
    let chains: [(&str, &str, &[&str]); 1] = [("in", ACCEPTS, &[&drops])];
    assert_eq!(dropped_by(&ruleset(&chains), &passage())[0].to_string(), "nftables inet t in, by a rule");
    let reject = r#"{"goto":{"target":"no"}}"#;
    assert!(is_dropped(&[("in", ACCEPTS, &[reject]), ("no", "", &[r#"{"reject":{"type":"icmpx"}}"#])]));
    let other = rule(&[OTHER], DROP);
    assert!(!is_dropped(&[("in", ACCEPTS, &[&other])]));
}

/// What a set holds is not looked up, whatever is compared with it.
#[test]
fn a_set_by_name_may_have_it_or_not() {
    let sets = [
        r#"{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"@lan"}}"#,
        r#"{"match":{"op":"==","left":{"payload":{"protocol":"udp","field":"dport"}},"right":"@open"}}"#,
        r#"{"match":{"op":"==","left":{"meta":{"key":"l4proto"}},"right":"@protocols"}}"#,
        r#"{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":"@states"}}"#,
    ];
    for set in sets {
        let not = set.replace("\"==\"", "\"!=\"").replace("\"in\"", "\"!=\"");
        for word in [set, &not] {
            assert!(!is_dropped(&[("in", DROPS, &[&rule(&[word], ACCEPT)])]), "{word}");
            assert!(!is_dropped(&[("in", ACCEPTS, &[&rule(&[word], DROP)])]), "{word}");
        }
    }
}

/// Nothing is claimed that may be otherwise.
#[test]
fn what_cannot_be_told_from_the_rules_is_left_open() {
    for word in
        [FROM_SOME, EXTENSION, r#"{"limit":{"rate":4,"per":"second"}}"#, r#"{"ct count":{"val":9}}"#, r#"{"xt":null}"#]
    {
        let maybe = rule(&[word], ACCEPT);
        assert!(!is_dropped(&[("in", DROPS, &[&maybe])]), "{word}");
        let maybe = rule(&[word], DROP);
        assert!(!is_dropped(&[("in", ACCEPTS, &[&maybe])]), "{word}");
        assert!(is_dropped(&[("in", DROPS, &[&maybe])]), "either way it is dropped: {word}");
        let gone = rule(&[word], r#"{"return":null}"#);
        assert!(!is_dropped(&[("in", ACCEPTS, &[&gone, DROP])]), "{word}");
    }
    let vmap = r#"{"vmap":{"key":{"meta":{"key":"mark"}},"data":{"set":[]}}}"#;
    assert!(!is_dropped(&[("in", DROPS, &[vmap])]));
    let nowhere = r#"{"jump":{"target":"no-such"}}"#;
    assert!(!is_dropped(&[("in", DROPS, &[nowhere])]));
}

#[test]
fn a_match_can_be_turned_round() {
    let not_port = PORT.replace("==", "!=");
    let drops = rule(&[&not_port], DROP);
    assert!(!is_dropped(&[("in", ACCEPTS, &[&drops])]));
    let not_loopback = LOOPBACK.replace("==", "!=");
    let drops = rule(&[&not_loopback], DROP);
    assert!(is_dropped(&[("in", ACCEPTS, &[&drops])]));
    // A packet of UDP has no port of TCP that could differ.
    let not_other = OTHER.replace("==", "!=");
    let drops = rule(&[&not_other], DROP);
    assert!(!is_dropped(&[("in", ACCEPTS, &[&drops])]));
}

#[test]
fn only_chains_that_see_the_packet_count_and_ours_do_not() {
    let text = ruleset(&[("in", DROPS, &[])]);
    assert!(dropped_by(&text, &Passage { hook: Hook::Forward, ..passage() }).is_empty());
    assert!(dropped_by(&text.replace("\"inet\"", "\"ip6\""), &passage()).is_empty());
    assert!(!dropped_by(&text.replace("\"inet\"", "\"ip6\""), &Passage { v6: true, ..passage() }).is_empty());
    assert!(dropped_by(&text.replace("\"t\"", "\"aditgw-x\""), &passage()).is_empty());
    assert!(dropped_by("nonsense", &passage()).is_empty());
}

#[test]
fn a_destination_is_compared_where_it_is_known() {
    let to = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"daddr"}},"right":{"prefix":{"addr":"203.0.113.0","len":24}}}}"#;
    let drops = rule(&[to], DROP);
    let chains: [(&str, &str, &[&str]); 1] = [("in", ACCEPTS, &[&drops])];
    let dropped = |destination: Option<&str>| {
        let destination = destination.map(|text| text.parse().unwrap());
        !dropped_by(&ruleset(&chains), &Passage { destination, ..passage() }).is_empty()
    };
    assert!(dropped(Some("203.0.113.2")));
    assert!(!dropped(Some("192.0.2.1")));
    assert!(!dropped(None));
}

/// Chains that jump in a circle: the kernel refuses them, a file may have them.
#[test]
fn a_circle_ends() {
    let jump = r#"{"jump":{"target":"in"}}"#;
    assert!(!is_dropped(&[("in", DROPS, &[jump, jump])]));
}
