//! Headers between two connections: what is meant for one hop only, and what the next one should know.

use std::net::SocketAddr;

use http::header::{
    CONNECTION, COOKIE, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderMap, HeaderValue, Uri};

/// RFC 9110 §7.6.1, and what older software takes for the same.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Removes what is meant for one hop only, by its name or because `Connection` says so.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Whether an HTTP/1.1 request wants to become a WebSocket.
pub(super) fn wants_websocket(headers: &HeaderMap) -> bool {
    let upgrades = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim().eq_ignore_ascii_case("upgrade"));
    upgrades && headers.get(UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Makes the headers of a request those of one to the site behind: the host that was asked for, cookies in one line (over
/// HTTP/2 they may come in several), and who asked.
pub(super) fn forward(headers: &mut HeaderMap, uri: &Uri, peer: SocketAddr) {
    if !headers.contains_key(HOST)
        && let Some(authority) = uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        headers.insert(HOST, host);
    }
    if headers.get_all(COOKIE).iter().count() > 1 {
        let all: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
            headers.insert(COOKIE, joined);
        }
    }
    let mut forwarded: Vec<_> = headers.get_all(FORWARDED_FOR).iter().map(|v| v.as_bytes().to_vec()).collect();
    forwarded.push(peer.ip().to_canonical().to_string().into_bytes());
    if let Ok(forwarded) = HeaderValue::from_bytes(&forwarded.join(&b", "[..])) {
        headers.insert(FORWARDED_FOR, forwarded);
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_one_hop_stays_there() {
        let mut headers =
            map(&[("connection", "x-mine, Upgrade"), ("x-mine", "1"), ("te", "trailers"), ("x-ours", "2")]);
        strip(&mut headers);
        assert_eq!(headers, map(&[("x-ours", "2")]));
    }

    #[test]
    fn the_site_behind_learns_host_and_peer_and_gets_one_line_of_cookies() {
        let mut headers = map(&[("cookie", "a=1"), ("cookie", "b=2"), ("x-forwarded-for", "192.0.2.1")]);
        forward(&mut headers, &Uri::from_static("https://example.org/x"), ([192, 0, 2, 9], 1234).into());
        let want = map(&[
            ("cookie", "a=1; b=2"),
            ("x-forwarded-for", "192.0.2.1, 192.0.2.9"),
            ("x-forwarded-proto", "https"),
            ("host", "example.org"),
        ]);
        assert_eq!(headers, want);
    }

    #[test]
    fn a_websocket_is_asked_for_by_two_headers() {
        assert!(wants_websocket(&map(&[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")])));
        assert!(!wants_websocket(&map(&[("connection", "keep-alive"), ("upgrade", "websocket")])));
        assert!(!wants_websocket(&map(&[("connection", "upgrade"), ("upgrade", "h2c")])));
    }

    fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers.iter().map(pair) {
            map.append(name, value);
        }
        map
    }
}
