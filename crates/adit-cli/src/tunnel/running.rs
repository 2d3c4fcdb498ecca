//! A tunnel that is up, of either protocol, and what one is wanted to be.
//!
//! Not here: making and changing it (`wireguard`, `openvpn`).

use std::path::Path;

use super::openvpn::{self, OpenVpn, Serving};
use super::wireguard::WireGuard;
use super::{Asked, AskedPeers};
use crate::exit::{Failure, Result};
use crate::name;
use crate::places::Places;
use crate::report::TunnelReport;
use crate::rpc::{Done, Login};

/// A tunnel with its interface, sockets and everything it changed on this machine.
#[derive(Debug)]
pub(crate) enum Running {
    /// Of WireGuard.
    WireGuard(Box<WireGuard>),
    /// Of OpenVPN, as a client.
    OpenVpn(Box<OpenVpn>),
    /// Of OpenVPN, as a server.
    Serving(Box<Serving>),
}

/// What a tunnel is wanted to be.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// Of WireGuard.
    WireGuard(Box<Asked>),
    /// Of OpenVPN, as a client.
    OpenVpn(Box<openvpn::Asked>),
    /// Of OpenVPN, as a server.
    Serving(Box<openvpn::AskedServer>),
}

impl Wanted {
    /// By a file; one that is wrong says so. `login`: what a person was asked for.
    pub(crate) fn of_file(file: &Path, login: Option<Login>) -> Result<Self> {
        if name::is_openvpn(file) {
            if openvpn::is_of_server(file)? {
                return openvpn::AskedServer::of_file(file).map(Box::new).map(Self::Serving);
            }
            return openvpn::Asked::of_file(file, login).map(Box::new).map(Self::OpenVpn);
        }
        Asked::of_file(file).map(Box::new).map(Self::WireGuard)
    }
}

impl Running {
    /// Brings the tunnel up. On failure, nothing is left of it.
    pub(crate) async fn up(name: &str, wanted: Wanted, places: &Places) -> Result<(Self, Done)> {
        match wanted {
            Wanted::WireGuard(asked) => WireGuard::up(name, *asked, places)
                .await
                .map(|(tunnel, done)| (Self::WireGuard(Box::new(tunnel)), done)),
            Wanted::OpenVpn(asked) => {
                OpenVpn::up(name, *asked, places).await.map(|(tunnel, done)| (Self::OpenVpn(Box::new(tunnel)), done))
            }
            Wanted::Serving(asked) => {
                Serving::up(name, *asked, places).await.map(|(tunnel, done)| (Self::Serving(Box::new(tunnel)), done))
            }
        }
    }

    /// Changes what differs. What cannot be done changes nothing.
    pub(crate) async fn reload(&self, wanted: Wanted) -> Result<Done> {
        match (self, wanted) {
            (Self::WireGuard(tunnel), Wanted::WireGuard(asked)) => tunnel.reload(*asked).await,
            (Self::OpenVpn(tunnel), Wanted::OpenVpn(asked)) => tunnel.reload(&asked),
            (Self::Serving(tunnel), Wanted::Serving(asked)) => tunnel.reload(&asked),
            (Self::WireGuard(_) | Self::OpenVpn(_) | Self::Serving(_), _) => {
                let why = "the file is of another protocol now, or of its other end";
                Err(Failure::failed(why).hint("take the tunnel down, and up again"))
            }
        }
    }

    /// Changes some peers, and nothing else on this machine.
    pub(crate) async fn change_peers(&self, asked: AskedPeers) -> Result<Done> {
        match self {
            Self::WireGuard(tunnel) => tunnel.change_peers(asked).await,
            Self::OpenVpn(_) | Self::Serving(_) => Err(Failure::failed("a tunnel of OpenVPN has no peers to change")),
        }
    }

    /// Makes again what was made on this machine and somebody has taken away since.
    pub(crate) async fn mend(&self) -> Result<Done> {
        match self {
            Self::WireGuard(tunnel) => tunnel.mend().await,
            Self::OpenVpn(tunnel) => tunnel.mend().await,
            Self::Serving(tunnel) => tunnel.mend().await,
        }
    }

    /// Undoes everything.
    pub(crate) async fn down(&self) -> Result<Done> {
        match self {
            Self::WireGuard(tunnel) => tunnel.down().await,
            Self::OpenVpn(tunnel) => tunnel.down().await,
            Self::Serving(tunnel) => tunnel.down().await,
        }
    }

    /// Waits until it has ended by itself, and says why.
    pub(crate) async fn ended(&self) -> String {
        match self {
            Self::WireGuard(tunnel) => tunnel.ended().await,
            Self::OpenVpn(tunnel) => tunnel.ended().await,
            Self::Serving(tunnel) => tunnel.ended().await,
        }
    }

    /// How it is.
    pub(crate) async fn report(&self) -> TunnelReport {
        match self {
            Self::WireGuard(tunnel) => tunnel.report().await,
            Self::OpenVpn(tunnel) => tunnel.report().await,
            Self::Serving(tunnel) => tunnel.report().await,
        }
    }
}
