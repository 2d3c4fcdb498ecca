//! The engine of a tunnel: of WireGuard alone, or of WireGuard and the OpenVPN clients of the same network.
//!
//! Two types of engine rather than one, so that a tunnel without OpenVPN pays nothing for it. Not here: what is asked of them.

use std::convert::Infallible;
use std::sync::Arc;

use adit_engine::{Clock, DatagramIo, EngineHandle, Gone, PacketIo, RunOn, Status, Stopped, start};
use adit_protocol::{LinkId, Now, Protocol};
use adit_wireguard::{Device, Event};
use tokio::sync::mpsc;

use crate::merged::{Either, Merged};
use crate::meter::{Limit, Metered};
use crate::openvpn::network::Members;

/// The carrier of OpenVPN clients, as paths call it: UDP and HTTPS of WireGuard have the numbers before.
pub(super) const OPENVPN: LinkId = LinkId(2);

type Alone = Metered<Device>;
type Beside = Metered<Merged<Device, Members>>;

/// An engine that runs. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub(super) enum Engine {
    /// Of WireGuard.
    Alone(EngineHandle<Alone>),
    /// With OpenVPN.
    Beside(EngineHandle<Beside>),
}

/// What its cores have to say.
#[derive(Debug)]
pub(super) enum News {
    Alone(mpsc::Receiver<Event>),
    Beside(mpsc::Receiver<Either<Event, Infallible>>),
}

impl Engine {
    /// Of a device alone.
    pub(super) fn alone<I: PacketIo, O: DatagramIo>(
        device: Device,
        (inside, outside): (I, O),
        (clock, run): (Clock, RunOn),
    ) -> (Self, News) {
        let core = Metered::new(device, clock.now());
        let options = options(clock, run, Metered::core_mut, |_: &mut Alone, _mtu| {});
        let (engine, news) = start(core, inside, outside, options);
        (Self::Alone(engine), News::Alone(news))
    }

    /// Of a device, and of OpenVPN clients who come over [`OPENVPN`].
    pub(super) fn beside<I: PacketIo, O: DatagramIo>(
        device: Device,
        members: Members,
        (inside, outside): (I, O),
        (clock, run): (Clock, RunOn),
    ) -> (Self, News) {
        let core = Metered::new(Merged::new(device, members, OPENVPN), clock.now());
        let set_mtu = |core: &mut Beside, mtu| core.core_mut().second_mut().set_mtu(mtu);
        let options = options(clock, run, |core: &mut Beside| core.core_mut().first_mut(), set_mtu);
        let (engine, news) = start(core, inside, outside, options);
        (Self::Beside(engine), News::Beside(news))
    }

    /// Runs this on the device, between two turns of the engine.
    pub(super) async fn device<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Device, Now) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        match self {
            Self::Alone(engine) => engine.with(move |core, now| run(core.core_mut(), now)).await,
            Self::Beside(engine) => engine.with(move |core, now| run(core.core_mut().first_mut(), now)).await,
        }
    }

    /// Runs this on the OpenVPN clients, if there may be any.
    pub(super) async fn members<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Members, Now) -> T + Send + 'static,
    ) -> Result<Option<T>, Gone> {
        match self {
            Self::Alone(_) => Ok(None),
            Self::Beside(engine) => {
                engine.with(move |core, now| run(core.core_mut().second_mut(), now)).await.map(Some)
            }
        }
    }

    pub(super) async fn set_limits(&self, limits: Vec<Limit>) -> Result<(), Gone> {
        match self {
            Self::Alone(engine) => engine.with(move |core, _now| core.set_limits(limits)).await,
            Self::Beside(engine) => engine.with(move |core, _now| core.set_limits(limits)).await,
        }
    }

    pub(super) async fn status(&self) -> Result<Status, Gone> {
        match self {
            Self::Alone(engine) => engine.status().await,
            Self::Beside(engine) => engine.status().await,
        }
    }

    pub(super) async fn stop(&self) -> Arc<Stopped> {
        match self {
            Self::Alone(engine) => engine.stop().await,
            Self::Beside(engine) => engine.stop().await,
        }
    }

    pub(super) async fn stopped(&self) -> Arc<Stopped> {
        match self {
            Self::Alone(engine) => engine.stopped().await,
            Self::Beside(engine) => engine.stopped().await,
        }
    }
}

impl News {
    /// What the device says next; `None` when its engine is gone. May be dropped at any time.
    pub(super) async fn recv(&mut self) -> Option<Event> {
        match self {
            Self::Alone(news) => news.recv().await,
            Self::Beside(news) => match news.recv().await? {
                Either::First(event) => Some(event),
                Either::Second(never) => match never {},
            },
        }
    }
}

/// How an engine runs in which there is a device.
fn options<P: Protocol>(
    clock: Clock,
    run: RunOn,
    device: impl Fn(&mut P) -> &mut Device + Copy + Send + 'static,
    mtu_changed: impl Fn(&mut P, usize) + Send + 'static,
) -> adit_engine::Options<P> {
    adit_engine::Options {
        clock,
        run,
        mtu_changed: Some(Box::new(move |core: &mut P, _now, mtu| {
            device(core).set_mtu(mtu);
            mtu_changed(core, mtu);
        })),
        renew: Some(Box::new(move |core: &mut P, _now| super::reseed(device(core)))),
        ..adit_engine::Options::default()
    }
}
