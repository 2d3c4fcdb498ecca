//! The command line as values: the one place where words become typed requests, and the source of completions and man pages.
//!
//! Not here: what the commands do (`cmd`).

pub(crate) mod network;
pub(crate) mod units;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};

use self::network::{InviteArgs, NetworkJsonArgs, PeerCommand, PolicyCommand, ServerCommand};

/// A VPN that speaks WireGuard with any existing peer.
#[derive(Debug, Parser)]
#[command(name = "adit", version, max_term_width = 100, arg_required_else_help = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What `adit` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring a tunnel up
    #[command(after_help = "NAME stands for /etc/adit/NAME.conf, else /etc/wireguard/NAME.conf.\n\
        The interface is called like the file, as with wg-quick.\n\n\
        Examples:\n  adit up home\n  adit up ./work.conf --dry-run")]
    Up(UpArgs),
    /// Join a network by an invite: make this device's key, be admitted, keep the profile, bring it up
    #[command(after_help = "The invite is a secret: `-` keeps it out of the shell's history and of `ps`.\n\
        What is kept is /etc/adit/NAME.conf, which `adit up NAME` finds; NAME is called like the network.\n\
        If anything fails on the way, joining with the same link again goes on where it ended.\n\n\
        Examples:\n  adit join adit:1:mzxw6…\n  adit join invite.png\n  adit join - < invite.txt")]
    Join(JoinArgs),
    /// Take a tunnel down, and undo everything it changed on this machine
    Down(NameArgs),
    /// Apply the changed file of a running tunnel; its sessions are kept
    Reload(NameArgs),
    /// Show tunnels: state, peers, handshakes, traffic, drops
    Status(StatusArgs),
    /// Read a configuration file line by line and say what is accepted, ignored or wrong
    #[command(
        after_help = "Files of wg-quick (.conf) and of OpenVPN (.ovpn, or .conf by what is in it) are told apart.\n\n\
        Examples:\n  adit check home\n  adit check office.ovpn"
    )]
    Check(CheckArgs),
    /// Find what is wrong: blocked ports, clocks, forwarding, firewalls, MTU, DNS leaks, certificates
    #[command(
        after_help = "Servers of tunnels that are up are pinged through the tunnel, and their web sites visited once, as\n\
        the tunnel itself does. Nobody else is asked. As root it sees more.\n\n\
        Exit codes:\n  0  nothing is wrong, or everything was mended\n  1  something is wrong\n\n\
        Examples:\n  sudo adit doctor\n  sudo adit doctor home --json\n  sudo adit doctor --fix --dry-run"
    )]
    Doctor(DoctorArgs),
    /// Keep an OpenVPN configuration as a profile, with the files that it names
    #[command(
        after_help = "What is kept is /etc/adit/NAME.ovpn, readable by nobody but its owner. Keys and certificates that the\n\
        file names are taken in, from the directory of the file and below.\n\n\
        Examples:\n  adit import office.ovpn\n  adit import ~/Downloads/client.ovpn --name work"
    )]
    Import(ImportArgs),
    /// Make a private key
    #[command(after_help = "Example:\n  (umask 077; adit genkey > private.key)")]
    Genkey,
    /// Make a pre-shared key
    Genpsk,
    /// Read a private key from standard input and write its public key
    #[command(after_help = "Examples:\n  adit pubkey < private.key > public.key\n  \
        adit pubkey --https < private.key    the value of HttpsKey in the [Peer] section of a server")]
    Pubkey(PubkeyArgs),
    /// Make this machine the server of a network
    #[command(subcommand)]
    Server(ServerCommand),
    /// Invite a device: prints a link and a QR code
    #[command(
        after_help = "The device runs `adit join LINK`. For a WireGuard app, its configuration is printed instead.\n\n\
        Examples:\n  adit invite phone\n  adit invite --expires 7d --uses 5 --group family\n  \
        adit invite tv --for wireguard --png tv.png\n  adit invite laptop --for qr-png\n  adit invite --list\n  adit invite --revoke 3"
    )]
    Invite(InviteArgs),
    /// List the network's devices
    Peers(NetworkJsonArgs),
    /// Show or change one of the network's devices
    #[command(subcommand)]
    Peer(PeerCommand),
    /// Who may reach what
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Build two peers on this machine, move traffic through a tunnel between them, show what happened
    Demo(DemoArgs),
    /// Say what a censor would make of captured traffic, rule by rule
    #[command(
        after_help = "Each rule that is known to be used against tunnels says: pass, detected, note (it hits ordinary\n\
        traffic as well), or not decidable from this capture; and why.\n\n\
        Exit codes:\n  0  nothing detected\n  1  detected\n  2  wrong usage, or no capture\n  5  needs privilege (--live)\n\n\
        Examples:\n  tcpdump -i eth0 -w mine.pcap\n  adit examine mine.pcap --html report.html\n  \
        adit examine --live eth0 --seconds 60\n  \
        adit examine --probe www.example.org:443 --against 192.0.2.7:443 --name www.example.org --rounds 50"
    )]
    Examine(ExamineArgs),
    /// Run the process that owns this machine's tunnels
    #[command(after_help = "systemd runs this as adit.service; without it, `adit up` starts it by itself.\n\
        SIGHUP applies changed files, SIGTERM takes every tunnel down.\n\n\
        Environment:\n  ADIT_LOG          how much it says: error, warn, info (default), debug, trace\n  \
        ADIT_RUNTIME_DIR  where its socket and journals are (default /run/adit)\n  \
        ADIT_SOCKET       its socket (default adit.sock in there)\n  \
        ADIT_CONFIG_DIR   where profiles are looked for first, and kept (default /etc/adit)")]
    Daemon(DaemonArgs),
    /// Show the version
    Version(JsonArgs),
    /// Serve the web site of a tunnel; started by whoever owns the tunnel
    #[command(hide = true)]
    WebHalf,
    /// Write the completions of a shell to standard output
    #[command(hide = true)]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory
    #[command(hide = true)]
    Man {
        /// Where to.
        #[arg(value_hint = ValueHint::DirPath)]
        directory: PathBuf,
    },
}

/// `adit up`.
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// A configuration file, or the name of one
    #[arg(value_name = "FILE|NAME", value_hint = ValueHint::FilePath)]
    pub(crate) source: String,
    /// Stay in front: log to the terminal; Ctrl-C takes the tunnel down
    #[arg(long, short)]
    pub(crate) foreground: bool,
    /// Change nothing; print what would be done
    #[arg(long, conflicts_with = "foreground")]
    pub(crate) dry_run: bool,
    /// Report as JSON
    #[arg(long, conflicts_with = "foreground")]
    pub(crate) json: bool,
}

/// `adit join`.
#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// The link, a file that holds it, or a PNG with its QR code; `-` reads standard input
    #[arg(value_name = "LINK|FILE|QR.png", value_hint = ValueHint::FilePath)]
    pub(crate) invite: String,
    /// What this device would like to be called in the network; without it, as the machine is
    #[arg(long, value_name = "N")]
    pub(crate) name: Option<String>,
    /// What the tunnel is to be called on this machine; without it, like the network
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Ask nobody and change nothing; print what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Keep the profile, and do not bring it up
    #[arg(long)]
    pub(crate) no_up: bool,
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A command that takes the name of a tunnel.
#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// The tunnel, or the file it was brought up from
    pub(crate) name: String,
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `adit doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Only this tunnel
    pub(crate) name: Option<String>,
    /// Mend what is safe to mend, and say what was done
    #[arg(long)]
    pub(crate) fix: bool,
    /// With --fix: change nothing; print what would be done
    #[arg(long, requires = "fix")]
    pub(crate) dry_run: bool,
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `adit pubkey`.
#[derive(Debug, Args)]
pub(crate) struct PubkeyArgs {
    /// Write the key by which a server knows this device over HTTPS: the value of HttpsKey
    #[arg(long)]
    pub(crate) https: bool,
}

/// `adit status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Only this tunnel
    pub(crate) name: Option<String>,
    /// Report as JSON (with --watch: one line a second)
    #[arg(long)]
    pub(crate) json: bool,
    /// Show again every second, until Ctrl-C
    #[arg(long, short)]
    pub(crate) watch: bool,
    /// Also say what each peer waits for, and why
    #[arg(long)]
    pub(crate) why: bool,
}

/// `adit check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// A configuration file, or the name of one; `-` reads standard input
    #[arg(value_name = "FILE|NAME", value_hint = ValueHint::FilePath)]
    pub(crate) source: String,
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `adit import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// An OpenVPN configuration
    #[arg(value_name = "FILE.ovpn", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// What the profile is to be called; without it, like the file
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Keep a file that has programs run: read them first, they run with the rights of the daemon
    #[arg(long)]
    pub(crate) allow_programs: bool,
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `adit demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// How long each transfer runs
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) seconds: u32,
}

/// `adit examine`.
#[derive(Debug, Args)]
pub(crate) struct ExamineArgs {
    /// A pcap or pcapng file
    #[arg(value_name = "PCAP", value_hint = ValueHint::FilePath, required_unless_present_any = ["live", "probe"])]
    pub(crate) capture: Option<PathBuf>,
    /// Examine what passes this interface, until Ctrl-C
    #[arg(long, value_name = "IFACE", conflicts_with = "capture")]
    pub(crate) live: Option<String>,
    /// Stop listening after this long
    #[arg(long, value_name = "N", requires = "live", conflicts_with = "capture", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) seconds: Option<u32>,
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write a page with verdicts and pictures
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) html: Option<PathBuf>,
    /// Put a censor's questions to this server, and to another that serves the same site without a tunnel
    #[arg(long, value_name = "HOST:PORT", requires = "against", conflicts_with_all = ["capture", "live", "html"])]
    pub(crate) probe: Option<String>,
    /// The other server
    #[arg(long, value_name = "HOST:PORT", requires = "probe")]
    pub(crate) against: Option<String>,
    /// The name of the site; without it, the host of --probe
    #[arg(long, value_name = "SNI", requires = "probe")]
    pub(crate) name: Option<String>,
    /// A path that the site has; may be given several times
    #[arg(long, value_name = "PATH", requires = "probe")]
    pub(crate) path: Vec<String>,
    /// How often all questions are asked, each time with other random parts
    #[arg(long, value_name = "N", requires = "probe", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rounds: u32,
    /// What the random parts follow from; without it, chosen and said
    #[arg(long, value_name = "N", requires = "probe")]
    pub(crate) seed: Option<u64>,
}

/// `adit daemon`.
#[derive(Debug, Args)]
pub(crate) struct DaemonArgs {
    /// Started by a command: leave its session, and end soon after the last tunnel is down
    #[arg(long, hide = true)]
    pub(crate) on_demand: bool,
    /// End when the process that started this one does
    #[arg(long, hide = true)]
    pub(crate) with_parent: bool,
}

/// A command that only chooses its output.
#[derive(Debug, Args)]
pub(crate) struct JsonArgs {
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const EXIT_CODES: &str = "Exit codes:\n  0  done\n  1  failed\n  2  wrong usage or configuration; nothing was changed\n  \
    3  not connected\n  5  needs privilege";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn up_takes_a_file_or_a_name() {
        let Command::Up(args) = Cli::parse_from(["adit", "up", "home", "--dry-run"]).command else { panic!() };
        assert_eq!((args.source.as_str(), args.dry_run, args.foreground), ("home", true, false));
    }

    #[test]
    fn a_dry_run_in_the_foreground_is_refused() {
        assert!(Cli::try_parse_from(["adit", "up", "home", "--dry-run", "--foreground"]).is_err());
    }

    #[test]
    fn status_needs_no_name() {
        let Command::Status(args) = Cli::parse_from(["adit", "status", "--watch", "--json"]).command else { panic!() };
        assert_eq!((args.name, args.watch, args.json), (None, true, true));
    }

    #[test]
    fn a_demo_runs_for_a_whole_number_of_seconds() {
        assert!(Cli::try_parse_from(["adit", "demo", "--seconds", "0"]).is_err());
        let Command::Demo(args) = Cli::parse_from(["adit", "demo", "--seconds", "2"]).command else { panic!() };
        assert_eq!(args.seconds, 2);
    }

    #[test]
    fn an_examination_has_one_source() {
        assert!(Cli::try_parse_from(["adit", "examine"]).is_err());
        assert!(Cli::try_parse_from(["adit", "examine", "x.pcap", "--live", "eth0"]).is_err());
        assert!(Cli::try_parse_from(["adit", "examine", "x.pcap", "--seconds", "3"]).is_err());
        assert!(Cli::try_parse_from(["adit", "examine", "--live", "eth0", "--seconds", "3"]).is_ok());
        assert!(Cli::try_parse_from(["adit", "examine", "--probe", "a:1"]).is_err());
        assert!(
            Cli::try_parse_from(["adit", "examine", "--probe", "a:1", "--against", "b:1", "--rounds", "50"]).is_ok()
        );
        assert!(Cli::try_parse_from(["adit", "examine", "x.pcap", "--probe", "a:1", "--against", "b:1"]).is_err());
    }

    #[test]
    fn every_reporting_command_can_report_as_json() {
        for line in [
            "adit up x --json",
            "adit join adit:1:x --json",
            "adit down x --json",
            "adit reload x --json",
            "adit status --json",
            "adit check x --json",
            "adit import x.ovpn --json",
            "adit demo --json",
            "adit examine x.pcap --json",
            "adit version --json",
            "adit server up --json",
            "adit server status --json",
            "adit server log --json",
            "adit invite --json",
            "adit peers --json",
            "adit peer show x --json",
            "adit policy show --json",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
    }
}
