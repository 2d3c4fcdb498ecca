//! What a server tells its clients about their settings, as text and as values.
//!
//! Not here: routes, DNS and everything else that concerns the machine: those stay text, each an option as a
//! configuration file would have it, for whoever knows the machine.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::constants::MAX_PUSH;
use crate::data::Framing;
use crate::{Cipher, constants::NO_PEER_ID};

/// Settings from a server, all the pieces of a reply together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pushed {
    /// Our address, and the other end's or the network's mask (`ifconfig`).
    pub address4: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Our address and the length of its prefix (`ifconfig-ipv6`).
    pub address6: Option<(Ipv6Addr, u8)>,
    /// The cipher of the data channel.
    pub cipher: Option<Cipher>,
    /// A cipher that we do not have.
    pub unknown_cipher: Option<String>,
    /// The number to put before our packets.
    pub peer_id: Option<u32>,
    /// The server wants to hear of us this often (`ping`); zero: it need not.
    pub ping: Option<Duration>,
    /// After this silence the connection is dead (`ping-restart`); zero: it never is.
    pub ping_restart: Option<Duration>,
    /// How large inner packets may be (`tun-mtu`), within reason.
    pub mtu: Option<u16>,
    /// Keys come from TLS.
    pub exported_keys: bool,
    /// Later key exchanges have an envelope of their own.
    pub dynamic_envelope: bool,
    /// Data keys go on from epoch to epoch.
    pub epoch_keys: bool,
    /// Farewells go over the control channel.
    pub control_exit: bool,
    /// A token that takes the place of the password (`auth-token`). Secret, and short-lived.
    pub auth_token: Option<Token>,
    /// The user's name to show with it, as base64 (`auth-token-user`).
    pub auth_token_user: Option<String>,
    /// How packets say that they are not compressed, where the server decides it.
    pub framing: Option<Framing>,
    /// Every other option that a server may push, in order.
    pub options: Vec<String>,
    /// Those that it may not.
    pub refused: Vec<String>,
}

/// A token in place of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The text, for sending it to the server that gave it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// Puts the pieces of a reply together.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    options: Vec<String>,
    /// Never more than `MAX_PUSH`.
    bytes: usize,
}

impl Pieces {
    /// One piece, the text after `PUSH_REPLY`. All of it, when this was the last.
    pub(crate) fn push(&mut self, piece: &str) -> Option<Vec<String>> {
        self.bytes += piece.len();
        if self.bytes > MAX_PUSH {
            *self = Self::default();
            return None;
        }
        let mut more = false;
        for option in split(piece) {
            match option.strip_prefix("push-continuation ") {
                Some(number) => more = number.trim() == "2",
                None => self.options.push(option.to_owned()),
            }
        }
        if more { None } else { Some(std::mem::take(self).options) }
    }
}

/// The options of a piece.
fn split(piece: &str) -> impl Iterator<Item = &str> {
    piece.split(',').map(str::trim).filter(|option| !option.is_empty())
}

/// Options that a server may push and that we pass on as they are.
const PASSED_ON: [&str; 29] = [
    "topology",
    "route",
    "route-ipv6",
    "route-gateway",
    "route-metric",
    "route-delay",
    "redirect-gateway",
    "redirect-private",
    "dhcp-option",
    "dns",
    "block-ipv6",
    "block-outside-dns",
    "sndbuf",
    "rcvbuf",
    "socket-flags",
    "setenv",
    "setenv-safe",
    "shaper",
    "inactive",
    "session-timeout",
    "persist-tun",
    "persist-key",
    "verb",
    "mute",
    "explicit-exit-notify",
    "echo",
    "parameter",
    "ip-win32",
    "mssfix",
];

/// The longest `ping` and `ping-restart` that we take: a day.
const MAX_PING: u64 = 86_400;

impl Pushed {
    /// Reads the options of a whole reply. What cannot be read is refused, not guessed.
    pub(crate) fn parse(options: Vec<String>) -> Self {
        let mut pushed = Self::default();
        for option in options {
            // There may be a token in it.
            let option = Zeroizing::new(option);
            if pushed.take(&option).is_none() {
                pushed.refused.push(option.to_string());
            }
        }
        pushed
    }

    fn take(&mut self, option: &str) -> Option<()> {
        let mut words = option.split_whitespace();
        let name = words.next()?;
        let arguments: Vec<&str> = words.collect();
        match (name, arguments.as_slice()) {
            ("ifconfig", [local, other]) => self.address4 = Some((local.parse().ok()?, other.parse().ok()?)),
            ("ifconfig-ipv6", [local, ..]) => {
                let (address, prefix) = local.split_once('/')?;
                self.address6 = Some((address.parse().ok()?, prefix.parse().ok().filter(|bits| *bits <= 128)?));
            }
            ("cipher", [cipher]) => match Cipher::from_name(cipher) {
                Some(known) => self.cipher = Some(known),
                None => self.unknown_cipher = Some((*cipher).to_owned()),
            },
            ("peer-id", [number]) => self.peer_id = Some(number.parse().ok().filter(|id| *id <= NO_PEER_ID)?),
            ("ping", [seconds]) => self.ping = Some(duration(seconds)?),
            ("ping-restart" | "ping-exit", [seconds]) => self.ping_restart = Some(duration(seconds)?),
            ("keepalive", [ping, restart]) => {
                (self.ping, self.ping_restart) = (Some(duration(ping)?), Some(duration(restart)?));
            }
            // Below 576 IPv4 has no meaning any more; whoever routes IPv6 raises it.
            ("tun-mtu", [mtu]) => self.mtu = Some(mtu.parse().ok().filter(|mtu| *mtu >= 576)?),
            ("key-derivation", ["tls-ekm"]) => self.exported_keys = true,
            ("protocol-flags", flags) => flags.iter().for_each(|flag| self.flag(flag)),
            ("auth-token", [token]) => self.auth_token = Some(Token((*token).to_owned())),
            ("auth-token-user", [name]) => self.auth_token_user = Some((*name).to_owned()),
            ("comp-lzo", ["no"]) => self.framing = Some(Framing::Lzo),
            ("compress", []) => self.framing = Some(Framing::Swap),
            ("compress", ["stub"]) => self.framing = Some(Framing::Swap),
            ("compress", ["stub-v2"]) => self.framing = Some(Framing::StubV2),
            _ if PASSED_ON.contains(&name) => self.options.push(option.to_owned()),
            _ => return None,
        }
        Some(())
    }

    fn flag(&mut self, flag: &str) {
        match flag {
            "tls-ekm" => self.exported_keys = true,
            "dyn-tls-crypt" => self.dynamic_envelope = true,
            "aead-epoch" => self.epoch_keys = true,
            "cc-exit" => self.control_exit = true,
            _ => self.refused.push(format!("protocol-flags {flag}")),
        }
    }
}

fn duration(seconds: &str) -> Option<Duration> {
    let seconds: u64 = seconds.parse().ok()?;
    (seconds <= MAX_PING).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(text: &str) -> Pushed {
        Pushed::parse(Pieces::default().push(text).unwrap())
    }

    #[test]
    fn the_reply_of_a_real_server_is_read() {
        let pushed = pushed(
            "route-gateway 10.29.41.1,topology subnet,ping 10,ping-restart 60,ifconfig 10.29.41.2 255.255.255.0,peer-id 0,\
             cipher AES-256-GCM,protocol-flags cc-exit tls-ekm dyn-tls-crypt,tun-mtu 1500",
        );
        let expected = Pushed {
            address4: Some(([10, 29, 41, 2].into(), [255, 255, 255, 0].into())),
            cipher: Some(Cipher::Aes256Gcm),
            peer_id: Some(0),
            ping: Some(Duration::from_secs(10)),
            ping_restart: Some(Duration::from_secs(60)),
            mtu: Some(1500),
            exported_keys: true,
            dynamic_envelope: true,
            control_exit: true,
            options: vec!["route-gateway 10.29.41.1".into(), "topology subnet".into()],
            ..Pushed::default()
        };
        assert_eq!(pushed, expected);
    }

    #[test]
    fn what_no_server_may_push_or_cannot_be_read_is_refused() {
        let pushed =
            pushed("up /bin/sh,tun-mtu 5,ifconfig 10.0.0.1,ping x,ping 86401,peer-id 16777216,cipher BF-CBC,dns 1");
        assert_eq!(pushed.refused.len(), 6);
        assert_eq!(pushed.unknown_cipher.as_deref(), Some("BF-CBC"));
        assert_eq!(pushed.options, ["dns 1"]);
        assert_eq!((pushed.mtu, pushed.ping, pushed.peer_id), (None, None, None));
    }

    #[test]
    fn pieces_are_put_together_and_have_a_bound() {
        let mut pieces = Pieces::default();
        assert_eq!(pieces.push("a 1,push-continuation 2"), None);
        assert_eq!(pieces.push("b 2,push-continuation 2"), None);
        assert_eq!(pieces.push("c 3,push-continuation 1"), Some(vec!["a 1".into(), "b 2".into(), "c 3".into()]));
        let long = format!("{},push-continuation 2", "x".repeat(1000));
        for _ in 0..10_000 {
            assert_eq!(pieces.push(&long), None);
            assert!(pieces.bytes <= MAX_PUSH);
        }
    }

    #[test]
    fn a_token_never_prints() {
        let pushed = pushed("auth-token SESS_ID_AT_secret");
        assert_eq!(pushed.auth_token.as_ref().map(Token::expose), Some("SESS_ID_AT_secret"));
        assert!(!format!("{pushed:?}").contains("secret"));
    }
}
