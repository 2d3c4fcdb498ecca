//! Looks at this machine, and at the servers that its tunnels have: asks the daemon, the kernel, and nobody else.
//!
//! A server is pinged through its tunnel and its web site is visited once, as the tunnel itself does. Not here: what follows
//! from what is seen (`check`).

mod path;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::Path as File;
use std::time::SystemTime;

use adit::profile::file::{self, LoadError};
use adit::profile::wg_quick::{Profile as WgProfile, WebFront, WebSite};
use adit::transport::client::Looked;
use adit::transport::config::{Hello, Roots};
use adit::transport::tls::Validity;
use adit::transport::tls::profile::Profile as Fingerprint;
use adit_host::{Host, Looked as Machine};

use super::seen::{Browser, Kept, NotMeasured, OwnCertificate, Path, Profile, Role, Seen, Tunnel};
use crate::client::Client;
use crate::cmd::judge_openvpn;
use crate::exit::Result;
use crate::places::Places;
use crate::report::{State, StatusReport, TunnelReport};
use crate::rpc::Method;
use crate::{name, server};

/// Files of profiles that are looked at.
const MAX_KEPT: usize = 256;
/// Whom pings are tried with, of each tunnel.
const MAX_ADDRESSES: usize = 4;

/// Looks at everything, or at one tunnel.
pub(crate) async fn look(places: &Places, only: Option<&str>) -> Result<Seen> {
    let before = status(places, only)?;
    let mut tunnels = Vec::new();
    let mut looking = Vec::new();
    for report in before.iter().flatten() {
        let read = read(report, places);
        looking.push(tokio::spawn(visit_and_ping(report.clone(), read.profile, read.addresses, places.state())));
        tunnels.push((report.name.clone(), read.role, read.shown, read.own_certificate));
    }
    let mut seen = Vec::new();
    for looking in looking {
        seen.push(looking.await.unwrap_or_else(|e| (None, Err(NotMeasured::Failed(e.to_string())))));
    }
    // Now it is known whether they answered, and over what.
    let after = status(places, only)?.unwrap_or_default();
    let tunnels = tunnels.into_iter().zip(seen).filter_map(|((name, role, profile, own_certificate), (site, path))| {
        let report = after.iter().find(|report| report.name == name)?.clone();
        let was = before.iter().flatten().find(|report| report.name == name);
        let heard = was.is_some_and(|was| report.traffic.received > was.traffic.received);
        Some(Tunnel { report, role, profile, site, path, heard, own_certificate })
    });
    let tunnels: Vec<Tunnel> = tunnels.collect();
    let host = Host::at(places.journals());
    let machine = host.look().await.inspect_err(|error| tracing::debug!("{error}")).ok();
    let now = SystemTime::now();
    Ok(Seen {
        now,
        daemon: before.is_some(),
        ways: ways(&host, machine.as_ref()).await,
        machine,
        kept: kept(only, &tunnels),
        has_network: only.is_none() && places.server_state().join("settings.json").exists(),
        tunnels,
        browser: browser(now),
    })
}

/// What the daemon says; nothing if there is none.
fn status(places: &Places, only: Option<&str>) -> Result<Option<Vec<TunnelReport>>> {
    let Some(mut client) = Client::connect(places)? else { return Ok(None) };
    let report: StatusReport = client.call(Method::Status { name: None })?;
    Ok(Some(report.tunnels.into_iter().filter(|tunnel| only.is_none_or(|name| tunnel.name == name)).collect()))
}

/// What is known of a tunnel before anybody is asked.
struct Read {
    role: Role,
    /// The whole profile, of a device.
    profile: Option<WgProfile>,
    shown: Option<Profile>,
    own_certificate: Option<OwnCertificate>,
    /// Who may answer inside.
    addresses: Vec<Ipv4Addr>,
}

fn read(report: &TunnelReport, places: &Places) -> Read {
    let Some(file) = &report.file else {
        let decided = UnixStream::connect(places.server_socket()).is_ok();
        let site = server::for_the_daemon(&places.server_state(), &[]).ok().and_then(|(_, site)| site);
        let own_certificate = site.and_then(|site| certificate(&site, &places.state()));
        return Read {
            role: Role::Network { decided },
            profile: None,
            shown: None,
            own_certificate,
            addresses: Vec::new(),
        };
    };
    if is_openvpn(report) {
        let role = if report.openvpn_server.is_some() { Role::OpenVpnServer } else { Role::OpenVpn };
        let (profile, shown, own_certificate, addresses) = (None, None, None, Vec::new());
        return Read { role, profile, shown, own_certificate, addresses };
    }
    let profile = file::load(file).ok().map(|loaded| loaded.profile);
    let is_device = profile.as_ref().is_none_or(|profile| profile.peers.iter().any(|peer| peer.way().is_some()));
    Read {
        role: if is_device { Role::Device } else { Role::Peer },
        shown: profile.as_ref().map(summary),
        own_certificate: profile.as_ref().and_then(|profile| certificate(profile.web_site.as_ref()?, &places.state())),
        addresses: profile.as_ref().filter(|_| is_device).map(beyond).unwrap_or_default(),
        profile: profile.filter(|_| is_device),
    }
}

/// Also of one that has nothing to show of itself yet.
fn is_openvpn(report: &TunnelReport) -> bool {
    report.openvpn.is_some() || report.openvpn_server.is_some() || report.file.as_deref().is_some_and(name::is_openvpn)
}

fn summary(profile: &WgProfile) -> Profile {
    let routes = profile.peers.iter().flat_map(|peer| &peer.allowed_ips);
    let https = adit::https::reached_by_https(profile).and_then(|peer| peer.https.as_ref());
    let hello = https.map(|https| https.hello.unwrap_or(adit::https::usual_hello()));
    Profile {
        is_full: profile.interface.table == adit::profile::wg_quick::Table::Auto
            && routes.into_iter().any(|net| net.prefix_len() == 0),
        dns: profile.interface.dns.clone(),
        looks_like_a_browser: hello == Some(Hello::Browser),
        only_pins: https.is_some_and(|https| https.roots == Some(Roots::PinOnly)),
    }
}

/// Who may answer pings beyond the tunnel: single hosts, the first of each network, name servers; all of them allowed there.
fn beyond(profile: &WgProfile) -> Vec<Ipv4Addr> {
    let allowed: Vec<_> = profile.peers.iter().flat_map(|peer| peer.allowed_ips.iter().copied()).collect();
    let own: BTreeSet<IpAddr> = profile.interface.addresses.iter().map(|net| net.addr()).collect();
    let first = |net: &ipnet::IpNet| match net {
        ipnet::IpNet::V4(net) if net.prefix_len() == 32 => Some(net.addr()),
        ipnet::IpNet::V4(net) if net.prefix_len() > 0 => net.hosts().next(),
        ipnet::IpNet::V4(_) | ipnet::IpNet::V6(_) => None,
    };
    let v4 = |address: &IpAddr| if let IpAddr::V4(address) = address { Some(*address) } else { None };
    let candidates = profile.interface.addresses.iter().filter_map(first);
    let candidates =
        candidates.chain(allowed.iter().filter_map(first)).chain(profile.interface.dns.iter().filter_map(v4));
    let mut addresses = Vec::new();
    for address in candidates {
        let ip = IpAddr::from(address);
        let fits = !own.contains(&ip) && allowed.iter().any(|net| net.contains(&ip));
        if fits && !addresses.contains(&address) && addresses.len() < MAX_ADDRESSES {
            addresses.push(address);
        }
    }
    addresses
}

/// Visits the server's web site and pings through the tunnel, one after the other: a full line would make either late.
async fn visit_and_ping(
    report: TunnelReport,
    profile: Option<WgProfile>,
    addresses: Vec<Ipv4Addr>,
    state: std::path::PathBuf,
) -> (Option<Looked>, std::result::Result<Path, NotMeasured>) {
    let Some(profile) = profile else { return (None, Err(NotMeasured::NotAsked)) };
    let path = match Host::new().mtu_of(&report.name).await {
        _ if report.state == State::Failed => Err(NotMeasured::NotAsked),
        Ok(Some(mtu)) => path::measure(report.name.clone(), mtu, addresses).await,
        Ok(None) => Err(NotMeasured::Failed(format!("{} has no largest packet that is known", report.name))),
        Err(error) => Err(NotMeasured::Failed(error.to_string())),
    };
    let config = adit::https::client(&profile, report.fwmark, Some(&state.join("visits")));
    let site = match config {
        Some(config) => Some(adit::transport::client::look(config).await),
        None => None,
    };
    (site, path)
}

/// The certificate of a web site here; one of whose key alone counts is not looked at.
fn certificate(site: &WebSite, state: &File) -> Option<OwnCertificate> {
    let (file, renews) = match &site.front {
        WebFront::Files { chain, .. } => (chain.clone(), false),
        WebFront::Acme { .. } => (state.join("acme").join("chain.pem"), true),
        WebFront::SelfSigned(_) | WebFront::Behind => return None,
    };
    let validity = std::fs::read(&file).ok().and_then(|pem| Validity::of_pem(&pem));
    Some(OwnCertificate { file, validity, renews })
}

/// The interface by which each name server is reached.
async fn ways(host: &Host, machine: Option<&Machine>) -> BTreeMap<IpAddr, Option<String>> {
    let mut ways = BTreeMap::new();
    for server in machine.iter().flat_map(|machine| &machine.names.file) {
        ways.insert(*server, host.way_to(*server, 0).await.ok().flatten());
    }
    ways
}

/// Profiles that are kept where `adit join` keeps them. What this user may not read is somebody else's.
fn kept(only: Option<&str>, tunnels: &[Tunnel]) -> Vec<Kept> {
    let [directory, _] = name::directories();
    let entries = directory.read_dir().into_iter().flatten().filter_map(std::io::Result::ok);
    let is_profile =
        |file: &File| file.extension().is_some_and(|extension| extension == "conf") || name::is_openvpn(file);
    let is_asked = |file: &File| only.is_none_or(|name| file.file_stem().is_some_and(|stem| stem == name));
    let mut files: Vec<_> = entries.map(|entry| entry.path()).filter(|f| is_profile(f) && is_asked(f)).collect();
    files.extend(tunnels.iter().filter_map(|tunnel| tunnel.report.file.clone()));
    files.sort();
    files.dedup();
    files.truncate(MAX_KEPT);
    let of_openvpn: BTreeSet<_> = tunnels
        .iter()
        .filter(|tunnel| matches!(tunnel.role, Role::OpenVpn | Role::OpenVpnServer))
        .filter_map(|tunnel| tunnel.report.file.as_ref())
        .collect();
    let kept = |file: std::path::PathBuf| {
        if name::is_openvpn(&file) || of_openvpn.contains(&file) {
            return kept_of_openvpn(file);
        }
        let none = Kept { file, failure: None, is_exposed: false, profile: Profile::default() };
        match file::load(&none.file) {
            Ok(loaded) => {
                Some(Kept { is_exposed: loaded.exposed.is_some(), profile: summary(&loaded.profile), ..none })
            }
            Err(LoadError::Denied { .. }) => None,
            Err(error) => Some(Kept { failure: Some(error.to_string()), ..none }),
        }
    };
    files.into_iter().filter_map(kept).collect()
}

/// Judged as `adit check` does.
fn kept_of_openvpn(file: std::path::PathBuf) -> Option<Kept> {
    let (failure, is_exposed) = match file::read(&file) {
        Ok((text, mode)) => judge_openvpn(&file, &text, mode),
        Err(LoadError::Denied { .. }) => return None,
        Err(error) => (Some(error.to_string()), false),
    };
    Some(Kept { file, failure, is_exposed, profile: Profile::default() })
}

fn browser(now: SystemTime) -> Browser {
    let profile = Fingerprint::chromium();
    let expired = profile.expired(now).map(|expired| expired.days);
    Browser { name: profile.name.clone(), recorded: profile.captured(), expired }
}

#[cfg(test)]
mod tests {
    use adit::profile::wg_quick::parse;

    use super::*;
    use crate::report::ServingReport;

    const KEY: &str = "mIFc94GTGTBuCbFfkFCEeLMAMMQGUd1NzCOqCm++OGM=";

    fn profile(interface: &str, peer: &str) -> WgProfile {
        parse(&format!("[Interface]\nPrivateKey = {KEY}\n{interface}\n[Peer]\nPublicKey = {KEY}\n{peer}\n")).profile
    }

    #[test]
    fn whom_to_ping_is_beyond_the_tunnel_and_not_this_machine() {
        let of = |interface: &str, peer: &str| -> Vec<String> {
            beyond(&profile(interface, peer)).iter().map(ToString::to_string).collect()
        };
        assert_eq!(of("Address = 10.77.0.2/16, fd00::2/64", "AllowedIPs = 0.0.0.0/0, ::/0"), ["10.77.0.1"]);
        assert_eq!(of("Address = 10.77.0.1/24", "AllowedIPs = 10.77.0.2/32"), ["10.77.0.2"]);
        assert_eq!(of("Address = 10.0.0.2/32\nDNS = 9.9.9.9", "AllowedIPs = 0.0.0.0/0"), ["9.9.9.9"]);
        assert_eq!(of("Address = 10.0.0.2/32\nDNS = 9.9.9.9", "AllowedIPs = 10.0.0.0/24"), ["10.0.0.1"]);
        assert!(of("Address = fd00::2/64", "AllowedIPs = ::/0").is_empty());
    }

    #[test]
    fn a_file_of_openvpn_is_judged_by_its_own_rules() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("office.ovpn");
        let kept = |text: &str| {
            std::fs::write(&file, text).unwrap();
            kept_of_openvpn(file.clone()).unwrap()
        };
        let good = "client\ndev tun\nremote vpn.example.org 1194 udp\nca ca.pem\ncert me.pem\nkey me.key\n";
        assert_eq!(kept(good).failure, None);
        let refused = kept(&format!("{good}cipher BF-CBC\n"));
        assert!(refused.failure.as_ref().unwrap().contains("BF-CBC"), "{refused:?}");
        assert!(kept_of_openvpn(directory.path().join("none.ovpn")).unwrap().failure.is_some());
        let report = |file: &str| TunnelReport { file: Some(file.into()), ..TunnelReport::empty("office") };
        let places = Places { directory: "/nonexistent".into(), socket: "/nonexistent/s".into() };
        assert_eq!(read(&report("/etc/adit/office.ovpn"), &places).role, Role::OpenVpn);
        assert_eq!(read(&report("/nonexistent/office.conf"), &places).role, Role::Device);
        let serving = ServingReport { clients: Vec::new(), most: 10, admitted: 0, refused: 0 };
        let serves = TunnelReport { openvpn_server: Some(serving), ..report("/etc/adit/office.ovpn") };
        assert_eq!(read(&serves, &places).role, Role::OpenVpnServer);
    }

    #[test]
    fn what_matters_of_a_profile_is_seen() {
        let url = "HttpsUrl = https://www.example.org\nHttpsPin = sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\
                   HttpsRoots = pin\nHttpsHello = plain";
        let full = summary(&profile("DNS = 10.0.0.1", &format!("AllowedIPs = 0.0.0.0/0\n{url}")));
        assert!(full.is_full && full.only_pins && !full.looks_like_a_browser);
        let split = summary(&profile("", "AllowedIPs = 10.0.0.0/8\nHttpsUrl = https://www.example.org"));
        assert!(!split.is_full && !split.only_pins);
        assert_eq!(split.looks_like_a_browser, adit::https::usual_hello() == Hello::Browser);
    }
}
