//! The examiner can fail: what real programs send, captured between namespaces, is detected by the rules that are about
//! it, and a real browser's visit to a real web server is not. Debian's nDPI and tshark look at the same captures.
//!
//! Needs root, openvpn, obfs4proxy, wireguard-go, chromium, nginx, openssl, tcpdump, ndpiReader and tshark; fails without.
#![expect(clippy::unwrap_used, reason = "a test that cannot make its scene has failed")]

mod browser;
mod disguise;
mod live;
mod obfs4;
mod openvpn;
mod scene;
mod wireguard;
