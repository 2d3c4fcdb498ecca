//! Who may ask the daemon, and for what.
//!
//! Not here: how lines are read (`socket`), what comes of a request (`house`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::house::House;
use crate::exit::{Failure, Result};
use crate::members;
use crate::rpc::{self, Done, Json, MAX_NETWORK, MAX_REQUEST, Method};
use crate::socket::{Answers, Caller};

/// A command that says nothing for so long is sent away.
const IDLE: Duration = Duration::from_secs(60);

/// So is the process that decides about a network's peers; it asks how they are more often than that.
const IDLE_NETWORK: Duration = Duration::from_secs(600);

/// Connections that may be confined to one network at once: the one in use, and those that still end. Without it, whoever
/// decides about a network could take the places that are kept for root.
const MAX_CONFINED: usize = 4;

/// What is remembered of a connection: the network it is confined to, if it is.
#[derive(Debug, Default)]
pub(crate) struct Talk(Option<Confined>);

/// How many connections are confined, by network.
#[derive(Debug, Clone, Default)]
pub(super) struct Confinements(Arc<Mutex<BTreeMap<String, usize>>>);

/// One of them; counted until dropped.
#[derive(Debug)]
struct Confined {
    network: String,
    all: Confinements,
}

impl Confinements {
    fn of(&self, network: &str) -> Result<Confined> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(network.to_owned()).or_default();
        if *count == MAX_CONFINED {
            return Err(Failure::failed(format!("{network} has {MAX_CONFINED} connections of its own already"))
                .hint("try again when one of them has ended"));
        }
        *count += 1;
        Ok(Confined { network: network.to_owned(), all: self.clone() })
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.network);
            }
        }
    }
}

impl Answers for House {
    type Method = Method;
    type Talk = Talk;

    /// Root, the daemon's own user, and members of the group.
    fn may_speak(&self, caller: Caller) -> Result<()> {
        caller.check("only root may talk to this daemon")
    }

    fn group(&self) -> Option<u32> {
        self.members()
    }

    fn admit(&self, caller: Caller, talk: &mut Talk, method: &Method) -> Result<()> {
        if !caller.is_owner() {
            self.may_member(method)?;
        }
        if let Some(Confined { network, .. }) = &talk.0 {
            if !method.concerns_only(network) {
                return Err(Failure::privilege(format!("this connection is for the network {network} alone")));
            }
            if self.is_of_a_file(network) && matches!(method, Method::Down { .. }) {
                return Err(Failure::privilege(format!("{network} is not a network, but a tunnel of a file")));
            }
        }
        if let Method::Confine { name } = method
            && talk.0.is_none()
        {
            talk.0 = Some(self.confinements().of(name)?);
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
            Method::Up { name, file, login } => self.up(&name, &file, login).await,
            Method::Down { name } => self.down(&name).await,
            Method::Reload { name } => self.reload(&name).await,
            Method::Mend { name } => self.mend(&name).await,
            Method::Serve { name, network } => self.serve(&name, network).await,
            Method::Peers { name, change } => self.change_peers(&name, change).await,
            Method::Certify { name: _, device, public_key } => {
                return rpc::value(&self.certify(&device, &public_key)?);
            }
            Method::Confine { .. } => Ok(Done::default()),
        };
        rpc::value(&done?)
    }
}

impl House {
    /// Members see everything, and bring up, take down and reload the tunnels that root has configured. What a file that
    /// is not root's could say, and what the server of a network says, would make them root.
    fn may_member(&self, method: &Method) -> Result<()> {
        match method {
            Method::Info | Method::Status { .. } => Ok(()),
            Method::Up { name, file, login: _ } => members::check_file(name, file),
            Method::Down { name } | Method::Reload { name } => match self.file_of(name) {
                Some(Some(file)) => members::check_file(name, &file),
                Some(None) => Err(Failure::privilege(format!("{name} is a network, which its server takes down"))
                    .hint("run the command with `sudo`")),
                // That there is none is said by whoever looks for it.
                None => Ok(()),
            },
            Method::Mend { .. } => {
                Err(Failure::privilege("only root may have what is missing made again")
                    .hint("run the command with `sudo`"))
            }
            Method::Serve { .. } | Method::Peers { .. } | Method::Certify { .. } | Method::Confine { .. } => {
                Err(Failure::privilege("only root may serve a network").hint("run the command with `sudo`"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use crate::places::Places;
    use crate::rpc::{Served, ServedPeers};

    const ROOT: Caller = Caller { uid: 0, pid: None, is_member: false };
    const MEMBER: Caller = Caller { uid: 4_000_000_000, pid: None, is_member: true };
    const STRANGER: Caller = Caller { is_member: false, ..MEMBER };

    #[test]
    fn a_member_does_nothing_that_would_make_it_root() {
        let places = Places { directory: "/nonexistent".into(), socket: "/nonexistent/s".into() };
        let (house, mut talk) = (House::new(places, Some(942)), Talk::default());
        assert!(house.may_speak(ROOT).is_ok() && house.may_speak(MEMBER).is_ok() && house.may_speak(STRANGER).is_err());
        let name = || "home".to_owned();
        for allowed in [Method::Info, Method::Status { name: None }, Method::Down { name: name() }] {
            assert!(house.admit(MEMBER, &mut talk, &allowed).is_ok(), "{allowed:?}");
        }
        let (profile, peers) = (String::new(), ServedPeers::Here);
        let network = Box::new(Served { profile, peers, ..Served::default() });
        for refused in [
            Method::Up { name: name(), file: "/tmp/home.conf".into(), login: None },
            Method::Serve { name: name(), network },
            Method::Peers { name: name(), change: Box::default() },
            Method::Certify { name: name(), device: "tv".into(), public_key: String::new() },
            Method::Mend { name: name() },
            Method::Confine { name: name() },
        ] {
            let failure = house.admit(MEMBER, &mut talk, &refused).unwrap_err();
            assert_eq!(failure.kind, Exit::Privilege, "{refused:?}");
        }
    }

    #[test]
    fn a_confined_connection_is_for_one_network() {
        let places = Places { directory: "/nonexistent".into(), socket: "/nonexistent/s".into() };
        let (house, mut talk) = (House::new(places, None), Talk::default());
        let name = || "home".to_owned();
        assert!(house.admit(ROOT, &mut talk, &Method::Status { name: None }).is_ok());
        assert_eq!(house.bounds(&talk).0, MAX_REQUEST);
        house.admit(ROOT, &mut talk, &Method::Confine { name: name() }).unwrap();
        assert_eq!(house.bounds(&talk).0, MAX_NETWORK);
        for allowed in [Method::Info, Method::Status { name: Some(name()) }, Method::Down { name: name() }] {
            assert!(house.admit(ROOT, &mut talk, &allowed).is_ok(), "{allowed:?}");
        }
        let other = || "other".to_owned();
        for refused in [
            Method::Status { name: None },
            Method::Status { name: Some(other()) },
            Method::Down { name: other() },
            Method::Confine { name: other() },
            Method::Up { name: name(), file: "/etc/adit/home.conf".into(), login: None },
            Method::Reload { name: name() },
        ] {
            assert!(house.admit(ROOT, &mut talk, &refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn a_network_has_few_connections_of_its_own() {
        let places = Places { directory: "/nonexistent".into(), socket: "/nonexistent/s".into() };
        let house = House::new(places, None);
        let confine = |talk: &mut Talk, name: &str| house.admit(ROOT, talk, &Method::Confine { name: name.to_owned() });
        let mut talks: Vec<Talk> = (0..MAX_CONFINED).map(|_| Talk::default()).collect();
        talks.iter_mut().for_each(|talk| confine(talk, "home").unwrap());
        talks.iter_mut().for_each(|talk| confine(talk, "home").unwrap());
        let mut late = Talk::default();
        assert!(confine(&mut late, "home").unwrap_err().message.contains("already"));
        assert!(confine(&mut late, "other").is_ok(), "another network has its own");
        talks.pop();
        assert!(confine(&mut Talk::default(), "home").is_ok());
    }
}
