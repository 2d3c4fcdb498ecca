//! Invites, and what is said to redeem them.

use adit::enrol::{Reply, Request};
use adit::invite::Invite;
use adit::profile::wg_quick;
use adit::wireguard::PrivateKey;

/// A link as somebody may send it, and the bytes of one with a check that fits.
pub fn invite(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    read(&text);
    read(&format!("adit:1:{text}"));
    let check = crc32fast::hash(data).to_le_bytes();
    read(&format!("adit:1:{}", data_encoding::BASE32_NOPAD.encode(&[data, &check].concat())));
}

fn read(link: &str) {
    let Ok(invite) = Invite::from_link(link) else { return };
    let again = invite.to_link().expect("what was read can be written");
    assert_eq!(Invite::from_link(&again), Ok(invite));
}

/// A message from either side.
pub fn enrolment(data: &[u8]) {
    if let Ok(request) = Request::parse(data) {
        assert_eq!(Request::parse(&request.emit()), Ok(request));
    }
    let Ok(reply) = Reply::parse(data) else { return };
    if let Some(bytes) = reply.emit() {
        assert_eq!(Reply::parse(&bytes), Ok(reply.clone()));
    }
    if let Reply::Admitted(membership) = reply {
        let profile = membership.profile(PrivateKey::new([7; 32])).emit();
        let read = wg_quick::parse(&profile).strict("x.conf".as_ref());
        assert!(read.is_ok(), "a file that nobody could bring up: {read:?}");
    }
}
