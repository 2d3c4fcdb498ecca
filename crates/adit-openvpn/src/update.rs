//! `PUSH_UPDATE`: settings of a client that change while its connection lives.

use zeroize::Zeroizing;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// This option holds now. The first of a name takes the place of all that had it before; more of the same name in one
    /// update stand beside it.
    Set(String),
    /// Options of this name hold no more.
    Remove(String),
}

/// An option that cannot change while a connection lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotUpdatable(pub(crate) String);

/// Options that can.
const UPDATABLE: [&str; 15] = [
    "block-ipv6",
    "block-outside-dns",
    "dhcp-option",
    "dns",
    "ifconfig",
    "ifconfig-ipv6",
    "redirect-gateway",
    "redirect-private",
    "route",
    "route-ipv6",
    "route-gateway",
    "route-metric",
    "topology",
    "tun-mtu",
    "keepalive",
];

impl Update {
    /// Reads the options of a whole update: `-` before a name takes away, `?` says that the option may be left aside.
    pub(crate) fn parse(options: &[Zeroizing<String>]) -> Result<Vec<Self>, NotUpdatable> {
        let mut updates = Vec::new();
        for option in options {
            let (remove, text) = option.strip_prefix('-').map_or((false, option.as_str()), |text| (true, text));
            let (optional, text) = text.strip_prefix('?').map_or((false, text), |text| (true, text));
            let name = text.split_whitespace().next().unwrap_or_default();
            match (UPDATABLE.contains(&name), remove) {
                (true, false) => updates.push(Self::Set(text.to_owned())),
                (true, true) => updates.push(Self::Remove(name.to_owned())),
                (false, _) if optional => {}
                (false, _) => return Err(NotUpdatable(name.to_owned())),
            }
        }
        Ok(updates)
    }

    /// The option as it is sent; `None` for one that no client would take.
    pub(crate) fn emit(&self) -> Option<String> {
        let (text, sent) = match self {
            Self::Set(text) => (text, text.clone()),
            Self::Remove(name) => (name, format!("-{name}")),
        };
        let name = text.split_whitespace().next()?;
        (UPDATABLE.contains(&name) && !text.contains(',')).then_some(sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Update>, NotUpdatable> {
        Update::parse(&text.split(',').map(|option| Zeroizing::new(option.to_owned())).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_set_and_taken_away_and_what_is_optional_left_aside() {
        let set = |text: &str| Update::Set(text.into());
        let expected = vec![
            Update::Remove("route".into()),
            set("route 10.1.0.0 255.255.0.0"),
            set("dns server 0 address 9.9.9.9"),
        ];
        assert_eq!(
            parse("-route,route 10.1.0.0 255.255.0.0,?dns server 0 address 9.9.9.9,?cipher X,-?peer-id"),
            Ok(expected)
        );
    }

    #[test]
    fn what_cannot_change_is_named() {
        for (text, name) in
            [("route 1,cipher AES-256-GCM", "cipher"), ("-peer-id", "peer-id"), ("up /bin/sh", "up"), ("-", "")]
        {
            assert_eq!(parse(text), Err(NotUpdatable(name.into())), "{text}");
        }
    }

    #[test]
    fn only_what_clients_take_is_sent() {
        assert_eq!(Update::Remove("dns".into()).emit().as_deref(), Some("-dns"));
        assert_eq!(Update::Set("route 10.0.0.0".into()).emit().as_deref(), Some("route 10.0.0.0"));
        assert_eq!(Update::Set("cipher none".into()).emit(), None);
        assert_eq!(Update::Set("route 1,auth-token x".into()).emit(), None);
    }
}
