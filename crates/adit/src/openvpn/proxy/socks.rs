//! SOCKS 5 (RFC 1928), with user and password (RFC 1929) where they are asked for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::{Dial, Login, NoWay, Secret, wrong_password};

const VERSION: u8 = 5;
/// Methods of authentication.
const NONE: u8 = 0;
const PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xff;
/// Kinds of addresses.
const V4: u8 = 1;
const NAME: u8 = 3;
const V6: u8 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Connect = 1,
    Associate = 3,
}

/// Asks for a stream to the server.
pub(super) async fn connect(stream: &mut TcpStream, dial: &Dial) -> Result<(), NoWay> {
    greet(stream, dial).await?;
    request(stream, dial, Command::Connect, &address(&dial.host, dial.port)).await.map(drop)
}

/// Asks for a relay of datagrams; where it is.
pub(super) async fn associate(stream: &mut TcpStream, dial: &Dial) -> Result<SocketAddr, NoWay> {
    greet(stream, dial).await?;
    // Where our datagrams come from is not known yet.
    let anywhere = address(&Ipv4Addr::UNSPECIFIED.to_string(), 0);
    let relay = request(stream, dial, Command::Associate, &anywhere).await?;
    relay_at(relay, dial.at.ip())
}

/// Whom datagrams are sent to: only the proxy itself, for it could have them sent to anybody.
fn relay_at(relay: Option<SocketAddr>, proxy: IpAddr) -> Result<SocketAddr, NoWay> {
    match relay {
        Some(at) if at.port() == 0 => Err(NoWay::now("it names no port for datagrams")),
        Some(at) if at.ip().is_unspecified() || at.ip().to_canonical() == proxy.to_canonical() => {
            Ok(SocketAddr::new(proxy, at.port()))
        }
        Some(at) => Err(NoWay::now(format!(
            "it wants datagrams sent to another host, {at}, and adit sends them to the proxy alone\n  hint: write \
             `proto tcp`, if the server takes that"
        ))),
        None => Err(NoWay::now("it names a host for datagrams in place of an address")),
    }
}

/// Agrees on how we show who we are, and shows it.
async fn greet(stream: &mut TcpStream, dial: &Dial) -> Result<(), NoWay> {
    let login = dial.login();
    let greeting: &[u8] = if login.is_some() { &[VERSION, 2, NONE, PASSWORD] } else { &[VERSION, 1, NONE] };
    stream.write_all(greeting).await?;
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await?;
    match (answer, login) {
        ([VERSION, NONE], _) => Ok(()),
        ([VERSION, PASSWORD], Some(login)) => {
            stream.write_all(&password(&login)?).await?;
            stream.read_exact(&mut answer).await?;
            // The version of this answer is 1 by the RFC, and 5 by some.
            if answer[1] == 0 { Ok(()) } else { Err(wrong_password()) }
        }
        ([VERSION, NO_METHOD], Some(_)) => Err(NoWay::ever(
            "it wants to know who we are neither by a password nor not at all, and adit has no other way",
        )),
        ([VERSION, NO_METHOD], None) => Err(dial.asks_password()),
        ([VERSION, _], _) => Err(NoWay::now("it chooses a way to show who we are that it was not offered")),
        ([4, _], _) => Err(NoWay::now("it speaks SOCKS 4, and adit speaks SOCKS 5")),
        ([..], _) => Err(no_proxy()),
    }
}

/// User and password as RFC 1929 has them.
fn password(login: &Login<'_>) -> Result<Secret, NoWay> {
    let length = |text: &str| u8::try_from(text.len()).ok().filter(|length| *length > 0);
    let (Some(user), Some(password)) = (length(login.user), length(login.password)) else {
        return Err(NoWay::ever("its user and password have 1 to 255 bytes each, and these have not"));
    };
    let mut said = Zeroizing::new(Vec::with_capacity(3 + 2 * usize::from(u8::MAX)));
    said.extend_from_slice(&[1, user]);
    said.extend_from_slice(login.user.as_bytes());
    said.push(password);
    said.extend_from_slice(login.password.as_bytes());
    Ok(said)
}

/// Asks for something; the address that the answer names, if it is one.
async fn request(
    stream: &mut TcpStream,
    dial: &Dial,
    command: Command,
    address: &[u8],
) -> Result<Option<SocketAddr>, NoWay> {
    let mut asked = vec![VERSION, command as u8, 0];
    asked.extend_from_slice(address);
    stream.write_all(&asked).await?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [VERSION, reply, _, kind] = head else { return Err(no_proxy()) };
    if reply != 0 {
        return Err(refusal(reply, command, &dial.server()));
    }
    let ip = match kind {
        V4 => Some(IpAddr::from(bytes::<4>(stream).await?)),
        V6 => Some(IpAddr::from(bytes::<16>(stream).await?)),
        NAME => {
            let [length] = bytes::<1>(stream).await?;
            let mut name = [0; u8::MAX as usize];
            stream.read_exact(name.get_mut(..usize::from(length)).unwrap_or_default()).await?;
            None
        }
        _other => return Err(no_proxy()),
    };
    let port = u16::from_be_bytes(bytes::<2>(stream).await?);
    Ok(ip.map(|ip| SocketAddr::new(ip, port)))
}

async fn bytes<const N: usize>(stream: &mut TcpStream) -> Result<[u8; N], NoWay> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// What a reply means (RFC 1928 §6).
fn refusal(reply: u8, command: Command, server: &str) -> NoWay {
    let why = match (reply, command) {
        (2, Command::Connect) => format!("its rules do not let us through to {server}"),
        (2 | 7, Command::Associate) => {
            return NoWay::ever(
                "it carries no datagrams\n  hint: write `proto tcp`, if the server takes that, or use another proxy",
            );
        }
        (3, _) => format!("it does not reach the network of {server}"),
        (4, _) => format!("it does not reach {server}"),
        (5, _) => format!("{server} does not take the connection"),
        (6, _) => format!("{server} did not answer it in time"),
        (7, Command::Connect) => "it does not connect to anybody".to_owned(),
        (8, _) => format!("it cannot go to addresses of the kind of {server}"),
        (1, _) => "it failed inside".to_owned(),
        (other, _) => format!("it refuses with the number {other}"),
    };
    NoWay::now(why)
}

fn no_proxy() -> NoWay {
    NoWay::now("what answers there is no SOCKS 5 proxy")
}

/// Kind, host and port.
fn address(host: &str, port: u16) -> Vec<u8> {
    let mut bytes = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => [&[V4], v4.octets().as_slice()].concat(),
        Ok(IpAddr::V6(v6)) => [&[V6], v6.octets().as_slice()].concat(),
        // A configuration's names are shorter than that.
        Err(_) => {
            let name = host.as_bytes().get(..usize::from(u8::MAX)).unwrap_or(host.as_bytes());
            [&[NAME, u8::try_from(name.len()).unwrap_or(u8::MAX)], name].concat()
        }
    };
    bytes.extend_from_slice(&port.to_be_bytes());
    bytes
}

/// What stands before each datagram to a server (RFC 1928 §7).
pub(super) fn datagram_header(host: &str, port: u16) -> Vec<u8> {
    [&[0, 0, 0], address(host, port).as_slice()].concat()
}

/// A datagram that came through a relay, without what stands before it; `None` if that is wrong, or it is one of several pieces.
/// Whom it says it came from does not matter: the envelope does.
pub(in crate::openvpn) fn without_header(datagram: &[u8]) -> Option<&[u8]> {
    let ([0, 0, 0, kind], rest) = datagram.split_first_chunk::<4>()? else { return None };
    let address = match *kind {
        V4 => size_of::<Ipv4Addr>(),
        V6 => size_of::<Ipv6Addr>(),
        NAME => 1 + usize::from(*rest.first()?),
        _other => return None,
    };
    rest.get(address + size_of::<u16>()..)
}

#[cfg(test)]
mod tests {
    use adit_openvpn::options::ProxyKind;
    use proptest::prelude::*;
    use tokio::net::TcpListener;

    use super::super::tests::dial;
    use super::*;

    /// What is said of a proxy that answers with these bytes, whatever it is told, and then says no more.
    async fn said(answers: &[u8], dial: &Dial, command: Command) -> Result<Option<SocketAddr>, NoWay> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut proxy, _) = listener.accept().await.unwrap();
        proxy.write_all(answers).await.unwrap();
        proxy.shutdown().await.unwrap();
        match command {
            Command::Connect => connect(&mut stream, dial).await.map(|()| None),
            Command::Associate => associate(&mut stream, dial).await.map(Some),
        }
    }

    fn no(result: Result<Option<SocketAddr>, NoWay>) -> (String, bool) {
        let NoWay { why, is_final } = result.unwrap_err();
        (why, is_final)
    }

    #[tokio::test]
    async fn a_way_or_a_sentence() {
        let (none, login) = (dial(ProxyKind::Socks), super::super::tests::with_login(ProxyKind::Socks));
        let granted = [5, 0, 5, 0, 0, 1, 127, 0, 0, 1, 4, 0];
        assert_eq!(said(&granted, &none, Command::Connect).await, Ok(None));
        let relay = said(&granted, &none, Command::Associate).await;
        assert_eq!(relay, Ok(Some("127.0.0.1:1024".parse().unwrap())));
        let by_password = [&[5, 2, 1, 0], &granted[2..]].concat();
        assert_eq!(said(&by_password, &login, Command::Connect).await, Ok(None));
        for (answers, dial, command, sentence, is_final) in [
            (&[5, 2, 1, 1][..], &login, Command::Connect, "does not take this", true),
            (&[5, 0xff], &none, Command::Connect, "socks-proxy-user-pass", true),
            (&[5, 2], &none, Command::Connect, "not offered", false),
            (&[4, 0], &none, Command::Connect, "SOCKS 4", false),
            (b"HT", &none, Command::Connect, "no SOCKS 5 proxy", false),
            (&[5], &none, Command::Connect, "without an answer", false),
            (&[5, 0, 5, 2, 0, 1], &none, Command::Connect, "rules", false),
            (&[5, 0, 5, 5, 0, 1], &none, Command::Connect, "vpn.example:1194 does not take", false),
            (&[5, 0, 5, 7, 0, 1], &none, Command::Associate, "no datagrams", true),
            (&[5, 0, 5, 0, 0, 9], &none, Command::Connect, "no SOCKS 5 proxy", false),
            (&[5, 0, 5, 0, 0, 1, 192, 0, 2, 9, 0, 7], &none, Command::Associate, "192.0.2.9:7", false),
            (&[5, 0, 5, 0, 0, 1, 127, 0, 0, 1, 0, 0], &none, Command::Associate, "no port", false),
            (&[5, 0, 5, 0, 0, 3, 1, b'x', 0, 7], &none, Command::Associate, "in place of an address", false),
        ] {
            let (why, really) = no(said(answers, dial, command).await);
            assert!(why.contains(sentence) && really == is_final, "{answers:?}: {why}");
        }
    }

    #[test]
    fn addresses_are_written_by_kind() {
        assert_eq!(address("192.0.2.1", 258), [1, 192, 0, 2, 1, 1, 2]);
        assert_eq!(address("a.b", 1), [3, 3, b'a', b'.', b'b', 0, 1]);
        assert_eq!(address("::1", 1)[..3], [4, 0, 0]);
        assert_eq!(
            relay_at(Some("0.0.0.0:7".parse().unwrap()), [192, 0, 2, 1].into()).unwrap().to_string(),
            "192.0.2.1:7"
        );
    }

    proptest! {
        #[test]
        fn a_datagram_comes_out_as_it_went_in(host in "[a-z.]{1,40}|192\\.0\\.2\\.7|2001:db8::1", port: u16, body: Vec<u8>) {
            let whole = [datagram_header(&host, port), body.clone()].concat();
            prop_assert_eq!(without_header(&whole), Some(body.as_slice()));
        }

        #[test]
        fn whatever_a_relay_sends_is_taken_apart_or_not(datagram: Vec<u8>) {
            if let Some(body) = without_header(&datagram) {
                prop_assert!(body.len() + 6 <= datagram.len());
            }
        }
    }
}
