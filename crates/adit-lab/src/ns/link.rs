//! A cable between two namespaces. Not here: tunnels.

use std::net::IpAddr;

use super::Namespace;
use crate::shell::Run;

/// Which Internet Protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Internet Protocol version 4.
    V4,
    /// Internet Protocol version 6.
    V6,
}

/// Joins two namespaces by a veth pair; each end is named and up, with the MTU given.
#[track_caller]
pub fn join((left, left_name): (&Namespace, &str), (right, right_name): (&Namespace, &str), mtu: u32) {
    Run::line(&format!(
        "ip link add {left_name} netns {} mtu {mtu} type veth peer name {right_name} netns {} mtu {mtu}",
        left.name(),
        right.name()
    ))
    .ok();
    left.run(&format!("ip link set {left_name} up"));
    right.run(&format!("ip link set {right_name} up"));
}

impl Namespace {
    /// Gives an address to an interface, usable at once (no duplicate address detection).
    #[track_caller]
    pub fn add_address(&self, interface: &str, address: IpAddr, prefix: u8) {
        let nodad = if address.is_ipv6() { "nodad" } else { "" };
        self.run(&format!("ip address add {address}/{prefix} dev {interface} {nodad}"));
    }

    /// Takes an address away.
    #[track_caller]
    pub fn remove_address(&self, interface: &str, address: IpAddr, prefix: u8) {
        self.run(&format!("ip address delete {address}/{prefix} dev {interface}"));
    }

    /// Changes an interface's MTU.
    #[track_caller]
    pub fn set_mtu(&self, interface: &str, mtu: u32) {
        self.run(&format!("ip link set {interface} mtu {mtu}"));
    }

    /// Writes a setting below `/proc/sys/net` that belongs to this namespace.
    #[track_caller]
    pub fn sysctl(&self, name: &str, value: u32) {
        self.run(&format!("sysctl -q -w net.{name}={value}"));
    }
}
