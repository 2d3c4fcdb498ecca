//! From membership to profile: what the server says, as a tunnel that can be brought up.
//!
//! Not here: where profiles are kept (`adit-cli`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_transport::config::Roots;
use adit_transport::ladder::{Carrier, Order};
use adit_wireguard::{PrivateKey, PublicKey};
use ipnet::IpNet;

use super::Membership;
use crate::invite::HttpsOffer;
use crate::profile::wg_quick::{Endpoint, Host, Https, Interface, Peer, Profile, Shape, Url};

/// Seconds between two signs of life, which most NATs are content with.
const KEEPALIVE: u16 = 25;

impl Membership {
    /// The tunnel of this device, which has this key.
    pub fn profile(&self, device: PrivateKey) -> Profile {
        let everything = [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()];
        let allowed_ips = if self.routes.is_empty() {
            everything.iter().filter_map(|address| IpNet::new(*address, 0).ok()).collect()
        } else {
            self.routes.iter().map(IpNet::trunc).collect()
        };
        let way = Way { hosts: &self.hosts, udp_port: self.udp_port, https: self.https.as_ref() };
        Profile {
            interface: Interface {
                private_key: Some(device),
                addresses: self.addresses.clone(),
                dns: self.dns.clone(),
                ..Interface::default()
            },
            peers: vec![Peer { persistent_keepalive: Some(KEEPALIVE), allowed_ips, ..way.peer(self.server) }],
            web_site: None,
        }
    }
}

/// How a server is reached: by UDP, as the web site that it is, or both.
pub(crate) struct Way<'a> {
    pub(crate) hosts: &'a [String],
    pub(crate) udp_port: Option<u16>,
    pub(crate) https: Option<&'a HttpsOffer>,
}

impl Way<'_> {
    /// The server as a peer: at its first host, and if that is silent at the others.
    pub(crate) fn peer(&self, server: PublicKey) -> Peer {
        let host = |host: &String| match host.parse() {
            Ok(address) => Host::Ip(address),
            Err(_) => Host::Name(host.clone()),
        };
        let endpoints = |port| self.hosts.iter().map(move |at| Endpoint { host: host(at), port });
        let mut endpoints = self.udp_port.into_iter().flat_map(endpoints);
        let transport = match (self.udp_port, self.https) {
            (Some(_), Some(_)) => Some(Order::UDP_FIRST),
            (None, Some(_)) => Some(Order::only(Carrier::Https)),
            (_, None) => None,
        };
        Peer {
            endpoint: endpoints.next(),
            fallback: endpoints.collect(),
            transport,
            https: self.https.map(|offer| self.https(offer)),
            ..Peer::new(server)
        }
    }

    fn https(&self, offer: &HttpsOffer) -> Https {
        // A name that is itself a host is looked up. One that need not exist is looked for at the server's addresses.
        let is_host = self.hosts.iter().any(|host| host.eq_ignore_ascii_case(&offer.name));
        let addresses = self.hosts.iter().filter(|_| !is_host).filter_map(|host| host.parse().ok());
        Https {
            url: Url { host: offer.name.to_ascii_lowercase(), port: offer.port },
            addresses: addresses.collect(),
            pins: offer.pin.into_iter().collect(),
            roots: offer.pin.map(|_| Roots::PinOnly),
            hello: None,
            path: None,
            shape: Shape::default(),
        }
    }
}
