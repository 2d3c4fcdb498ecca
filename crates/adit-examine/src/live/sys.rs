//! What packet sockets need of the system that no crate has: their address, and an option.
#![expect(unsafe_code, reason = "sockaddr_ll and PACKET_IGNORE_OUTGOING have no safe interface")]

use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd as _;

use socket2::{SockAddr, Socket};

/// The address that means: every packet of this interface.
pub(super) fn all_of(index: u32) -> io::Result<SockAddr> {
    let index = i32::try_from(index).map_err(io::Error::other)?;
    let fill = |storage: *mut socket2::SockAddrStorage, length: *mut libc::socklen_t| {
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
            sll_ifindex: index,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        // SAFETY: the storage is larger than any address, aligned for it, and ours until this returns.
        unsafe { storage.cast::<libc::sockaddr_ll>().write(address) };
        // SAFETY: it points to a length that is ours until this returns.
        unsafe { length.write(size_of::<libc::sockaddr_ll>() as libc::socklen_t) };
        Ok(())
    };
    // SAFETY: `fill` writes a whole address of the family it names, and its length.
    let ((), address) = unsafe { SockAddr::try_init(fill) }?;
    Ok(address)
}

/// Passes over what this machine sends.
pub(super) fn ignore_outgoing(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let value = (&raw const on).cast();
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is the socket's, and value points to as many bytes as length says.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, value, length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
