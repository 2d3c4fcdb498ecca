//! How the other end is reached: remotes, transports, ports, the wrapping of the control channel. With `proxy`, all that a
//! `<connection>` block may hold.
//!
//! Not here: which remote is tried when (the client), what the keys are (`material`).

use std::net::IpAddr;
use std::time::Duration;

use super::catalogue::{BOTH, CLIENT, CONNECTION, Entry, PUSHED, ignored, read};
use super::draft::Draft;
use super::finding::{Outcome, Refusal, Said, doubt, refuse};
use super::lexer::Directive;
use super::material::Material;
use super::proxy::{Proxy, ProxyDraft};
use super::value::{self, choice, host, port, seconds, short, small, text};
pub use crate::MssFix;

/// OpenVPN's own port.
pub const DEFAULT_PORT: u16 = 1194;
/// As many remotes are kept, those of blocks among them.
pub const MAX_REMOTES: usize = 512;

/// What packets travel in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// A datagram each.
    #[default]
    Udp,
    /// A stream, with a length before each.
    Tcp,
}

/// Which version of IP the outside has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    /// Whichever the name resolves to.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// Which way of a shared key is whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyDirection {
    /// `0`, by custom the server's.
    Normal,
    /// `1`, by custom the client's.
    Inverse,
}

/// How the control channel is wrapped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ControlWrap {
    /// Not at all.
    #[default]
    Plain,
    /// Authenticated with a shared key.
    TlsAuth {
        /// The key.
        key: Material,
        /// Whose half it uses; `None`: both ends use the same.
        direction: Option<KeyDirection>,
    },
    /// Authenticated and encrypted with a shared key.
    TlsCrypt {
        /// The key.
        key: Material,
    },
    /// Authenticated and encrypted with a key of this client's own; for a server, the key that wraps those.
    TlsCryptV2 {
        /// The key.
        key: Material,
    },
}

/// What packets may measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// MTU of the inside; `None`: 1500, or what is pushed.
    pub tun_mtu: Option<u16>,
    /// To which size TCP segments are clamped; `None`: OpenVPN's own.
    pub mssfix: Option<MssFix>,
    /// To which size datagrams are cut; `None`: not at all.
    pub fragment: Option<u16>,
    /// Bound of a control packet with its headers; `None`: 1250.
    pub control: Option<u16>,
}

/// The way to one server, complete.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remote {
    /// The host: a name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What packets travel in.
    pub transport: Transport,
    /// Over which version of IP.
    pub family: Family,
    /// The address of our own to send from.
    pub local: Option<String>,
    /// The port of our own; `None`: any.
    pub local_port: Option<u16>,
    /// Answers may come from another address than asked, if they are authentic.
    pub float: bool,
    /// A proxy on the way.
    pub proxy: Option<Proxy>,
    /// How long a server may take before the next is tried.
    pub connect_timeout: Duration,
    /// The pause before the next attempt, at first and at most.
    pub retry: (Duration, Duration),
    /// How many goodbyes are sent; `None`: none.
    pub exit_notify: Option<u32>,
    /// What packets may measure.
    pub sizes: Sizes,
    /// How the control channel is wrapped.
    pub wrap: ControlWrap,
}

impl Remote {
    /// Bytes before each datagram on its way to a SOCKS proxy (RFC 1928 §7); 0 where there is none.
    pub fn relay_header(&self) -> u16 {
        let is_relayed = self.transport == Transport::Udp && self.proxy.is_some();
        let address = match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => 4,
            Ok(IpAddr::V6(_)) => 16,
            // No host's name is longer than a byte can say.
            Err(_) => 1 + u16::from(u8::try_from(self.host.len()).unwrap_or(u8::MAX)),
        };
        if is_relayed { 4 + address + 2 } else { 0 }
    }
}

/// What is known of connections while a file is read: the lines so far, in force for what comes after.
#[derive(Debug, Clone, Default)]
pub(super) struct ConnectionDraft {
    pub(super) remote: Option<RemoteLine>,
    proto: Option<(Transport, Family)>,
    remote_port: Option<u16>,
    pub(super) local: Option<String>,
    pub(super) local_port: Option<u16>,
    pub(super) bind: Option<bool>,
    float: bool,
    pub(super) proxies: ProxyDraft,
    connect_timeout: Option<Duration>,
    retry: Option<(Duration, Duration)>,
    pub(super) exit_notify: Option<u32>,
    pub(super) sizes: Sizes,
    tls_auth: Option<(Material, Option<KeyDirection>)>,
    pub(super) tls_crypt: Option<Material>,
    pub(super) tls_crypt_v2: Option<Material>,
    key_direction: Option<KeyDirection>,
    /// What `tls-auth [inline] 1` says of the block that comes.
    announced_direction: Option<KeyDirection>,
}

/// A `remote` line.
#[derive(Debug, Clone)]
pub(super) struct RemoteLine {
    host: String,
    port: Option<u16>,
    proto: Option<(Transport, Family)>,
}

impl ConnectionDraft {
    /// What packets travel in.
    pub(super) fn proto(&self) -> (Transport, Family) {
        self.proto.unwrap_or_default()
    }

    /// What was announced was about a block outside.
    pub(super) const fn forget_announced(&mut self) {
        self.announced_direction = None;
    }

    /// The wrapping: tls-auth beside tls-crypt is refused before this is asked.
    pub(super) fn wrap(&self) -> ControlWrap {
        if let Some(key) = &self.tls_crypt_v2 {
            return ControlWrap::TlsCryptV2 { key: key.clone() };
        }
        self.wrap_of_all()
    }

    /// The wrapping of clients that have no key of their own.
    pub(super) fn wrap_of_all(&self) -> ControlWrap {
        if let Some(key) = &self.tls_crypt {
            return ControlWrap::TlsCrypt { key: key.clone() };
        }
        match &self.tls_auth {
            Some((key, direction)) => {
                ControlWrap::TlsAuth { key: key.clone(), direction: direction.or(self.key_direction) }
            }
            None => ControlWrap::Plain,
        }
    }

    /// Which wrappings are asked for.
    pub(super) fn wraps(&self) -> Vec<&'static str> {
        [
            ("tls-auth", self.tls_auth.is_some()),
            ("tls-crypt", self.tls_crypt.is_some()),
            ("tls-crypt-v2", self.tls_crypt_v2.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, asked)| asked.then_some(name))
        .collect()
    }

    /// Whether datagrams would go through an HTTP proxy.
    pub(super) fn sends_datagrams_to_http(&self, line: &RemoteLine) -> bool {
        self.proxies.has_http() && line.proto.unwrap_or_else(|| self.proto()).0 == Transport::Udp
    }

    /// The way that this line leads to.
    pub(super) fn complete(&self, line: &RemoteLine) -> Remote {
        let (transport, family) = line.proto.unwrap_or_else(|| self.proto());
        let bound = self.bind.unwrap_or(self.local.is_some() || self.local_port.is_some());
        Remote {
            host: line.host.clone(),
            port: line.port.or(self.remote_port).unwrap_or(DEFAULT_PORT),
            transport,
            family,
            local: self.local.clone(),
            local_port: self.local_port.filter(|_| bound),
            float: self.float,
            proxy: self.proxies.complete(),
            connect_timeout: self.connect_timeout.unwrap_or(Duration::from_secs(120)),
            retry: self.retry.unwrap_or((Duration::from_secs(1), Duration::from_secs(300))),
            exit_notify: self.exit_notify.filter(|_| transport == Transport::Udp),
            sizes: self.sizes,
            wrap: self.wrap(),
        }
    }
}

const HERE: u8 = BOTH | CONNECTION;

/// The options of this area.
pub(super) const TABLE: &[Entry] = &[
    read("bind", HERE, 0, 1, |draft, d| match d.word(1) {
        None | Some("ipv6only") => {
            draft.connection.bind = Some(true);
            Ok(Said::Accepted)
        }
        Some(_) => refuse(1, "there is no such choice", "write `bind` alone, or `bind ipv6only`"),
    }),
    read("connect-retry", HERE, 1, 2, connect_retry),
    read("connect-timeout", HERE, 1, 1, connect_timeout),
    read("explicit-exit-notify", HERE | PUSHED, 0, 1, exit_notify),
    read("float", HERE, 0, 0, |draft, _| {
        draft.connection.float = true;
        Ok(Said::Accepted)
    }),
    read("fragment", HERE, 1, 2, fragment),
    read("key-direction", HERE, 1, 1, |draft, d| {
        draft.connection.key_direction = Some(direction(d, 1)?);
        Ok(Said::Accepted)
    }),
    ignored(
        "link-mtu",
        HERE,
        1,
        1,
        "the size of the outside follows from `tun-mtu` and the cipher, as in current OpenVPN",
    ),
    read("local", HERE, 1, 3, local),
    read("lport", HERE, 1, 1, |draft, d| {
        draft.connection.local_port = if d.word(1) == Some("0") { None } else { Some(port(d, 1)?) };
        Ok(Said::Accepted)
    }),
    read("max-packet-size", HERE, 1, 1, |draft, d| {
        draft.connection.sizes.control = Some(short(d, 1, 154..=65_535)?);
        Ok(Said::Accepted)
    }),
    read("mssfix", HERE, 0, 2, mssfix),
    ignored(
        "mtu-disc",
        HERE,
        1,
        1,
        "fragmentation on the way is left to the kernel, as the tunnel's other carriers do",
    ),
    ignored("mtu-test", BOTH, 0, 0, "the test is not made; `mssfix` and `tun-mtu` set sizes by hand"),
    read("nobind", CLIENT | CONNECTION, 0, 0, |draft, _| {
        draft.connection.bind = Some(false);
        Ok(Said::Accepted)
    }),
    read("port", HERE, 1, 1, |draft, d| {
        let port = port(d, 1)?;
        (draft.connection.remote_port, draft.connection.local_port) = (Some(port), Some(port));
        Ok(Said::Accepted)
    }),
    read("proto", HERE, 1, 1, |draft, d| {
        draft.connection.proto = Some(proto(d, 1)?);
        Ok(Said::Accepted)
    }),
    read("remote", CLIENT | CONNECTION, 1, 3, remote).many(),
    read("rport", HERE, 1, 1, |draft, d| {
        draft.connection.remote_port = Some(port(d, 1)?);
        Ok(Said::Accepted)
    }),
    read("server-poll-timeout", HERE, 1, 1, connect_timeout),
    read("tls-auth", HERE, 1, 2, tls_auth),
    read("tls-crypt", HERE, 1, 1, |draft, d| {
        draft.connection.tls_crypt = value::material(d)?.or_else(|| draft.connection.tls_crypt.take());
        draft.announce(d)
    }),
    read("tls-crypt-v2", HERE, 1, 2, tls_crypt_v2),
    read("tun-mtu", HERE | PUSHED, 1, 2, |draft, d| {
        // Nobody needs a tunnel below what IPv4 was made for, and a server could stop traffic with one.
        let least = if draft.is_pushed() { 576 } else { 68 };
        draft.connection.sizes.tun_mtu = Some(short(d, 1, least..=65_535)?);
        Ok(Said::Accepted)
    }),
    ignored("tun-mtu-extra", HERE, 1, 1, "it makes room in OpenVPN's own buffers"),
];

fn connect_retry(draft: &mut Draft, d: &Directive) -> Outcome {
    let first = seconds(d, 1)?.max(Duration::from_secs(1));
    let most = if d.arguments() > 1 { seconds(d, 2)? } else { Duration::from_secs(300) };
    draft.connection.retry = Some((first, most.max(first)));
    Ok(Said::Accepted)
}

fn connect_timeout(draft: &mut Draft, d: &Directive) -> Outcome {
    let time = seconds(d, 1)?;
    if time.is_zero() {
        return refuse(1, "no server answers in no time", "write a number of seconds of at least 1");
    }
    draft.connection.connect_timeout = Some(time);
    Ok(Said::Accepted)
}

fn exit_notify(draft: &mut Draft, d: &Directive) -> Outcome {
    let times = if d.arguments() == 0 { 1 } else { small(d, 1, 0..=100)? };
    draft.connection.exit_notify = Some(times).filter(|times| *times > 0);
    Ok(Said::Accepted)
}

fn fragment(draft: &mut Draft, d: &Directive) -> Outcome {
    if d.word(2).is_some_and(|word| word != "mtu") {
        return refuse(2, "there is no such choice", "write `fragment SIZE` or `fragment SIZE mtu`");
    }
    let size = short(d, 1, 0..=65_535)?;
    if (1..68).contains(&size) {
        return refuse(1, "fragments this small carry nothing", "write a size of at least 68, such as 1300");
    }
    draft.connection.sizes.fragment = Some(size).filter(|size| *size > 0);
    Ok(Said::Accepted)
}

fn mssfix(draft: &mut Draft, d: &Directive) -> Outcome {
    let size = match d.word(1) {
        None => return Ok(Said::Accepted),
        Some(_) => short(d, 1, 0..=65_535)?,
    };
    let fix = match (size, d.word(2)) {
        (0, _) => MssFix::Off,
        (_, None) => MssFix::Datagram { size, with_headers: false },
        (_, Some("mtu")) => MssFix::Datagram { size, with_headers: true },
        (_, Some("fixed")) => MssFix::Inside(size),
        (_, Some(_)) => return refuse(2, "there is no such choice", "write `mtu`, `fixed`, or nothing"),
    };
    draft.connection.sizes.mssfix = Some(fix);
    Ok(Said::Accepted)
}

fn local(draft: &mut Draft, d: &Directive) -> Outcome {
    if d.arguments() > 1 {
        return refuse(
            2,
            "one address can be listened on, with the port of `port` and the protocol of `proto`",
            format!("write `local {}`", text(d, 1)?),
        );
    }
    draft.connection.local = if d.word(1) == Some("*") { None } else { Some(host(d, 1)?) };
    Ok(Said::Accepted)
}

fn proto(d: &Directive, n: usize) -> Result<(Transport, Family), Refusal> {
    use {Family as F, Transport as T};
    choice(
        d,
        n,
        &[
            ("udp", (T::Udp, F::Any)),
            ("udp4", (T::Udp, F::V4)),
            ("udp6", (T::Udp, F::V6)),
            ("tcp", (T::Tcp, F::Any)),
            ("tcp4", (T::Tcp, F::V4)),
            ("tcp6", (T::Tcp, F::V6)),
            ("tcp-client", (T::Tcp, F::Any)),
            ("tcp4-client", (T::Tcp, F::V4)),
            ("tcp6-client", (T::Tcp, F::V6)),
            ("tcp-server", (T::Tcp, F::Any)),
            ("tcp4-server", (T::Tcp, F::V4)),
            ("tcp6-server", (T::Tcp, F::V6)),
        ],
    )
}

fn remote(draft: &mut Draft, d: &Directive) -> Outcome {
    let port = if d.arguments() > 1 { Some(port(d, 2)?) } else { None };
    let proto = if d.arguments() > 2 { Some(proto(d, 3)?) } else { None };
    let line = RemoteLine { host: host(d, 1)?, port, proto };
    draft.add_remote(line, d.line)
}

fn direction(d: &Directive, n: usize) -> Result<KeyDirection, Refusal> {
    choice(d, n, &[("0", KeyDirection::Normal), ("1", KeyDirection::Inverse)])
}

fn tls_auth(draft: &mut Draft, d: &Directive) -> Outcome {
    let direction = if d.arguments() > 1 { Some(direction(d, 2)?) } else { None };
    let connection = &mut draft.connection;
    // The direction beside a key is that key's own: `key-direction` holds for those that say nothing.
    if let Some(key) = value::material(d)? {
        connection.tls_auth = Some((key, direction.or(connection.announced_direction.take())));
    } else {
        connection.announced_direction = direction;
        if let Some((Material::Inline(_), known @ None)) = &mut connection.tls_auth {
            *known = direction;
        }
    }
    draft.announce(d)
}

fn tls_crypt_v2(draft: &mut Draft, d: &Directive) -> Outcome {
    let cookie = match d.word(2) {
        None => None,
        Some("force-cookie") => Some(true),
        Some("allow-noncookie") => Some(false),
        Some(_) => return refuse(2, "there is no such choice", "write `force-cookie`, `allow-noncookie`, or nothing"),
    };
    draft.connection.tls_crypt_v2 = value::material(d)?.or_else(|| draft.connection.tls_crypt_v2.take());
    if let Some(force) = cookie {
        draft.server.force_cookie = force;
        if !force {
            let why = "clients that do not know cookies make the server keep state before they have proved anything";
            draft.announce(d)?;
            return doubt(why, "leave `allow-noncookie` away once all clients are OpenVPN 2.6 or adit");
        }
    }
    draft.announce(d)
}
