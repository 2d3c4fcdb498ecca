//! What all connections of one server share.

use super::admit::Admission;
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
