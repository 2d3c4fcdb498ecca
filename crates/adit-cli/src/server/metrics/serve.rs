//! Who asks for the metrics, and how: HTTP/1.1 as far as a scraper needs it, one request a connection.
//!
//! Not here: what is answered (`page`). Whoever reaches the listener may ask; what a connection can cost is bounded.

use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::exit::{Failure, Result};

/// Connections served at once; others wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 8;
/// Connections that wait there.
const MAX_WAITING: i32 = 16;
/// Bytes of a request.
const MAX_REQUEST: usize = 8 * 1024;
/// How long a connection lasts, whatever it does.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause after a connection that could not be accepted.
const AGAIN: Duration = Duration::from_millis(100);

/// What the answer is, by its specification.
const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Listens there. The address may be one that this machine gets later, such as the server's own inside the network.
pub(in crate::server) fn listen(at: SocketAddr) -> Result<StdListener> {
    let listen = || {
        let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        match at {
            SocketAddr::V4(_) => sockopt::set_ip_freebind(&socket, true)?,
            SocketAddr::V6(_) => sockopt::set_ipv6_freebind(&socket, true)?,
        }
        rustix::net::bind(&socket, &at)?;
        rustix::net::listen(&socket, MAX_WAITING)?;
        let listener = StdListener::from(socket);
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|e: std::io::Error| {
        Failure::io(format!("cannot serve metrics at {at}"), &e).hint("give another address: --metrics 127.0.0.1:9587")
    })
}

/// Answers with the page of the moment, for ever.
pub(super) async fn serve(listener: TcpListener, page: impl Fn() -> String + Send + Sync + 'static) {
    let (seats, page) = (Arc::new(Semaphore::new(MAX_CONNECTIONS)), Arc::new(page));
    let local = listener.local_addr().is_ok_and(|at| at.ip().is_loopback());
    loop {
        let Ok(seat) = seats.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(e) => {
                tracing::debug!("a connection for the metrics was not accepted: {e}");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        let page = page.clone();
        tokio::spawn(async move {
            let _late_or_gone = tokio::time::timeout(PATIENCE, converse(stream, local, &*page)).await;
            drop(seat);
        });
    }
}

async fn converse(mut stream: TcpStream, local: bool, page: &(impl Fn() -> String + Sync)) -> std::io::Result<()> {
    let mut request = Vec::new();
    let whole = loop {
        if request.windows(4).any(|end| end == b"\r\n\r\n") {
            break true;
        }
        if request.len() >= MAX_REQUEST {
            break false;
        }
        let room = MAX_REQUEST - request.len();
        if (&mut stream).take(room as u64).read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    };
    let (status, with_body) = if whole { judge(&request, local) } else { (431, true) };
    let (body, kind) = match status {
        200 => (page(), TYPE),
        _ => (format!("{}\n", sentence(status)), "text/plain; charset=utf-8"),
    };
    let head = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        reason(status),
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if with_body {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}

/// The status of the answer, and whether it has a body.
fn judge(request: &[u8], local: bool) -> (u16, bool) {
    let Ok(text) = std::str::from_utf8(request) else { return (400, true) };
    let mut lines = text.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return (400, true);
    };
    let body = method != "HEAD";
    let host = lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("host"));
    if !version.starts_with("HTTP/1.") {
        return (400, body);
    }
    // A web page whose name was made to lead here (DNS rebinding) asks under that name.
    if local && !host.is_some_and(|(_, host)| is_here(host.trim())) {
        return (403, body);
    }
    match (method, target.split('?').next().unwrap_or_default()) {
        ("GET" | "HEAD", "/metrics") => (200, body),
        ("GET" | "HEAD", _) => (404, body),
        _ => (405, body),
    }
}

/// Whether a `Host` is an address, or this machine's name for itself.
fn is_here(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || inner.parse::<IpAddr>().is_ok()
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        _ => "Bad Request",
    }
}

const fn sentence(status: u16) -> &'static str {
    match status {
        403 => "Metrics of this machine are given to whoever asks by its address: http://127.0.0.1:…/metrics",
        404 => "There is only /metrics here.",
        405 => "There is only GET here.",
        431 => "The request is too long.",
        _ => "This is no HTTP request.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> SocketAddr {
        let listener = TcpListener::from_std(listen(([127, 0, 0, 1], 0).into()).unwrap()).unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, || "# EOF\n".to_owned()));
        at
    }

    async fn asked(at: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        // A connection that was closed with something unread is reset after the answer.
        let _reset = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn a_scraper_gets_the_page_and_everything_else_a_sentence() {
        let at = running();
        let page = asked(at, b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9586\r\n\r\n").await;
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.contains(TYPE) && page.ends_with("\r\n\r\n# EOF\n"));
        let head = asked(at, b"HEAD /metrics?x=1 HTTP/1.1\r\nhost: [::1]\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
        for (request, status) in [
            (&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], 404),
            (b"POST /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
            (b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
            (b"GET /metrics HTTP/1.1\r\n\r\n", 403),
            (b"GET /metrics\r\n\r\n", 400),
            (b"\xff\xfe\r\n\r\n", 400),
            (&[b'x'; MAX_REQUEST], 431),
        ] {
            let answer = asked(at, request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        }
    }

    /// In virtual time: connections that say nothing have their places for [`PATIENCE`], and no longer.
    #[tokio::test(start_paused = true)]
    async fn silent_connections_do_not_keep_others_away() {
        let at = running();
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            silent.push(TcpStream::connect(at).await.unwrap());
        }
        let page = asked(at, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        let mut said = Vec::new();
        assert_eq!(silent[0].read_to_end(&mut said).await.unwrap(), 0, "it was sent away without a word");
    }

    #[test]
    fn a_name_from_elsewhere_is_not_here() {
        for here in ["127.0.0.1", "127.0.0.1:9586", "[::1]:9586", "[::1]", "localhost", "LocalHost:80", "10.0.0.1"] {
            assert!(is_here(here), "{here}");
        }
        for elsewhere in ["evil.example", "evil.example:9586", "localhost.evil.example", "", "[::1", "127.0.0.1.nip.io"]
        {
            assert!(!is_here(elsewhere), "{elsewhere}");
        }
    }
}
