//! Gives up what a process does not need: capabilities, most of the file system, most of the kernel.
//!
//! Done before there are other threads, which is made sure of, and after what needs rights is open. From then on, whoever
//! takes such a process over cannot run programs, leave processes behind, trace or signal others, change the network, read
//! files but those it keeps, or speak to anybody over a Unix socket as the root that it still is by name. Two processes do
//! this: the one that decides about a network (`server`), whose connections to the daemon and addresses of its database come from
//! `monitor`, and the one that serves a web site (`web`), whose sockets and certificate come from the daemon.
//!
//! What is left to the first: it can open TCP and UDP sockets, which a database on another machine needs. To the second:
//! TCP to the ports of the sites that it asks, if it asks any.

#[cfg(test)]
mod sys;

use std::collections::BTreeMap;
use std::path::PathBuf;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, NetPort, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus,
};
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

use crate::exit::{Failure, Result};

/// What is asked of Landlock; an older kernel gives what it has.
const LANDLOCK: ABI = ABI::V5;

/// What a process keeps.
#[derive(Debug)]
pub(crate) struct Keeps {
    /// Which process that is, for people.
    pub(crate) who: &'static str,
    /// Directories in which it makes and changes files.
    pub(crate) write: Vec<PathBuf>,
    /// Files, and directories with what is in them, that it reads.
    pub(crate) read: Vec<PathBuf>,
    /// What it may open besides files.
    pub(crate) sockets: Sockets,
}

/// Sockets that a process may open.
#[derive(Debug)]
pub(crate) enum Sockets {
    /// TCP and UDP.
    Any,
    /// TCP, to connect to these ports; none at all, if there are no ports.
    ConnectTo(Vec<u16>),
}

/// Gives up the rest, for good: for this thread, and those it starts. Returns what this kernel cannot take away.
pub(crate) fn confine(keeps: &Keeps) -> Result<Option<String>> {
    let failed = |what: &str, why: &dyn std::fmt::Display| failed(keeps.who, what, why);
    alone(keeps.who)?;
    rustix::thread::set_no_new_privs(true).map_err(|e| failed("new privileges", &e))?;
    let missing = files(keeps).map_err(|e| failed("other files", &e))?;
    system_calls(&keeps.sockets).map_err(|e| failed("system calls", &e))?;
    capabilities().map_err(|e| failed("capabilities", &e))?;
    Ok(missing
        .map(|still| format!("the Landlock of this kernel is too old or missing, so {} can still {still}", keeps.who)))
}

/// What is given up is given up by one thread: another would keep it, and share its memory with this one.
#[cfg(not(test))]
fn alone(who: &str) -> Result<()> {
    let threads = std::fs::read_dir("/proc/self/task").map_err(|e| failed(who, "other threads", &e))?.count();
    if threads == 1 { Ok(()) } else { Err(failed(who, "other threads", &format!("there are {threads} already"))) }
}

/// Tests have threads of their own, and confine one of them.
#[cfg(test)]
#[expect(clippy::unnecessary_wraps, reason = "as the real one")]
const fn alone(_who: &str) -> Result<()> {
    Ok(())
}

fn failed(who: &str, what: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format!("{who} cannot be kept from {what}: {why}"))
        .hint("it is not run with more rights than it needs; please report this with the version of the kernel")
}

fn capabilities() -> rustix::io::Result<()> {
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}

/// What every process still reads; what is not there is not needed. Not the files for looking up names: what is allowed is a file, and
/// whoever rewrites `/etc/resolv.conf` puts another in its place. Others look names up.
const SYSTEM: [&str; 3] = ["/etc/localtime", "/proc/self", "/usr/lib"];

/// Returns what can still be done, on a kernel that does not know these rules.
fn files(keeps: &Keeps) -> std::result::Result<Option<&'static str>, landlock::RulesetError> {
    let all = AccessFs::from_all(LANDLOCK);
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut rules = Ruleset::default().handle_access(all)?;
    if let Sockets::ConnectTo(_) = keeps.sockets {
        rules = rules.handle_access(AccessNet::from_all(LANDLOCK))?;
    }
    let mut rules = rules
        .create()?
        .add_rules(landlock::path_beneath_rules(&keeps.write, all & !AccessFs::Execute))?
        .add_rules(landlock::path_beneath_rules(&keeps.read, read))?
        .add_rules(landlock::path_beneath_rules(SYSTEM, read))?;
    if let Sockets::ConnectTo(ports) = &keeps.sockets {
        for port in ports {
            rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
    }
    let status = rules.restrict_self()?;
    let connects = matches!(&keeps.sockets, Sockets::ConnectTo(ports) if !ports.is_empty());
    Ok(match status.ruleset {
        RulesetStatus::NotEnforced => Some("open other files"),
        _ if connects && !governs_connections() => Some("connect to other ports"),
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => None,
    })
}

/// Whether this kernel knows rules for ports, which it did later than those for files: Linux 6.7.
fn governs_connections() -> bool {
    let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    rules.handle_access(AccessNet::from_all(LANDLOCK)).is_ok()
}

/// What a program that serves files and sockets never does. It is refused, as a missing privilege would be.
fn system_calls(sockets: &Sockets) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    for (call, argument, values) in REFUSED_WITH {
        let rules = values.iter().map(|value| rule(*argument, SeccompCmpOp::Eq, *value));
        refused.insert(*call, rules.collect::<std::result::Result<_, _>>()?);
    }
    // A pair of streams cannot be connected elsewhere, as a pair for datagrams can.
    refused.insert(libc::SYS_socketpair, but_streams()?);
    if let Sockets::ConnectTo(ports) = sockets {
        // No rule is no exception.
        refused.extend(REFUSED_TO_VISITED.iter().map(|call| (*call, Vec::new())));
        if ports.is_empty() {
            refused.extend([libc::SYS_socket, libc::SYS_connect].map(|call| (call, Vec::new())));
        } else {
            refused.insert(libc::SYS_socket, but_tcp()?);
        }
    }
    // A thread, and no process: that would outlive this one, with all that it has open. Of a thread with a namespace of its
    // own: a new user namespace would have every capability in it.
    let no_thread = rule(0, SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64), 0);
    let namespaces = NAMESPACES.map(|flag| rule(0, SeccompCmpOp::MaskedEq(flag), flag));
    let clone = namespaces.into_iter().chain([no_thread]);
    refused.insert(libc::SYS_clone, clone.collect::<std::result::Result<_, _>>()?);
    // Itself and its own limits are its own business.
    refused.insert(libc::SYS_tgkill, vec![rule(0, SeccompCmpOp::Ne, std::process::id().into())?]);
    refused.insert(libc::SYS_prlimit64, vec![rule(0, SeccompCmpOp::Ne, 0)?]);
    let no = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(refused, SeccompAction::Allow, no, TargetArch::try_from(std::env::consts::ARCH)?)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&OTHER_NUMBERS)?;
    seccompiler::apply_filter(&program)?;
    Ok(())
}

/// Rules for every type but streams, which is the number of one bit among those of a type.
fn but_streams() -> std::result::Result<Vec<SeccompRule>, BackendError> {
    const STREAM: u64 = libc::SOCK_STREAM as u64;
    let bits = [1, 2, 4, 8].into_iter();
    bits.map(|bit: u64| rule(1, SeccompCmpOp::MaskedEq(bit), !STREAM & bit)).collect()
}

/// Rules for every socket but TCP's. What Landlock says of ports is for TCP alone; others with streams are MPTCP and SCTP.
fn but_tcp() -> std::result::Result<Vec<SeccompRule>, BackendError> {
    let neither = |argument, these: [i32; 2]| {
        let is_not = |value: i32| {
            SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value.unsigned_abs().into())
        };
        SeccompRule::new(these.into_iter().map(is_not).collect::<std::result::Result<_, _>>()?)
    };
    let mut rules = but_streams()?;
    rules.push(neither(0, [libc::AF_INET, libc::AF_INET6])?);
    rules.push(neither(2, [0, libc::IPPROTO_TCP])?);
    Ok(rules)
}

/// A rule about one argument, of which the kernel reads the lower half.
fn rule(argument: u8, operator: SeccompCmpOp, value: u64) -> std::result::Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?])
}

/// What a list of calls by number cannot say: the same calls by the numbers of x32, from 2^30 on, are refused; `clone3`,
/// whose flags a filter cannot see, is not there, so that the C library takes `clone`.
const OTHER_NUMBERS: [sock_filter; 6] = {
    const fn bpf(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
        #[expect(clippy::cast_possible_truncation, reason = "codes are below 2^8")]
        sock_filter { code: code as u16, jt, jf, k }
    }
    const ERRNO: u32 = libc::SECCOMP_RET_ERRNO;
    #[expect(clippy::cast_possible_truncation, reason = "a small number")]
    const CLONE3: u32 = libc::SYS_clone3 as u32;
    [
        bpf(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        bpf(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 2, 0, 1 << 30),
        bpf(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 2, 0, CLONE3),
        bpf(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        bpf(libc::BPF_RET | libc::BPF_K, 0, 0, ERRNO | libc::EPERM.unsigned_abs()),
        bpf(libc::BPF_RET | libc::BPF_K, 0, 0, ERRNO | libc::ENOSYS.unsigned_abs()),
    ]
};

/// The flags that make a namespace.
const NAMESPACES: [u64; 7] = [
    libc::CLONE_NEWCGROUP as u64,
    libc::CLONE_NEWIPC as u64,
    libc::CLONE_NEWNET as u64,
    libc::CLONE_NEWNS as u64,
    libc::CLONE_NEWPID as u64,
    libc::CLONE_NEWUSER as u64,
    libc::CLONE_NEWUTS as u64,
];

/// What is refused if an argument has one of these values.
const REFUSED_WITH: &[(i64, u8, &[u64])] = &[
    // That it ends with the process that started it: PR_SET_PDEATHSIG.
    (libc::SYS_prctl, 0, &[libc::PR_SET_PDEATHSIG as u64]),
    // Whom the kernel is to signal: F_SETOWN, F_SETOWN_EX; FIOSETOWN, SIOCSPGRP.
    (libc::SYS_fcntl, 1, &[8, 15]),
    // So by ioctl; and typing into the terminal that it was started from: TIOCSTI, TIOCLINUX.
    (libc::SYS_ioctl, 1, &[0x8901, 0x8902, 0x5412, 0x541c]),
    // Whoever is connected to over a Unix socket is told that root is calling: the daemon, systemd, D-Bus.
    (
        libc::SYS_socket,
        0,
        &[
            libc::AF_UNIX as u64,
            libc::AF_NETLINK as u64,
            libc::AF_PACKET as u64,
            libc::AF_VSOCK as u64,
            libc::AF_ALG as u64,
            libc::AF_XDP as u64,
        ],
    ),
];

/// What is refused to whom strangers speak: sockets come to it listening; and a descriptor that it sends would be closed by
/// whoever receives, which may wait for its peer then.
const REFUSED_TO_VISITED: [i64; 4] = [libc::SYS_bind, libc::SYS_listen, libc::SYS_sendmsg, libc::SYS_sendmmsg];

/// What is always refused. Files that are open stay readable and writable by `files` alone: their modes and owners do not
/// change, since what root owns is everybody's as soon as its mode says so.
const REFUSED: &[i64] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_fanotify_init,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_finit_module,
    libc::SYS_fremovexattr,
    libc::SYS_fsconfig,
    libc::SYS_fsetxattr,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_ioprio_set,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_kill,
    libc::SYS_lremovexattr,
    libc::SYS_lsetxattr,
    libc::SYS_migrate_pages,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_move_pages,
    libc::SYS_msgctl,
    libc::SYS_msgget,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_reboot,
    libc::SYS_removexattr,
    libc::SYS_request_key,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_semctl,
    libc::SYS_semget,
    libc::SYS_setns,
    libc::SYS_setpriority,
    libc::SYS_settimeofday,
    libc::SYS_setxattr,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_shmget,
    libc::SYS_swapon,
    libc::SYS_tkill,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    FCHMODAT2,
    SETXATTRAT,
    REMOVEXATTRAT,
    OPEN_TREE_ATTR,
    FILE_SETATTR,
];

// By their numbers on every architecture; newer than what names them.
const FCHMODAT2: i64 = 452;
const SETXATTRAT: i64 = 463;
const REMOVEXATTRAT: i64 = 466;
const OPEN_TREE_ATTR: i64 = 467;
const FILE_SETATTR: i64 = 469;

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::process::Command;

    use rustix::io::Errno;
    use rustix::net::{AddressFamily, SocketType, socket};

    use super::*;

    /// Root owns the other processes, and by the socket of the daemon it is root who asks.
    fn no_way_to_other_processes(other: &Path) {
        use rustix::net::{SocketFlags, socketpair};
        use rustix::process::{Pid, Resource, Rlimit, Signal};
        let pair = |kind| socketpair(AddressFamily::UNIX, kind, SocketFlags::empty(), None);
        assert!(pair(SocketType::STREAM).is_ok());
        for kind in [SocketType::DGRAM, SocketType::SEQPACKET] {
            assert_eq!(pair(kind).unwrap_err(), Errno::PERM);
            assert_eq!(socket(AddressFamily::UNIX, kind, None).unwrap_err(), Errno::PERM);
        }
        assert_eq!(socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap_err(), Errno::PERM);
        let parent = Pid::from_raw(std::os::unix::process::parent_id().cast_signed()).unwrap();
        assert_eq!(rustix::process::kill_process(parent, Signal::CONT).unwrap_err(), Errno::PERM);
        let unlimited = Rlimit { current: None, maximum: None };
        assert_eq!(rustix::process::prlimit(Some(parent), Resource::Core, unlimited).unwrap_err(), Errno::PERM);
        assert!(rustix::process::getrlimit(Resource::Core).maximum != Some(1));
        let open = std::fs::Permissions::from_mode(0o777);
        assert!(std::fs::set_permissions(other, open).is_err());
        assert!(std::os::unix::fs::chown(other, Some(1), None).is_err());
        // Newer than some kernels: refused all the same, before it is known whether they are there.
        for call in [FCHMODAT2, SETXATTRAT, REMOVEXATTRAT, OPEN_TREE_ATTR, FILE_SETATTR] {
            assert_eq!(sys::call_with_nothing(call).raw_os_error(), Some(libc::EPERM), "{call}");
        }
        // No process that would outlive this one, and no outliving of the one that started it.
        assert_eq!(sys::fork_by(libc::SYS_clone).raw_os_error(), Some(libc::EPERM));
        #[cfg(target_arch = "x86_64")]
        assert_eq!(sys::fork_by(libc::SYS_fork).raw_os_error(), Some(libc::EPERM));
        for signal in [None, Some(Signal::CONT)] {
            assert_eq!(rustix::process::set_parent_process_death_signal(signal).unwrap_err(), Errno::PERM);
        }
        // Threads are still to be had, though one call to make them is gone.
        std::thread::spawn(|| ()).join().unwrap();
    }

    /// In a thread of its own, which is all that is confined; needs no root.
    #[test]
    fn what_is_given_up_is_gone() {
        let mine = std::env::temp_dir().join(format!("adit-confine-{}", std::process::id()));
        let other = mine.with_extension("other");
        for directory in [&mine, &other] {
            std::fs::create_dir_all(directory).unwrap();
        }
        std::fs::write(other.join("secret"), "x").unwrap();
        std::thread::scope(|threads| {
            let confined = threads.spawn(|| {
                let keeps = Keeps { who: "a test", write: vec![mine.clone()], read: Vec::new(), sockets: Sockets::Any };
                let missing = confine(&keeps).unwrap();
                std::fs::write(mine.join("file"), "y").unwrap();
                std::fs::rename(mine.join("file"), mine.join("moved")).unwrap();
                assert!(TcpListener::bind("127.0.0.1:0").is_ok());
                if missing.is_none() {
                    assert!(std::fs::read(other.join("secret")).is_err());
                    assert!(std::fs::write(other.join("new"), "z").is_err());
                    assert!(std::fs::read("/etc/passwd").is_err());
                }
                assert!(Command::new("true").status().is_err());
                no_way_to_other_processes(&other);
                let netlink = socket(AddressFamily::NETLINK, SocketType::RAW, None);
                assert_eq!(netlink.unwrap_err(), Errno::PERM);
                assert!(rustix::thread::capabilities(None).unwrap().effective.is_empty());
            });
            confined.join().unwrap();
        });
        for directory in [&mine, &other] {
            std::fs::remove_dir_all(directory).unwrap();
        }
    }

    /// Of these Landlock knows nothing, or not on every kernel.
    fn no_socket_but_for_tcp() {
        use rustix::net::ipproto::{SCTP, TCP};
        let mptcp = rustix::net::Protocol::from_raw(262.try_into().unwrap());
        for family in [AddressFamily::INET, AddressFamily::INET6] {
            // Without IPv6 there is another error.
            assert_ne!(socket(family, SocketType::STREAM, Some(TCP)).err(), Some(Errno::PERM));
            for protocol in [SCTP, mptcp] {
                assert_eq!(socket(family, SocketType::STREAM, Some(protocol)).unwrap_err(), Errno::PERM);
            }
            for kind in [0, 2, 3, 4, 5, 6, 10].map(SocketType::from_raw) {
                assert_eq!(socket(family, kind, None).unwrap_err(), Errno::PERM, "{kind:?}");
            }
        }
        // Unix, Bluetooth, TIPC, SMC: of streams too.
        for family in [1, 31, 30, 43].map(AddressFamily::from_raw) {
            assert_eq!(socket(family, SocketType::STREAM, None).unwrap_err(), Errno::PERM, "{family:?}");
        }
    }

    /// What is sent goes by calls that can carry bytes only.
    fn no_descriptor_is_sent() {
        let (mut here, there) = std::os::unix::net::UnixStream::pair().unwrap();
        std::io::Write::write_all(&mut here, b"bytes").unwrap();
        std::io::Write::write_vectored(&mut here, &[std::io::IoSlice::new(b"more")]).unwrap();
        let (bytes, flags) = ([std::io::IoSlice::new(b"x")], rustix::net::SendFlags::empty());
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut with = rustix::net::SendAncillaryBuffer::new(&mut space);
        let rights = [std::os::fd::AsFd::as_fd(&there)];
        assert!(with.push(rustix::net::SendAncillaryMessage::ScmRights(&rights)));
        assert_eq!(rustix::net::sendmsg(&here, &bytes, &mut with, flags).unwrap_err(), Errno::PERM);
        assert_eq!(sys::call_with_nothing(libc::SYS_sendmmsg).raw_os_error(), Some(libc::EPERM));
    }

    /// What serves a web site reads its pages, and connects to the site behind it and to nobody else.
    #[test]
    fn what_is_kept_is_what_was_said() {
        let site = std::env::temp_dir().join(format!("adit-confine-site-{}", std::process::id()));
        std::fs::create_dir_all(&site).unwrap();
        std::fs::write(site.join("page"), "x").unwrap();
        let behind = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [near, other] = behind.each_ref().map(|socket| socket.local_addr().unwrap());
        let keeps = |ports| Keeps {
            who: "a test",
            write: Vec::new(),
            read: vec![site.clone()],
            sockets: Sockets::ConnectTo(ports),
        };
        std::thread::scope(|threads| {
            let proxy = threads.spawn(|| {
                let missing = confine(&keeps(vec![near.port()])).unwrap();
                assert_eq!(std::fs::read(site.join("page")).unwrap(), b"x");
                assert!(TcpStream::connect(near).is_ok());
                assert!(UdpSocket::bind("127.0.0.1:0").is_err());
                assert!(TcpListener::bind("127.0.0.1:0").is_err());
                no_socket_but_for_tcp();
                no_descriptor_is_sent();
                if missing.is_none() {
                    assert!(std::fs::write(site.join("page"), "y").is_err());
                    assert!(std::fs::read("/etc/shadow").is_err());
                    assert!(TcpStream::connect(other).is_err());
                }
            });
            let pages = threads.spawn(|| {
                // As a visitor's, which could be taken apart and connected elsewhere.
                let open = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
                confine(&keeps(Vec::new())).unwrap();
                assert!(TcpStream::connect(near).is_err());
                assert_eq!(rustix::net::connect(&open, &near).unwrap_err(), Errno::PERM);
                no_descriptor_is_sent();
                std::thread::spawn(|| ()).join().unwrap();
            });
            proxy.join().unwrap();
            pages.join().unwrap();
        });
        std::fs::remove_dir_all(site).unwrap();
    }
}
