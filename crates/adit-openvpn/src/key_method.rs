//! Key method 2: what the two ends tell each other when TLS is up, and the keys that come of it.

use std::fmt;

use adit_protocol::Secret;
use zeroize::{Zeroize as _, Zeroizing};

use crate::constants::MAX_KEY_METHOD;
use crate::key_file::StaticKey;
use crate::packet::SessionId;
use crate::prf::tls1_prf;
use crate::{Cipher, Role};

/// The random bytes of one end. Only a client has the pre-master secret.
#[derive(Debug)]
pub(crate) struct KeySource {
    pub(crate) pre_master: Option<Secret<48>>,
    pub(crate) random1: Secret<32>,
    pub(crate) random2: Secret<32>,
}

/// The message, taken apart.
pub(crate) struct KeyMessage {
    pub(crate) source: KeySource,
    /// How the peer is configured, for comparing loosely.
    pub(crate) options: String,
    pub(crate) username: String,
    pub(crate) password: Zeroizing<String>,
    /// Lines of `NAME=value`: what the peer can.
    pub(crate) peer_info: String,
}

/// What [`KeyMessage::parse`] finds in bytes that arrive piece by piece.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// The message, and how many bytes it took.
    Whole(Box<KeyMessage>, usize),
    /// It goes on: with fewer than so many bytes in all there is no use in looking again.
    Partial(usize),
    /// It is none.
    Wrong,
}

impl KeyMessage {
    /// The bytes.
    pub(crate) fn emit(&self) -> Zeroizing<Vec<u8>> {
        let texts = [&self.options, &self.username, &*self.password, &self.peer_info];
        // What outgrows its memory leaves a copy behind.
        let length = 5 + 48 + 64 + texts.iter().map(|text| 3 + text.len()).sum::<usize>();
        let mut out = Zeroizing::new(Vec::with_capacity(length));
        out.extend_from_slice(&[0, 0, 0, 0, 2]);
        if let Some(pre_master) = &self.source.pre_master {
            out.extend_from_slice(pre_master.expose());
        }
        out.extend_from_slice(self.source.random1.expose());
        out.extend_from_slice(self.source.random2.expose());
        for text in texts {
            emit_string(text, &mut out);
        }
        out
    }

    /// Reads what a peer in the role `from` sent.
    pub(crate) fn parse(from: Role, bytes: &[u8]) -> Parsed {
        let mut rest = bytes;
        match Self::take(from, &mut rest) {
            Ok(message) => Parsed::Whole(Box::new(message), bytes.len() - rest.len()),
            Err(End::Short(missing)) if bytes.len() + missing <= MAX_KEY_METHOD => {
                Parsed::Partial(bytes.len() + missing)
            }
            Err(_) => Parsed::Wrong,
        }
    }

    /// The cipher that the peer is configured with, if it says so: peers that negotiate none have no other way.
    pub(crate) fn cipher(&self) -> Option<Cipher> {
        Cipher::from_name(self.options.split(',').find_map(|option| option.strip_prefix("cipher "))?)
    }

    /// What is secret, once keys have been made of it.
    pub(crate) fn wipe(&mut self) {
        self.password.zeroize();
        self.source.pre_master = None;
        self.source.random1.zeroize();
        self.source.random2.zeroize();
    }

    fn take(from: Role, rest: &mut &[u8]) -> Result<Self, End> {
        let [0, 0, 0, 0, method] = *take::<5>(rest)? else { return Err(End::Wrong) };
        if method & 15 != 2 {
            return Err(End::Wrong);
        }
        let pre_master = match from {
            Role::Client => Some(Secret::new(*take(rest)?)),
            Role::Server => None,
        };
        let source = KeySource { pre_master, random1: Secret::new(*take(rest)?), random2: Secret::new(*take(rest)?) };
        let options = take_str(rest)?;
        // Old clients leave the last away, some servers all three.
        let (username, password, peer_info) = match from {
            Role::Client => (take_str(rest)?, take_str(rest)?, if rest.is_empty() { "" } else { take_str(rest)? }),
            Role::Server => {
                let mut next = || take_str(rest).unwrap_or_default();
                (next(), next(), next())
            }
        };
        // Nothing is copied before all of it is there.
        Ok(Self {
            source,
            options: options.to_owned(),
            username: username.to_owned(),
            password: Zeroizing::new(password.to_owned()),
            peer_info: peer_info.to_owned(),
        })
    }
}

enum End {
    /// By so many bytes, or more.
    Short(usize),
    Wrong,
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N], End> {
    let (value, after) = rest.split_first_chunk::<N>().ok_or(End::Short(N.saturating_sub(rest.len())))?;
    *rest = after;
    Ok(value)
}

/// Two bytes of length, the NUL at the end counted. Nothing at all has the length 0.
fn take_str<'a>(rest: &mut &'a [u8]) -> Result<&'a str, End> {
    let length = usize::from(u16::from_be_bytes(*take::<2>(rest)?));
    let (text, after) = rest.split_at_checked(length).ok_or(End::Short(length.saturating_sub(rest.len())))?;
    *rest = after;
    let text = text.split_last().map_or(text, |(last, text)| if *last == 0 { text } else { &[] });
    if text.contains(&0) {
        return Err(End::Wrong);
    }
    std::str::from_utf8(text).map_err(|_| End::Wrong)
}

fn emit_string(text: &str, out: &mut Vec<u8>) {
    // A longer one has been refused by whoever configured it.
    let Some(length) = u16::try_from(text.len() + 1).ok().filter(|_| !text.is_empty()) else {
        out.extend_from_slice(&[0, 0]);
        return;
    };
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

/// The 256 bytes of keys without help of TLS: from the random bytes of both ends and the names of the session.
pub(crate) fn derive(
    client: &KeySource,
    server: &KeySource,
    client_session: SessionId,
    server_session: SessionId,
) -> StaticKey {
    let nothing = Secret::new([0; 48]);
    let pre_master = client.pre_master.as_ref().unwrap_or(&nothing);
    let mut master = Secret::new([0; 48]);
    tls1_prf(
        pre_master.expose(),
        &[b"OpenVPN master secret", client.random1.expose(), server.random1.expose()],
        master.expose_mut(),
    );
    let mut keys = Secret::new([0; 256]);
    tls1_prf(
        master.expose(),
        &[
            b"OpenVPN key expansion",
            client.random2.expose(),
            server.random2.expose(),
            &client_session.0,
            &server_session.0,
        ],
        keys.expose_mut(),
    );
    master.zeroize();
    StaticKey::new(keys)
}

impl fmt::Debug for KeyMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyMessage")
            .field("options", &self.options)
            .field("peer_info", &self.peer_info)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;

    fn source(pre_master: Option<&str>, random1: &str, random2: &str) -> KeySource {
        KeySource {
            pre_master: pre_master.map(|text| Secret::new(hex(text).try_into().unwrap())),
            random1: Secret::new(hex(random1).try_into().unwrap()),
            random2: Secret::new(hex(random2).try_into().unwrap()),
        }
    }

    /// Recorded from a real client and server, which print all of it when asked.
    #[test]
    fn keys_of_real_peers_are_derived() {
        let client = source(
            Some("09c0fb20cb543a76c78017c8b37a5d028e978a748714e9e7a987077ab4724e7de89113f56ee8a09631c31c19eb4ca369"),
            "a4286b5cc488687600a5cc7967839d06ab7eb428c96087292f0d3113cbeb3b6b",
            "34642e41e4d2bce8e33f0f688b2a496d3d31eda27b6f248b7ea9a95b13c51db7",
        );
        let server = source(
            None,
            "491394852cc4a2daecc517e885368d42351abf425bef925b6dedeaf52e954fb2",
            "8c4142a0b4deae7cbba4c921cef4ee12003745ce174a0aec54331b3792ce2dd8",
        );
        let session = |text: &str| SessionId(hex(text).try_into().unwrap());
        let keys = derive(&client, &server, session("76c52828004e399b"), session("04450bab4c8daeeb"));
        for (from, expected) in [
            (0, "15d819c0aa7937056cd450ea3a20a9c84999b0d5787f314af02e76c2cbe5cd62"),
            (64, "74e6e864f6340fac259ad0fd1ef6d5231b3e8e8f2b89457e9ee8f02026d31645"),
            (128, "70d107dbdee1b24bc2bab04959638b671c575dbdab795a58d1584c470a3952ef"),
            (192, "bcf3572a9662fa3a7f3c505152e60718115557adaca00fa846b0b7353da67407"),
        ] {
            assert_eq!(keys.bytes()[from..from + 32], hex(expected), "from {from}");
        }
    }

    fn message(pre_master: bool) -> KeyMessage {
        let pre_master = pre_master.then(|| "aa".repeat(48));
        KeyMessage {
            source: source(pre_master.as_deref(), &"bb".repeat(32), &"cc".repeat(32)),
            options: "V4,dev-type tun".into(),
            username: "alice".into(),
            password: Zeroizing::new("x".repeat(5000)),
            peer_info: String::new(),
        }
    }

    #[test]
    fn a_message_is_read_when_the_last_of_its_pieces_is_there() {
        let bytes = message(true).emit();
        let without_peer_info = bytes.len() - 2;
        for len in 0..bytes.len() {
            let parsed = KeyMessage::parse(Role::Client, &bytes[..len]);
            assert_eq!(matches!(parsed, Parsed::Whole(..)), len == without_peer_info, "{len} bytes");
            assert!(!matches!(parsed, Parsed::Wrong), "{len} bytes");
        }
        let more = [bytes.as_slice(), b"PUSH_REQUEST\0"].concat();
        let Parsed::Whole(read, taken) = KeyMessage::parse(Role::Client, &more) else { panic!("not read") };
        assert_eq!((taken, read.username.as_str(), read.password.len()), (bytes.len(), "alice", 5000));
        assert_eq!(read.source.pre_master, message(true).source.pre_master);
    }

    #[test]
    fn a_message_byte_by_byte_is_looked_at_a_few_times() {
        let bytes = message(true).emit();
        assert_eq!(bytes.capacity(), bytes.len() + 1, "it never grew; the empty string has no NUL");
        let (mut looks, mut enough) = (0, 0);
        for len in 0..bytes.len() - 2 {
            if len < enough {
                continue;
            }
            let Parsed::Partial(at_least) = KeyMessage::parse(Role::Client, &bytes[..len]) else {
                panic!("{len} bytes")
            };
            assert!(at_least > len && at_least <= bytes.len() - 2, "{at_least} after {len}");
            (looks, enough) = (looks + 1, at_least);
        }
        assert!(looks <= 12, "{looks}");
    }

    #[test]
    fn the_cipher_that_a_peer_is_configured_with_is_read() {
        let of = |options: &str| KeyMessage { options: options.into(), ..message(false) }.cipher();
        let real = "V4,dev-type tun,link-mtu 1557,tun-mtu 1500,proto UDPv4,cipher AES-128-CBC,auth SHA1,keysize 128,key-method 2,tls-server";
        assert_eq!(of(real), Some(Cipher::Aes128Cbc));
        assert_eq!((of("V4,cipher BF-CBC"), of("V4,dev-type tun"), of("V4,cipher")), (None, None, None));
    }

    #[test]
    fn what_was_secret_can_be_wiped() {
        let mut message = message(true);
        message.wipe();
        assert!(message.password.is_empty() && message.source.pre_master.is_none());
        assert_eq!((message.source.random1.expose(), message.source.random2.expose()), (&[0; 32], &[0; 32]));
    }

    #[test]
    fn empty_strings_have_no_nul_and_servers_no_pre_master() {
        let bytes = message(false).emit();
        assert_eq!(bytes[bytes.len() - 2..], [0, 0]);
        assert!(matches!(KeyMessage::parse(Role::Server, &bytes), Parsed::Whole(..)));
        let only_options = &bytes[..5 + 64 + 2 + 16];
        assert!(matches!(KeyMessage::parse(Role::Server, only_options), Parsed::Whole(..)));
    }

    #[test]
    fn what_is_none_is_refused_and_what_never_ends_too() {
        assert!(matches!(KeyMessage::parse(Role::Server, &[0, 0, 0, 1, 2]), Parsed::Wrong));
        assert!(matches!(KeyMessage::parse(Role::Server, &[0, 0, 0, 0, 1]), Parsed::Wrong));
        let mut endless = message(true).emit().to_vec();
        endless.truncate(5 + 48 + 64);
        endless.extend([0xff, 0xff]);
        endless.extend([b'x'; 65_535]);
        endless.extend([0xff; 2]);
        let announced = &endless[..5 + 48 + 64 + 2];
        assert!(matches!(KeyMessage::parse(Role::Client, announced), Parsed::Wrong), "it is not waited for");
        assert!(matches!(KeyMessage::parse(Role::Client, &endless), Parsed::Wrong));
    }
}
