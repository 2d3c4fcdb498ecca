//! Which network this machine is in, and which carrier worked on it: told to a client's outside, and kept in a file.
//!
//! A network is its default gateway, by address and hardware address: it needs no name, and no right to ask for one.
//! Not here: what follows from it (`adit_transport::ladder`).

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use adit::Visitor;
use adit::transport::ladder_memory::Memory;
use adit_host::{HostEvent, HostEvents};

/// How often, and how long apart, a gateway that has not spoken yet is looked for.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);
/// Much more than the file can have.
const MAX_FILE: usize = 64 << 10;

/// The network this process is in; `None` if it cannot be told from others (yet).
pub(super) fn fingerprint() -> Option<String> {
    let read = |name: &str| std::fs::read_to_string(Path::new("/proc/self/net").join(name)).ok();
    of(&read("route")?, &read("arp")?)
}

/// Of the kernel's tables of routes and of neighbours.
fn of(routes: &str, neighbours: &str) -> Option<String> {
    let gateway = routes.lines().skip(1).find_map(|line| {
        let mut words = line.split_whitespace();
        let (interface, destination, gateway) = (words.next()?, words.next()?, words.next()?);
        let mask = words.nth(4)?;
        let address = Ipv4Addr::from(u32::from_str_radix(gateway, 16).ok()?.to_ne_bytes());
        (destination == "00000000" && mask == "00000000" && !address.is_unspecified()).then_some((interface, address))
    });
    let (interface, gateway) = gateway?;
    neighbours.lines().skip(1).find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [address, _, flags, hardware, _, device] = words[..] else { return None };
        let is_known = flags != "0x0" && hardware != "00:00:00:00:00:00";
        let is_it = address.parse() == Ok(gateway) && device == interface && is_known;
        is_it.then(|| format!("{gateway}/{hardware}"))
    })
}

/// What was learnt before.
pub(super) fn remembered(state: &Path) -> Memory {
    let text = std::fs::read_to_string(file(state)).unwrap_or_default();
    Memory::parse(text.get(..text.len().min(MAX_FILE)).unwrap_or_default())
}

/// Tells the outside of other networks, and keeps what it learns, until the tunnel ends.
pub(super) async fn follow(visitor: Visitor, state: PathBuf) {
    let mut memory = visitor.memory();
    let mut events = HostEvents::listen()
        .inspect_err(|error| tracing::warn!("changes of the network are not noticed: {error}"))
        .ok();
    let mut tries = 0;
    loop {
        tokio::select! {
            changed = memory.changed() => {
                if changed.is_err() {
                    return;
                }
                let text = memory.borrow_and_update().emit();
                if let Err(error) = write(&state, &text) {
                    tracing::debug!(%error, "what was learnt of networks is not kept");
                }
            }
            event = next(events.as_mut()) => match event {
                Some(HostEvent::DefaultRoute | HostEvent::Address { .. }) => tries = TRIES,
                Some(_) => {}
                None => events = None,
            },
            () = tokio::time::sleep(PAUSE), if tries > 0 => {
                tries -= 1;
                let network = fingerprint();
                if network.is_some() || tries == 0 {
                    tries = 0;
                    visitor.network_changed(network).await;
                }
            }
        }
    }
}

async fn next(events: Option<&mut HostEvents>) -> Option<HostEvent> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

fn file(state: &Path) -> PathBuf {
    state.join("networks")
}

/// Replaces the file in one step, readable by nobody but its owner: it tells where this machine was.
fn write(state: &Path, text: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(state)?;
    let new = file(state).with_extension("new");
    let _leftover = std::fs::remove_file(&new);
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    out.write_all(text.as_bytes())?;
    std::fs::rename(&new, file(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth0\t00000000\tFE0200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
";
    const NEIGHBOURS: &str = "\
IP address       HW type     Flags       HW address            Mask     Device
192.0.2.9        0x1         0x2         02:00:00:00:00:09     *        eth0
192.0.2.254      0x1         0x2         02:00:00:00:00:fe     *        eth0
";

    #[test]
    fn a_network_is_its_gateway() {
        let expected = cfg!(target_endian = "little").then(|| "192.0.2.254/02:00:00:00:00:fe".to_owned());
        assert_eq!(of(ROUTES, NEIGHBOURS), expected);
    }

    #[test]
    fn without_a_gateway_that_has_spoken_it_cannot_be_told() {
        assert_eq!(of(ROUTES, ""), None);
        assert_eq!(of(ROUTES, &NEIGHBOURS.replace("02:00:00:00:00:fe", "00:00:00:00:00:00")), None);
        assert_eq!(of("", NEIGHBOURS), None);
    }

    #[test]
    fn what_was_learnt_survives_the_program() {
        let state = std::env::temp_dir().join(format!("adit-networks-{}", std::process::id()));
        assert_eq!(remembered(&state), Memory::default());
        write(&state, "https a\n").unwrap();
        write(&state, "udp b\n").unwrap();
        assert_eq!(remembered(&state), Memory::parse("udp b"));
        std::fs::remove_dir_all(state).unwrap();
    }
}
