//! A policy as people write it, in TOML: `[[policy]]` with `from` and `to`. Mistakes are told with their line.
//!
//! Not here: what the rules mean (`policy`).

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use thiserror::Error;
use toml::Spanned;

use super::{MAX_RULES, MAX_TARGETS, MAX_TEXT, Place, Policy, Ports, Protocol, Rule, Target, Who};
use crate::model::Model;
use crate::name::{Name, NameError};

/// A mistake in a policy, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {fault}")]
pub struct PolicyError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub fault: PolicyFault,
}

/// What is wrong in a policy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PolicyFault {
    /// Not TOML, or not the tables of a policy.
    #[error(
        "{0}\n  hint: a rule is `[[policy]]`, then `from = \"group:family\"` and `to = [\"internet\", \"host:nas:445/tcp\"]`"
    )]
    Toml(String),
    /// Longer than any policy.
    #[error("the text is longer than {MAX_TEXT} bytes, or has more than {MAX_RULES} rules\n  hint: use groups")]
    Large,
    /// A rule without a side, or with too much on one.
    #[error("`{0}` must have 1 to {MAX_TARGETS} names\n  hint: use a group for many devices")]
    Names(&'static str),
    /// Nobody.
    #[error("`{0}` is not one who could reach something\n  hint: `all`, `group:NAME` or `host:NAME`")]
    Who(String),
    /// Nowhere.
    #[error(
        "`{0}` is nothing that could be reached\n  hint: `internet`, `all`, `group:NAME`, `host:NAME` or 192.168.1.0/24, each with `:445/tcp` if only that"
    )]
    Place(String),
    /// What should be ports.
    #[error("`{0}` is not a service\n  hint: `445/tcp`, `8000-8999/udp`, or `53` for both")]
    Ports(String),
    /// A name that is none.
    #[error("{0}")]
    Name(NameError),
    /// A device that is not there.
    #[error("there is no device `{0}`\n  hint: `adit peers` lists them; groups need not have members yet")]
    Unknown(Name),
}

impl Policy {
    /// Reads a policy; devices are looked up in the model.
    pub fn parse(text: &str, model: &Model) -> Result<Self, PolicyError> {
        let at = |span: Range<usize>, fault| {
            let before = text.as_bytes().get(..span.start).unwrap_or_default();
            PolicyError { line: before.iter().filter(|byte| **byte == b'\n').count() + 1, fault }
        };
        if text.len() > MAX_TEXT {
            return Err(at(0..0, PolicyFault::Large));
        }
        let file: File = toml::from_str(text).map_err(|error| {
            at(error.span().unwrap_or_default(), PolicyFault::Toml(error.message().trim_end().to_owned()))
        })?;
        if file.policy.len() > MAX_RULES {
            return Err(at(0..0, PolicyFault::Large));
        }
        let mut rules = Vec::new();
        for table in file.policy {
            let from = words("from", table.from).map_err(|(span, fault)| at(span, fault))?;
            let to = words("to", table.to).map_err(|(span, fault)| at(span, fault))?;
            let who = |(span, word): (Range<usize>, String)| who(&word, model).map_err(|fault| at(span, fault));
            let target = |(span, word): (Range<usize>, String)| target(&word, model).map_err(|fault| at(span, fault));
            let from = from.into_iter().map(who).collect::<Result<BTreeSet<_>, _>>()?;
            let to = to.into_iter().map(target).collect::<Result<BTreeSet<_>, _>>()?;
            rules.push(Rule { from, to });
        }
        Ok(Self { rules })
    }

    /// Writes it as it can be read again.
    pub fn to_text(&self, model: &Model) -> String {
        let mut text = String::new();
        for rule in &self.rules {
            let from: Vec<_> = rule.from.iter().map(|who| format!("\"{}\"", who.shown(model))).collect();
            let to: Vec<_> = rule.to.iter().map(|target| format!("\"{}\"", target.shown(model))).collect();
            let gap = if text.is_empty() { "" } else { "\n" };
            // Writing to a string cannot fail.
            write!(text, "{gap}[[policy]]\nfrom = [{}]\nto = [{}]\n", from.join(", "), to.join(", "))
                .unwrap_or_default();
        }
        text
    }
}

impl Rule {
    /// As one line: `group:family → internet, host:nas:445/tcp`.
    pub fn shown(&self, model: &Model) -> String {
        let from: Vec<_> = self.from.iter().map(|who| who.shown(model)).collect();
        let to: Vec<_> = self.to.iter().map(|target| target.shown(model)).collect();
        format!("{} → {}", from.join(", "), to.join(", "))
    }
}

impl Who {
    fn shown(&self, model: &Model) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::Group(name) => format!("group:{name}"),
            Self::Peer(id) => match model.peers.get(id) {
                Some(peer) => format!("host:{}", peer.name),
                None => format!("host:{id}"),
            },
        }
    }
}

impl Target {
    fn shown(&self, model: &Model) -> String {
        let place = match &self.place {
            Place::Devices(who) => who.shown(model),
            Place::Internet => "internet".to_owned(),
            Place::Net(net) => net.to_string(),
        };
        match self.ports {
            Some(ports) => format!("{place}:{ports}"),
            None => place,
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.last != self.first {
            write!(f, "-{}", self.last)?;
        }
        match self.protocol {
            Some(Protocol::Tcp) => f.write_str("/tcp"),
            Some(Protocol::Udp) => f.write_str("/udp"),
            None => Ok(()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    policy: Vec<Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    from: Spanned<Words>,
    to: Spanned<Words>,
}

/// One word, or a list of them.
enum Words {
    One(String),
    Many(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Words;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a list of texts")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Words, E> {
                Ok(Words::One(word.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Words, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element()? {
                    if words.len() > MAX_TARGETS {
                        return Err(A::Error::custom("too many names in one list"));
                    }
                    words.push(word);
                }
                Ok(Words::Many(words))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

type Placed<T> = (Range<usize>, T);

fn words(side: &'static str, words: Spanned<Words>) -> Result<Vec<Placed<String>>, Placed<PolicyFault>> {
    let span = words.span();
    let words = match words.into_inner() {
        Words::One(word) => vec![(span.clone(), word)],
        Words::Many(words) => words.into_iter().map(|word| (word.span(), word.into_inner())).collect(),
    };
    if (1..=MAX_TARGETS).contains(&words.len()) { Ok(words) } else { Err((span, PolicyFault::Names(side))) }
}

fn who(word: &str, model: &Model) -> Result<Who, PolicyFault> {
    if word == "all" {
        return Ok(Who::All);
    }
    let checked = |name: &str| Name::new(name).map_err(PolicyFault::Name);
    if let Some(group) = word.strip_prefix("group:") {
        return checked(group).map(Who::Group);
    }
    let Some(host) = word.strip_prefix("host:") else {
        return Err(PolicyFault::Who(word.to_owned()));
    };
    let host = checked(host)?;
    let folded = host.folded();
    let peer = model.peers.values().find(|peer| peer.name.folded() == folded);
    peer.map(|peer| Who::Peer(peer.id)).ok_or(PolicyFault::Unknown(host))
}

fn target(word: &str, model: &Model) -> Result<Target, PolicyFault> {
    let is_named = word.starts_with("group:") || word.starts_with("host:");
    if !is_named && let Some(net) = net(word) {
        return Ok(Target { place: Place::Net(net), ports: None });
    }
    // Names have no colon: the last one begins the ports, unless it is that of `group:` or `host:`.
    let parts = word.rsplit_once(':').filter(|(place, _)| *place != "group" && *place != "host");
    let (place, ports) = match parts {
        Some((place, text)) => (place, Some(ports(text)?)),
        None => (word, None),
    };
    let place = match place {
        "internet" => Place::Internet,
        _ => match (net(place.trim_start_matches('[').trim_end_matches(']')), who(place, model)) {
            (Some(net), _) => Place::Net(net),
            (None, Ok(who)) => Place::Devices(who),
            (None, Err(PolicyFault::Who(_))) => return Err(PolicyFault::Place(word.to_owned())),
            (None, Err(fault)) => return Err(fault),
        },
    };
    Ok(Target { place, ports })
}

fn net(text: &str) -> Option<IpNet> {
    let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    net.map(|net| net.trunc())
}

fn ports(text: &str) -> Result<Ports, PolicyFault> {
    let bad = || PolicyFault::Ports(text.to_owned());
    let (ports, protocol) = match text.split_once('/') {
        None => (text, None),
        Some((ports, "tcp")) => (ports, Some(Protocol::Tcp)),
        Some((ports, "udp")) => (ports, Some(Protocol::Udp)),
        Some(_) => return Err(bad()),
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0 && !text.starts_with('+'));
    let (Some(first), Some(last)) = (port(first), port(last)) else {
        return Err(bad());
    };
    if first <= last { Ok(Ports { protocol, first, last }) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::{home, policies};

    fn parse(text: &str) -> Result<Policy, PolicyError> {
        Policy::parse(text, &home())
    }

    /// The mistake and its line.
    fn fault(text: &str) -> (usize, PolicyFault) {
        let error = parse(text).unwrap_err();
        (error.line, error.fault)
    }

    #[test]
    fn every_kind_of_place_is_read_and_written() {
        let words = [
            "internet",
            "all",
            "group:family",
            "host:nas",
            "host:nas:445/tcp",
            "group:family:8000-8999/udp",
            "all:53",
            "internet:443/tcp",
            "192.168.1.0/24",
            "192.168.1.0/24:22/tcp",
            "fd00::/8",
            "fd00::/8:443/tcp",
            "fd00::1/128",
        ];
        for word in words {
            let text = format!("[[policy]]\nfrom = [\"all\"]\nto = [\"{word}\"]\n");
            let policy = parse(&text).unwrap();
            assert_eq!(policy.to_text(&home()), text);
        }
    }

    #[test]
    fn an_address_is_a_range_of_one_and_brackets_keep_it_from_a_port() {
        let text = |word: &str| format!("[[policy]]\nfrom = 'all'\nto = '{word}'");
        assert_eq!(parse(&text("192.168.1.7")), parse(&text("192.168.1.7/32")));
        assert_eq!(parse(&text("[fd00::7]:443/tcp")), parse(&text("fd00::7/128:443/tcp")));
        assert_eq!(parse(&text("10.1.2.3/8")), parse(&text("10.0.0.0/8")));
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        let rule = |from: &str, to: &str| format!("# rules\n[[policy]]\nfrom = {from}\nto = [\n  {to},\n]\n");
        assert_eq!(fault(&rule("'all'", "'intrenet'")), (5, PolicyFault::Place("intrenet".into())));
        assert_eq!(fault(&rule("'all'", "'host:nas:99999/tcp'")), (5, PolicyFault::Ports("99999/tcp".into())));
        assert_eq!(fault(&rule("'all'", "'host:nas:9-2/tcp'")), (5, PolicyFault::Ports("9-2/tcp".into())));
        assert_eq!(fault(&rule("'all'", "'host:nas:0'")), (5, PolicyFault::Ports("0".into())));
        assert_eq!(fault(&rule("'all'", "'host:nas:445/icmp'")), (5, PolicyFault::Ports("445/icmp".into())));
        assert_eq!(fault(&rule("'internet'", "'all'")), (3, PolicyFault::Who("internet".into())));
        assert_eq!(fault(&rule("'host:desk'", "'all'")), (3, PolicyFault::Unknown(Name::new("desk").unwrap())));
        assert!(matches!(fault(&rule("'group:../x'", "'all'")), (3, PolicyFault::Name(_))));
        assert_eq!(fault(&rule("[]", "'all'")), (3, PolicyFault::Names("from")));
        assert!(matches!(fault("[[policy]]\nfrom = 'all'\nto = 'all'\nvia = 'x'\n"), (4, PolicyFault::Toml(_))));
        assert!(matches!(fault("[[policy]]\nfrom = 'all'\n"), (1, PolicyFault::Toml(_))));
        assert!(matches!(fault("[[policy]]\nfrom = 7\nto = 'all'\n"), (2, PolicyFault::Toml(_))));
        assert!(matches!(fault("\n\n[[policy\n"), (3, PolicyFault::Toml(_))));
        assert!(parse("[[policy]]\nfrom = 7\n").unwrap_err().to_string().contains("hint:"));
    }

    #[test]
    fn a_policy_has_bounds() {
        let rule = "[[policy]]\nfrom = 'all'\nto = 'all'\n";
        assert!(parse(&rule.repeat(MAX_RULES)).is_ok());
        assert_eq!(fault(&rule.repeat(MAX_RULES + 1)).1, PolicyFault::Large);
        assert_eq!(fault(&"#".repeat(MAX_TEXT + 1)).1, PolicyFault::Large);
        let many = format!("[[policy]]\nfrom = 'all'\nto = [{}]\n", "'all',".repeat(MAX_TARGETS + 1));
        assert!(parse(&many).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(policy in policies()) {
            prop_assert_eq!(Policy::parse(&policy.to_text(&home()), &home()), Ok(policy));
        }

        #[test]
        fn any_text_is_a_policy_or_a_mistake_with_a_line(text in "[\\[\\]a-z='\\\"\n:./0-9 ]{0,80}") {
            if let Err(error) = parse(&text) {
                prop_assert!(error.line >= 1 && error.line <= text.split('\n').count());
            }
        }
    }
}
