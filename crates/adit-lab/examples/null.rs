//! The ceiling: the engine driven by a protocol that protects nothing, or only seals, as one end of a tunnel.
//!
//! `null IFNAME PORT REMOTE null|aead` makes the interface, prints one line when it is there, and runs until it is killed.
//! `REMOTE` is `ADDRESS:PORT`, or `-` for whoever sends first. `ADIT_OFFLOAD` and `ADIT_THREAD=runtime|own` choose how.
#![expect(clippy::print_stdout, reason = "whoever started it waits for the line")]

use std::error::Error;

use adit_engine::{EngineHandle, Offload, Options, RunOn, TunDevice, UdpLink, UdpOptions, start};
use adit_lab::null::{Null, NullAead};
use adit_protocol::{Path, Protocol, Secret};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, port, remote, mode] = args.as_slice() else {
        return Err("usage: null IFNAME PORT REMOTE null|aead".into());
    };
    let offload: Offload = std::env::var("ADIT_OFFLOAD").unwrap_or_default().parse()?;
    let to = if remote == "-" { None } else { Some(Path::to(remote.parse()?)) };
    let device = TunDevice::open(name, offload)?;
    let (link, _control) = UdpLink::bind(UdpOptions { port: port.parse()?, offload, ..UdpOptions::default() })?;
    match mode.as_str() {
        "null" => run(Null::new(to), device, link).await,
        "aead" => run(NullAead::new(to, &Secret::new([7; 32])), device, link).await,
        _ => Err("the mode is null or aead".into()),
    }
}

async fn run<P: Protocol>(core: P, device: TunDevice, link: UdpLink) -> Result<(), Box<dyn Error>> {
    let name = device.name().to_owned();
    let own = std::env::var("ADIT_THREAD").is_ok_and(|how| how == "own");
    let run = if own { RunOn::Thread(name.clone()) } else { RunOn::Runtime };
    let (engine, _news): (EngineHandle<P>, _) = start(core, device, link, Options { run, ..Options::default() });
    println!("{name} is up, offloads: {}", engine.status().await?.offloads);
    println!("{}", engine.stopped().await);
    Ok(())
}
