//! What a profile asks of the machine: addresses, routes, name servers, commands.
//!
//! Not here: what the machine has, and the changes between the two (`adit-host`).

use std::path::Path;

use adit::profile::wg_quick::{Host, Profile, Table};
use adit_host::{Hooks, HostPlan};

use crate::exit::{Failure, Result};

/// The plan of a profile for an interface of this name.
pub(super) fn of_profile(name: &str, profile: &Profile) -> Result<HostPlan> {
    let interface = &profile.interface;
    let commands = |commands: &[String]| commands.iter().map(|command| command.replace("%i", name)).collect();
    Ok(HostPlan {
        name: name.to_owned(),
        addresses: interface.addresses.clone(),
        mtu: interface.mtu.map(u32::from),
        overhead: None,
        mtu_at_most: None,
        table: table(&interface.table)?,
        routes: profile.peers.iter().flat_map(|peer| peer.allowed_ips.iter().copied()).collect(),
        fwmark: interface.fwmark,
        dns: interface.dns.clone(),
        search: interface.dns_search.clone(),
        hooks: Hooks {
            pre_up: commands(&interface.pre_up),
            post_up: commands(&interface.post_up),
            pre_down: commands(&interface.pre_down),
            post_down: commands(&interface.post_down),
        },
        endpoints: profile.peers.iter().filter_map(address_of).collect(),
        gateway: None,
    })
}

/// A name is not looked up for this: it only chooses the MTU, and the name server may be beyond the tunnel.
fn address_of(peer: &adit::profile::wg_quick::Peer) -> Option<std::net::IpAddr> {
    match peer.way()?.host {
        Host::Ip(ip) => Some(ip),
        Host::Zoned(ip, _) => Some(ip.into()),
        Host::Name(_) => None,
    }
}

fn table(table: &Table) -> Result<adit_host::Table> {
    Ok(match table {
        Table::Auto => adit_host::Table::Auto,
        Table::Off => adit_host::Table::Off,
        Table::Number(number) => adit_host::Table::Number(*number),
        Table::Named(name) => adit_host::Table::Number(named_table(name)?),
    })
}

/// Where iproute2 keeps the names of routing tables; the first that has the name wins.
const TABLES: [&str; 2] = ["/etc/iproute2/rt_tables", "/usr/share/iproute2/rt_tables"];

fn named_table(name: &str) -> Result<u32> {
    let known = match name {
        "default" => Some(253),
        "main" => Some(254),
        "local" => Some(255),
        _ => TABLES.iter().find_map(|file| number_in(&std::fs::read_to_string(Path::new(file)).ok()?, name)),
    };
    known.ok_or_else(|| {
        Failure::usage(format!("`Table = {name}`: there is no routing table of this name"))
            .hint(format!("give its number, or name it in {}", TABLES[0]))
    })
}

/// Lines are `NUMBER NAME`, the number in decimal or hexadecimal.
fn number_in(tables: &str, name: &str) -> Option<u32> {
    tables.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or("");
        let mut words = line.split_whitespace();
        let (number, found) = (words.next()?, words.next()?);
        let parse = || number.strip_prefix("0x").map_or_else(|| number.parse(), |hex| u32::from_str_radix(hex, 16));
        if found == name { parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use adit::profile::wg_quick;

    use super::*;

    const FILE: &str = "\
[Interface]
PrivateKey = mIFc94GTGTBuCbFfkFCEeLMAMMQGUd1NzCOqCm++OGM=
Address = 10.0.0.2/24
MTU = 1400
PostUp = echo %i is up

[Peer]
PublicKey = ugViDinrHVDhkpj9GJV9FBbxC39S5yL8NV5FvcVGwEE=
Endpoint = 192.0.2.1:51820
AllowedIPs = 0.0.0.0/0
";

    #[test]
    fn a_profile_becomes_a_plan() {
        let profile = wg_quick::parse(FILE).profile;
        let plan = of_profile("home", &profile).unwrap();
        assert_eq!(plan.addresses, ["10.0.0.2/24".parse().unwrap()]);
        assert_eq!(plan.routes, ["0.0.0.0/0".parse().unwrap()]);
        assert_eq!((plan.mtu, plan.table), (Some(1400), adit_host::Table::Auto));
        assert_eq!(plan.hooks.post_up, ["echo home is up"]);
        assert_eq!(plan.endpoints, ["192.0.2.1".parse::<std::net::IpAddr>().unwrap()]);
        assert!(plan.is_full_tunnel());
    }

    #[test]
    fn a_table_can_have_a_name() {
        let tables = "# comment\n255\tlocal\n0x64 hundred\n 7 seven # lucky\n";
        assert_eq!(number_in(tables, "hundred"), Some(100));
        assert_eq!(number_in(tables, "seven"), Some(7));
        assert_eq!(number_in(tables, "lucky"), None);
        assert_eq!(named_table("main"), Ok(254));
        assert!(named_table("no-such-table").is_err());
    }
}
