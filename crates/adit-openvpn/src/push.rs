//! What a server tells its clients about their settings, as text and as values.
//!
//! Not here: the words and values of options (`options`, the one reader of them); routes, DNS and everything else that concerns
//! the machine: those stay text, each an option as a configuration file would have it, for whoever knows the machine.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::Cipher;
use crate::data::Framing;
use crate::options::{self, Directive, MAX_PUSHED, MAX_PUSHED_BYTES};

/// How options begin that take a password's place.
const TOKEN: &str = "auth-token";

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
    /// Flags that are not all known: packets would look different from what we take them for.
    pub unknown_flags: Option<String>,
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
    /// There may be a token in one. Never more than `MAX_PUSHED`.
    options: Vec<Zeroizing<String>>,
    /// Never more than `MAX_PUSHED_BYTES`.
    bytes: usize,
    /// There was more than either: the rest alone would be other settings than were meant.
    pub(crate) too_long: bool,
}

impl Pieces {
    /// One piece, the text after `PUSH_REPLY`. All of it, when this was the last.
    pub(crate) fn push(&mut self, piece: &str) -> Option<Vec<Zeroizing<String>>> {
        self.bytes += piece.len();
        let count = self.options.len() + split(piece).count();
        if self.too_long || self.bytes > MAX_PUSHED_BYTES || count > MAX_PUSHED {
            *self = Self { too_long: true, ..Self::default() };
            return None;
        }
        let mut more = false;
        for option in split(piece) {
            match option.strip_prefix("push-continuation ") {
                Some(number) => more = number.trim() == "2",
                None => self.options.push(Zeroizing::new(option.to_owned())),
            }
        }
        if more { None } else { Some(std::mem::take(self).options) }
    }
}

/// The options of a piece.
fn split(piece: &str) -> impl Iterator<Item = &str> {
    piece.split(',').map(str::trim).filter(|option| !option.is_empty())
}

impl Pushed {
    /// Reads the options of a whole reply. What cannot be read is refused, not guessed.
    pub(crate) fn parse(options: &[Zeroizing<String>]) -> Self {
        let mut pushed = Self::default();
        options.iter().for_each(|option| pushed.add(option));
        pushed
    }

    /// Reads what a reply may change while a connection lives: the token, and whose it is.
    pub(crate) fn token_of(options: &[Zeroizing<String>]) -> Self {
        let mut pushed = Self::default();
        options.iter().filter(|option| option.starts_with(TOKEN)).for_each(|option| pushed.add(option));
        pushed
    }

    /// Takes one option in; the last of those that stand once counts.
    pub fn add(&mut self, option: &str) {
        if self.take(option).is_none() {
            // A token that cannot be read may be secret all the same.
            self.refused.push(if option.contains(TOKEN) { TOKEN } else { option }.to_owned());
        }
    }

    fn take(&mut self, option: &str) -> Option<()> {
        // A token leaves no copies behind: it does not pass the reader of words.
        if let Some(token) = option.strip_prefix("auth-token ").filter(|token| !token.contains(char::is_whitespace)) {
            self.auth_token = Some(Token(token.to_owned()));
            return Some(());
        }
        let (read, values) = options::alone(option)?;
        match (read.name(), values) {
            ("cipher", None) => self.unknown_cipher = Some(read.word(1)?.to_owned()),
            ("protocol-flags", None) => self.unknown_flags = Some(read.rest()),
            (_, None) | ("push-continuation", _) => return None,
            (name, Some(values)) => self.set(name, values, &read),
        }
        Some(())
    }

    /// Takes what one option sets.
    fn set(&mut self, name: &str, values: options::Pushed, read: &Directive) {
        let options::Pushed { inside, life, only, .. } = values;
        let silence = life.silence.map_or(Duration::ZERO, |(time, _)| time);
        match name {
            "ifconfig" => self.address4 = inside.ifconfig.map(|ifconfig| (ifconfig.local, ifconfig.other)),
            "ifconfig-ipv6" => {
                self.address6 = inside.ifconfig6.map(|ifconfig| (ifconfig.local.addr(), ifconfig.local.prefix_len()));
            }
            "cipher" => self.cipher = values.cipher,
            "peer-id" => self.peer_id = only.peer_id,
            "ping" => self.ping = Some(life.ping.unwrap_or_default()),
            "ping-restart" | "ping-exit" => self.ping_restart = Some(silence),
            "keepalive" => (self.ping, self.ping_restart) = (life.ping, Some(silence)),
            "tun-mtu" => self.mtu = values.tun_mtu,
            "key-derivation" | "protocol-flags" => {
                self.exported_keys |= only.key_export;
                self.dynamic_envelope |= only.dynamic_wrap;
                self.epoch_keys |= only.epochs;
                self.control_exit |= only.exit_by_control;
            }
            "auth-token" => self.auth_token = only.token.map(|token| Token(token.expose().to_owned())),
            "auth-token-user" => self.auth_token_user = only.token_user,
            "comp-lzo" | "compress" => self.framing = values.framing.map(Framing::from),
            // As it would be written, so that its name comes first, whatever the server wrote.
            _ => self.options.push(read.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(text: &str) -> Pushed {
        Pushed::parse(&Pieces::default().push(text).unwrap())
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
        let pushed = pushed(
            "up /bin/sh,tun-mtu 5,ifconfig 10.0.0.1,ping x,ping 86401,peer-id 16777216,cipher BF-CBC,dns 1,\
             dns search-domains a.example",
        );
        assert_eq!(pushed.refused.len(), 7);
        assert_eq!(pushed.unknown_cipher.as_deref(), Some("BF-CBC"));
        assert_eq!(pushed.options, ["dns search-domains a.example"]);
        assert_eq!((pushed.mtu, pushed.ping, pushed.peer_id), (None, None, None));
    }

    /// There is one reader of what is pushed: both ways of asking it see the same words and the same values.
    #[test]
    fn what_the_core_takes_is_what_a_configuration_would() {
        let text = "\"ifconfig\" 10.8.0.2 \"255.255.255.0\",ifconfig-ipv6 fd00::2/64 fd00::1,--ping 7,'ping-restart' 50,tun-mtu 575,\
            tun-mtu 1400,compress lz4-v2,peer-id  9,key-derivation tls-ekm,\"route\" 10.0.0.0   255.0.0.0,up /bin/sh,setenv opt up x";
        let core = pushed(text);
        let read = options::Pushed::read(text.split(','), &options::Pulling::default()).unwrap();
        assert_eq!(core.address4, read.inside.ifconfig.map(|pair| (pair.local, pair.other)));
        assert_eq!(core.address6.map(|(address, _)| address), read.inside.ifconfig6.map(|pair| pair.local.addr()));
        assert_eq!((core.ping, core.ping_restart), (read.life.ping, read.life.silence.map(|(time, _)| time)));
        assert_eq!((core.mtu, core.peer_id), (read.tun_mtu, read.only.peer_id));
        assert_eq!((core.framing, core.exported_keys), (Some(Framing::StubV2), read.only.key_export));
        assert_eq!(core.options, ["route 10.0.0.0 255.0.0.0"], "its name comes first");
        assert_eq!(core.refused, ["tun-mtu 575", "up /bin/sh", "setenv opt up x"]);
        let rest =
            options::Pushed::read(core.options.iter().map(String::as_str), &options::Pulling::default()).unwrap();
        assert_eq!(rest.inside.routes, read.inside.routes);
    }

    #[test]
    fn flags_that_nobody_knows_are_told_apart() {
        let known = pushed("protocol-flags tls-ekm aead-epoch");
        assert!(known.exported_keys && known.epoch_keys && known.unknown_flags.is_none());
        assert_eq!(pushed("protocol-flags tls-ekm frobnicate").unknown_flags.as_deref(), Some("tls-ekm frobnicate"));
    }

    #[test]
    fn pieces_are_put_together_and_have_a_bound() {
        let mut pieces = Pieces::default();
        assert_eq!(pieces.push("a 1,push-continuation 2"), None);
        assert_eq!(pieces.push("b 2,push-continuation 2"), None);
        let whole = pieces.push("c 3,push-continuation 1").unwrap();
        assert!(whole.iter().map(|option| option.as_str()).eq(["a 1", "b 2", "c 3"]));
        let long = format!("{},push-continuation 2", "x".repeat(1000));
        for _ in 0..10_000 {
            assert_eq!(pieces.push(&long), None);
            assert!(pieces.bytes <= MAX_PUSHED_BYTES);
        }
        assert_eq!(pieces.push("the end,push-continuation 1"), None, "the tail of what was too long is not the whole");
        assert!(pieces.too_long);
        let (mut pieces, some) = (Pieces::default(), "a,".repeat(MAX_PUSHED / 2));
        assert_eq!(pieces.push(&format!("{some}push-continuation 2")), None);
        assert_eq!(pieces.push(&format!("{some}push-continuation 1")), None, "so many options, however short");
        assert!(pieces.too_long);
    }

    #[test]
    fn while_a_connection_lives_a_reply_brings_a_token_and_nothing_else() {
        let options =
            Pieces::default().push("ifconfig 10.8.0.9 255.255.255.0,auth-token new,auth-token-user YQ==").unwrap();
        let pushed = Pushed::token_of(&options);
        assert_eq!(pushed.auth_token.as_ref().map(Token::expose), Some("new"));
        assert_eq!((pushed.auth_token_user.as_deref(), pushed.address4), (Some("YQ=="), None));
    }

    #[test]
    fn a_token_never_prints() {
        let pushed = pushed("auth-token SESS_ID_AT_secret");
        assert_eq!(pushed.auth_token.as_ref().map(Token::expose), Some("SESS_ID_AT_secret"));
        assert!(!format!("{pushed:?}").contains("secret"));
        for unreadable in ["auth-token a secret", "\"auth-token\" \"a secret", "--auth-token a secret"] {
            assert!(!format!("{:?}", Pushed::parse(&Pieces::default().push(unreadable).unwrap())).contains("secret"));
        }
    }
}
