//! What a server set, as values, and as it changes while a connection lives.

use std::net::IpAddr;

use adit_openvpn::options::{Pulling, Pushed as Read, Rejected};
use adit_openvpn::{Pushed, Update};

/// What a server set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What the connection itself is told: addresses, cipher, pings.
    pub connection: Pushed,
    /// What the machine is told: routes, name servers.
    pub machine: Read,
    /// The server that set it.
    pub server: Option<IpAddr>,
    /// All addresses of servers that are known: the next attempt may go to any.
    pub servers: Vec<IpAddr>,
}

impl Settings {
    /// Reads what was pushed, as far as the configuration takes it.
    ///
    /// # Errors
    /// The configuration says that a connection with such an option is to be given up.
    pub fn read(
        connection: Pushed,
        pulling: &Pulling,
        server: Option<IpAddr>,
        servers: Vec<IpAddr>,
    ) -> Result<Self, Rejected> {
        let machine = Read::read(connection.options.iter().map(String::as_str), pulling)?;
        Ok(Self { connection, machine, server, servers })
    }

    /// The same with changes.
    pub(super) fn updated(&self, updates: Vec<Update>, pulling: &Pulling) -> Result<Self, Rejected> {
        let mut connection = self.connection.clone();
        let mut replaced: Vec<String> = Vec::new();
        for update in updates {
            match update {
                Update::Remove(name) => take_away(&mut connection, &name),
                Update::Set(option) => {
                    let name = name_of(&option).to_owned();
                    if !replaced.contains(&name) {
                        take_away(&mut connection, &name);
                        replaced.push(name);
                    }
                    connection.add(&option);
                }
            }
        }
        Self::read(connection, pulling, self.server, self.servers.clone())
    }
}

fn name_of(option: &str) -> &str {
    option.split_whitespace().next().unwrap_or_default()
}

fn take_away(connection: &mut Pushed, name: &str) {
    match name {
        "ifconfig" => connection.address4 = None,
        "ifconfig-ipv6" => connection.address6 = None,
        "tun-mtu" => connection.mtu = None,
        _ => connection.options.retain(|option| name_of(option) != name),
    }
    connection.refused.retain(|option| name_of(option) != name);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(options: &[&str]) -> Settings {
        let mut connection = Pushed::default();
        options.iter().for_each(|option| connection.add(option));
        Settings::read(connection, &Pulling { pull: true, ..Pulling::default() }, None, Vec::new()).unwrap()
    }

    #[test]
    fn an_update_takes_the_place_of_what_had_its_name() {
        let pulling = Pulling { pull: true, ..Pulling::default() };
        let before =
            settings(&["ifconfig 10.8.0.2 255.255.255.0", "route 10.1.0.0 255.255.0.0", "dhcp-option DNS 9.9.9.9"]);
        let set = |text: &str| Update::Set(text.to_owned());
        let updates = vec![
            set("route 10.2.0.0 255.255.0.0"),
            set("route 10.3.0.0 255.255.0.0"),
            set("ifconfig 10.8.0.7 255.255.255.0"),
            Update::Remove("dhcp-option".to_owned()),
        ];
        let after = before.updated(updates, &pulling).unwrap();
        assert_eq!(after.connection.options, ["route 10.2.0.0 255.255.0.0", "route 10.3.0.0 255.255.0.0"]);
        assert_eq!(after.connection.address4, Some(([10, 8, 0, 7].into(), [255, 255, 255, 0].into())));
        assert_eq!((after.machine.inside.routes.len(), after.machine.dns.servers.len()), (2, 0));
    }

    #[test]
    fn what_is_not_to_be_pulled_is_not() {
        let mut connection = Pushed::default();
        connection.add("route 10.1.0.0 255.255.0.0");
        let pulling = Pulling { pull: true, no_routes: true, filters: Vec::new() };
        assert!(Settings::read(connection, &pulling, None, Vec::new()).unwrap().machine.inside.routes.is_empty());
    }
}
