//! The OpenVPN clients of a network whose other devices speak WireGuard: what they are told to show, and who is let in.
//!
//! | module | what it knows |
//! |---|---|
//! | `papers` | certificates and wrapped keys, all of which follow from the network's private key |
//! | `members` | who may come in, and with which address: a core around the server's core |
//!
//! Not here: the inside and the carrier (`tunnel`), who decides (`adit-control`), the file a device gets (whoever invites it).

mod members;
mod papers;

pub use members::{Ground, Member, MemberStatus, Members, MembersChange, StartError};
pub use papers::{Authority, DeviceKey, Papers, PapersError, SERVER_NAME};
