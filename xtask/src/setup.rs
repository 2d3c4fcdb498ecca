//! What the tests need from the machine: looked for, and installed with apt-get where it is missing.

use std::path::Path;
use std::process::Command;

use crate::step::{Outcome, is_root, show};

/// Programs the tests run, by name, or what they import, by its whole path; and the Debian packages they are in.
const NEEDED: [(&str, &str); 37] = [
    ("cc", "gcc libc6-dev"),
    ("c++", "g++"),
    ("caddy", "caddy"),
    ("chromium", "chromium"),
    ("clang", "clang libclang-dev"),
    ("cmake", "cmake"),
    ("curl", "curl"),
    ("danted", "dante-server"),
    ("ethtool", "ethtool"),
    ("git", "git"),
    ("haproxy", "haproxy"),
    ("ip", "iproute2"),
    ("iperf3", "iperf3"),
    ("ndpiReader", "libndpi-bin"),
    ("microsocks", "microsocks"),
    ("nft", "nftables"),
    ("nginx", "nginx-light"),
    ("obfs4proxy", "obfs4proxy"),
    ("openssl", "openssl"),
    ("/usr/share/easy-rsa/easyrsa", "easy-rsa"),
    ("openvpn", "openvpn"),
    ("pebble", "pebble"),
    ("pg_ctlcluster", "postgresql"),
    ("ping", "iputils-ping"),
    ("socat", "socat"),
    ("ss", "iproute2"),
    ("python3", "python3"),
    ("sysctl", "procps"),
    ("tcpdump", "tcpdump"),
    ("tinyproxy", "tinyproxy"),
    ("tshark", "tshark"),
    ("wg", "wireguard-tools"),
    ("wg-quick", "wireguard-tools"),
    ("wireguard-go", "wireguard-go"),
    ("/usr/lib/python3/dist-packages/OpenSSL/__init__.py", "python3-openssl"),
    ("/usr/lib/python3/dist-packages/h2/__init__.py", "python3-h2"),
    ("/usr/lib/python3/dist-packages/prometheus_client/__init__.py", "python3-prometheus-client"),
];

/// Installs what the tests need and this machine lacks, and says what it does.
pub(crate) fn run() -> Outcome {
    let all = NEEDED.map(|(program, _)| program);
    install(&all)?;
    println!("setup: every program the tests need is here");
    Ok(())
}

/// Installs those of these programs that are missing, and sees to `/dev/net/tun`.
pub(crate) fn install(programs: &[&str]) -> Outcome {
    let wanted = NEEDED.iter().filter(|(program, _)| programs.contains(program));
    let missing: Vec<_> = wanted.filter(|(program, _)| !is_installed(program)).collect();
    if missing.is_empty() {
        return tun();
    }
    let mut packages: Vec<_> = missing.iter().flat_map(|(_, packages)| packages.split_whitespace()).collect();
    packages.sort_unstable();
    packages.dedup();
    let packages = packages.join(" ");
    let names: Vec<_> = missing.iter().map(|(program, _)| *program).collect();
    println!("setup: missing: {}; in the Debian packages: {packages}", names.join(", "));
    if !is_installed("apt-get") {
        return Err(format!("this machine has no apt-get\n  hint: install {packages}, or what they are called here"));
    }
    apt("update -q")?;
    apt(&format!("install -q -y --no-install-recommends {packages}"))?;
    match missing.iter().find(|(program, _)| !is_installed(program)) {
        Some((program, package)) => Err(format!("{program} is still missing, although {package} is installed")),
        None => tun(),
    }
}

/// The device that TUN interfaces are made with: in some containers there is none yet.
fn tun() -> Outcome {
    if Path::new("/dev/net/tun").exists() {
        return Ok(());
    }
    if !is_root() {
        return Err("there is no /dev/net/tun, and making it needs root".to_owned());
    }
    show(Command::new("mkdir").args(["-p", "/dev/net"]))?;
    show(Command::new("mknod").args(["/dev/net/tun", "c", "10", "200"]))
}

fn apt(line: &str) -> Outcome {
    let mut command = if is_root() { Command::new("apt-get") } else { Command::new("sudo") };
    if !is_root() {
        command.arg("apt-get");
    }
    command.args(line.split_whitespace()).env("DEBIAN_FRONTEND", "noninteractive");
    show(&mut command)
}

fn is_installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&paths).chain(usual).any(|directory: std::path::PathBuf| directory.join(program).is_file())
}
