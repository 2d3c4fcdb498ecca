//! The command line of a network: its server, invites, peers and policy.
//!
//! Not here: tunnels (`args`), what the commands do (`cmd`).

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use ipnet::{Ipv4Net, Ipv6Net};

use crate::secret::SecretText;

/// `adit server`.
#[derive(Debug, Subcommand)]
pub(crate) enum ServerCommand {
    /// Create the network if there is none, serve it, print a first invite
    #[command(
        after_help = "Serves until Ctrl-C or SIGTERM; the next run goes on with the same network. On a server that is\n\
        to serve for good, `systemctl enable --now adit-server` runs it without a terminal.\n\n\
        Examples:\n  sudo adit server up --name home --host vpn.example.org\n  \
        sudo adit server up --host 203.0.113.7 --site /var/www/html --certificate self-signed"
    )]
    Up(Box<ServerUpArgs>),
    /// Show the network: addresses, carriers, how many devices and invites
    Status(NetworkJsonArgs),
    /// Show what was changed, by whom and from where, the newest first
    Log {
        /// At most so many changes
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        most: u32,
        /// Say whether the log is what was written, in place of showing it; with what an earlier run printed, also whether
        /// it has been made anew since
        #[arg(long, value_name = "NUMBER:HASH", num_args = 0..=1)]
        verify: Option<Option<String>>,
        /// Report as JSON
        #[arg(long)]
        json: bool,
    },
    /// Write the network's state into a file, while it is served
    Backup {
        /// A file that does not exist yet
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Put the state of a backup in place of what is there, while it is served or not
    Restore {
        /// A file that `adit server backup` wrote
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
}

/// `adit server up`.
#[derive(Debug, Args)]
pub(crate) struct ServerUpArgs {
    /// What the network, and its interface on this machine, is called
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// A name or address under which devices reach this machine; may be given several times, the first is tried first
    #[arg(long, value_name = "NAME-OR-IP")]
    pub(crate) host: Vec<String>,
    /// What strangers see over HTTPS: a directory of files, or the URL of another web server
    #[arg(long, value_name = "DIR|URL")]
    pub(crate) site: Option<String>,
    /// Who vouches for the web site: `acme` (Let's Encrypt), `self-signed`, or the files CHAIN.pem,KEY.pem
    #[arg(long, value_name = "WHICH")]
    pub(crate) certificate: Option<String>,
    /// The UDP port
    #[arg(long, value_name = "N")]
    pub(crate) port: Option<u16>,
    /// The TCP port of the web site; `off` serves none
    #[arg(long, value_name = "N|off")]
    pub(crate) https_port: Option<PortOrOff>,
    /// Admit OpenVPN clients as well, at this UDP port [default: 1194]; `off` admits none
    #[arg(long, value_name = "N|off", num_args = 0..=1, default_missing_value = "1194")]
    pub(crate) openvpn: Option<PortOrOff>,
    /// The IPv4 addresses of the network
    #[arg(long, value_name = "NET")]
    pub(crate) range: Option<Ipv4Net>,
    /// The IPv6 addresses of the network, a /64
    #[arg(long, value_name = "NET")]
    pub(crate) range6: Option<Ipv6Net>,
    /// A name server that devices are to use; may be given several times
    #[arg(long, value_name = "IP")]
    pub(crate) dns: Vec<std::net::IpAddr>,
    /// Where the network's state is: a PostgreSQL database that several gateways share, in place of a file here; with a
    /// password in the environment, as ADIT_DATABASE
    #[arg(long, value_name = "postgres://…")]
    pub(crate) database: Option<SecretText>,
    /// Serve metrics for Prometheus at this address of this machine, or at this port of 127.0.0.1; `off` serves none
    #[arg(long, value_name = "ADDR:PORT|PORT|off")]
    pub(crate) metrics: Option<MetricsAt>,
    /// Do so at an address that others reach, too: whoever reaches it reads who is in the network, and how much they use
    #[arg(long, requires = "metrics")]
    pub(crate) metrics_exposed: bool,
    /// Change nothing; print what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where metrics are served, or nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetricsAt {
    /// There.
    Address(SocketAddr),
    /// Nowhere.
    Off,
}

impl std::str::FromStr for MetricsAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = text.parse::<u16>().ok().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        match port.or_else(|| text.parse().ok()) {
            _ if text == "off" => Ok(Self::Off),
            Some(at) if at.port() > 0 => Ok(Self::Address(at)),
            Some(_) | None => Err("write 127.0.0.1:9586, a port, or `off`".to_owned()),
        }
    }
}

/// A port, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PortOrOff {
    /// This one.
    Port(u16),
    /// None.
    Off,
}

impl std::str::FromStr for PortOrOff {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "off" => Ok(Self::Off),
            Ok(port) if port > 0 => Ok(Self::Port(port)),
            Ok(_) | Err(_) => Err("write a port from 1 to 65535, or `off`".to_owned()),
        }
    }
}

/// `adit invite`.
#[derive(Debug, Args)]
pub(crate) struct InviteArgs {
    /// What the device will be called; without it, the device says
    pub(crate) name: Option<String>,
    /// How long the invite is good for [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) expires: Option<Duration>,
    /// How many devices may use it [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) uses: Option<u32>,
    /// A group that the devices will be in; may be given several times
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Vec<String>,
    /// What the device runs
    #[arg(long = "for", value_name = "WHICH", value_enum, default_value_t = For::Adit)]
    pub(crate) kind: For,
    /// Write the OpenVPN configuration into this file, and nowhere else
    #[arg(long, value_name = "FILE.ovpn", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
    /// Write the QR code as a picture, too
    #[arg(long, value_name = "FILE.png", value_hint = ValueHint::FilePath)]
    pub(crate) png: Option<PathBuf>,
    /// Show the invites there are, in place of making one
    #[arg(long, conflicts_with_all = ["name", "revoke", "expires", "uses", "group", "png", "out"])]
    pub(crate) list: bool,
    /// Revoke this invite, by its number
    #[arg(long, value_name = "N", conflicts_with_all = ["name", "expires", "uses", "group", "png", "out"])]
    pub(crate) revoke: Option<u64>,
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a device runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum For {
    /// adit: the device makes its own key, and has HTTPS where UDP is blocked.
    Adit,
    /// Any WireGuard app: a configuration with a key, to be scanned or copied.
    Wireguard,
    /// Any OpenVPN client from 2.6 on: a configuration with a certificate and a key, to be copied.
    Openvpn,
    /// adit, and the code is a picture in a file too: NAME.png, or what --png says.
    QrPng,
}

/// `adit peers`, `adit server status`.
#[derive(Debug, Args)]
pub(crate) struct NetworkJsonArgs {
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `adit peer`.
#[derive(Debug, Subcommand)]
pub(crate) enum PeerCommand {
    /// Show one device
    Show(PeerArgs),
    /// Call it differently
    Rename {
        /// What it is called now
        name: String,
        /// What it is to be called
        new: String,
    },
    /// Limit how fast and how much; `off` lifts a limit
    #[command(after_help = "Examples:\n  adit peer limit phone --down 20mbit --up 5mbit\n  \
        adit peer limit phone --quota 50GiB --per month --then slow\n  adit peer limit phone --down off --quota off")]
    Limit(LimitArgs),
    /// Let it end at a time from now; `never` lifts that
    Expire {
        /// The device
        name: String,
        /// How long from now, such as 90m, 12h, 30d; or `never`
        when: String,
    },
    /// Cut it off, at once, until it is enabled
    Disable(PeerArgs),
    /// Let it in again
    Enable(PeerArgs),
    /// Give the device of a WireGuard app or an OpenVPN client another key, and a new configuration
    Rotate(PeerArgs),
    /// Put it into groups, and take it out of all others
    Groups {
        /// The device
        name: String,
        /// The groups; none takes it out of all
        groups: Vec<String>,
    },
    /// Remove it for good
    Remove(PeerArgs),
}

/// A command about one device.
#[derive(Debug, Args)]
pub(crate) struct PeerArgs {
    /// The device
    pub(crate) name: String,
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `adit peer limit`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args(["down", "up", "quota"])))]
pub(crate) struct LimitArgs {
    /// The device
    pub(crate) name: String,
    /// How fast it may receive, such as 20mbit; or `off`
    #[arg(long, value_name = "RATE")]
    pub(crate) down: Option<String>,
    /// How fast it may send
    #[arg(long, value_name = "RATE")]
    pub(crate) up: Option<String>,
    /// How much it may move, such as 50GiB; or `off`
    #[arg(long, value_name = "BYTES")]
    pub(crate) quota: Option<String>,
    /// How often the quota begins anew
    #[arg(long, value_name = "PERIOD", value_enum, default_value_t = Per::Month, requires = "quota")]
    pub(crate) per: Per,
    /// What happens when it is used up
    #[arg(long, value_name = "ACTION", value_enum, default_value_t = Then::Slow, requires = "quota")]
    pub(crate) then: Then,
}

/// How often a quota begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Per {
    /// Every day, UTC.
    Day,
    /// Every month, UTC.
    Month,
    /// Never.
    Total,
}

/// What happens when a quota is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Then {
    /// It goes on, at 1 Mbit/s.
    Slow,
    /// It is cut off until the quota begins anew.
    Block,
    /// It is only said.
    Notify,
}

/// `adit policy`.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Show the rules in force
    Show(NetworkJsonArgs),
    /// Read rules and say what is wrong with them; changes nothing
    Check {
        /// A file of rules
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Ask whether one may reach another
    #[command(after_help = "Example:\n  adit policy test phone nas:445/tcp")]
    Test {
        /// The device that asks
        from: String,
        /// DEVICE:PORT/PROTOCOL, or ADDRESS:PORT/PROTOCOL
        to: String,
    },
    /// Put rules into force, and show what changed
    Apply {
        /// A file of rules
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
}

/// A time such as `90m`, `24h`, `7d`, `2w`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err("write a number with a unit: 90m, 24h, 7d or 2w".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "write a number with a unit, such as 24h".to_owned())?;
    match number.checked_mul(seconds) {
        Some(seconds) if (1..=MAX_DURATION).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err("the time is at least a second and at most ten years".to_owned()),
    }
}

const MAX_DURATION: u64 = 10 * 366 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        let seconds = |text| duration(text).map(|time| time.as_secs());
        assert_eq!((seconds("90m"), seconds("24h"), seconds("2w")), (Ok(5_400), Ok(86_400), Ok(1_209_600)));
        for wrong in ["", "24", "h", "-1h", "1.5h", "0s", "99999999999999999999d", "4000w0", "9999999w"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn metrics_are_served_here_unless_an_address_is_said() {
        let at = |text: &str| text.parse::<MetricsAt>().ok();
        assert_eq!(at("9586"), Some(MetricsAt::Address(([127, 0, 0, 1], 9586).into())));
        assert_eq!(at("[::1]:9586"), Some(MetricsAt::Address("[::1]:9586".parse().unwrap())));
        assert_eq!(at("off"), Some(MetricsAt::Off));
        for wrong in ["0", "127.0.0.1", "127.0.0.1:0", "localhost:9586", "70000", ""] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_port_may_be_off() {
        assert_eq!("443".parse(), Ok(PortOrOff::Port(443)));
        assert_eq!("off".parse(), Ok(PortOrOff::Off));
        assert!("0".parse::<PortOrOff>().is_err());
        assert!("https".parse::<PortOrOff>().is_err());
    }
}
