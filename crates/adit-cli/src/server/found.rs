//! What a first run, or a later one with options, makes of the network and of this machine. Mostly pure.
//!
//! Not here: keeping it (`state`, `adit-control`), running it (`gateway`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;

use ipnet::{Ipv4Net, Ipv6Net};
use zeroize::Zeroizing;

use super::state::{Certificate, Settings, WebSettings};
use crate::args::network::{MetricsAt, PortOrOff, ServerUpArgs};
use crate::exit::{Failure, Result};
use crate::name::check_name;
use crate::secret::SecretText;

/// What a network is called if nobody says.
const USUAL_NAME: &str = "adit";
/// WireGuard's usual port.
pub(crate) const USUAL_PORT: u16 = 51_820;
/// Names a database with its password.
pub(crate) const DATABASE: &str = "ADIT_DATABASE";
/// The port of web sites.
const WEB_PORT: u16 = 443;
/// The address of which the kernel is asked how it would reach it (RFC 5737); nothing is sent there.
const SOMEWHERE: &str = "192.0.2.1:9";

/// What concerns this machine: as it was, with what the options say.
pub(crate) fn settings(args: &ServerUpArgs, before: Option<Settings>, hosts: &[String]) -> Result<Settings> {
    let first = before.is_none();
    let mut settings = match before {
        Some(before) => before,
        None => Settings {
            version: Settings::VERSION,
            interface: args.name.clone().unwrap_or_else(|| USUAL_NAME.to_owned()),
            hosts: Vec::new(),
            web: Some(WebSettings { port: WEB_PORT, site: None, certificate: usual_certificate(hosts) }),
            database: None,
            metrics: None,
            openvpn: None,
        },
    };
    if !hosts.is_empty() {
        settings.hosts = hosts.to_vec();
    }
    if let Some(name) = args.name.as_ref().filter(|name| !first && **name != settings.interface) {
        return Err(Failure::usage(format!("this machine serves the network {}, not {name}", settings.interface))
            .hint("leave --name out; a second network needs a machine, container or network namespace of its own"));
    }
    check_name(&settings.interface)?;
    if let Some(database) = database(args)? {
        if !first && settings.database.as_ref() != Some(&database) {
            return Err(Failure::usage("the network's state does not move from one database to another by an option")
                .hint("`adit server backup FILE` here, then `adit server restore FILE` where it is to be"));
        }
        settings.database = Some(database);
    }
    let hosts = settings.hosts.clone();
    web(args, &mut settings, &hosts)?;
    match args.metrics {
        Some(MetricsAt::Off) => settings.metrics = None,
        Some(MetricsAt::Address(at)) => settings.metrics = Some(metrics(at, args.metrics_exposed)?),
        None => {}
    }
    match args.openvpn {
        Some(PortOrOff::Off) => settings.openvpn = None,
        Some(PortOrOff::Port(port)) => settings.openvpn = Some(port),
        None => {}
    }
    Ok(settings)
}

/// Where the state is, if that is said: what has a password is not for the command line.
fn database(args: &ServerUpArgs) -> Result<Option<SecretText>> {
    let Some(url) = &args.database else {
        let url = std::env::var(DATABASE).ok().filter(|url| !url.is_empty()).map(Zeroizing::new);
        return Ok(url.map(SecretText::from));
    };
    if has_password(url.expose()) {
        return Err(Failure::usage(
            "--database: what is on a command line, a password too, can be read by everybody here",
        )
        .hint(format!("leave --database out, and give the whole URL in the environment, as {DATABASE}")));
    }
    Ok(Some(url.clone()))
}

/// Whether a PostgreSQL URL or key-value text has a password in it.
fn has_password(url: &str) -> bool {
    let user = url.split_once("://").and_then(|(_, rest)| rest.split(['/', '?']).next()?.rsplit_once('@'));
    user.is_some_and(|(user, _)| user.contains(':')) || url.contains("password=") || url.contains("password =")
}

/// Of this machine alone, unless somebody says in so many words that others may read it.
fn metrics(at: SocketAddr, exposed: bool) -> Result<SocketAddr> {
    if at.ip().is_loopback() || exposed {
        return Ok(at);
    }
    let reads = "whoever does reads who is in the network and how much they use";
    Err(Failure::usage(format!("--metrics {at}: others than this machine may reach that address, and {reads}"))
        .hint(format!("take --metrics {}, or add --metrics-exposed if only your monitoring reaches {at}", at.port())))
}

fn web(args: &ServerUpArgs, settings: &mut Settings, hosts: &[String]) -> Result<()> {
    let asked = args.site.is_some() || args.certificate.is_some();
    match args.https_port {
        Some(PortOrOff::Off) if asked => {
            return Err(Failure::usage(
                "--https-port off serves no web site, so --site and --certificate have no effect",
            ));
        }
        Some(PortOrOff::Off) => settings.web = None,
        Some(PortOrOff::Port(_)) | None if settings.web.is_none() && !asked && args.https_port.is_none() => {}
        Some(PortOrOff::Port(_)) | None => {
            let usual = || WebSettings { port: WEB_PORT, site: None, certificate: usual_certificate(hosts) };
            let web = settings.web.get_or_insert_with(usual);
            if let Some(PortOrOff::Port(port)) = args.https_port {
                web.port = port;
            }
            if let Some(text) = &args.site {
                web.site = Some(site(text)?);
            }
            if let Some(text) = &args.certificate {
                web.certificate = certificate(text, hosts)?;
            }
        }
    }
    Ok(())
}

/// An authority vouches for names that the whole world can look up.
fn usual_certificate(hosts: &[String]) -> Certificate {
    if is_public_name(hosts.first().map_or("", String::as_str)) { Certificate::Acme } else { Certificate::SelfSigned }
}

/// Whether an authority would vouch for it.
pub(crate) fn is_public_name(host: &str) -> bool {
    host.parse::<IpAddr>().is_err() && host.contains('.') && !host.ends_with(".local") && !host.ends_with(".lan")
}

fn site(text: &str) -> Result<String> {
    if text.starts_with("http://") || text.starts_with("https://") {
        return Ok(text.to_owned());
    }
    let path = std::path::absolute(text).map_err(|e| Failure::usage(format!("--site {text}: {e}")))?;
    if !path.is_dir() {
        return Err(Failure::usage(format!("--site {text}: there is no such directory"))
            .hint("give a directory with an index.html, or the URL of a web server: http://127.0.0.1:8080"));
    }
    utf8(&path)
}

fn certificate(text: &str, hosts: &[String]) -> Result<Certificate> {
    match text {
        "acme" if !is_public_name(hosts.first().map_or("", String::as_str)) => Err(Failure::usage(
            "--certificate acme: an authority vouches for names, and --host gives none that the world knows",
        )
        .hint("give --host a name that leads here, or take --certificate self-signed")),
        "acme" => Ok(Certificate::Acme),
        "self-signed" => Ok(Certificate::SelfSigned),
        files => {
            let usage = || {
                Failure::usage(format!("--certificate {files}: neither `acme`, `self-signed` nor two files"))
                    .hint("--certificate /etc/ssl/chain.pem,/etc/ssl/key.pem")
            };
            let (chain, key) = files.split_once(',').ok_or_else(usage)?;
            let file = |text: &str| {
                let path = std::path::absolute(text).map_err(|_| usage())?;
                if path.is_file() {
                    return Ok(path);
                }
                Err(Failure::usage(format!("--certificate: there is no file {}", path.display())))
            };
            Ok(Certificate::Files { chain: file(chain)?, key: file(key)? })
        }
    }
}

fn utf8(path: &Path) -> Result<String> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control));
    text.map(str::to_owned)
        .ok_or_else(|| Failure::usage(format!("{} is not a path that can be written down", path.display())))
}

/// Where devices reach this machine: as is said, else the address of its way to the Internet, if that is a public one.
pub(crate) fn hosts(said: &[String]) -> Result<Vec<String>> {
    if !said.is_empty() {
        return Ok(said.to_vec());
    }
    let unknown = |what: String| {
        Failure::usage(what).hint("say it: adit server up --host vpn.example.org (or this machine's public address)")
    };
    let own = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.connect(SOMEWHERE).and_then(|()| socket.local_addr()))
        .map_err(|_| {
            unknown("this machine has no way to the Internet, so it is not known where devices reach it".to_owned())
        })?;
    match own.ip() {
        IpAddr::V4(v4) if is_public(v4) => Ok(vec![v4.to_string()]),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => {
            Err(unknown(format!("this machine's own address is {ip}, which devices elsewhere cannot reach")))
        }
    }
}

fn is_public(v4: Ipv4Addr) -> bool {
    let shared = v4.octets()[0] == 100 && (64..128).contains(&v4.octets()[1]);
    !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || shared)
}

/// A range that this machine has no route to yet: the first free of 10.77.0.0/24, 10.78.0.0/24 ….
pub(crate) fn free_range(routes: &str) -> Ipv4Net {
    let taken: Vec<Ipv4Net> = routes.lines().skip(1).filter_map(route).filter(|net| net.prefix_len() > 0).collect();
    let free = |net: &Ipv4Net| !taken.iter().any(|other| other.contains(net) || net.contains(other));
    let candidates = (77..=250).map(|n| Ipv4Net::new_assert(Ipv4Addr::new(10, n, 0, 0), 24));
    candidates.clone().find(free).or_else(|| candidates.clone().next()).unwrap_or_default()
}

/// A line of `/proc/net/route`: numbers in hexadecimal, in the machine's own byte order.
fn route(line: &str) -> Option<Ipv4Net> {
    let mut words = line.split_whitespace();
    let number = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::to_ne_bytes);
    let to = number(words.nth(1)?)?;
    let mask = number(words.nth(5)?)?;
    Ipv4Net::with_netmask(Ipv4Addr::from(to), Ipv4Addr::from(mask)).ok()
}

/// A /64 that nobody else has, most likely: 40 random bits in `fd00::/8` (RFC 4193 §3.2), subnet 0.
pub(crate) fn random_range6() -> Result<Ipv6Net> {
    let mut random = [0; 5];
    getrandom::fill(&mut random)
        .map_err(|e| Failure::failed(format!("no random numbers for an address range: {e}")))?;
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..6].copy_from_slice(&random);
    Ok(Ipv6Net::new_assert(Ipv6Addr::from(octets), 64))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::network::ServerCommand;
    use crate::args::{Cli, Command};

    fn args(line: &str) -> ServerUpArgs {
        let words = ["adit", "server", "up"].into_iter().chain(line.split_whitespace());
        let Command::Server(ServerCommand::Up(args)) = Cli::parse_from(words).command else { panic!() };
        *args
    }

    fn first(line: &str, host: &str) -> Result<Settings> {
        settings(&args(line), None, &[host.to_owned()])
    }

    #[test]
    fn a_name_gets_a_certificate_of_an_authority_and_an_address_its_own() {
        let of = |host: &str| first("", host).unwrap().web.unwrap().certificate;
        assert_eq!(of("vpn.example.org"), Certificate::Acme);
        for host in ["203.0.113.7", "2001:db8::1", "server", "server.local"] {
            assert_eq!(of(host), Certificate::SelfSigned, "{host}");
        }
        assert!(first("--certificate acme", "203.0.113.7").is_err());
    }

    #[test]
    fn what_is_not_said_stays() {
        let before = first("--name home --https-port 8443", "203.0.113.7").unwrap();
        let again = settings(&args(""), Some(before.clone()), &[]).unwrap();
        assert_eq!(again, before);
        let off = settings(&args("--https-port off"), Some(before.clone()), &[]).unwrap();
        assert_eq!(off.web, None);
        assert_eq!(settings(&args(""), Some(off), &[]).unwrap().web, None);
        assert!(settings(&args("--name other"), Some(before.clone()), &[]).is_err());
        assert!(settings(&args("--database postgres://x"), Some(before), &[]).is_err());
    }

    #[test]
    fn later_options_are_judged_by_the_hosts_of_the_first_run() {
        let before = first("", "vpn.example.org").unwrap();
        let off = settings(&args("--https-port off"), Some(before), &[]).unwrap();
        let on = settings(&args("--https-port 443"), Some(off.clone()), &[]).unwrap();
        assert_eq!(on.web.unwrap().certificate, Certificate::Acme);
        assert!(settings(&args("--certificate acme"), Some(off), &[]).is_ok());
    }

    #[test]
    fn a_password_is_not_taken_from_the_command_line() {
        for bad in [
            "postgres://adit:secret@db/vpn",
            "postgresql://a:secret@[::1]:5432/x?y=z",
            "postgres://db/x?password=secret",
        ] {
            let refused = first(&format!("--database {bad}"), "203.0.113.7").unwrap_err();
            assert!(refused.message.contains("--database") && !refused.to_string().contains("secret"), "{refused}");
        }
        assert!(has_password("host=db password=secret"));
        for good in ["postgres://adit@db:5432/vpn", "postgres://db/vpn", "host=db user=adit"] {
            assert!(!has_password(good), "{good}");
        }
        let settings = first("--database postgres://adit@127.0.0.1/vpn", "203.0.113.7").unwrap();
        assert!(settings.database.is_some());
    }

    #[test]
    fn metrics_are_for_this_machine_unless_it_is_said_otherwise() {
        let of = |line: &str| first(line, "203.0.113.7").map(|settings| settings.metrics);
        assert_eq!(of("").unwrap(), None);
        for own in ["9586", "127.0.0.1:9586", "127.0.0.9:9586", "[::1]:9586"] {
            assert!(of(&format!("--metrics {own}")).unwrap().is_some(), "{own}");
        }
        for others in ["203.0.113.7:9586", "0.0.0.0:9586", "[::]:9586", "10.0.0.1:9586", "[::ffff:127.0.0.1]:9586"] {
            let refused = of(&format!("--metrics {others}")).unwrap_err();
            assert!(refused.message.contains("others than this machine") && !refused.hints.is_empty(), "{refused}");
            assert_eq!(of(&format!("--metrics {others} --metrics-exposed")).unwrap(), others.parse().ok());
        }
        let before = first("--metrics 9586", "203.0.113.7").unwrap();
        assert_eq!(settings(&args("--metrics off"), Some(before), &[]).unwrap().metrics, None);
    }

    #[test]
    fn openvpn_clients_are_admitted_where_it_is_said_and_from_then_on() {
        let openvpn = |line: &str| first(line, "203.0.113.7").unwrap().openvpn;
        assert_eq!([openvpn(""), openvpn("--openvpn"), openvpn("--openvpn 443")], [None, Some(1194), Some(443)]);
        let again = |line: &str| {
            let before = first("--openvpn 1195", "203.0.113.7").unwrap();
            settings(&args(line), Some(before), &[]).unwrap().openvpn
        };
        assert_eq!([again(""), again("--openvpn off"), again("--openvpn")], [Some(1195), None, Some(1194)]);
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        assert!(first("--https-port off --certificate self-signed", "203.0.113.7").is_err());
        assert!(first("--site /no/such/directory", "203.0.113.7").unwrap_err().message.contains("no such directory"));
        assert!(first("--certificate nonsense", "203.0.113.7").is_err());
        assert!(first("--certificate /no/chain.pem,/no/key.pem", "203.0.113.7").is_err());
        assert!(first("--name a/b", "203.0.113.7").is_err());
    }

    #[test]
    fn a_range_that_is_routed_already_is_not_taken() {
        let header = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
        let hex = |address: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(address));
        let line = |to: [u8; 4], mask: [u8; 4]| {
            format!("eth0\t{}\t00000000\t0001\t0\t0\t0\t{}\t0\t0\t0\n", hex(to), hex(mask))
        };
        let range = |routes: &[String]| free_range(&format!("{header}{}", routes.concat())).to_string();
        assert_eq!(range(&[line([0, 0, 0, 0], [0, 0, 0, 0])]), "10.77.0.0/24");
        assert_eq!(range(&[line([10, 77, 0, 0], [255, 255, 0, 0])]), "10.78.0.0/24");
        assert_eq!(range(&[line([10, 77, 0, 128], [255, 255, 255, 128])]), "10.78.0.0/24");
        assert_eq!(range(&[line([10, 0, 0, 0], [255, 0, 0, 0])]), "10.77.0.0/24", "there is no better one");
    }

    #[test]
    fn a_random_range_is_a_network_of_its_own() {
        let (a, b) = (random_range6().unwrap(), random_range6().unwrap());
        assert_ne!(a, b);
        assert!(a.prefix_len() == 64 && a.addr().octets()[0] == 0xfd && a == a.trunc());
    }

    #[test]
    fn private_addresses_are_not_offered_to_devices_elsewhere() {
        let public = |text: &str| is_public(text.parse().unwrap());
        assert!(public("203.0.113.7"));
        for private in ["10.0.0.1", "192.168.1.2", "172.20.0.1", "100.64.0.1", "127.0.0.1", "169.254.1.1"] {
            assert!(!public(private), "{private}");
        }
    }
}
