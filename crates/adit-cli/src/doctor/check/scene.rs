//! A device and a server, both well, for the checks' tests to break.

use std::time::{Duration, SystemTime};

use adit::status::{CarrierStatus, WebSiteStatus};
use adit::transport::client::Looked;
use adit::transport::tls::Validity;
use adit_host::{Host, Looked as Machine, Names};

use super::super::seen::{Browser, Kept, NotMeasured, OwnCertificate, Path, Profile, Role, Seen, Tunnel};
use crate::report::{OpenVpnReport, PeerReport, State, Traffic, TunnelReport};

/// What time it is.
pub(super) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

const DAY: Duration = Duration::from_secs(86_400);

/// A device with one tunnel, `home`, that everything goes through.
pub(super) fn device() -> Seen {
    let profile = Profile {
        is_full: true,
        dns: vec!["10.77.0.1".parse().unwrap()],
        looks_like_a_browser: true,
        only_pins: false,
    };
    let tunnel = Tunnel {
        report: TunnelReport {
            state: State::Connected,
            file: Some("/etc/adit/home.conf".into()),
            addresses: vec!["10.77.0.2/16".into(), "fd00:1::2/64".into()],
            mtu: Some(1420),
            carrier: Some(carrier()),
            peers: vec![peer()],
            ..TunnelReport::empty("home")
        },
        role: Role::Device,
        profile: Some(profile.clone()),
        site: Some(Looked {
            server: Some(([203, 0, 113, 2], 443).into()),
            certificate: Some(validity()),
            clocks: Some((now(), now())),
            trouble: None,
        }),
        path: Ok(Path { to: Some([10, 77, 0, 1].into()), small: true, longest: Some(1420), mtu: 1420 }),
        heard: false,
        own_certificate: None,
    };
    let kept = Kept { file: "/etc/adit/home.conf".into(), failure: None, is_exposed: false, profile };
    let machine = Machine {
        ruleset: Some(r#"{"nftables":[]}"#.into()),
        uplinks: vec!["eth0".into()],
        names: Names { file: vec!["10.77.0.1".parse().unwrap()], resolved: None },
        ..Machine::default()
    };
    Seen {
        now: now(),
        daemon: true,
        machine: Some(machine),
        ways: [("10.77.0.1".parse().unwrap(), Some("home".into()))].into(),
        tunnels: vec![tunnel],
        kept: vec![kept],
        has_network: false,
        browser: Browser { name: "Chromium".into(), recorded: now() - 10 * DAY, expired: None },
    }
}

/// A machine that serves the network `home`.
pub(super) fn server() -> Seen {
    let table = Host::gateway_table("home");
    let tunnel = Tunnel {
        report: TunnelReport {
            state: State::Connected,
            addresses: vec!["10.77.0.1/16".into(), "fd00:1::1/64".into()],
            listen_port: Some(51820),
            web_site: Some(WebSiteStatus {
                listening: vec![([0, 0, 0, 0], 443).into()],
                pin: None,
                connections: 0,
                streams: 0,
                process: None,
                trouble: None,
            }),
            ..TunnelReport::empty("home")
        },
        role: Role::Network { decided: true },
        profile: None,
        site: None,
        path: Err(NotMeasured::NotAsked),
        heard: true,
        own_certificate: Some(OwnCertificate {
            file: "/etc/ssl/chain.pem".into(),
            validity: Some(validity()),
            renews: false,
        }),
    };
    let machine = Machine {
        forwards_v4: Some(true),
        forwards_v6: Some(true),
        ruleset: Some(format!(r#"{{"nftables":[{{"table":{{"family":"inet","name":"{table}"}}}}]}}"#)),
        uplinks: vec!["eth0".into()],
        ..Machine::default()
    };
    Seen { machine: Some(machine), tunnels: vec![tunnel], kept: Vec::new(), has_network: true, ..device() }
}

/// A machine with an OpenVPN client that is connected.
pub(super) fn openvpn() -> Seen {
    let mut seen = device();
    let client = OpenVpnReport {
        server: Some("203.0.113.9:1194".into()),
        cipher: Some("AES-256-GCM".into()),
        connected_seconds: Some(60),
        connections: 1,
        renewals: 0,
        trouble: None,
        said: None,
    };
    let report = TunnelReport {
        state: State::Connected,
        file: Some("/etc/adit/office.ovpn".into()),
        openvpn: Some(client),
        ..TunnelReport::empty("office")
    };
    let path = Err(NotMeasured::NotAsked);
    seen.tunnels = vec![Tunnel {
        report,
        role: Role::OpenVpn,
        profile: None,
        site: None,
        path,
        heard: false,
        own_certificate: None,
    }];
    let file = "/etc/adit/office.ovpn".into();
    seen.kept = vec![Kept { file, failure: None, is_exposed: false, profile: Profile::default() }];
    seen
}

fn validity() -> Validity {
    Validity { from: now() - 10 * DAY, until: now() + 80 * DAY }
}

fn carrier() -> CarrierStatus {
    CarrierStatus {
        carrier: "udp".into(),
        for_seconds: 60,
        why: "the first choice".into(),
        order: vec!["udp".into(), "https".into()],
        https: "not connected".into(),
        server: None,
        looks_like: None,
        warning: None,
    }
}

fn peer() -> PeerReport {
    PeerReport {
        public_key: "key".into(),
        preshared_key: false,
        endpoint: Some("203.0.113.2:51820".into()),
        transport: "udp".into(),
        allowed_ips: vec!["0.0.0.0/0".into()],
        last_handshake_unix: Some(1_799_999_990),
        last_handshake_seconds_ago: Some(10),
        has_session: true,
        traffic: Traffic::default(),
        persistent_keepalive: 25,
        staged: 0,
        next: None,
    }
}

#[test]
fn nothing_is_wrong_with_either() {
    for seen in [device(), server()] {
        let report = super::super::judge(&seen);
        assert_eq!((report.wrong, report.proposed()), (0, Vec::new()), "{:#?}", report.checks);
    }
}
