//! The packet filter rules of a tunnel as a value, and their nftables text.
//!
//! Not here: loading them (`nft`).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One nftables table, complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// Its name, in the `inet` family.
    pub table: String,
    /// What `nft -f` is given to make it.
    pub text: String,
}

impl Ruleset {
    /// What a full tunnel needs beside its routes: nobody reaches the tunnel's addresses from another interface, and
    /// answers to the tunnel's own datagrams carry its mark, so that reverse path filtering lets them in.
    #[must_use]
    pub fn full_tunnel(link: &str, addresses: &[IpAddr], mark: u32) -> Self {
        let table = table_name(link);
        let mut text = format!("table inet {table} {{\n");
        text.push_str("\tchain inside {\n\t\ttype filter hook prerouting priority raw; policy accept;\n");
        for address in addresses {
            let family = if address.is_ipv4() { "ip" } else { "ip6" };
            text.push_str(&format!("\t\tiifname != {{ \"lo\", \"{link}\" }} {family} daddr {address} drop\n"));
        }
        text.push_str("\t}\n\tchain mark_sent {\n\t\ttype filter hook postrouting priority mangle; policy accept;\n");
        text.push_str(&format!("\t\tmeta l4proto udp meta mark {mark:#x} ct mark set meta mark\n"));
        text.push_str(
            "\t}\n\tchain mark_received {\n\t\ttype filter hook prerouting priority mangle; policy accept;\n",
        );
        text.push_str(&format!("\t\tmeta l4proto udp ct mark {mark:#x} meta mark set ct mark\n"));
        text.push_str("\t}\n}\n");
        Self { table, text }
    }

    /// What `nft -f` is given to have exactly this table, whatever was there, in one transaction.
    pub(crate) fn load_text(&self) -> String {
        format!("{}{}", self.unload_text(), self.text)
    }

    /// What `nft -f` is given to have no such table, whether it is there or not.
    pub(crate) fn unload_text(&self) -> String {
        format!("table inet {} {{}}\ndelete table inet {}\n", self.table, self.table)
    }
}

fn table_name(link: &str) -> String {
    format!("adit-{}", spell(link))
}

/// nftables takes letters, digits and `_ - .` in names; interfaces may be called more, so the rest is spelled out.
pub(crate) fn spell(link: &str) -> String {
    let mut name = String::new();
    for byte in link.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' => name.push(char::from(byte)),
            _ => name.push_str(&format!("_{byte:02x}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_tunnel_guards_its_addresses_and_keeps_its_mark() {
        let addresses = ["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let ruleset = Ruleset::full_tunnel("wg0", &addresses, 51820);
        assert_eq!(
            ruleset.load_text(),
            "table inet adit-wg0 {}\n\
             delete table inet adit-wg0\n\
             table inet adit-wg0 {\n\
             \tchain inside {\n\
             \t\ttype filter hook prerouting priority raw; policy accept;\n\
             \t\tiifname != { \"lo\", \"wg0\" } ip daddr 10.0.0.2 drop\n\
             \t\tiifname != { \"lo\", \"wg0\" } ip6 daddr fd00::2 drop\n\
             \t}\n\
             \tchain mark_sent {\n\
             \t\ttype filter hook postrouting priority mangle; policy accept;\n\
             \t\tmeta l4proto udp meta mark 0xca6c ct mark set meta mark\n\
             \t}\n\
             \tchain mark_received {\n\
             \t\ttype filter hook prerouting priority mangle; policy accept;\n\
             \t\tmeta l4proto udp ct mark 0xca6c meta mark set ct mark\n\
             \t}\n\
             }\n"
        );
    }

    #[test]
    fn a_table_name_is_one_that_nft_takes_and_differs_for_each_interface() {
        assert_eq!(table_name("wg-home.1"), "adit-wg-home.1");
        assert_eq!(table_name("a=b+c"), "adit-a_3db_2bc");
        assert_ne!(table_name("a_3d"), table_name("a="));
    }
}
