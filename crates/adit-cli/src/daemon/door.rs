//! Who may ask the daemon, and for what.
//!
//! Not here: how lines are read (`socket`), what comes of a request (`house`).

use std::sync::Arc;
use std::time::Duration;

use super::house::House;
use crate::exit::{Failure, Result};
use crate::rpc::{self, Done, Json, MAX_NETWORK, MAX_REQUEST, Method};
use crate::socket::{Answers, Caller};

/// A command that says nothing for so long is sent away.
const IDLE: Duration = Duration::from_secs(60);

/// So is the process that decides about a network's peers; it asks how they are more often than that.
const IDLE_NETWORK: Duration = Duration::from_secs(600);

/// What is remembered of a connection: the network it is confined to, if it is.
#[derive(Debug, Default)]
pub(crate) struct Talk(Option<String>);

impl Answers for House {
    type Method = Method;
    type Talk = Talk;

    /// Only root and the daemon's own user.
    fn may_speak(&self, caller: Caller) -> Result<()> {
        if caller.is_owner() {
            return Ok(());
        }
        Err(Failure::privilege("only root may talk to this daemon").hint("run the command with `sudo`"))
    }

    fn admit(&self, talk: &mut Talk, method: &Method) -> Result<()> {
        if let Some(network) = &talk.0 {
            if !method.concerns_only(network) {
                return Err(Failure::privilege(format!("this connection is for the network {network} alone")));
            }
            if self.is_of_a_file(network) && matches!(method, Method::Down { .. }) {
                return Err(Failure::privilege(format!("{network} is not a network, but a tunnel of a file")));
            }
        }
        if let Method::Confine { name } = method {
            talk.0 = Some(name.clone());
        }
        Ok(())
    }

    fn bounds(&self, talk: &Talk) -> (usize, Duration) {
        if talk.0.is_some() { (MAX_NETWORK, IDLE_NETWORK) } else { (MAX_REQUEST, IDLE) }
    }

    async fn perform(self: Arc<Self>, _caller: Caller, method: Method) -> Result<Json> {
        let done = match method {
            Method::Info => return rpc::value(&self.info()),
            Method::Status { name } => return rpc::value(&self.status(name.as_deref()).await?),
            Method::Up { name, file } => self.up(&name, &file).await,
            Method::Down { name } => self.down(&name).await,
            Method::Reload { name } => self.reload(&name).await,
            Method::Mend { name } => self.mend(&name).await,
            Method::Serve { name, network } => self.serve(&name, network).await,
            Method::Peers { name, change } => self.change_peers(&name, change).await,
            Method::Confine { .. } => Ok(Done::default()),
        };
        rpc::value(&done?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::Places;

    #[test]
    fn a_confined_connection_is_for_one_network() {
        let places = Places { directory: "/nonexistent".into(), socket: "/nonexistent/s".into() };
        let (house, mut talk) = (House::new(places), Talk::default());
        let name = || "home".to_owned();
        assert!(house.admit(&mut talk, &Method::Status { name: None }).is_ok());
        assert_eq!(house.bounds(&talk).0, MAX_REQUEST);
        house.admit(&mut talk, &Method::Confine { name: name() }).unwrap();
        assert_eq!(house.bounds(&talk).0, MAX_NETWORK);
        for allowed in [Method::Info, Method::Status { name: Some(name()) }, Method::Down { name: name() }] {
            assert!(house.admit(&mut talk, &allowed).is_ok(), "{allowed:?}");
        }
        let other = || "other".to_owned();
        for refused in [
            Method::Status { name: None },
            Method::Status { name: Some(other()) },
            Method::Down { name: other() },
            Method::Confine { name: other() },
            Method::Up { name: name(), file: "/etc/adit/home.conf".into() },
            Method::Reload { name: name() },
        ] {
            assert!(house.admit(&mut talk, &refused).is_err(), "{refused:?}");
        }
    }
}
