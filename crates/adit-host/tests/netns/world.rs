//! A network namespace for a story, and what a user sees in it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use adit_host::Host;

use crate::STORY;

/// Where this story's files are.
const DIR: &str = "ADIT_HOST_DIR";

/// What a story has: a directory, and the namespace that the process is in.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) dir: PathBuf,
    pub(crate) host: Host,
}

/// Removes a namespace and its files, also when a story panics.
struct Namespace {
    name: String,
    etc: PathBuf,
    dir: PathBuf,
}

/// Runs a story in a namespace with an Ethernet `eth0` that has a default route, a `wg0` and a `wg1` that are down, and
/// its own `resolv.conf`. The far ends of all three are there too.
pub(crate) fn in_namespace(story: &str) -> Result<(), String> {
    let name = format!("adit-host-{}", std::process::id());
    let namespace = Namespace {
        etc: PathBuf::from("/etc/netns").join(&name),
        dir: std::env::temp_dir().join(&name),
        name: name.clone(),
    };
    let failed = |error: std::io::Error| error.to_string();
    fs::create_dir_all(&namespace.etc).map_err(failed)?;
    fs::create_dir_all(&namespace.dir).map_err(failed)?;
    fs::write(namespace.etc.join("resolv.conf"), "nameserver 192.0.2.53\n").map_err(failed)?;
    command("ip", &["netns", "add", &name])?;
    for line in [
        "link set lo up",
        "link add eth0 mtu 1492 type veth peer name eth0p mtu 1492",
        "link set eth0p addrgenmode none up",
        "link set eth0 addrgenmode none",
        "address add 192.0.2.2/24 dev eth0",
        "address add 2001:db8::2/64 dev eth0 nodad",
        "link set eth0 up",
        "route add default via 192.0.2.1",
        "route add default via 2001:db8::1",
        // Like a TUN: nobody to ask for hardware addresses.
        "link add wg0 arp off type veth peer name wg0p",
        "link set wg0p addrgenmode none up",
        "link add wg1 arp off type veth peer name wg1p",
        "link set wg1p addrgenmode none up",
    ] {
        let words = ["-n", &name].into_iter().chain(line.split(' '));
        command("ip", &words.collect::<Vec<_>>())?;
    }
    // Their own news would be taken for traces.
    for far in ["wg0p", "wg1p"] {
        let line = format!("echo 1 > /proc/sys/net/ipv6/conf/{far}/disable_ipv6");
        command("ip", &["netns", "exec", &name, "sh", "-c", &line])?;
    }
    let program = std::env::current_exe().map_err(failed)?;
    let output = Command::new("ip")
        .args(["netns", "exec", &name])
        .arg(program)
        .env(STORY, story)
        .env(DIR, &namespace.dir)
        .env("RUST_BACKTRACE", "0")
        .output()
        .map_err(failed)?;
    drop(namespace);
    if output.status.success() { Ok(()) } else { Err(said(&output)) }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(why) = command("ip", &["netns", "delete", &self.name]) {
            eprintln!("{why}");
        }
        for dir in [&self.etc, &self.dir] {
            if let Err(error) = fs::remove_dir_all(dir) {
                eprintln!("cannot remove {}: {error}", dir.display());
            }
        }
    }
}

impl World {
    /// The world that this process was started in.
    pub(crate) fn here() -> Self {
        let dir = PathBuf::from(std::env::var_os(DIR).unwrap());
        Self { host: Host::at(dir.join("state")), dir }
    }

    /// Everything about the network that a user could find, as text.
    pub(crate) fn seen(&self) -> String {
        let mut text = String::new();
        for line in [
            "ip -o -4 address",
            "ip -o -6 address",
            "ip -4 route show table all",
            "ip -6 route show table all",
            "ip -4 rule",
            "ip -6 rule",
            "nft list ruleset",
            "cat /etc/resolv.conf",
            "stat -c %a /etc/resolv.conf",
            "cat /proc/sys/net/ipv4/conf/all/src_valid_mark",
            "cat /proc/sys/net/ipv4/ip_forward",
            "cat /proc/sys/net/ipv6/conf/all/forwarding",
            "cat /proc/sys/net/ipv6/conf/eth0/accept_ra",
        ] {
            text.push_str(&format!("$ {line}\n{}", run(line)));
        }
        for line in run("ip -o link").lines() {
            // Flags and mtu; a queue and a random hardware address are nothing that was changed.
            let words: Vec<&str> = line.split_whitespace().take(5).collect();
            text.push_str(&format!("{}\n", words.join(" ")));
        }
        text
    }

    /// A process of its own that does this.
    pub(crate) fn child(&self, story: &str) -> Command {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.env(STORY, story).env(DIR, &self.dir);
        child
    }
}

/// Runs a line of words and gives what it prints.
pub(crate) fn run(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    command(words[0], &words[1..]).unwrap()
}

pub(crate) fn command(program: &str, words: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(words).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{program} {}: {}", words.join(" "), said(&output)))
}

fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    format!("{}\n{}", output.status, String::from_utf8_lossy(&text))
}
