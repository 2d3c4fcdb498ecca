//! From text to a profile, line by line. Every line gets its finding; what is wrong does not stop the reading.
#![expect(clippy::wildcard_enum_match_arm, reason = "the reader of a section has the keys of that section")]

use std::collections::HashMap;

use adit_wireguard::{PresharedKey, PublicKey};
use ipnet::IpNet;

use super::conflicts;
use super::field::{Field, Section, is_amnezia};
use super::https;
use super::value::{self, Dns, Fault};
use super::web::{self, HttpsDraft, WebDraft};
use super::{Endpoint, Finding, Interface, Parsed, Peer, Profile, Verdict};

pub(super) fn parse(text: &str) -> Parsed {
    let mut reader = Reader::default();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        reader.line(index + 1, line);
    }
    reader.finish()
}

/// Where the reading is.
#[derive(Default)]
struct Reader {
    interface: Interface,
    /// Line of the first `[Interface]`.
    interface_line: Option<usize>,
    /// Line of `PrivateKey`.
    private_key_line: Option<usize>,
    peers: Vec<Draft>,
    web: Option<WebDraft>,
    section: Option<Section>,
    /// In which line a key that may stand only once was seen in this section.
    seen: HashMap<Field, usize>,
    findings: Vec<Finding>,
}

/// A peer while it is read, with the lines its parts came from.
pub(super) struct Draft {
    pub(super) line: usize,
    pub(super) public_key: Option<(PublicKey, usize)>,
    /// A key was there, right or wrong.
    has_key: bool,
    preshared_key: Option<PresharedKey>,
    pub(super) allowed_ips: Vec<(IpNet, usize)>,
    endpoint: Option<Endpoint>,
    /// `Endpoint` was there, right or wrong.
    pub(super) has_endpoint: bool,
    fallback: Vec<Endpoint>,
    persistent_keepalive: Option<u16>,
    pub(super) https: HttpsDraft,
}

/// A line with a key and a value, and where the value begins.
struct Entry<'a> {
    number: usize,
    column: usize,
    field: Field,
    value: &'a str,
    /// Text after `#` was cut off.
    commented: bool,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) {
        let (content, commented) = match line.split_once('#') {
            Some((content, _)) => (content, true),
            None => (line, false),
        };
        let content = content.trim();
        if content.is_empty() {
            let why = if commented { "a comment" } else { "an empty line" };
            self.say(number, None, "", Verdict::Ignored { why: why.to_owned() });
        } else if content.starts_with('[') {
            self.section(number, content);
        } else if let Some((key, value)) = content.split_once('=') {
            let value = value.trim();
            let column = value_column(line);
            self.entry(number, column, key, value, commented);
        } else {
            let why = "neither a section nor `key = value`";
            let (found, hint) = match Field::parse(&squeeze(content.split_whitespace().next().unwrap_or_default())) {
                Some(key) => (String::new(), Some(format!("{} = …", key.name()))),
                None => (clip(content), Some("`Key = value`; a remark begins with #".to_owned())),
            };
            let key = if found.is_empty() { content.split_whitespace().next().unwrap_or_default() } else { "" };
            self.say(number, None, key, Verdict::Wrong { found, why: why.to_owned(), write_instead: hint });
        }
    }

    fn section(&mut self, number: usize, content: &str) {
        self.seen.clear();
        let Some(section) = Section::parse(&squeeze(content)) else {
            self.section = None;
            let (found, why) = (clip(content), "no such section".to_owned());
            let write_instead = Some("[Interface], [Peer] or [Https]".to_owned());
            return self.say(number, None, "", Verdict::Wrong { found, why, write_instead });
        };
        self.section = Some(section);
        let first = match section {
            Section::Interface => self.interface_line,
            Section::Https => self.web.as_ref().map(|web| web.line),
            Section::Peer => None,
        };
        let verdict = match (section, first) {
            (_, Some(first)) => Verdict::Wrong {
                found: String::new(),
                why: format!("there is one already, in line {first}"),
                write_instead: Some("put the lines of both under the first".to_owned()),
            },
            (Section::Interface, None) => {
                self.interface_line = Some(number);
                Verdict::Accepted
            }
            (Section::Peer, None) => {
                self.peers.push(Draft::new(number));
                Verdict::Accepted
            }
            (Section::Https, None) => {
                self.web = Some(WebDraft { line: number, ..WebDraft::default() });
                Verdict::Accepted
            }
        };
        self.say(number, None, section.name(), verdict);
    }

    fn entry(&mut self, number: usize, column: usize, written: &str, value: &str, commented: bool) {
        let name = squeeze(written);
        let Some(key) = Field::parse(&name) else { return self.unknown(number, written.trim(), &name) };
        let Some(section) = self.section else {
            let (found, why) = (shown(key, value), "stands before any section".to_owned());
            let write_instead = Some(format!("put it under {}", key.section().name()));
            return self.say(number, None, key.name(), Verdict::Wrong { found, why, write_instead });
        };
        if section != key.section() {
            let (found, why) = (shown(key, value), format!("does not belong under {}", section.name()));
            let write_instead = match key.twin(section) {
                Some(twin) => Some(format!("{} = {value}", twin.name())),
                None => Some(format!("put it under {}", key.section().name())),
            };
            return self.say(number, None, key.name(), Verdict::Wrong { found, why, write_instead });
        }
        let before = self.findings.len();
        self.value(&Entry { number, column, field: key, value, commented });
        if self.findings.len() == before {
            self.say(number, None, key.name(), Verdict::Accepted);
        }
    }

    fn unknown(&mut self, number: usize, written: &str, name: &str) {
        let key = clip(written);
        let (why, write_instead) = if is_amnezia(name) {
            let why =
                "a key of AmneziaWG's disguise, which is not spoken here yet; without it the peer would not answer";
            (why, "remove it here and on the peer".to_owned())
        } else {
            let section = self.section.unwrap_or(Section::Interface);
            let hint = match Field::meant_by(name, section) {
                Some(key) => key.name().to_owned(),
                None => known_keys(section),
            };
            ("no such key", hint)
        };
        let verdict = Verdict::Wrong { found: String::new(), why: why.to_owned(), write_instead: Some(write_instead) };
        self.say(number, None, &key, verdict);
    }

    fn value(&mut self, entry: &Entry<'_>) {
        // `wg` reads its own keys with all white space taken out.
        let tight = squeeze(entry.value);
        match entry.field {
            Field::PrivateKey => {
                self.once(entry);
                self.private_key_line = Some(entry.number);
                if let Some(key) = self.take(entry, value::private_key(&tight)) {
                    self.interface.private_key = Some(key);
                }
            }
            Field::ListenPort => self.single(entry, value::port(&tight), |i, v| i.listen_port = Some(v)),
            Field::FwMark => self.single(entry, value::fwmark(&tight), |i, v| i.fwmark = Some(v)),
            Field::Mtu => self.single(entry, value::mtu(entry.value), |i, v| i.mtu = Some(v)),
            Field::Table => self.single(entry, value::table(entry.value), |i, v| i.table = v),
            Field::SaveConfig => self.single(entry, value::boolean(entry.value), |i, v| i.save_config = v),
            Field::Address => self.addresses(entry),
            Field::Dns => self.dns(entry),
            Field::PreUp => self.hook(entry, |i| &mut i.pre_up),
            Field::PostUp => self.hook(entry, |i| &mut i.post_up),
            Field::PreDown => self.hook(entry, |i| &mut i.pre_down),
            Field::PostDown => self.hook(entry, |i| &mut i.post_down),
            Field::PublicKey
            | Field::PresharedKey
            | Field::AllowedIPs
            | Field::Endpoint
            | Field::Fallback
            | Field::PersistentKeepalive => {
                self.peer_value(entry, &tight);
            }
            _ if entry.field.section() == Section::Https => self.web_value(entry, &tight),
            _ => self.https_value(entry, &tight),
        }
    }

    fn peer_value(&mut self, entry: &Entry<'_>, tight: &str) {
        // Under [Peer] there is always one being read; this is how the compiler hears of it.
        let Some(mut draft) = self.peers.pop() else { return };
        match entry.field {
            Field::PublicKey => {
                self.once(entry);
                draft.has_key = true;
                if let Some(key) = self.take(entry, value::public_key(tight)) {
                    draft.public_key = Some((key, entry.number));
                }
            }
            Field::PresharedKey => {
                self.once(entry);
                if let Some(key) = self.take(entry, value::preshared_key(tight)) {
                    draft.preshared_key = (!key.is_none()).then_some(key);
                }
            }
            Field::Endpoint => {
                self.once(entry);
                draft.has_endpoint = true;
                if let Some(endpoint) = self.take(entry, value::endpoint(tight)) {
                    draft.endpoint = Some(endpoint);
                }
            }
            Field::Fallback => {
                for item in self.items(entry) {
                    let endpoint = value::fallback(item, draft.fallback.len());
                    draft.fallback.extend(self.take_item(entry, item, endpoint));
                }
            }
            Field::PersistentKeepalive => {
                self.once(entry);
                if let Some(seconds) = self.take(entry, value::keepalive(tight)) {
                    draft.persistent_keepalive = Some(seconds);
                }
            }
            Field::AllowedIPs => self.allowed_ips(entry, tight, &mut draft),
            _ => {}
        }
        self.peers.push(draft);
    }

    /// `Transport` and the keys `Https…` of a peer.
    fn https_value(&mut self, entry: &Entry<'_>, tight: &str) {
        let Some(mut draft) = self.peers.pop() else { return };
        let (https, line) = (&mut draft.https, entry.number);
        if !matches!(entry.field, Field::HttpsPin | Field::HttpsAddress | Field::HttpsMachine) {
            self.once(entry);
        }
        if !matches!(entry.field, Field::Transport | Field::HttpsKey) {
            https.first_line.get_or_insert(line);
        }
        match entry.field {
            Field::Transport => https.transport = self.take(entry, https::transport(tight)).map(|order| (order, line)),
            Field::HttpsUrl => {
                https.has_url = true;
                https.url = self.take(entry, https::url(tight)).map(|url| (url, line));
            }
            Field::HttpsPin => https.pins.extend(self.take(entry, https::pin(tight))),
            Field::HttpsRoots => https.roots = self.take(entry, https::roots(tight)).map(|roots| (roots, line)),
            Field::HttpsHello => https.hello = self.take(entry, https::hello(tight)),
            Field::HttpsShape => https.shape.level = self.take(entry, https::shape(tight)),
            Field::HttpsMachine => {
                let machine = https::machine(tight, https.shape.machines.len());
                https.shape.machines.extend(self.take(entry, machine));
            }
            Field::HttpsPath => https.path = self.take(entry, https::path(tight)),
            Field::HttpsKey => https.key = self.take(entry, https::key(tight)).map(|key| (key, line)),
            Field::HttpsAddress => {
                for item in self.items(entry) {
                    https.addresses.extend(self.take_item(entry, item, https::address(item)));
                }
            }
            _ => {}
        }
        self.peers.push(draft);
    }

    /// The keys of `[Https]`.
    fn web_value(&mut self, entry: &Entry<'_>, tight: &str) {
        let Some(mut web) = self.web.take() else { return };
        let lists = [Field::Listen, Field::Acme, Field::SelfSigned, Field::Machine];
        if !lists.contains(&entry.field) {
            self.once(entry);
        }
        match entry.field {
            Field::Listen => {
                web.has.listen = true;
                for item in self.items(entry) {
                    web.listen.extend(self.take_item(entry, item, https::listen(item)));
                }
            }
            Field::Acme | Field::SelfSigned => {
                let is_acme = entry.field == Field::Acme;
                *(if is_acme { &mut web.has.acme } else { &mut web.has.self_signed }) = true;
                for item in self.items(entry) {
                    let names = if is_acme { &mut web.acme } else { &mut web.self_signed };
                    names.extend(self.take_item(entry, item, https::domain(item)));
                }
            }
            Field::Site => {
                web.has.site = true;
                web.site = self.take(entry, https::site(entry.value));
            }
            Field::SiteRoot => {
                web.site_root = self.take(entry, https::absolute(entry.value)).map(|root| (root, entry.number));
            }
            Field::Certificate => {
                web.has.certificate = true;
                web.certificate = self.take(entry, https::absolute(entry.value));
            }
            Field::CertificateKey => {
                web.has.certificate_key = true;
                web.certificate_key = self.take(entry, https::absolute(entry.value));
            }
            Field::AcmeDirectory => web.acme_directory = self.take(entry, https::directory(tight)),
            Field::AcmeContact => web.acme_contact = self.take(entry, https::contact(tight)),
            Field::AcmeRoot => web.acme_root = self.take(entry, https::absolute(entry.value)),
            Field::Shape => web.shape.level = self.take(entry, https::shape(tight)),
            Field::Machine => {
                let machine = https::machine(tight, web.shape.machines.len());
                web.shape.machines.extend(self.take(entry, machine));
            }
            Field::Behind => web.behind = self.take(entry, value::boolean(tight)).unwrap_or(false),
            _ => {}
        }
        self.web = Some(web);
    }

    fn allowed_ips(&mut self, entry: &Entry<'_>, tight: &str, draft: &mut Draft) {
        if tight.is_empty() {
            return;
        }
        for item in tight.split(',') {
            let Some((add, network)) = self.take_item(entry, item, value::allowed_ip(item)) else { continue };
            let plain = network.trunc();
            if !add {
                draft.allowed_ips.retain(|(known, _)| *known != plain);
                continue;
            }
            if plain != network {
                let why = format!("{network} has bits set beyond its prefix length; {plain} is what counts");
                self.doubt(entry, why, Some(plain.to_string()));
            }
            draft.allowed_ips.push((plain, entry.number));
        }
    }

    fn addresses(&mut self, entry: &Entry<'_>) {
        for item in self.items(entry) {
            let Some((network, with_length)) = self.take_item(entry, item, value::network(item)) else { continue };
            if !with_length {
                let why = format!("without a prefix length this is one address alone, {network}");
                let usual = if network.addr().is_ipv4() { 24 } else { 64 };
                let hint = format!("{network} if that is meant, {item}/{usual} for a whole network");
                self.doubt(entry, why, Some(hint));
            }
            if self.interface.addresses.contains(&network) {
                self.doubt(entry, format!("{network} is there already"), None);
            } else {
                self.interface.addresses.push(network);
            }
        }
    }

    fn dns(&mut self, entry: &Entry<'_>) {
        for item in self.items(entry) {
            match self.take_item(entry, item, value::dns(item)) {
                Some(Dns::Server(address)) => self.interface.dns.push(address),
                Some(Dns::Search(name)) => self.interface.dns_search.push(name),
                None => {}
            }
        }
    }

    fn hook(&mut self, entry: &Entry<'_>, commands: fn(&mut Interface) -> &mut Vec<String>) {
        if entry.value.is_empty() {
            return self.say(entry.number, None, entry.field.name(), Verdict::Ignored { why: "no command".to_owned() });
        }
        if entry.commented {
            let why = "the command ends where the # begins, as for wg-quick".to_owned();
            self.doubt(entry, why, Some("put the # into a script of its own".to_owned()));
        }
        commands(&mut self.interface).push(entry.value.to_owned());
    }

    /// The values of a list: comma and white space part them. None at all is said to be ignored.
    fn items<'a>(&mut self, entry: &Entry<'a>) -> Vec<&'a str> {
        let items: Vec<_> =
            entry.value.split(|c: char| c == ',' || c.is_whitespace()).filter(|item| !item.is_empty()).collect();
        if items.is_empty() {
            self.say(entry.number, None, entry.field.name(), Verdict::Ignored { why: "no value".to_owned() });
        }
        items
    }

    fn single<T>(&mut self, entry: &Entry<'_>, parsed: Result<T, Fault>, set: impl FnOnce(&mut Interface, T)) {
        self.once(entry);
        if let Some(value) = self.take(entry, parsed) {
            set(&mut self.interface, value);
        }
    }

    /// Doubts a key that stands twice in a section: the later one counts.
    fn once(&mut self, entry: &Entry<'_>) {
        if let Some(first) = self.seen.insert(entry.field, entry.number) {
            self.doubt(entry, format!("stands in line {first} already; this one counts"), Some("keep one".to_owned()));
        }
    }

    fn take<T>(&mut self, entry: &Entry<'_>, parsed: Result<T, Fault>) -> Option<T> {
        self.take_item(entry, entry.value, parsed)
    }

    fn take_item<T>(&mut self, entry: &Entry<'_>, item: &str, parsed: Result<T, Fault>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(Fault { why, write_instead }) => {
                let within = entry.value.find(item).map_or(0, |at| entry.value[..at].chars().count());
                let found = shown(entry.field, item);
                let verdict = Verdict::Wrong { found, why, write_instead };
                self.say(entry.number, Some(entry.column + within), entry.field.name(), verdict);
                None
            }
        }
    }

    fn doubt(&mut self, entry: &Entry<'_>, why: String, write_instead: Option<String>) {
        self.say(entry.number, Some(entry.column), entry.field.name(), Verdict::Doubtful { why, write_instead });
    }

    fn say(&mut self, line: usize, column: Option<usize>, key: &str, verdict: Verdict) {
        self.findings.push(Finding { line, column, key: key.to_owned(), verdict });
    }

    fn finish(mut self) -> Parsed {
        let place = conflicts::Place { interface_line: self.interface_line, private_key_line: self.private_key_line };
        conflicts::find(&self.interface, &place, &self.peers, &mut self.findings);
        web::find(self.web.as_ref(), &self.peers, &mut self.findings);
        let web_site = self.web.and_then(WebDraft::finish);
        let peers = self.peers.into_iter().filter_map(Draft::finish).collect();
        // Of a line that is wrong or doubtful nobody wants to hear that it was accepted.
        let troubled: std::collections::HashSet<usize> =
            self.findings.iter().filter(|f| f.is_trouble()).map(|f| f.line).collect();
        self.findings.retain(|f| f.verdict != Verdict::Accepted || !troubled.contains(&f.line));
        self.findings.sort_by_key(|f| f.line);
        Parsed { profile: Profile { interface: self.interface, peers, web_site }, findings: self.findings }
    }
}

impl Draft {
    fn new(line: usize) -> Self {
        Self {
            line,
            public_key: None,
            has_key: false,
            preshared_key: None,
            allowed_ips: Vec::new(),
            endpoint: None,
            has_endpoint: false,
            fallback: Vec::new(),
            persistent_keepalive: None,
            https: HttpsDraft::default(),
        }
    }

    /// Whether it was never said who this is.
    pub(super) const fn is_nameless(&self) -> bool {
        !self.has_key
    }

    fn finish(self) -> Option<Peer> {
        let mut known = std::collections::HashSet::new();
        let allowed_ips = self.allowed_ips.into_iter().map(|(net, _)| net).filter(|net| known.insert(*net)).collect();
        let https_key = self.https.key.map(|(key, _)| key);
        let (transport, https) = self.https.finish(self.endpoint.is_some());
        Some(Peer {
            public_key: self.public_key?.0,
            preshared_key: self.preshared_key,
            allowed_ips,
            endpoint: self.endpoint,
            fallback: self.fallback,
            persistent_keepalive: self.persistent_keepalive,
            transport,
            https,
            https_key,
        })
    }
}

/// The text without any white space.
fn squeeze(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

/// What may be repeated of a value: secrets only by their length.
fn shown(field: Field, value: &str) -> String {
    if field.is_secret() { format!("({} characters)", value.chars().count()) } else { clip(value) }
}

/// A text short enough for a message, on one line.
fn clip(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_SHOWN).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// The character where the value begins, from 1.
fn value_column(line: &str) -> usize {
    let after = line.find('=').map_or(0, |at| at + 1);
    let blank = line[after..].len() - line[after..].trim_start().len();
    line[..after + blank].chars().count() + 1
}

fn known_keys(section: Section) -> String {
    let names: Vec<_> = Field::ALL.iter().filter(|k| k.section() == section).map(|k| k.name()).collect();
    format!("one of {}", names.join(", "))
}

/// How much of a wrong text is repeated.
const MAX_SHOWN: usize = 80;
