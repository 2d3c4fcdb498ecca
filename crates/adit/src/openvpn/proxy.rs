//! Servers behind proxies: what is said to a proxy until it passes packets on.
//!
//! What a proxy answers is anybody's: it is read up to a bound, and waited for up to another. Not here: packets (`stream`,
//! `relay`), which server is behind which proxy (`ways`).

mod http;
mod socks;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use adit_openvpn::options::{Material, Proxy, ProxyKind, Transport};
use adit_openvpn::shows;
use tokio::net::TcpStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

pub(super) use self::socks::without_header;
use super::relay::Relay;

/// How long a proxy may take until it passes packets on: it connects to the server in this time.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// The longest word of a proxy that is repeated to a person.
const MAX_REPEATED: usize = 100;

/// The way to a server behind a proxy.
#[derive(Debug, Clone)]
pub(super) struct Dial {
    /// The proxy's own address.
    pub(super) at: SocketAddr,
    pub(super) proxy: Proxy,
    /// The server: a name is the proxy's to resolve.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) transport: Transport,
}

/// What passes packets on.
#[derive(Debug)]
pub(super) enum Line {
    /// A stream, and what has come over it already.
    Stream(TcpStream, Vec<u8>),
    /// Datagrams.
    Relay(Box<Relay>),
}

/// Why there is no way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoWay {
    pub(super) why: String,
    /// Trying again cannot help: a person has to change something.
    pub(super) is_final: bool,
}

impl NoWay {
    /// It may be another time.
    pub(super) fn now(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_final: false }
    }

    /// It will not be, until a person has changed something.
    fn ever(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_final: true }
    }
}

impl From<io::Error> for NoWay {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::now("it ends the connection without an answer");
        }
        Self::now(error.to_string())
    }
}

/// User and password of a proxy.
struct Login<'a> {
    user: &'a str,
    password: &'a str,
}

impl Dial {
    /// Asks the proxy, to which `stream` leads. `mark` is that of the datagrams of a relay.
    ///
    /// # Errors
    /// It does not let us through, does not answer, or is none: a sentence.
    pub(super) async fn ask(&self, mut stream: TcpStream, mark: u32) -> Result<Line, NoWay> {
        let asked = async {
            match (self.proxy.kind, self.transport) {
                (ProxyKind::Http, _) => http::connect(&mut stream, self).await.map(Asked::Stream),
                (ProxyKind::Socks, Transport::Tcp) => {
                    socks::connect(&mut stream, self).await.map(|()| Asked::Stream(Vec::new()))
                }
                (ProxyKind::Socks, Transport::Udp) => socks::associate(&mut stream, self).await.map(Asked::Relay),
            }
        };
        let asked = timeout(ANSWER_WITHIN, asked).await.unwrap_or_else(|_| {
            Err(NoWay::now(format!("it does not answer within {} seconds", ANSWER_WITHIN.as_secs())))
        });
        let line = match asked {
            Ok(Asked::Stream(early)) => Ok(Line::Stream(stream, early)),
            Ok(Asked::Relay(at)) => {
                let header = socks::datagram_header(&self.host, self.port);
                Relay::new(stream, at, header, mark).await.map(Box::new).map(Line::Relay).map_err(NoWay::from)
            }
            Err(no_way) => Err(no_way),
        };
        line.map_err(|no_way| NoWay { why: format!("the {}: {}", self.name(), no_way.why), ..no_way })
    }

    /// How people know the proxy.
    pub(super) fn name(&self) -> String {
        let Proxy { kind, host, port, .. } = &self.proxy;
        if host.parse::<IpAddr>().is_ok() {
            format!("{} {}", kind.name(), self.at)
        } else {
            format!("{} {host}:{port} ({})", kind.name(), self.at)
        }
    }

    /// The server, as people write it.
    fn server(&self) -> String {
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]:{}", self.port),
            Ok(IpAddr::V4(_)) | Err(_) => format!("{}:{}", self.host, self.port),
        }
    }

    /// The first line of the login is the user, the second the password.
    fn login(&self) -> Option<Login<'_>> {
        let Some(Material::Inline(text)) = &self.proxy.login else { return None };
        let mut lines = text.expose().lines();
        let user = lines.next().filter(|user| !user.is_empty())?;
        Some(Login { user, password: lines.next().unwrap_or_default() })
    }

    /// It asks for a password, and there is none.
    fn asks_password(&self) -> NoWay {
        let option = self.proxy.kind.login_option();
        NoWay::ever(format!(
            "it asks for user and password\n  hint: write `{option} FILE`, with a line each in the file, or `stdin` in its \
             place on the proxy's own line, so that `adit up` asks"
        ))
    }
}

/// What a proxy gave.
enum Asked {
    Stream(Vec<u8>),
    Relay(SocketAddr),
}

/// It does not take the password.
fn wrong_password() -> NoWay {
    NoWay::ever("it does not take this user and password")
}

/// A word of a proxy, as far as a person should see it.
fn repeated(words: &[u8]) -> String {
    String::from_utf8_lossy(words)
        .chars()
        .filter(|c| shows(*c))
        .take(MAX_REPEATED)
        .collect::<String>()
        .trim()
        .to_owned()
}

/// Bytes that are wiped when they are sent.
type Secret = Zeroizing<Vec<u8>>;

#[cfg(test)]
mod tests {
    use adit_openvpn::options::SecretText;
    use tokio::net::TcpListener;

    use super::*;

    pub(super) fn dial(kind: ProxyKind) -> Dial {
        let proxy = Proxy {
            kind,
            host: "127.0.0.1".to_owned(),
            port: 1080,
            login: None,
            ask: false,
            keeps_password: false,
            http_1_1: false,
            headers: Vec::new(),
        };
        let at = SocketAddr::from(([127, 0, 0, 1], 1080));
        Dial { at, proxy, host: "vpn.example".to_owned(), port: 1194, transport: Transport::Tcp }
    }

    pub(super) fn with_login(kind: ProxyKind) -> Dial {
        let mut dial = dial(kind);
        dial.proxy.login = Some(Material::Inline(SecretText::new("alice\nopen sesame\n".to_owned())));
        dial
    }

    #[tokio::test]
    async fn a_proxy_that_hangs_has_its_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for kind in [ProxyKind::Http, ProxyKind::Socks] {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let _silent = listener.accept().await.unwrap();
            tokio::time::pause();
            let began = tokio::time::Instant::now();
            let no_way = dial(kind).ask(stream, 0).await.unwrap_err();
            assert_eq!(began.elapsed().as_secs(), ANSWER_WITHIN.as_secs());
            assert!(
                no_way.why.contains("127.0.0.1:1080") && no_way.why.contains("within 15 seconds"),
                "{}",
                no_way.why
            );
            tokio::time::resume();
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        assert!(!format!("{:?}", with_login(ProxyKind::Socks)).contains("sesame"));
    }
}
