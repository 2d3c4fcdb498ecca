//! The ioctls of /dev/net/tun.
//!
//! Not here: what is read and written (`tun`).
#![expect(unsafe_code, reason = "ioctl takes raw pointers")]

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use libc::{c_int, c_short, c_uint, c_ulong};

const TUNSETIFF: c_ulong = 0x4004_54ca;
const TUNGETIFF: c_ulong = 0x8004_54d2;
const TUNSETOFFLOAD: c_ulong = 0x4004_54d0;
const TUNSETVNETHDRSZ: c_ulong = 0x4004_54d8;
const TUNGETDEVNETNS: c_ulong = 0x54e3;

const IFF_TUN: c_short = 0x0001;
const IFF_NO_PI: c_short = 0x1000;
const IFF_VNET_HDR: c_short = 0x4000;

const TUN_F_CSUM: c_uint = 0x01;
const TUN_F_TSO4: c_uint = 0x02;
const TUN_F_TSO6: c_uint = 0x04;
const TUN_F_TSO_ECN: c_uint = 0x08;
const TUN_F_USO4: c_uint = 0x20;
const TUN_F_USO6: c_uint = 0x40;

/// Opens the device and creates the interface, or attaches to a persistent one.
pub(super) fn open(name: &str, vnet: bool) -> io::Result<OwnedFd> {
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open("/dev/net/tun")?;
    let fd = OwnedFd::from(file);
    let mut request = request(name)?;
    request.ifr_ifru.ifru_flags = IFF_TUN | IFF_NO_PI | if vnet { IFF_VNET_HDR } else { 0 };
    // SAFETY: the request is a whole ifreq, which the kernel reads and writes.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETIFF, &raw mut request) })?;
    Ok(fd)
}

/// The name of the interface, and whether frames carry a virtual network header.
pub(super) fn query(fd: BorrowedFd<'_>) -> io::Result<(String, bool)> {
    let mut request = request("")?;
    // SAFETY: the request is a whole ifreq, which the kernel writes.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNGETIFF, &raw mut request) })?;
    let name: Vec<u8> = request.ifr_name.iter().take_while(|c| **c != 0).map(|c| c.cast_unsigned()).collect();
    // SAFETY: TUNGETIFF writes the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok((String::from_utf8_lossy(&name).into_owned(), flags & IFF_VNET_HDR != 0))
}

/// Switches larger frames on or off: TCP, and UDP.
pub(super) fn set_offload(fd: BorrowedFd<'_>, tcp: bool, udp: bool) -> io::Result<()> {
    let tcp = if tcp { TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN } else { 0 };
    let udp = if udp { TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6 } else { 0 };
    // SAFETY: the argument is a number.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETOFFLOAD, c_ulong::from(tcp | udp)) })
}

/// Sets the length of the virtual network header.
pub(super) fn set_header_len(fd: BorrowedFd<'_>, len: usize) -> io::Result<()> {
    let len = len as c_int;
    // SAFETY: the argument points to an int.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETVNETHDRSZ, &raw const len) })
}

/// The MTU of an interface in the namespace of `socket`.
pub(super) fn mtu(socket: BorrowedFd<'_>, name: &str) -> io::Result<usize> {
    let mut request = request(name)?;
    // SAFETY: the request is a whole ifreq, which the kernel reads and writes.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU, &raw mut request) })?;
    // SAFETY: SIOCGIFMTU writes the MTU.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    usize::try_from(mtu).map_err(io::Error::other)
}

/// Whether an interface in the namespace of `socket` was set up.
pub(super) fn is_up(socket: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    let mut request = request(name)?;
    // SAFETY: the request is a whole ifreq, which the kernel reads and writes.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) })?;
    // SAFETY: SIOCGIFFLAGS writes the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(c_int::from(flags) & libc::IFF_UP != 0)
}

/// Sets the MTU of an interface in the namespace of `socket`.
pub(super) fn set_mtu(socket: BorrowedFd<'_>, name: &str, mtu: usize) -> io::Result<()> {
    let mut request = request(name)?;
    request.ifr_ifru.ifru_mtu = c_int::try_from(mtu).map_err(io::Error::other)?;
    // SAFETY: the request is a whole ifreq, which the kernel reads.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFMTU, &raw mut request) })
}

/// The network namespace that the interface is in now.
pub(super) fn namespace(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no argument.
    let namespace = unsafe { libc::ioctl(fd.as_raw_fd(), TUNGETDEVNETNS) };
    check(namespace)?;
    // SAFETY: the call has just returned a descriptor of ours.
    Ok(unsafe { OwnedFd::from_raw_fd(namespace) })
}

/// Makes sure that reads and writes do not wait, whatever the giver of the descriptor did.
pub(super) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK)?)
}

fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all zeros is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() || name.contains('\0') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an interface name has at most 15 bytes"));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
