//! Which carrier worked on which network: bounded, and as text for whoever keeps it in a file.
//!
//! Not here: how networks are told apart, and the file (both are the owner's).

use crate::ladder::Carrier;

/// Networks remembered; the one not used for longest goes first.
pub const MAX_NETWORKS: usize = 64;
/// The longest name of a network.
pub const MAX_NAME: usize = 128;

/// Which carrier worked on which network, the one used last at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    networks: Vec<(String, Carrier)>,
}

impl Memory {
    /// What worked there, if we were there.
    pub fn of(&self, network: &str) -> Option<Carrier> {
        self.networks.iter().find(|(name, _)| name == network).map(|(_, carrier)| *carrier)
    }

    /// This worked there. Whether that is news.
    pub fn learn(&mut self, network: &str, carrier: Carrier) -> bool {
        let usable = (1..=MAX_NAME).contains(&network.len()) && !network.contains(char::is_whitespace);
        let entry = (network.to_owned(), carrier);
        if !usable || self.networks.last() == Some(&entry) {
            return false;
        }
        self.networks.retain(|(name, _)| name != network);
        if self.networks.len() == MAX_NETWORKS {
            self.networks.remove(0);
        }
        self.networks.push(entry);
        true
    }

    /// As lines of `carrier network`.
    pub fn emit(&self) -> String {
        self.networks.iter().map(|(name, carrier)| format!("{} {name}\n", word(*carrier))).collect()
    }

    /// Of such lines. What cannot be read is left out: it is only memory.
    pub fn parse(text: &str) -> Self {
        let mut memory = Self::default();
        for line in text.lines() {
            let carrier = |text| [Carrier::Udp, Carrier::Https].into_iter().find(|carrier| word(*carrier) == text);
            if let Some((carrier, network)) = line.split_once(' ').and_then(|(c, name)| Some((carrier(c)?, name))) {
                memory.learn(network, carrier);
            }
        }
        memory
    }
}

const fn word(carrier: Carrier) -> &'static str {
    match carrier {
        Carrier::Udp => "udp",
        Carrier::Https => "https",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learnt_is_read_as_it_was_written() {
        let mut memory = Memory::default();
        assert!(memory.learn("cafe", Carrier::Https));
        assert!(memory.learn("home", Carrier::Udp));
        assert!(!memory.learn("home", Carrier::Udp), "no news");
        assert_eq!(memory.emit(), "https cafe\nudp home\n");
        assert_eq!(Memory::parse(&memory.emit()), memory);
        assert!(memory.learn("cafe", Carrier::Udp));
        assert_eq!((memory.of("cafe"), memory.of("work")), (Some(Carrier::Udp), None));
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let long = "x".repeat(MAX_NAME + 1);
        let memory = Memory::parse(&format!("udp a b\ncarrot c\n\nudp\nhttps {long}\nhttps d"));
        assert_eq!(memory.emit(), "https d\n");
    }

    #[test]
    fn networks_are_bounded_and_the_oldest_goes() {
        let mut memory = Memory::default();
        for n in 0..=MAX_NETWORKS {
            memory.learn(&n.to_string(), Carrier::Udp);
        }
        assert_eq!(memory.networks.len(), MAX_NETWORKS);
        assert_eq!((memory.of("0"), memory.of("1")), (None, Some(Carrier::Udp)));
    }
}
