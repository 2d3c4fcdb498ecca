//! What lies between two hosts: forwarding, and the evil that real networks do, as nftables rules.
//!
//! Not here: reordering and duplication, which nftables cannot do (`relay`).

use super::Namespace;

/// A namespace that forwards, with the ports `to-alice` and `to-bob`.
#[derive(Debug, Clone)]
pub struct Router(Namespace);

impl Router {
    pub(super) fn new(namespace: Namespace) -> Self {
        namespace.sysctl("ipv4.ip_forward", 1);
        namespace.sysctl("ipv6.conf.all.forwarding", 1);
        Self(namespace)
    }

    /// The namespace it lives in.
    pub const fn namespace(&self) -> &Namespace {
        &self.0
    }

    /// Hides Alice's network behind the router's address, and forgets a silent UDP flow after `seconds`.
    #[track_caller]
    pub fn masquerade(&self, seconds: u32) {
        self.rules(
            "table inet nat {
                chain post { type nat hook postrouting priority srcnat; oifname to-bob masquerade random; }
                chain guard { type filter hook forward priority filter; iifname to-bob ct state new counter drop; }
            }",
        );
        self.0.sysctl("netfilter.nf_conntrack_udp_timeout", seconds);
        self.0.sysctl("netfilter.nf_conntrack_udp_timeout_stream", seconds);
    }

    /// Drops this share of what is forwarded, both ways.
    #[track_caller]
    pub fn lose(&self, percent: u32) {
        self.rules(&format!(
            "table inet loss {{
                chain lose {{
                    type filter hook forward priority -10
                    numgen random mod 100 < {percent} counter drop
                }}
            }}"
        ));
    }

    /// Swallows everything, until [`Router::heal`].
    #[track_caller]
    pub fn swallow(&self) {
        self.rules(
            "table inet hole {
                chain swallow { type filter hook forward priority -20; policy drop; }
            }",
        );
    }

    /// Ends [`Router::swallow`].
    #[track_caller]
    pub fn heal(&self) {
        self.0.run("nft delete table inet hole");
    }

    /// How many packets the router has dropped by its rules.
    #[track_caller]
    pub fn dropped(&self) -> u64 {
        counters(&self.0.run("nft list ruleset"))
    }

    #[track_caller]
    fn rules(&self, text: &str) {
        self.0.command("nft -f -").input(text).ok();
    }
}

/// The sum of all `counter packets N` in a printed ruleset.
pub(crate) fn counters(ruleset: &str) -> u64 {
    let after = ruleset.split("counter packets ").skip(1);
    after.filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed() {
        let printed = "  numgen random mod 100 < 2 counter packets 12 bytes 999 drop\n  counter packets 30 bytes 1\n";
        assert_eq!(counters(printed), 42);
        assert_eq!(counters("table inet x {}"), 0);
    }
}
