//! Gives up what the deciding process does not need: capabilities, most of the file system, most of the kernel.
//!
//! Done before there are other threads, which is made sure of, and after the connection to the daemon and the commands' socket are open. From
//! then on, whoever takes this process over has the public keys of a network, its invites and its log, and nothing else
//! of the machine: it cannot run programs, trace others, change the network or read other files.

use std::collections::BTreeMap;
use std::path::Path;

use landlock::{ABI, Access as _, AccessFs, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus};
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use crate::exit::{Failure, Result};

/// What is asked of Landlock; an older kernel gives what it has.
const LANDLOCK: ABI = ABI::V5;

/// Gives it up, for good: afterwards this thread, and those it starts, can write below `writable` and connect to what is
/// below `reachable`. Returns what this kernel cannot take away.
pub(crate) fn confine(writable: &Path, reachable: &[&Path]) -> Result<Option<String>> {
    alone()?;
    rustix::thread::set_no_new_privs(true).map_err(|e| failed("new privileges", &e))?;
    let enforced = files(writable, reachable).map_err(|e| failed("other files", &e))?;
    system_calls().map_err(|e| failed("system calls", &e))?;
    capabilities().map_err(|e| failed("capabilities", &e))?;
    Ok((!enforced)
        .then(|| "this kernel has no Landlock, so the server's process can still open other files".to_owned()))
}

/// What is given up is given up by one thread: another would keep it, and share its memory with this one.
#[cfg(not(test))]
fn alone() -> Result<()> {
    let threads = std::fs::read_dir("/proc/self/task").map_err(|e| failed("other threads", &e))?.count();
    if threads == 1 { Ok(()) } else { Err(failed("other threads", &format!("there are {threads} already"))) }
}

/// Tests have threads of their own, and confine one of them.
#[cfg(test)]
#[expect(clippy::unnecessary_wraps, reason = "as the real one")]
const fn alone() -> Result<()> {
    Ok(())
}

fn failed(what: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format!("the server's process cannot be kept from {what}: {why}"))
        .hint("it is not run with more rights than it needs; please report this with the version of the kernel")
}

fn capabilities() -> rustix::io::Result<()> {
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}

/// What looking up the name of a database server reads; what is not there is not needed.
const SYSTEM: [&str; 8] = [
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/proc/self",
    "/usr/lib",
];

/// Whether all of it is enforced.
fn files(writable: &Path, reachable: &[&Path]) -> std::result::Result<bool, landlock::RulesetError> {
    let all = AccessFs::from_all(LANDLOCK);
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let status = Ruleset::default()
        .handle_access(all)?
        .create()?
        .add_rules(landlock::path_beneath_rules([writable], all & !AccessFs::Execute))?
        .add_rules(landlock::path_beneath_rules(reachable, read | AccessFs::WriteFile))?
        .add_rules(landlock::path_beneath_rules(SYSTEM, read))?
        .restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

/// What a program that serves a database and two sockets never does. It is refused, as a missing privilege would be.
fn system_calls() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let family = |family: libc::c_int| {
        let is = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, family.unsigned_abs().into())?;
        SeccompRule::new(vec![is])
    };
    let families = [libc::AF_NETLINK, libc::AF_PACKET, libc::AF_VSOCK, libc::AF_ALG, libc::AF_XDP];
    let families: std::result::Result<Vec<_>, _> = families.into_iter().map(family).collect();
    refused.insert(libc::SYS_socket, families?);
    let no = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(refused, SeccompAction::Allow, no, TargetArch::try_from(std::env::consts::ARCH)?)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program)?;
    Ok(())
}

const REFUSED: [i64; 41] = [
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
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapon,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::Command;

    use super::*;

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
                let missing = confine(&mine, &[]).unwrap();
                std::fs::write(mine.join("file"), "y").unwrap();
                std::fs::rename(mine.join("file"), mine.join("moved")).unwrap();
                assert!(TcpListener::bind("127.0.0.1:0").is_ok());
                if missing.is_none() {
                    assert!(std::fs::read(other.join("secret")).is_err());
                    assert!(std::fs::write(other.join("new"), "z").is_err());
                }
                assert!(Command::new("true").status().is_err());
                let netlink =
                    rustix::net::socket(rustix::net::AddressFamily::NETLINK, rustix::net::SocketType::RAW, None);
                assert_eq!(netlink.unwrap_err(), rustix::io::Errno::PERM);
                assert!(rustix::thread::capabilities(None).unwrap().effective.is_empty());
            });
            confined.join().unwrap();
        });
        for directory in [&mine, &other] {
            std::fs::remove_dir_all(directory).unwrap();
        }
    }
}
