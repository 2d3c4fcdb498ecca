//! The programs of a client's configuration (`up`, `down` and the like): which run when, and what they are told.
//!
//! What a server said is among it, as values that were read: addresses, networks, names without anything but letters, digits and
//! a few signs. Not here: how a program is run (`adit::openvpn::Program`), whether the file may have any (`adit_openvpn::options`).

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use adit::openvpn::{Program, Settings, Shown};
use adit_openvpn::options::{ClientConfig, Destination, Hooks as Asked, Moment, Remote, Topology, Transport};

/// How long each may take.
const WITHIN: Duration = Duration::from_secs(20);
/// And all that run when a connection is made: `ipchange`, `up` and `route-up`.
pub(super) const ALL_WITHIN: Duration = Duration::from_secs(3 * WITHIN.as_secs());
/// Networks, name servers and remotes that programs are told of, of each kind.
const MAX_TOLD: usize = 256;

/// The programs of one client.
#[derive(Debug)]
pub(super) struct Hooks {
    run: Vec<(Moment, Program)>,
    /// `down` comes before the interface goes.
    down_first: bool,
    /// `up` and `down` also when the connection is made anew.
    on_restart: bool,
}

/// What programs are told of a tunnel that is up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// The words of `up` and `down`, without the last.
    words: Vec<String>,
    /// The address and port of the server.
    server: Option<(String, String)>,
    variables: Vec<(String, String)>,
}

/// Whether a connection is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Context {
    Init,
    Restart,
}

impl Context {
    const fn word(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Restart => "restart",
        }
    }
}

impl Hooks {
    pub(super) fn of(asked: &Asked) -> Self {
        let program = |command: &[String]| {
            let (path, words) = command.split_first()?;
            Some(Program { path: PathBuf::from(path), words: words.to_vec() })
        };
        let run = asked.run.iter().filter_map(|hook| Some((hook.moment, program(&hook.command)?)));
        Self { run: run.collect(), down_first: asked.down_first, on_restart: asked.on_restart }
    }

    /// Whether a connection that is made anew is told of.
    pub(super) const fn on_restart(&self) -> bool {
        self.on_restart
    }

    /// The machine fits.
    ///
    /// # Errors
    /// `up` failed: the tunnel is not to be.
    pub(super) async fn up(&self, told: &Told, context: Context) -> Result<(), String> {
        if let Some((address, port)) = &told.server {
            self.tell(Moment::AddressChange, &[address.clone(), port.clone()], told, context)
                .await
                .unwrap_or_else(warn);
        }
        self.tell(Moment::Up, &told.ended_by(context), told, context).await?;
        self.tell(Moment::RouteUp, &[], told, context).await.unwrap_or_else(warn);
        Ok(())
    }

    /// The tunnel is about to go.
    pub(super) async fn before_down(&self, told: &Told) {
        self.tell(Moment::RoutePreDown, &[], told, Context::Init).await.unwrap_or_else(warn);
        if self.down_first {
            self.down(told, Context::Init).await;
        }
    }

    /// It is gone.
    pub(super) async fn after_down(&self, told: &Told) {
        if !self.down_first {
            self.down(told, Context::Init).await;
        }
    }

    /// `down` itself.
    pub(super) async fn down(&self, told: &Told, context: Context) {
        self.tell(Moment::Down, &told.ended_by(context), told, context).await.unwrap_or_else(warn);
    }

    /// Runs the last program of a moment, which is the one that counts.
    async fn tell(&self, moment: Moment, words: &[String], told: &Told, context: Context) -> Result<(), String> {
        let Some((_, program)) = self.run.iter().rfind(|(of, _)| *of == moment) else { return Ok(()) };
        let own = [("script_type", moment.option()), ("script_context", context.word())];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let ended = program.run(words, told.variables.iter().cloned().chain(own), WITHIN).await;
        let option = moment.option();
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("the program of `{option}`, {}, ended with {status}", program.path.display())),
            Err(why) => Err(format!("the program of `{option}`: {why}")),
        }
    }
}

fn warn(why: String) {
    tracing::warn!("{why}");
}

impl Told {
    /// Of a client with this interface, which has this MTU.
    pub(super) fn of(name: &str, mtu: u32, config: &ClientConfig, settings: &Settings, shown: &Shown) -> Self {
        let mut told = Self::default();
        told.interface(name, mtu, config, settings);
        told.routes(config, settings);
        told.names(config, settings);
        let remotes = config.remotes.iter().zip(1..).take(MAX_TOLD);
        remotes.for_each(|(remote, n)| told.remote(remote, n));
        if let Some((address, _)) = &shown.server {
            let ip = if address.is_ipv4() { "trusted_ip" } else { "trusted_ip6" };
            told.set(ip, address.ip());
            told.set("trusted_port", address.port());
            told.server = Some((address.ip().to_string(), address.port().to_string()));
        }
        // What the file itself says counts more than what the server does, and neither more than what is known.
        let of_file = config.common.hooks.environment.iter();
        for (name, value) in of_file.chain(&settings.machine.environment) {
            if !told.variables.iter().any(|(known, _)| known == name) {
                told.set(name, plain(value, |c| !c.is_control()));
            }
        }
        told
    }

    fn set(&mut self, name: &str, value: impl ToString) {
        self.variables.push((name.to_owned(), value.to_string()));
    }

    fn interface(&mut self, name: &str, mtu: u32, config: &ClientConfig, settings: &Settings) {
        let (file, pushed) = (&config.common.inside, &settings.machine.inside);
        self.set("dev", name);
        self.set("dev_type", "tun");
        self.set("tun_mtu", mtu);
        self.set("link_mtu", 0);
        let address = settings.connection.address4.or_else(|| file.ifconfig.map(|own| (own.local, own.other)));
        let topology = pushed.topology.or(file.topology).unwrap_or_default();
        let mut words = vec![name.to_owned(), mtu.to_string(), "0".to_owned()];
        if let Some((local, other)) = address {
            self.set("ifconfig_local", local);
            words.extend([local.to_string(), other.to_string()]);
            if topology == Topology::Subnet {
                self.set("ifconfig_netmask", other);
                self.set("ifconfig_broadcast", local | !other);
            } else {
                self.set("ifconfig_remote", other);
            }
        } else {
            words.extend(["0.0.0.0".to_owned(), "0.0.0.0".to_owned()]);
        }
        self.words = words;
        let v6 = settings
            .connection
            .address6
            .or_else(|| file.ifconfig6.map(|own| (own.local.addr(), own.local.prefix_len())));
        if let Some((local, bits)) = v6 {
            self.set("ifconfig_ipv6_local", local);
            self.set("ifconfig_ipv6_netbits", bits);
        }
        let other_end = address.filter(|_| topology != Topology::Subnet).map(|(_, other)| IpAddr::V4(other));
        if let Some(gateway) = pushed.gateway.or(file.gateway).or(other_end) {
            self.set("route_vpn_gateway", gateway);
        }
    }

    fn routes(&mut self, config: &ClientConfig, settings: &Settings) {
        let all = config.common.inside.routes.iter().chain(&settings.machine.inside.routes);
        let (mut v4, mut v6) = (0, 0);
        for route in all.take(MAX_TOLD) {
            match &route.to {
                Destination::V4(net) => {
                    v4 += 1;
                    self.set(&format!("route_network_{v4}"), net.network());
                    self.set(&format!("route_netmask_{v4}"), net.netmask());
                    if let Some(metric) = route.metric {
                        self.set(&format!("route_metric_{v4}"), metric);
                    }
                }
                Destination::V6(net) => {
                    v6 += 1;
                    self.set(&format!("route_ipv6_network_{v6}"), net);
                }
                // They are not made either.
                Destination::RemoteHost | Destination::Name(_) => {}
            }
        }
    }

    /// Name servers, as OpenVPN passes on what it leaves to others.
    fn names(&mut self, config: &ClientConfig, settings: &Settings) {
        let (file, pushed) = (&config.common.dns, &settings.machine.dns);
        let servers = file.servers.iter().chain(&pushed.servers).map(|server| match server {
            IpAddr::V4(server) => format!("dhcp-option DNS {server}"),
            IpAddr::V6(server) => format!("dhcp-option DNS6 {server}"),
        });
        let is_of_names = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let domains = file.search.iter().chain(&pushed.search);
        let domains = domains.map(|domain| format!("dhcp-option DOMAIN {}", plain(domain, is_of_names)));
        let all: Vec<_> = servers.chain(domains).take(MAX_TOLD).collect();
        all.iter().zip(1..).for_each(|(option, n)| self.set(&format!("foreign_option_{n}"), option));
    }

    fn remote(&mut self, remote: &Remote, n: usize) {
        let proto = match remote.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp-client",
        };
        self.set(&format!("remote_{n}"), &remote.host);
        self.set(&format!("remote_port_{n}"), remote.port);
        self.set(&format!("proto_{n}"), proto);
    }

    fn ended_by(&self, context: Context) -> Vec<String> {
        self.words.iter().cloned().chain([context.word().to_owned()]).collect()
    }
}

/// A text with nothing else in it.
fn plain(text: &str, allowed: impl Fn(char) -> bool) -> String {
    text.chars().filter(|c| allowed(*c)).collect()
}

#[cfg(test)]
mod tests {
    use adit_openvpn::Pushed;
    use adit_openvpn::options::{self, Config, Parsed, Pulling};

    use super::*;

    fn config(lines: &str) -> ClientConfig {
        let text = format!("client\nremote 192.0.2.1\nauth-user-pass\n<ca>\nx\n</ca>\nscript-security 2\n{lines}");
        match options::parse(&text) {
            Parsed { config: Some(Config::Client(config)), .. } => *config,
            parsed => panic!("{:?}", parsed.findings),
        }
    }

    fn told(config: &ClientConfig, pushed: &[&str]) -> Told {
        let mut connection = Pushed::default();
        pushed.iter().for_each(|option| connection.add(option));
        let pulling = Pulling { pull: true, ..Pulling::default() };
        let settings = Settings::read(connection, &pulling, None, Vec::new()).unwrap();
        let server = Some((([192, 0, 2, 1], 1194).into(), "192.0.2.1:1194".to_owned()));
        Told::of("tun0", 1500, config, &settings, &Shown { server, ..Shown::default() })
    }

    #[test]
    fn programs_are_told_what_openvpn_tells_them() {
        let config = config("setenv SEAT 7\nsetenv dev mine\nroute 10.9.0.0 255.255.0.0 default 5\n");
        let told = told(
            &config,
            &[
                "topology subnet",
                "ifconfig 10.8.0.2 255.255.255.0",
                "ifconfig-ipv6 fd00::2/64 fd00::1",
                "route-gateway 10.8.0.1",
                "route-ipv6 fd01::/48",
                "dhcp-option DNS 10.8.0.1",
                "setenv-safe X \"a $(reboot)\"",
            ],
        );
        let value = |name: &str| {
            told.variables.iter().filter(|(known, _)| known == name).map(|(_, v)| v.as_str()).collect::<Vec<_>>()
        };
        for (name, expected) in [
            ("dev", "tun0"),
            ("tun_mtu", "1500"),
            ("ifconfig_local", "10.8.0.2"),
            ("ifconfig_netmask", "255.255.255.0"),
            ("ifconfig_broadcast", "10.8.0.255"),
            ("ifconfig_ipv6_local", "fd00::2"),
            ("ifconfig_ipv6_netbits", "64"),
            ("route_vpn_gateway", "10.8.0.1"),
            ("route_network_1", "10.9.0.0"),
            ("route_netmask_1", "255.255.0.0"),
            ("route_metric_1", "5"),
            ("route_ipv6_network_1", "fd01::/48"),
            ("foreign_option_1", "dhcp-option DNS 10.8.0.1"),
            ("remote_1", "192.0.2.1"),
            ("proto_1", "udp"),
            ("trusted_ip", "192.0.2.1"),
            ("trusted_port", "1194"),
            ("SEAT", "7"),
            ("OPENVPN_X", "a $(reboot)"),
        ] {
            assert_eq!(value(name), [expected], "{name}");
        }
        assert_eq!(told.ended_by(Context::Restart).join(" "), "tun0 1500 0 10.8.0.2 255.255.255.0 restart");
    }

    #[test]
    fn the_other_end_is_told_of_where_it_is_one_host() {
        let told = told(&config(""), &["ifconfig 10.8.0.6 10.8.0.5"]);
        let has = |name: &str, value: &str| told.variables.contains(&(name.to_owned(), value.to_owned()));
        assert!(has("ifconfig_remote", "10.8.0.5") && has("route_vpn_gateway", "10.8.0.5"), "{told:?}");
    }

    #[tokio::test]
    async fn only_a_failure_of_up_is_one() {
        let hooks = |lines: &str| Hooks::of(&config(lines).common.hooks);
        let fails = hooks("up /bin/false\n").up(&Told::default(), Context::Init).await.unwrap_err();
        assert!(fails.contains("`up`") && fails.contains("/bin/false"), "{fails}");
        let gone = hooks("up \"/nonexistent/x y\"\n").up(&Told::default(), Context::Init).await.unwrap_err();
        assert!(gone.contains("/nonexistent/x"), "{gone}");
        let others = "up /bin/true\nroute-up /bin/false\nipchange /bin/false\n";
        assert_eq!(hooks(others).up(&Told::default(), Context::Init).await, Ok(()));
    }
}
