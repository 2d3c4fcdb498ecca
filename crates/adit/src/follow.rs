//! A tunnel follows the machine: its interface that is set up, set down, moved or removed, and routes that change.
//!
//! Not here: hearing of it (`adit-host`), where the interface is (`adit-engine`).

use std::time::Duration;

use adit_engine::{Elsewhere, Gone, LinkState, TunLink};
use adit_host::{HostEvent, HostEvents};

use crate::Tunnel;

/// How long to wait when the kernel says nothing more, before asking it anew.
const PAUSE: Duration = Duration::from_secs(1);

/// Follows until the interface is removed.
///
/// A tunnel whose interface is down has no sessions, sends nothing and takes no notice of what arrives; set up, it sends
/// its persistent keepalives at once. Where the state cannot be known, for the interface was moved to a namespace that this
/// process may not enter, it counts as up.
///
/// Keeps the interface alive as long as it runs: to be dropped before the tunnel is stopped.
///
/// # Errors
/// [`Gone`] if the tunnel has stopped.
pub async fn follow(link: TunLink, tunnel: &Tunnel) -> Result<(), Gone> {
    let follower = Follower { link, tunnel, here: None, there: None };
    tokio::select! {
        followed = follower.run() => followed,
        _stopped = tunnel.stopped() => Err(Gone),
    }
}

struct Follower<'a> {
    link: TunLink,
    tunnel: &'a Tunnel,
    /// What happens around the tunnel's sockets.
    here: Option<HostEvents>,
    /// What happens around the interface, if that is in another namespace; with the number of that.
    there: Option<(u64, Option<HostEvents>)>,
}

impl Follower<'_> {
    async fn run(mut self) -> Result<(), Gone> {
        loop {
            // First listen, then look: what changes in between is heard.
            if self.here.is_none() {
                self.here = listen(HostEvents::listen());
            }
            self.go_after();
            if self.look().await? == LinkState::Gone {
                return Ok(());
            }
            while !self.wait().await? {}
        }
    }

    /// Listens where the interface is now.
    fn go_after(&mut self) {
        match (self.link.elsewhere(), &self.there) {
            (None, _) => self.there = None,
            (Some(place), Some((known, _))) if place.number == *known => {}
            (Some(Elsewhere { namespace, number }), _) => {
                self.there = Some((number, listen(HostEvents::listen_in(namespace))));
            }
        }
    }

    /// Lets the tunnel be as its interface is.
    async fn look(&mut self) -> Result<LinkState, Gone> {
        let state = self.link.state().unwrap_or_else(|error| {
            tracing::debug!(%error, "whether the interface is up cannot be known: it counts as up");
            LinkState::Up
        });
        if state != LinkState::Gone {
            self.tunnel.set_up(state == LinkState::Up).await?;
        }
        Ok(state)
    }

    /// Waits for one event; true if the interface may not be any more as it was.
    async fn wait(&mut self) -> Result<bool, Gone> {
        let (event, of_sockets, of_interface) = tokio::select! {
            event = next(self.here.as_mut()) => {
                if event.is_none() {
                    self.here = None;
                }
                (event, true, self.there.is_none())
            }
            event = next(self.there.as_mut().and_then(|(_, events)| events.as_mut())) => {
                if event.is_none() {
                    self.there = None;
                }
                (event, false, true)
            }
        };
        match event {
            None => tokio::time::sleep(PAUSE).await,
            Some(HostEvent::DefaultRoute | HostEvent::Address { .. }) => {
                if of_sockets {
                    self.tunnel.network_changed().await?;
                }
                return Ok(false);
            }
            Some(HostEvent::Link { name, up: false, .. }) if of_interface && name == self.link.name() => {
                // It may be up again by now; its sessions end all the same.
                self.tunnel.set_up(false).await?;
            }
            Some(_) => return Ok(of_interface),
        }
        Ok(true)
    }
}

/// Events, or a word about why there are none.
fn listen(made: Result<HostEvents, adit_host::HostError>) -> Option<HostEvents> {
    made.inspect_err(|error| tracing::warn!("changes of the network are not noticed: {error}")).ok()
}

/// The next event of somebody who may say nothing, ever.
async fn next(events: Option<&mut HostEvents>) -> Option<HostEvent> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}
