//! What the client's requests say: a browser's headers for pages and their parts, and those that ask for the tunnel.
//!
//! Not here: how they become bytes (`h2`), what is done with the answers (`visit`, `tunnel`).

use crate::h2::{Connection, Refused, StreamId};
use crate::tls::profile::{Http2Profile, Kind, Profile, RequestProfile};

/// The weight of what a page connects to by itself (a WebSocket), as measured.
const STREAM_WEIGHT: u8 = 146;
/// Headers that depend on the page that asked.
const REFERER: &str = "{referer}";

/// Where requests go, and as whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) profile: &'a Profile,
    pub(super) authority: &'a str,
}

impl Asker<'_> {
    /// Asks for a page or a part of one. `validators` are headers that say what we have of it already.
    pub(super) fn get(
        &self,
        connection: &mut Connection,
        kind: Kind,
        path: &str,
        validators: &[(&str, &str)],
    ) -> Result<StreamId, Refused> {
        let page = format!("https://{}/", self.authority);
        let (weight, headers) = self.profile.request(kind).map_or((STREAM_WEIGHT, &[][..]), parts);
        let mut fields = self.pseudo("GET", path);
        for (name, value) in headers {
            // As measured: validators stand before the priority, which stands last.
            if name == "priority" {
                fields.extend(validators);
            }
            fields.push((name, if value == REFERER { &page } else { value }));
        }
        if !headers.iter().any(|(name, _)| name == "priority") {
            fields.extend(validators);
        }
        connection.request(fields, weight, true)
    }

    /// Asks for a stream of UDP datagrams: extended CONNECT (RFC 8441) with `connect-udp` (RFC 9298).
    pub(super) fn connect_udp(
        &self,
        connection: &mut Connection,
        path: &str,
        authorization: &str,
    ) -> Result<StreamId, Refused> {
        let mut fields = self.pseudo("CONNECT", path);
        fields.push((":protocol", "connect-udp"));
        fields.extend([("pragma", "no-cache"), ("cache-control", "no-cache")]);
        fields.extend(self.user_agent());
        fields.extend([("capsule-protocol", "?1"), ("authorization", authorization)]);
        fields.extend(self.languages());
        connection.request(fields, STREAM_WEIGHT, false)
    }

    /// Asks for a stream in the shape of gRPC.
    pub(super) fn grpc(
        &self,
        connection: &mut Connection,
        path: &str,
        authorization: &str,
    ) -> Result<StreamId, Refused> {
        let mut fields = self.pseudo("POST", path);
        fields.extend(self.user_agent());
        fields.extend([("content-type", "application/grpc"), ("te", "trailers"), ("authorization", authorization)]);
        fields.extend(self.languages());
        connection.request(fields, STREAM_WEIGHT, false)
    }

    /// The pseudo-headers, in the browser's order.
    fn pseudo<'a>(&'a self, method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
        let order = &self.profile.http2.pseudo_headers;
        let value = |name: &str| match name {
            ":method" => method,
            ":authority" => self.authority,
            ":scheme" => "https",
            _ => path,
        };
        order.iter().map(|name| (name.as_str(), value(name))).collect()
    }

    fn user_agent(&self) -> impl Iterator<Item = (&str, &str)> {
        self.document().filter(|(name, _)| *name == "user-agent")
    }

    fn languages(&self) -> impl Iterator<Item = (&str, &str)> {
        self.document().filter(|(name, _)| name.starts_with("accept-"))
    }

    fn document(&self) -> impl Iterator<Item = (&str, &str)> {
        let document = self.profile.request(Kind::Document);
        document.into_iter().flat_map(|request| &request.headers).map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

fn parts(request: &RequestProfile) -> (u8, &[(String, String)]) {
    (request.weight, &request.headers)
}

/// What is said first on a connection.
pub(super) fn first_settings(profile: &Http2Profile) -> crate::h2::Settings {
    crate::h2::Settings { settings: profile.settings.clone(), window_update: profile.window_update }
}

/// The path that RFC 9298 §3 gives a target under the default template.
pub(super) fn masque_path(target: &str, port: u16) -> String {
    let mut path = String::from("/.well-known/masque/udp/");
    for byte in target.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(char::from(byte)),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path.push_str(&format!("/{port}/"));
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9298 §3.1: colons of IPv6 addresses are percent-encoded.
    #[test]
    fn targets_are_written_as_the_rfc_says() {
        assert_eq!(masque_path("192.0.2.6", 443), "/.well-known/masque/udp/192.0.2.6/443/");
        assert_eq!(masque_path("2001:db8::1", 443), "/.well-known/masque/udp/2001%3Adb8%3A%3A1/443/");
        assert_eq!(masque_path("wireguard", 1), "/.well-known/masque/udp/wireguard/1/");
    }
}
