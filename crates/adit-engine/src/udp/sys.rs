//! System calls on UDP sockets that the standard library does not have: many datagrams at once, with what comes beside them.
//!
//! Not here: which sockets there are and what an error means (`udp`).
#![expect(unsafe_code, reason = "message headers of sendmmsg and recvmmsg hold raw pointers")]

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{c_int, c_void};

/// Runs given to one sendmmsg.
pub(super) const SEND_AT_ONCE: usize = 16;
/// Buffers given to one recvmmsg.
pub(super) const RECV_AT_ONCE: usize = 8;

/// Room for the control messages of one message: source address, traffic class, segment size, each with its header.
const CONTROL: usize = 128;

#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// One message to send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) to: SocketAddr,
    /// The socket is connected: the address is not given again.
    pub(super) connected: bool,
    pub(super) from: Option<IpAddr>,
    pub(super) tos: u8,
    pub(super) bytes: &'a [u8],
    /// The kernel cuts it into datagrams of this size.
    pub(super) segment: Option<u16>,
}

/// One message received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received {
    pub(super) from: SocketAddr,
    /// Our address that it was sent to.
    pub(super) at: Option<IpAddr>,
    pub(super) tos: u8,
    pub(super) len: usize,
    /// Bytes of each datagram in it but the last.
    pub(super) stride: usize,
    /// It was longer than its buffer.
    pub(super) cut: bool,
}

/// Sends messages in order; says how many left.
pub(super) fn send(socket: BorrowedFd<'_>, messages: &[Message<'_>]) -> io::Result<usize> {
    let mut names = [const { MaybeUninit::<libc::sockaddr_storage>::uninit() }; SEND_AT_ONCE];
    let mut vectors = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; SEND_AT_ONCE];
    // Only what is used of these is touched: a single datagram must not pay for the memory of many.
    let mut controls = [const { MaybeUninit::<Control>::uninit() }; SEND_AT_ONCE];
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; SEND_AT_ONCE];
    let count = messages.len().min(SEND_AT_ONCE);
    for (i, message) in messages.iter().take(count).enumerate() {
        vectors[i] = libc::iovec { iov_base: message.bytes.as_ptr().cast_mut().cast(), iov_len: message.bytes.len() };
        let control = controls[i].write(Control([0; CONTROL]));
        let control_len = write_control(control, message);
        let header = blank(&mut headers[i]);
        if !message.connected {
            header.msg_hdr.msg_namelen = write_address(&mut names[i], message.to);
            header.msg_hdr.msg_name = names[i].as_mut_ptr().cast();
        }
        header.msg_hdr.msg_iov = &raw mut vectors[i];
        header.msg_hdr.msg_iovlen = 1;
        if control_len > 0 {
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = control_len;
        }
    }
    // SAFETY: the first `count` headers point to addresses, vectors and control messages that outlive the call, and the
    // vectors to bytes that the kernel only reads.
    let sent =
        unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr().cast(), count as u32, libc::MSG_DONTWAIT) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// Receives into equal buffers cut from `slab`, one message each; says how many there were.
pub(super) fn receive(
    socket: BorrowedFd<'_>,
    slab: &mut [u8],
    buffer: usize,
    into: &mut [Option<Received>; RECV_AT_ONCE],
) -> io::Result<usize> {
    let mut names = [const { MaybeUninit::<libc::sockaddr_storage>::uninit() }; RECV_AT_ONCE];
    let mut vectors = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; RECV_AT_ONCE];
    let mut controls = [const { MaybeUninit::<Control>::uninit() }; RECV_AT_ONCE];
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; RECV_AT_ONCE];
    let mut count = 0;
    for (i, bytes) in slab.chunks_exact_mut(buffer).take(RECV_AT_ONCE).enumerate() {
        vectors[i] = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // The family, by which a name is read, is there also where the kernel gives no name.
        // SAFETY: a storage begins with its family on Linux.
        unsafe { names[i].as_mut_ptr().cast::<libc::sa_family_t>().write(0) };
        let header = blank(&mut headers[i]);
        header.msg_hdr.msg_name = names[i].as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as u32;
        header.msg_hdr.msg_iov = &raw mut vectors[i];
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_control = controls[i].as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = CONTROL;
        count = i + 1;
    }
    let (fd, flags) = (socket.as_raw_fd(), libc::MSG_DONTWAIT);
    // SAFETY: the first `count` headers point to addresses, vectors and control rooms that outlive the call; the vectors
    // are disjoint pieces of `slab`, which is borrowed mutably.
    let got = unsafe { libc::recvmmsg(fd, headers.as_mut_ptr().cast(), count as u32, flags, ptr::null_mut()) };
    if got < 0 {
        return Err(io::Error::last_os_error());
    }
    let got = got as usize;
    for i in 0..got {
        // SAFETY: initialised above, before the call.
        let header = unsafe { headers[i].assume_init_ref() };
        into[i] = read_address(&names[i]).map(|from| describe(header, from));
    }
    Ok(got)
}

/// A message header without anything in it.
fn blank(header: &mut MaybeUninit<libc::mmsghdr>) -> &mut libc::mmsghdr {
    *header = MaybeUninit::zeroed();
    // SAFETY: all zeros is a valid message header.
    unsafe { header.assume_init_mut() }
}

fn describe(header: &libc::mmsghdr, from: SocketAddr) -> Received {
    let len = header.msg_len as usize;
    let cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
    let mut received = Received { from, at: None, tos: 0, len, stride: len, cut };
    // SAFETY: the kernel has filled in the control messages of this header.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(&raw const header.msg_hdr) };
    while !message.is_null() {
        // SAFETY: not null, and inside the control room of the header.
        let kind = unsafe { *message };
        // SAFETY: as above.
        let data = unsafe { libc::CMSG_DATA(message) };
        match (kind.cmsg_level, kind.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: this kind of control message holds this structure, perhaps not aligned.
                let info = unsafe { ptr::read_unaligned(data.cast::<libc::in_pktinfo>()) };
                received.at = Some(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()).into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: as above.
                let info = unsafe { ptr::read_unaligned(data.cast::<libc::in6_pktinfo>()) };
                received.at = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
            }
            // SAFETY: the traffic class is one byte for IPv4.
            (libc::IPPROTO_IP, libc::IP_TOS) => received.tos = unsafe { *data },
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                // SAFETY: it is an int for IPv6.
                received.tos = unsafe { ptr::read_unaligned(data.cast::<c_int>()) } as u8;
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                // SAFETY: the segment size is an int.
                let stride = unsafe { ptr::read_unaligned(data.cast::<c_int>()) };
                received.stride = usize::try_from(stride).unwrap_or(len).max(1);
            }
            _ => {}
        }
        // SAFETY: `message` is a control message of this header.
        message = unsafe { libc::CMSG_NXTHDR(&raw const header.msg_hdr, message) };
    }
    received
}

fn write_address(into: &mut MaybeUninit<libc::sockaddr_storage>, address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V4(v4) => {
            let name = libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: a storage has room and alignment for every kind of address.
            unsafe { into.as_mut_ptr().cast::<libc::sockaddr_in>().write(name) };
            size_of::<libc::sockaddr_in>() as u32
        }
        SocketAddr::V6(v6) => {
            let name = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as u16,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { into.as_mut_ptr().cast::<libc::sockaddr_in6>().write(name) };
            size_of::<libc::sockaddr_in6>() as u32
        }
    }
}

/// The address in a storage of which the family is initialised, and all that belongs to an address of that family.
fn read_address(storage: &MaybeUninit<libc::sockaddr_storage>) -> Option<SocketAddr> {
    let at = storage.as_ptr();
    // SAFETY: a storage begins with its family on Linux, which is initialised.
    match c_int::from(unsafe { at.cast::<libc::sa_family_t>().read() }) {
        libc::AF_INET => {
            // SAFETY: the family says which address the storage holds.
            let name = unsafe { *at.cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let name = unsafe { *at.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(name.sin6_port), 0, name.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Writes the control messages; says how many bytes they have.
fn write_control(control: &mut Control, message: &Message<'_>) -> usize {
    let mut at = 0;
    let v4 = message.to.is_ipv4();
    match message.from {
        Some(IpAddr::V4(from)) if v4 => {
            let source = libc::in_addr { s_addr: u32::from_ne_bytes(from.octets()) };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: libc::in_addr { s_addr: 0 } };
            put(control, &mut at, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        Some(IpAddr::V6(from)) if !v4 => {
            let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: from.octets() }, ipi6_ifindex: 0 };
            put(control, &mut at, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
        _ => {}
    }
    if message.tos != 0 {
        let (level, kind) = if v4 { (libc::IPPROTO_IP, libc::IP_TOS) } else { (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) };
        put(control, &mut at, level, kind, c_int::from(message.tos));
    }
    if let Some(segment) = message.segment {
        put(control, &mut at, libc::SOL_UDP, libc::UDP_SEGMENT, segment);
    }
    at
}

/// Appends one control message, laid out as the `CMSG` macros do.
fn put<T: Copy>(control: &mut Control, at: &mut usize, level: c_int, kind: c_int, value: T) {
    let header_len = size_of::<libc::cmsghdr>();
    let len = header_len + size_of::<T>();
    let space = len.next_multiple_of(align_of::<libc::cmsghdr>());
    assert!(*at + space <= CONTROL, "CONTROL has room for all three control messages");
    let header = libc::cmsghdr { cmsg_len: len, cmsg_level: level, cmsg_type: kind };
    // SAFETY: there is room, as just checked, and `at` is a multiple of the alignment from the start of an aligned array.
    let place = unsafe { control.0.as_mut_ptr().add(*at) };
    // SAFETY: as above.
    unsafe { place.cast::<libc::cmsghdr>().write_unaligned(header) };
    // SAFETY: as above, behind the header.
    let value_place = unsafe { place.add(header_len) };
    // SAFETY: as above.
    unsafe { value_place.cast::<T>().write_unaligned(value) };
    *at += space;
}

/// Sets an option that holds an int.
pub(super) fn set_option(socket: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let len = size_of::<c_int>() as u32;
    let value: *const c_int = &raw const value;
    // SAFETY: the pointer is to an int that outlives the call, and the length is an int's.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value.cast::<c_void>(), len) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Which network namespace a socket is in.
pub(super) fn namespace_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut len = size_of::<u64>() as u32;
    let (into, len_into): (*mut u64, *mut u32) = (&raw mut cookie, &raw mut len);
    // SAFETY: the pointers are to a value of this length and to the length, both of which outlive the call.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NETNS_COOKIE, into.cast::<c_void>(), len_into)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(cookie) }
}
