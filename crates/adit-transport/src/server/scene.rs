//! What all connections of one server share, and what all requests of one connection do.

use std::net::SocketAddr;
use std::sync::Arc;

use super::admit::Admission;
use super::ledger::Account;
use super::site::Site;
use crate::hub::Joiner;
use crate::shape::Settings;

/// Everything that answering a request needs.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) site: Site,
    pub(super) admission: Admission,
    pub(super) joiner: Joiner,
    /// The shape of what tunnels bring to clients.
    pub(super) shape: Settings,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    pub(super) scene: Arc<Scene>,
    pub(super) account: Arc<Account>,
    pub(super) peer: SocketAddr,
}
