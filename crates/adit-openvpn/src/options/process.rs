//! What OpenVPN's process is told: its user, log, management, and options of other systems. Most is the daemon's business
//! here, and is ignored with the reason; what weakens or claims something is refused.
//!
//! Not here: programs that are run (`hooks`).

use super::catalogue::{BOTH, CLIENT, CONNECTION, Entry, PUSHED, SERVER, ignored, read, refused};
use super::draft::{Device, Draft};
use super::finding::{Outcome, Said, ignore, refuse};
use super::lexer::Directive;
use super::value::{choice, number, small, text};

/// Settings of our sockets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SocketOptions {
    /// Bytes that the kernel keeps for sending; `None`: its own choice.
    pub send_buffer: Option<u32>,
    /// Bytes that the kernel keeps of what is received.
    pub receive_buffer: Option<u32>,
    /// The mark of our packets.
    pub mark: Option<u32>,
    /// The network device they leave by.
    pub device: Option<String>,
    /// The type of service of packets inside is copied to those outside.
    pub copy_tos: bool,
    /// Small packets of a stream are sent at once (`tcp-nodelay`, `socket-flags TCP_NODELAY`).
    pub no_delay: bool,
}

const DAEMON: &str = "the daemon of adit sees to this";
const WINDOWS: &str = "this is for Windows alone";
const LOG: &str = "what there is to say is in the log of the daemon, and in `adit status`";
const MANAGEMENT: &str = "programs ask adit by `adit status --json` and the socket of its daemon";
const COMMAND: (&str, &str) = ("this is a command, not a setting", "remove the line");
const ETHERNET: (&str, &str) =
    ("adit carries IP packets, not Ethernet frames (tap)", "write dev tun, here and at the other end");

/// The options of this area.
pub(super) const TABLE: &[Entry] = &[
    ignored("allow-nonadmin", BOTH, 0, 1, WINDOWS),
    read("bind-dev", BOTH, 1, 1, |draft, d| {
        draft.socket.device = Some(text(d, 1)?.to_owned());
        Ok(Said::Accepted)
    }),
    read("cd", BOTH, 1, 1, |draft, d| {
        draft.base = Some(text(d, 1)?.to_owned());
        Ok(Said::Accepted)
    }),
    ignored("chroot", BOTH, 1, 1, DAEMON),
    read("compat-mode", BOTH, 1, 1, |_, _| {
        ignore(
            "what old peers need is found out from them; write `data-ciphers-fallback` for one that negotiates nothing",
        )
    }),
    refused("config", BOTH, "a file inside a file is not read", "put its lines here"),
    ignored("daemon", BOTH, 0, 1, DAEMON),
    read("dev", BOTH, 1, 1, dev),
    ignored("dev-node", BOTH, 1, 1, "the device is found by its name"),
    read("dev-type", BOTH, 1, 1, |_, d| {
        if choice(d, 1, &[("tun", false), ("tap", true)])? {
            refuse(1, ETHERNET.0, "write dev-type tun")
        } else {
            Ok(Said::Accepted)
        }
    }),
    ignored("dhcp-release", BOTH | PUSHED, 0, 0, WINDOWS),
    ignored("dhcp-renew", BOTH | PUSHED, 0, 0, WINDOWS),
    ignored("disable-dco", BOTH, 0, 0, "packets are never handed to the kernel's own OpenVPN"),
    ignored("echo", BOTH | PUSHED, 0, 15, "nobody is there to read it").many(),
    ignored("errors-to-stderr", BOTH, 0, 0, LOG),
    ignored("fast-io", BOTH, 0, 0, "packets travel in batches in any case"),
    refused("genkey", BOTH, COMMAND.0, COMMAND.1),
    ignored("gremlin", BOTH, 1, 1, "no faults are made on purpose"),
    ignored("group", BOTH, 1, 1, DAEMON),
    refused("help", BOTH, COMMAND.0, COMMAND.1),
    ignored("ignore-unknown-option", BOTH, 1, 15, "").handled().many(),
    ignored("ip-win32", BOTH | PUSHED, 1, 4, WINDOWS),
    refused("lladdr", BOTH, ETHERNET.0, ETHERNET.1),
    ignored("log", BOTH, 1, 1, LOG),
    ignored("log-append", BOTH, 1, 1, LOG),
    ignored("machine-readable-output", BOTH, 0, 0, LOG),
    ignored("management", BOTH, 2, 3, MANAGEMENT),
    ignored("management-client", BOTH, 0, 0, MANAGEMENT),
    refused(
        "management-client-auth",
        SERVER,
        "no program decides over the management socket who may log in",
        "write `auth-user-pass-verify`",
    ),
    ignored("management-client-group", BOTH, 1, 1, MANAGEMENT),
    ignored("management-client-user", BOTH, 1, 1, MANAGEMENT),
    refused(
        "management-external-cert",
        BOTH,
        "the certificate would come over the management socket",
        "write `cert FILE`",
    ),
    refused("management-external-key", BOTH, "the key would sign over the management socket", "write `key FILE`"),
    ignored("management-forget-disconnect", BOTH, 0, 0, MANAGEMENT),
    ignored("management-hold", BOTH, 0, 0, MANAGEMENT),
    ignored("management-log-cache", BOTH, 1, 1, MANAGEMENT),
    ignored("management-query-passwords", BOTH, 0, 0, "passwords are asked for where `adit up` runs"),
    ignored("management-query-proxy", BOTH, 0, 0, MANAGEMENT),
    ignored("management-query-remote", BOTH, 0, 0, MANAGEMENT),
    ignored("management-signal", BOTH, 0, 0, MANAGEMENT),
    ignored("management-up-down", BOTH, 0, 0, MANAGEMENT),
    read("mark", BOTH, 1, 1, |draft, d| {
        draft.socket.mark = Some(small(d, 1, 0..=u32::MAX)?);
        Ok(Said::Accepted)
    }),
    ignored("memstats", BOTH, 1, 1, LOG),
    refused("mktun", BOTH, COMMAND.0, COMMAND.1),
    ignored("mlock", BOTH, 0, 0, "keys are wiped as soon as they are not needed; keep swap encrypted"),
    read("mode", BOTH, 1, 1, |_, d| choice(d, 1, &[("p2p", ()), ("server", ())]).map(|()| Said::Accepted)),
    read("multihome", BOTH, 0, 0, |_, _| Ok(Said::Accepted)),
    ignored("mute", BOTH | PUSHED, 1, 1, LOG),
    ignored("nice", BOTH, 1, 1, DAEMON),
    ignored("parameter", PUSHED, 0, 15, "nobody is there to read it").many(),
    read("passtos", BOTH, 0, 0, |draft, _| {
        draft.socket.copy_tos = true;
        Ok(Said::Accepted)
    }),
    ignored("pause-exit", BOTH, 0, 0, WINDOWS),
    refused("proto-force", BOTH, "it would leave out some of the remotes", "remove those remotes, and this line"),
    ignored("pull", CLIENT, 0, 0, "").handled(),
    read("push-peer-info", CLIENT, 0, 0, |draft, _| {
        draft.push_peer_info = true;
        Ok(Said::Accepted)
    }),
    read("rcvbuf", BOTH | PUSHED, 1, 1, |draft, d| {
        draft.socket.receive_buffer = Some(buffer(d)?).filter(|bytes| *bytes > 0);
        Ok(Said::Accepted)
    }),
    ignored("register-dns", BOTH | PUSHED, 0, 0, WINDOWS),
    ignored("remap-usr1", BOTH, 1, 1, "`adit` takes no SIGUSR1"),
    refused("rmtun", BOTH, COMMAND.0, COMMAND.1),
    ignored("route-method", BOTH, 1, 1, WINDOWS),
    ignored("service", BOTH, 1, 2, WINDOWS),
    ignored("setcon", BOTH, 1, 1, DAEMON),
    refused("shaper", BOTH, "the rate of a client's own packets has no bound here", "remove the line"),
    ignored("show-net-up", BOTH, 0, 0, WINDOWS),
    refused("show-ciphers", BOTH, COMMAND.0, COMMAND.1),
    refused("show-digests", BOTH, COMMAND.0, COMMAND.1),
    refused("show-engines", BOTH, COMMAND.0, COMMAND.1),
    refused("show-gateway", BOTH, COMMAND.0, COMMAND.1),
    refused("show-groups", BOTH, COMMAND.0, COMMAND.1),
    refused("show-pkcs11-ids", BOTH, COMMAND.0, COMMAND.1),
    refused("show-tls", BOTH, COMMAND.0, COMMAND.1),
    read("sndbuf", BOTH | PUSHED, 1, 1, |draft, d| {
        draft.socket.send_buffer = Some(buffer(d)?).filter(|bytes| *bytes > 0);
        Ok(Said::Accepted)
    }),
    read("socket-flags", BOTH | PUSHED, 1, 15, |draft, d| {
        draft.socket.no_delay |= d.words.iter().any(|word| word.text == "TCP_NODELAY");
        Ok(Said::Accepted)
    }),
    ignored("status", BOTH, 1, 2, "`adit status --json` says it at any time"),
    ignored("status-version", BOTH, 1, 1, "`adit status --json` says it at any time"),
    ignored("suppress-timestamps", BOTH, 0, 0, LOG),
    ignored("syslog", BOTH, 0, 1, LOG),
    ignored("tap-sleep", BOTH | PUSHED, 1, 1, WINDOWS),
    ignored("tcp-queue-limit", BOTH, 1, 1, "queues have bounds of their own"),
    ignored("tun-ipv6", BOTH | PUSHED, 0, 0, "IPv6 passes in any case"),
    ignored("txqueuelen", BOTH, 1, 1, "the device's queue is as long as the batches of packets need"),
    ignored("up-delay", BOTH, 0, 1, "the interface is made when the connection is there"),
    ignored("user", BOTH, 1, 1, DAEMON),
    ignored("verb", BOTH | PUSHED, 1, 1, LOG),
    refused("version", BOTH, COMMAND.0, COMMAND.1),
    refused("vlan-accept", SERVER | CONNECTION, ETHERNET.0, ETHERNET.1),
    refused("vlan-pvid", SERVER, ETHERNET.0, ETHERNET.1),
    refused("vlan-tagging", SERVER, ETHERNET.0, ETHERNET.1),
    ignored("win-sys", BOTH, 1, 1, WINDOWS),
    ignored("windows-driver", BOTH, 1, 1, WINDOWS),
    ignored("writepid", BOTH, 1, 1, DAEMON),
];

fn buffer(d: &Directive) -> Result<u32, super::finding::Refusal> {
    let bytes = number(d, 1, 0..=u64::from(u32::MAX))?;
    Ok(u32::try_from(bytes).unwrap_or(u32::MAX))
}

/// The longest name of an interface (IFNAMSIZ - 1).
const MAX_DEVICE: usize = 15;

fn dev(draft: &mut Draft, d: &Directive) -> Outcome {
    let name = text(d, 1)?;
    if name.starts_with("tap") {
        return refuse(1, ETHERNET.0, ETHERNET.1);
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '=' | '+' | '.' | '-');
    draft.device = match name {
        "tun" | "ovpn-dco" => Device::Any,
        "null" => Device::None,
        _ if name.len() <= MAX_DEVICE && name.chars().all(fits) && !matches!(name, "." | "..") => {
            Device::Named(name.to_owned())
        }
        _ => {
            return refuse(
                1,
                "this cannot be the name of an interface",
                "write dev tun, or a name of up to 15 letters and digits",
            );
        }
    };
    Ok(Said::Accepted)
}
