//! Running: the interface, the tunnel and the socket in one thread, until one of them is gone.

use std::os::fd::OwnedFd;

use adit::engine::{Offload, TunDevice, UdpLink, UdpOptions};
use adit::uapi_socket::UapiSocket;
use adit::wireguard::DeviceChange;
use adit::{Options, Outside, Tunnel};
use tokio::signal::unix::{SignalKind, signal};

use crate::background;
use crate::failure::Failure;
use crate::sys::take_descriptor;

/// What wireguard-go gives an interface that nobody has configured yet.
const MTU: usize = 1420;

/// Makes or takes over everything, and runs until it ends.
pub(crate) fn serve(interface: &str) -> Result<(), Failure> {
    let (tun, socket) = (take_descriptor("WG_TUN_FD")?, take_descriptor("WG_UAPI_FD")?);
    let mut ready = background::ready()?;
    let outcome = start(interface, tun, socket, &mut ready);
    if let (Err(failure), Some(ready)) = (&outcome, ready) {
        ready.failed(failure);
    }
    outcome
}

fn start(
    interface: &str,
    tun: Option<OwnedFd>,
    socket: Option<OwnedFd>,
    ready: &mut Option<background::Ready>,
) -> Result<(), Failure> {
    let inside = inside(interface, tun)?;
    let socket = bind(inside.name(), socket)?;
    adit_engine::prefer_promptness();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(format!("could not start: {e}")))?;
    runtime.block_on(run(inside, socket, ready))
}

/// The interface: the one handed over, or a new one.
pub(crate) fn inside(interface: &str, handed: Option<OwnedFd>) -> Result<TunDevice, Failure> {
    let offload = match std::env::var("ADIT_OFFLOAD") {
        Ok(text) => text.parse().map_err(|e| Failure::usage(format!("ADIT_OFFLOAD: {e}")))?,
        Err(_) => Offload::AUTO,
    };
    if let Some(fd) = handed {
        return TunDevice::adopt(fd, offload).map_err(|e| Failure::new(format!("WG_TUN_FD is not an interface: {e}")));
    }
    let mut device = TunDevice::open(interface, offload).map_err(|e| Failure::tun(interface, &e))?;
    device.set_mtu(MTU).map_err(|e| Failure::tun(interface, &e))?;
    Ok(device)
}

/// The control socket: the one handed over, or a new one.
pub(crate) fn bind(interface: &str, handed: Option<OwnedFd>) -> Result<UapiSocket, Failure> {
    let socket = match handed {
        Some(fd) => UapiSocket::adopt(fd, interface),
        None => UapiSocket::bind(interface),
    };
    socket.map_err(|e| Failure::socket(&e))
}

async fn run(inside: TunDevice, socket: UapiSocket, ready: &mut Option<background::Ready>) -> Result<(), Failure> {
    let name = inside.name().to_owned();
    let system = |e: std::io::Error| Failure::new(format!("could not start: {e}"));
    let link = inside.link().map_err(system)?;
    let (outside, control) =
        UdpLink::bind(UdpOptions::default()).map_err(|e| Failure::new(format!("could not open a UDP socket: {e}")))?;
    let options = Options { outside: Outside::Udp(control), ..Options::default() };
    let tunnel =
        Tunnel::start(DeviceChange::default(), inside, outside, options).map_err(|e| Failure::new(e.to_string()))?;
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate()).map_err(system)?, signal(SignalKind::interrupt()).map_err(system)?);
    if let Some(ready) = ready.take() {
        ready.done();
    }
    tracing::debug!("{name}: up");
    tokio::select! {
        stopped = tunnel.stopped() => tracing::debug!("{name}: {stopped}"),
        served = socket.serve(&tunnel) => served.map_err(system)?,
        Ok(()) = adit::follow(link, &tunnel) => tracing::debug!("{name}: the interface was removed"),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tunnel.stop().await;
    tracing::debug!("{name}: down");
    Ok(())
}
