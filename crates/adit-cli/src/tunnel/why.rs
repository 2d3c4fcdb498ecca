//! The sentences for what the system refuses while a tunnel is made.
#![expect(clippy::wildcard_enum_match_arm, reason = "the system has more kinds of errors than sentences")]

use std::io::{self, ErrorKind};

use adit::OpenError;
use rustix::io::Errno;

use crate::exit::Failure;

/// The TUN device was not made.
pub(super) fn tun(name: &str, error: &io::Error) -> Failure {
    let errno = Errno::from_io_error(error);
    if errno == Some(Errno::NOENT) || errno == Some(Errno::NODEV) || errno == Some(Errno::NXIO) {
        return Failure::failed("there is no /dev/net/tun, so no tunnel can be made")
            .hint("load it with `modprobe tun`; in a container, start it with `--device /dev/net/tun`");
    }
    if errno == Some(Errno::BUSY) || errno == Some(Errno::INVAL) || errno == Some(Errno::EXIST) {
        return Failure::failed(format!(
            "the interface name {name} is taken: another program has an interface called so"
        ))
        .hint(format!("`ip link show {name}` shows it; remove it, or call the configuration file otherwise"));
    }
    if error.kind() == ErrorKind::PermissionDenied {
        return Failure::privilege(format!("cannot create the interface {name}: not permitted"))
            .hint("creating interfaces needs CAP_NET_ADMIN, and access to /dev/net/tun: run it as root");
    }
    Failure::failed(format!("cannot create the interface {name}: {error}"))
}

/// The outside was not made.
pub(super) fn outside(port: u16, fwmark: u32, error: &OpenError) -> Failure {
    match error {
        OpenError::Udp(error) => udp(port, fwmark, error),
        OpenError::WebSite(error) => web_site(error),
    }
}

/// The web site of `[Https]` was not made.
fn web_site(error: &io::Error) -> Failure {
    let failure = Failure::failed(format!("cannot serve the web site of [Https]: {error}"));
    match error.kind() {
        ErrorKind::AddrInUse => failure.hint(
            "`ss -ltnp` shows which program listens there; end it, choose another Listen, or go behind it with Behind",
        ),
        ErrorKind::PermissionDenied => Failure::privilege(format!("cannot serve the web site of [Https]: {error}"))
            .hint("ports below 1024 need CAP_NET_BIND_SERVICE; the files must be readable"),
        _other => failure,
    }
}

/// The UDP sockets were not made.
pub(super) fn udp(port: u16, fwmark: u32, error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::AddrInUse => Failure::failed(format!("the UDP port {port} is taken by another program"))
            .hint(format!("`ss -lunp sport = :{port}` shows which; end it, or choose another ListenPort")),
        ErrorKind::PermissionDenied if fwmark != 0 => {
            Failure::privilege(format!("cannot listen on UDP port {port} with the mark {fwmark:#x}: not permitted"))
                .hint("a mark needs CAP_NET_ADMIN: run it as root")
        }
        ErrorKind::PermissionDenied => Failure::privilege(format!("cannot listen on UDP port {port}: not permitted"))
            .hint("ports below 1024 need CAP_NET_BIND_SERVICE: run it as root, or choose another ListenPort"),
        _other => Failure::failed(format!("cannot listen on UDP port {port}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn each_refusal_has_its_own_sentence() {
        let refused = |errno: Errno| io::Error::from(errno);
        let said = [
            tun("home", &refused(Errno::NOENT)),
            tun("home", &refused(Errno::BUSY)),
            tun("home", &refused(Errno::PERM)),
            udp(51820, 0, &refused(Errno::ADDRINUSE)),
            udp(80, 0, &refused(Errno::ACCESS)),
            udp(51820, 7, &refused(Errno::PERM)),
        ];
        let mut sentences: Vec<_> = said.iter().map(|f| f.message.as_str()).collect();
        sentences.sort_unstable();
        sentences.dedup();
        assert_eq!(sentences.len(), said.len(), "{sentences:?}");
        assert!(said.iter().all(|f| !f.hints.is_empty()));
        assert_eq!(
            said.each_ref().map(|f| f.kind),
            [Exit::Failed, Exit::Failed, Exit::Privilege, Exit::Failed, Exit::Privilege, Exit::Privilege]
        );
    }
}
