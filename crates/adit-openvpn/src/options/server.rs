//! What only a server is told, and what it is told of single clients (files of `client-config-dir`).
//!
//! Not here: how it is reached (`connection`), whose packets may pass (the core).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};

use super::catalogue::{CCD, Entry, SERVER, ignored, read, refused};
use super::draft::Draft;
use super::finding::{Outcome, Refusal, Said, doubt, refuse};
use super::inside::{Ifconfig, Ifconfig6};
use super::lexer::Directive;
use super::material::Material;
use super::pushed;
use super::value::{self, add, choice, network4, network6, prefix6, seconds, small, text, v4};

/// Clients that a server admits at once, if nothing else is said.
pub const DEFAULT_CLIENTS: u32 = 1024;

/// Whether clients show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientCert {
    /// Each must.
    #[default]
    Required,
    /// Who has one shows it.
    Optional,
    /// None is asked for.
    None,
}

/// Tokens in place of passwords, after the first login.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenOptions {
    /// How long a token is good in all; zero: for ever.
    pub lifetime: Duration,
    /// How long it is good without being renewed; `None`: as `reneg-sec` says.
    pub renewal: Option<Duration>,
    /// The program that checks passwords sees tokens too (`external-auth`).
    pub external: bool,
}

/// What only a server is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOptions {
    /// The network of the clients, and the server's own address in it.
    pub network: Option<Ipv4Net>,
    /// The same for IPv6.
    pub network6: Option<Ipv6Net>,
    /// Addresses that clients are given; `None`: all of the network.
    pub pool: Option<RangeInclusive<Ipv4Addr>>,
    /// The same for IPv6.
    pub pool6: Option<Ipv6Net>,
    /// No addresses are given (`nopool`).
    pub no_pool: bool,
    /// The file that remembers who had which address.
    pub pool_file: Option<String>,
    /// That file is read and never written.
    pub pool_file_fixed: bool,
    /// What is pushed to every client, as text, in order.
    pub push: Vec<String>,
    /// Clients reach each other.
    pub client_to_client: bool,
    /// Several clients may have the same name.
    pub duplicate_names: bool,
    /// The directory with a file for each client.
    pub client_dir: Option<String>,
    /// Who has no file there does not come in.
    pub client_dir_exclusive: bool,
    /// Clients at once.
    pub max_clients: u32,
    /// Networks behind one client.
    pub max_routes: u32,
    /// New connections: so many in so much time.
    pub connect_rate: Option<(u32, Duration)>,
    /// Answers to first packets: so many in so much time.
    pub initial_rate: (u32, Duration),
    /// Whether clients show a certificate.
    pub client_cert: ClientCert,
    /// The parts of a certificate that make the client's name. Empty: the common name.
    pub username_fields: Vec<String>,
    /// The user's name takes the place of the certificate's.
    pub username_as_name: bool,
    /// Clients may come without user and password, and the program that checks them decides.
    pub login_optional: bool,
    /// Tokens in place of passwords.
    pub tokens: Option<TokenOptions>,
    /// The key that tokens are made with; `None`: a new one at each start.
    pub token_secret: Option<Material>,
    /// Clients must answer to the cookie before the server keeps anything of them.
    pub force_cookie: bool,
    /// How old a client's key of tls-crypt-v2 may be.
    pub key_max_age: Option<Duration>,
    /// Addresses that were learnt are forgotten: after this time, looked at so often.
    pub stale_routes: Option<(Duration, Duration)>,
    /// Clients whose options differ are turned away.
    pub compare_options: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            network: None,
            network6: None,
            pool: None,
            pool6: None,
            no_pool: false,
            pool_file: None,
            pool_file_fixed: false,
            push: Vec::new(),
            client_to_client: false,
            duplicate_names: false,
            client_dir: None,
            client_dir_exclusive: false,
            max_clients: DEFAULT_CLIENTS,
            max_routes: 256,
            connect_rate: None,
            initial_rate: (100, Duration::from_secs(10)),
            client_cert: ClientCert::Required,
            username_fields: Vec::new(),
            username_as_name: false,
            login_optional: false,
            tokens: None,
            token_secret: None,
            force_cookie: true,
            key_max_age: None,
            stale_routes: None,
            compare_options: false,
        }
    }
}

/// What a server is told of one client: a file of `client-config-dir`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientEntry {
    /// It does not come in.
    pub disabled: bool,
    /// The addresses it is given.
    pub ifconfig: Option<Ifconfig>,
    /// The IPv6 addresses it is given.
    pub ifconfig6: Option<Ifconfig6>,
    /// Networks behind it.
    pub networks: Vec<Ipv4Net>,
    /// IPv6 networks behind it.
    pub networks6: Vec<Ipv6Net>,
    /// It is pushed nothing of what everybody is.
    pub push_reset: bool,
    /// Nothing that begins like this is pushed.
    pub push_remove: Vec<String>,
    /// What it is pushed beside, as text, in order.
    pub push: Vec<String>,
    /// What it is called from now on (`override-username`).
    pub username: Option<String>,
}

const EITHER: u8 = SERVER | CCD;

/// The options of this area.
pub(super) const TABLE: &[Entry] = &[
    read("auth-gen-token", SERVER, 0, 3, auth_gen_token),
    read("auth-gen-token-secret", SERVER, 1, 1, |draft, d| {
        draft.server.token_secret = value::material(d)?.or_else(|| draft.server.token_secret.take());
        draft.announce(d)
    }),
    read("auth-user-pass-optional", SERVER, 0, 0, |draft, _| {
        draft.server.login_optional = true;
        Ok(Said::Accepted)
    }),
    ignored("bcast-buffers", SERVER, 1, 1, "queues have bounds of their own"),
    read("ccd-exclusive", SERVER, 0, 0, |draft, _| {
        draft.server.client_dir_exclusive = true;
        Ok(Said::Accepted)
    }),
    refused("client-cert-not-required", SERVER, "OpenVPN has removed this option", "write verify-client-cert none"),
    read("client-config-dir", SERVER, 1, 1, |draft, d| {
        draft.server.client_dir = Some(text(d, 1)?.to_owned());
        Ok(Said::Accepted)
    }),
    read("client-to-client", SERVER, 0, 0, |draft, _| {
        draft.server.client_to_client = true;
        Ok(Said::Accepted)
    }),
    read("connect-freq", SERVER, 2, 2, |draft, d| {
        draft.server.connect_rate = Some(rate(d)?);
        Ok(Said::Accepted)
    }),
    read("connect-freq-initial", SERVER, 2, 2, |draft, d| {
        draft.server.initial_rate = rate(d)?;
        Ok(Said::Accepted)
    }),
    read("disable", CCD, 0, 0, |draft, _| {
        draft.entry.disabled = true;
        Ok(Said::Accepted)
    }),
    read("duplicate-cn", SERVER, 0, 0, |draft, _| {
        draft.server.duplicate_names = true;
        Ok(Said::Accepted)
    }),
    ignored("hash-size", SERVER, 2, 2, "tables grow as they need, up to their bounds"),
    read("ifconfig-ipv6-pool", SERVER, 1, 1, |draft, d| {
        draft.server.pool6 = Some(prefix6(d, 1)?);
        Ok(Said::Accepted)
    }),
    read("ifconfig-ipv6-push", CCD, 1, 2, |draft, d| {
        let local = prefix6(d, 1)?;
        let other = if d.arguments() > 1 { text(d, 2)?.parse().ok() } else { Some(Ipv6Addr::UNSPECIFIED) };
        let Some(other) = other else { return refuse(2, "this is not an IPv6 address", "write it as in fd00::1") };
        draft.entry.ifconfig6 = Some(Ifconfig6 { local, other });
        Ok(Said::Accepted)
    }),
    read("ifconfig-pool", SERVER, 2, 3, |draft, d| {
        let (first, last) = (v4(d, 1)?, v4(d, 2)?);
        if first > last {
            return refuse(2, "the pool ends before it begins", format!("write ifconfig-pool {last} {first}"));
        }
        draft.server.pool = Some(first..=last);
        Ok(Said::Accepted)
    }),
    read("ifconfig-pool-persist", SERVER, 1, 2, |draft, d| {
        draft.server.pool_file = Some(text(d, 1)?.to_owned());
        draft.server.pool_file_fixed = d.arguments() > 1 && seconds(d, 2)?.is_zero();
        Ok(Said::Accepted)
    }),
    read("ifconfig-push", CCD, 2, 3, |draft, d| {
        draft.entry.ifconfig = Some(Ifconfig { local: v4(d, 1)?, other: v4(d, 2)? });
        Ok(Said::Accepted)
    }),
    read("iroute", CCD, 1, 2, |draft, d| {
        add(&mut draft.entry.networks, network4(d, 1)?)?;
        Ok(Said::Accepted)
    })
    .many(),
    read("iroute-ipv6", CCD, 1, 1, |draft, d| {
        add(&mut draft.entry.networks6, network6(d, 1)?)?;
        Ok(Said::Accepted)
    })
    .many(),
    read("max-clients", SERVER, 1, 1, |draft, d| {
        draft.server.max_clients = small(d, 1, 1..=1_000_000)?;
        Ok(Said::Accepted)
    }),
    read("max-routes-per-client", SERVER, 1, 1, |draft, d| {
        draft.server.max_routes = small(d, 1, 1..=4096)?;
        Ok(Said::Accepted)
    }),
    refused(
        "no-name-remapping",
        SERVER,
        "OpenVPN has removed this option",
        "remove the line; names are compared as they are",
    ),
    read("opt-verify", SERVER, 0, 0, |draft, _| {
        draft.server.compare_options = true;
        doubt(
            "OpenVPN itself wants to remove it: what clients say of their options is not authentic",
            "remove the line",
        )
    }),
    read("override-username", CCD, 1, 1, |draft, d| {
        draft.entry.username = Some(text(d, 1)?.to_owned());
        Ok(Said::Accepted)
    }),
    refused(
        "port-share",
        SERVER,
        "no other server is put behind the port of OpenVPN",
        "use adit's HTTPS transport, which is a web site and a tunnel on one port",
    ),
    read("push", EITHER, 1, 1, push).many(),
    read("push-remove", CCD, 1, 1, |draft, d| {
        add(&mut draft.entry.push_remove, text(d, 1)?.to_owned())?;
        Ok(Said::Accepted)
    })
    .many(),
    read("push-reset", CCD, 0, 0, |draft, _| {
        draft.entry.push_reset = true;
        Ok(Said::Accepted)
    }),
    read("server", SERVER, 2, 3, server),
    refused(
        "server-bridge",
        SERVER,
        "adit carries IP packets, not Ethernet frames (tap)",
        "write server 10.8.0.0 255.255.255.0, and route between the networks",
    ),
    read("server-ipv6", SERVER, 1, 1, |draft, d| {
        let network = network6(d, 1)?;
        if !(64..=124).contains(&network.prefix_len()) {
            return refuse(1, "the network of clients has a length from /64 to /124", "write server-ipv6 fd00:8::/64");
        }
        draft.server.network6 = Some(network);
        Ok(Said::Accepted)
    }),
    read("stale-routes-check", SERVER, 1, 2, |draft, d| {
        let age = seconds(d, 1)?;
        draft.server.stale_routes = Some((age, if d.arguments() > 1 { seconds(d, 2)? } else { age }));
        Ok(Said::Accepted)
    }),
    read("tcp-nodelay", SERVER, 0, 0, |draft, _| {
        draft.socket.no_delay = true;
        Ok(Said::Accepted)
    }),
    read("tls-crypt-v2-max-age", SERVER, 1, 1, |draft, d| {
        draft.server.key_max_age = Some(Duration::from_secs(86_400) * small(d, 1, 1..=36_500)?);
        Ok(Said::Accepted)
    }),
    ignored("tmp-dir", SERVER, 1, 1, "files for programs are made where only the daemon reads"),
    read("username-as-common-name", SERVER, 0, 0, |draft, _| {
        draft.server.username_as_name = true;
        Ok(Said::Accepted)
    }),
    read("verify-client-cert", SERVER, 0, 1, |draft, d| {
        let kinds = [("require", ClientCert::Required), ("optional", ClientCert::Optional), ("none", ClientCert::None)];
        draft.server.client_cert = if d.arguments() == 0 { ClientCert::Required } else { choice(d, 1, &kinds)? };
        Ok(Said::Accepted)
    }),
];

fn rate(d: &Directive) -> Result<(u32, Duration), Refusal> {
    let time = seconds(d, 2)?;
    if time.is_zero() {
        return refuse(2, "a rate needs a time", "write a number of seconds of at least 1");
    }
    Ok((small(d, 1, 1..=1_000_000)?, time))
}

fn auth_gen_token(draft: &mut Draft, d: &Directive) -> Outcome {
    let mut tokens = TokenOptions::default();
    if d.arguments() > 0 {
        tokens.lifetime = seconds(d, 1)?;
    }
    for n in 2..=d.arguments() {
        match text(d, n)? {
            "external-auth" => tokens.external = true,
            _ if n == 2 => tokens.renewal = Some(seconds(d, 2)?),
            _ => return refuse(n, "there is no such choice", "write `external-auth`, or nothing"),
        }
    }
    draft.server.tokens = Some(tokens);
    Ok(Said::Accepted)
}

fn server(draft: &mut Draft, d: &Directive) -> Outcome {
    let network = network4(d, 1)?;
    if !(8..=30).contains(&network.prefix_len()) {
        return refuse(2, "the network of clients has a length from /8 to /30", "write server 10.8.0.0 255.255.255.0");
    }
    draft.server.no_pool = match d.word(3) {
        None => false,
        Some("nopool") => true,
        Some(_) => return refuse(3, "there is no such choice", "write `nopool`, or nothing"),
    };
    draft.server.network = Some(network);
    Ok(Said::Accepted)
}

/// The longest option that is pushed, in bytes: a whole reply has 1024.
const MAX_OPTION: usize = 900;

fn push(draft: &mut Draft, d: &Directive) -> Outcome {
    let option = text(d, 1)?;
    if option.contains(',') {
        return refuse(1, "a comma separates options on their way to the client", "write a line for each option");
    }
    if option.len() > MAX_OPTION {
        return refuse(1, format!("an option has at most {MAX_OPTION} bytes"), "make several lines of it");
    }
    let list = if draft.is_of_client() { &mut draft.entry.push } else { &mut draft.server.push };
    add(list, option.to_owned())?;
    match pushed::check(option) {
        Ok(()) => Ok(Said::Accepted),
        Err(why) => doubt(format!("clients leave it aside: {why}"), "correct the option, or remove the line"),
    }
}
