//! CONNECT of HTTP (RFC 9110 §9.3.6), with `Basic` (RFC 7617) where a password is asked for.

use adit_openvpn::options::Proxy;
use base64ct::{Base64, Encoding as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::{Dial, NoWay, Secret, repeated, wrong_password};

/// The longest head of an answer.
const MAX_HEAD: usize = 16 << 10;
/// Schemes of authentication that a sentence names.
const MAX_SCHEMES: usize = 4;

/// Asks for a stream to the server; what has come over it with the answer.
pub(super) async fn connect(stream: &mut TcpStream, dial: &Dial) -> Result<Vec<u8>, NoWay> {
    stream.write_all(&request(dial)).await?;
    let mut read = Vec::with_capacity(1024);
    loop {
        if let Some(end) = end_of_head(&read) {
            let early = read.split_off(end);
            return verdict(&read, dial).map(|()| early);
        }
        if read.len() >= MAX_HEAD {
            return Err(NoWay::now(format!("its answer begins with more than {MAX_HEAD} bytes of headers")));
        }
        let room = (MAX_HEAD - read.len()) as u64;
        if (&mut *stream).take(room).read_buf(&mut read).await? == 0 {
            return Err(if read.is_empty() {
                NoWay::now("it ends the connection without an answer")
            } else {
                no_proxy()
            });
        }
    }
}

fn request(dial: &Dial) -> Secret {
    let (server, Proxy { http_1_1, headers, .. }) = (dial.server(), &dial.proxy);
    let version = if *http_1_1 { "1.1" } else { "1.0" };
    let mut text = Zeroizing::new(String::with_capacity(4096));
    text.push_str(&format!("CONNECT {server} HTTP/{version}\r\n"));
    let is_said = |wanted: &str| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
    if !is_said("host") {
        text.push_str(&format!("Host: {server}\r\n"));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(login) = dial.login().filter(|_| !dial.proxy.keeps_password && !is_said("proxy-authorization")) {
        let pair = Zeroizing::new(format!("{}:{}", login.user, login.password));
        let pair = Zeroizing::new(Base64::encode_string(pair.as_bytes()));
        text.push_str("Proxy-Authorization: Basic ");
        text.push_str(&pair);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    Zeroizing::new(std::mem::take(&mut *text).into_bytes())
}

/// Where the head ends, with the empty line.
fn end_of_head(read: &[u8]) -> Option<usize> {
    let after = |end: &[u8]| read.windows(end.len()).position(|window| window == end).map(|at| at + end.len());
    [after(b"\r\n\r\n"), after(b"\n\n")].into_iter().flatten().min()
}

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    /// Number and words, as far as a person should see them.
    said: String,
    /// Ways to show who one is, in small letters.
    schemes: Vec<String>,
}

impl Answer {
    fn parse(head: &[u8]) -> Option<Self> {
        let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let first = lines.next()?;
        let after = first.strip_prefix(b"HTTP/1.")?.split_first()?.1.strip_prefix(b" ")?;
        let digits = after.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
        let status = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let scheme = |line: &[u8]| {
            let (name, value) = line.split_at_checked(line.iter().position(|byte| *byte == b':')?)?;
            if !name.eq_ignore_ascii_case(b"proxy-authenticate") {
                return None;
            }
            let value = value.get(1..)?.trim_ascii();
            let scheme = value.split(|byte| byte.is_ascii_whitespace() || *byte == b',').next()?;
            Some(repeated(scheme).to_ascii_lowercase())
        };
        Some(Self { status, said: repeated(after), schemes: lines.filter_map(scheme).take(MAX_SCHEMES).collect() })
    }
}

fn verdict(head: &[u8], dial: &Dial) -> Result<(), NoWay> {
    let Answer { status, said, schemes } = Answer::parse(head).ok_or_else(no_proxy)?;
    match status {
        200..=299 => Ok(()),
        407 if !schemes.is_empty() && !schemes.iter().any(|scheme| scheme == "basic") => Err(NoWay::ever(format!(
            "it wants to know who we are by {}, which adit does not speak: of HTTP's ways it has `basic` alone",
            schemes.join(" or ")
        ))),
        407 if dial.proxy.keeps_password => {
            Err(NoWay::ever("it asks for a password as clear text, which `auto-nct` forbids\n  hint: write `auto`"))
        }
        // Some say to a wrong password what only web sites should (measured: tinyproxy 1.11).
        401 | 407 if dial.login().is_some() => Err(wrong_password()),
        401 | 407 => Err(dial.asks_password()),
        403 | 405 => Err(NoWay::now(format!(
            "it does not let us through to {} ({said})\n  hint: many let through to port 443 alone; ask whoever runs it",
            dial.server()
        ))),
        _other => Err(NoWay::now(format!("it does not connect us to {} ({said})", dial.server()))),
    }
}

fn no_proxy() -> NoWay {
    NoWay::now("what answers there is no HTTP proxy")
}

#[cfg(test)]
mod tests {
    use adit_openvpn::options::{Material, ProxyKind, SecretText};
    use proptest::prelude::*;

    use super::super::tests::dial;
    use super::*;

    fn text(dial: &Dial) -> String {
        String::from_utf8(request(dial).to_vec()).unwrap()
    }

    fn with_login(text: &str) -> Dial {
        let mut dial = dial(ProxyKind::Http);
        dial.proxy.login = Some(Material::Inline(SecretText::new(text.to_owned())));
        dial
    }

    #[test]
    fn a_request_names_the_server_and_shows_what_it_is_told_to() {
        let mut dial = dial(ProxyKind::Http);
        assert_eq!(text(&dial), "CONNECT vpn.example:1194 HTTP/1.0\r\nHost: vpn.example:1194\r\n\r\n");
        dial.proxy.http_1_1 = true;
        dial.proxy.headers = vec![("HOST".into(), "front".into()), ("User-Agent".into(), "Mozilla/5.0 x".into())];
        dial.host = "2001:db8::1".into();
        assert_eq!(
            text(&dial),
            "CONNECT [2001:db8::1]:1194 HTTP/1.1\r\nHOST: front\r\nUser-Agent: Mozilla/5.0 x\r\n\r\n"
        );
        let mut dial = with_login("Aladdin\r\nopen sesame\r\n");
        // The example of RFC 7617 §2.
        assert!(text(&dial).contains("\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"));
        dial.proxy.keeps_password = true;
        assert!(!text(&dial).contains("Authorization"));
    }

    #[test]
    fn an_answer_is_a_way_or_a_sentence() {
        let (none, login) = (dial(ProxyKind::Http), with_login("a\nb\n"));
        for (head, dial, said, is_final) in [
            ("HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n", &none, "http-proxy-user-pass", true),
            ("HTTP/1.0 407 No\r\nproxy-authenticate:Basic realm=\"x\"\r\n\r\n", &login, "does not take", true),
            (
                "HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: Digest a=b\r\n\r\n",
                &login,
                "ntlm or digest",
                true,
            ),
            ("HTTP/1.0 401 Unauthorized\r\nWWW-Authenticate: x\r\n\r\n", &login, "does not take", true),
            ("HTTP/1.1 403 Filtered\u{7}\r\n\r\n", &none, "vpn.example:1194 (403 Filtered)", false),
            ("HTTP/1.1 502 Bad\r\n\r\n", &none, "(502 Bad)", false),
            ("HTTP/1.1 100 Continue\r\n\r\n", &none, "100 Continue", false),
            ("SSH-2.0-OpenSSH\r\n\r\n", &none, "no HTTP proxy", false),
            ("HTTP/1.1 20\r\n\r\n", &none, "no HTTP proxy", false),
            ("\r\n\r\n", &none, "no HTTP proxy", false),
        ] {
            let no_way = verdict(head.as_bytes(), dial).unwrap_err();
            assert!(no_way.why.contains(said) && no_way.is_final == is_final, "{head:?}: {no_way:?}");
            assert!(!no_way.why.contains('\u{7}'));
        }
        assert_eq!(verdict(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n", &none), Ok(()));
        assert_eq!(verdict(b"HTTP/1.0 200\n\n", &none), Ok(()));
        assert_eq!(
            (end_of_head(b"a\r\n\r\nb"), end_of_head(b"a\n\nb"), end_of_head(b"a\r\n\r")),
            (Some(5), Some(3), None)
        );
    }

    proptest! {
        #[test]
        fn whatever_comes_is_a_way_or_a_sentence(head: Vec<u8>, rest in "(HTTP/1\\.[01] [0-9]{0,4})?\\PC{0,60}") {
            let dial = dial(ProxyKind::Http);
            for bytes in [head.as_slice(), rest.as_bytes()] {
                prop_assert!(end_of_head(bytes).is_none_or(|end| end <= bytes.len()));
                if let Err(no_way) = verdict(bytes, &dial) {
                    let is_plain = !no_way.why.contains(char::is_control) || no_way.why.contains("\n  hint: ");
                    prop_assert!(no_way.why.len() < 1024 && is_plain);
                }
            }
        }
    }
}
