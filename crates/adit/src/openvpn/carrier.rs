//! The outside that a configuration's servers need: UDP, what has to be connected first (`stream`), or both.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use adit_engine::{DatagramIo, Links, Offloads, Ready, RecvBatch, SendArena, UdpControl, UdpLink, UdpOptions, Want};
use adit_openvpn::options::{Remote, Transport};
use tokio::sync::Mutex;

use super::stream::{StreamControl, StreamLink};

/// The outside of an OpenVPN client.
#[derive(Debug)]
pub struct Carrier(Kind);

#[derive(Debug)]
enum Kind {
    Udp(Box<UdpLink>),
    Stream(Box<StreamLink>),
    Both(Box<Links<UdpLink, StreamLink>>),
}

/// Reaches a [`Carrier`] that an engine owns.
#[derive(Debug, Clone)]
pub struct CarrierControl {
    udp: Option<UdpControl>,
    mark: Arc<AtomicU32>,
    streams: Arc<Mutex<Option<StreamControl>>>,
}

impl Carrier {
    /// Makes what these servers need. Must be called on the tokio runtime that it will run on.
    ///
    /// # Errors
    /// The port is taken, or needs a privilege.
    pub fn open(remotes: &[Remote], options: UdpOptions) -> io::Result<(Self, CarrierControl)> {
        let is_datagrams = |remote: &Remote| remote.transport == Transport::Udp && remote.proxy.is_none();
        let mark = options.fwmark;
        let udp = if remotes.iter().any(is_datagrams) { Some(UdpLink::bind(options)?) } else { None };
        let (link, streams) = StreamLink::new(mark);
        let mark = streams.mark();
        let control = |udp, streams| CarrierControl { udp, mark, streams: Arc::new(Mutex::new(streams)) };
        Ok(match (udp, !remotes.iter().all(is_datagrams)) {
            (Some((udp, at)), true) => {
                (Self(Kind::Both(Box::new(Links::new(udp, link)))), control(Some(at), Some(streams)))
            }
            (Some((udp, at)), false) => (Self(Kind::Udp(Box::new(udp))), control(Some(at), None)),
            (None, _) => (Self(Kind::Stream(Box::new(link))), control(None, Some(streams))),
        })
    }
}

impl CarrierControl {
    pub(super) async fn set_fwmark(&self, mark: u32) -> io::Result<()> {
        if let Some(udp) = &self.udp {
            udp.set_fwmark(mark).await?;
        }
        self.mark.store(mark, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn fwmark(&self) -> u32 {
        self.mark.load(Ordering::Relaxed)
    }

    /// The streams, for the one who attends to them.
    pub(super) fn streams(&self) -> Option<StreamControl> {
        self.streams.try_lock().ok()?.take()
    }
}

impl DatagramIo for Carrier {
    async fn ready(&mut self, want: Want) -> io::Result<Ready> {
        match &mut self.0 {
            Kind::Udp(link) => link.ready(want).await,
            Kind::Stream(link) => link.ready(want).await,
            Kind::Both(link) => link.ready(want).await,
        }
    }

    fn try_recv(&mut self, into: &mut RecvBatch) -> io::Result<()> {
        match &mut self.0 {
            Kind::Udp(link) => link.try_recv(into),
            Kind::Stream(link) => link.try_recv(into),
            Kind::Both(link) => link.try_recv(into),
        }
    }

    fn try_send(&mut self, out: &mut SendArena) -> io::Result<()> {
        match &mut self.0 {
            Kind::Udp(link) => link.try_send(out),
            Kind::Stream(link) => link.try_send(out),
            Kind::Both(link) => link.try_send(out),
        }
    }

    fn overhead(&self) -> usize {
        match &self.0 {
            Kind::Udp(link) => link.overhead(),
            Kind::Stream(link) => link.overhead(),
            Kind::Both(link) => link.overhead(),
        }
    }

    fn offloads(&self) -> Offloads {
        match &self.0 {
            Kind::Udp(link) => link.offloads(),
            Kind::Stream(link) => link.offloads(),
            Kind::Both(link) => link.offloads(),
        }
    }
}
