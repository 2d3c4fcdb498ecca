//! The outside of an OpenVPN server: UDP, or streams of TCP.

use std::io;

use adit_engine::{DatagramIo, Offloads, Ready, RecvBatch, SendArena, UdpControl, UdpLink, UdpOptions, Want};
use adit_openvpn::options::{ServerConfig, Transport};

use super::hub::{Hub, HubControl};

/// What a server's packets travel in.
#[derive(Debug)]
pub struct Carrier(Kind);

#[derive(Debug)]
enum Kind {
    Udp(Box<UdpLink>),
    Streams(Box<Hub>),
}

/// Reaches a [`Carrier`] that an engine owns.
#[derive(Debug)]
pub enum CarrierControl {
    /// Of UDP.
    Udp(UdpControl),
    /// Of TCP.
    Streams(HubControl),
}

impl Carrier {
    /// Listens where the configuration says so, on the port of `options`. Must be called on the tokio runtime that it will run on.
    ///
    /// # Errors
    /// The port is taken, or needs a privilege.
    pub fn listen(config: &ServerConfig, options: UdpOptions) -> io::Result<(Self, CarrierControl)> {
        Ok(match config.listen.transport {
            Transport::Udp => {
                let (link, control) = UdpLink::bind(options)?;
                (Self(Kind::Udp(Box::new(link))), CarrierControl::Udp(control))
            }
            Transport::Tcp => {
                let most = config.server.max_clients as usize;
                let (hub, control) = Hub::listen(options.port, config.listen.family, options.fwmark, most)?;
                (Self(Kind::Streams(Box::new(hub))), CarrierControl::Streams(control))
            }
        })
    }
}

impl CarrierControl {
    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        match self {
            Self::Udp(udp) => udp.port(),
            Self::Streams(hub) => hub.port(),
        }
    }
}

impl DatagramIo for Carrier {
    async fn ready(&mut self, want: Want) -> io::Result<Ready> {
        match &mut self.0 {
            Kind::Udp(link) => link.ready(want).await,
            Kind::Streams(hub) => hub.ready(want).await,
        }
    }

    fn try_recv(&mut self, into: &mut RecvBatch) -> io::Result<()> {
        match &mut self.0 {
            Kind::Udp(link) => link.try_recv(into),
            Kind::Streams(hub) => hub.try_recv(into),
        }
    }

    fn try_send(&mut self, out: &mut SendArena) -> io::Result<()> {
        match &mut self.0 {
            Kind::Udp(link) => link.try_send(out),
            Kind::Streams(hub) => hub.try_send(out),
        }
    }

    fn overhead(&self) -> usize {
        match &self.0 {
            Kind::Udp(link) => link.overhead(),
            Kind::Streams(hub) => hub.overhead(),
        }
    }

    fn offloads(&self) -> Offloads {
        match &self.0 {
            Kind::Udp(link) => link.offloads(),
            Kind::Streams(hub) => hub.offloads(),
        }
    }
}
