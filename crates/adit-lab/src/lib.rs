//! Worlds to test adit in: network namespaces that a test makes and removes, and VPN daemons that run in them.
//!
//! A story reads: make a [`ns::World`], let two [`subjects::Subject`]s build a [`tunnel::Tunnel`] across it, send
//! [`traffic`], look at what the real `wg` says. Everything needs root; nothing leaves the namespaces.
//!
//! A world that cannot be made is the failure of the test that wanted it, so the verbs here panic with the command and
//! what it said, in place of returning errors that every story would have to unwrap.
//!
//! Not here: the stories (`tests/`), what a failed check means for a release (`xtask`).

pub mod bench;
pub mod caller;
pub mod chromium;
pub mod dice;
pub mod hostile;
pub mod ns;
pub mod null;
pub mod poll;
pub mod relay;
pub mod shell;
pub mod subjects;
pub mod traffic;
pub mod tunnel;
pub mod wg;
