//! Which client has which place in the network, also after it has gone and come again, and after a restart
//! (`ifconfig-pool-persist`).
//!
//! Not here: the addresses of a place (`layout`), reading and writing files (`attendant`).

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::layout::Layout;

/// Longer names are given a place like all others, which is not remembered.
const MAX_NAME: usize = 256;

/// The places of a network: at most [`layout::MAX_PLACES`](super::layout::MAX_PLACES).
#[derive(Debug)]
pub(super) struct Pool {
    places: u32,
    /// One client at a time has a name, so a name can be given its place again.
    remembers: bool,
    slots: BTreeMap<u32, Slot>,
    by_name: HashMap<String, u32>,
    /// Tells which place has been free for longest.
    turn: u64,
}

#[derive(Debug)]
struct Slot {
    /// Who had it last.
    name: String,
    taken: bool,
    since: u64,
}

impl Pool {
    pub(super) fn new(places: u32, remembers: bool) -> Self {
        Self { places, remembers, slots: BTreeMap::new(), by_name: HashMap::new(), turn: 0 }
    }

    /// A place for a client: the one that it had, one that nobody had, or the one that has been free for longest.
    pub(super) fn take(&mut self, name: &str) -> Option<u32> {
        let place = self.own(name).or_else(|| self.unused()).or_else(|| self.oldest())?;
        self.keep(place, name, true);
        Some(place)
    }

    /// Nobody gets this place.
    pub(super) fn reserve(&mut self, place: u32) {
        self.keep(place, "", true);
    }

    /// This very place for a client, if nobody has it.
    pub(super) fn claim(&mut self, place: u32, name: &str) -> bool {
        let is_free = self.slots.get(&place).is_none_or(|slot| !slot.taken);
        if is_free {
            self.keep(place, name, true);
        }
        is_free
    }

    /// Its client is gone.
    pub(super) fn free(&mut self, place: u32) {
        self.turn += 1;
        if let Some(slot) = self.slots.get_mut(&place) {
            (slot.taken, slot.since) = (false, self.turn);
        }
    }

    fn own(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied().filter(|place| self.slots.get(place).is_some_and(|slot| !slot.taken))
    }

    fn unused(&self) -> Option<u32> {
        if self.slots.len() >= self.places as usize {
            return None;
        }
        // The first gap in what is in order.
        let gap = (0..).zip(self.slots.keys()).find(|(n, place)| n != *place).map(|(n, _)| n);
        Some(gap.unwrap_or(self.slots.len() as u32)).filter(|place| *place < self.places)
    }

    fn oldest(&self) -> Option<u32> {
        let free = self.slots.iter().filter(|(_, slot)| !slot.taken);
        free.min_by_key(|(_, slot)| slot.since).map(|(place, _)| *place)
    }

    fn keep(&mut self, place: u32, name: &str, taken: bool) {
        let name = if self.remembers && name.len() <= MAX_NAME { name } else { "" };
        let slot = Slot { name: name.to_owned(), taken, since: self.turn };
        if let Some(before) = self.slots.insert(place, slot)
            && self.by_name.get(&before.name) == Some(&place)
        {
            self.by_name.remove(&before.name);
        }
        if !name.is_empty() {
            self.by_name.insert(name.to_owned(), place);
        }
    }

    /// Remembers what the text of an earlier run says: lines of a name and addresses with commas between them. Lines that say
    /// something else are left aside.
    pub(super) fn load(&mut self, text: &str, layout: &Layout) {
        for line in text.lines().take(self.places as usize) {
            let mut words = line.split(',').map(str::trim);
            let Some(name) = words.next().filter(|name| !name.is_empty()) else { continue };
            let place =
                words.filter_map(|word| word.parse::<IpAddr>().ok()).find_map(|address| layout.place_of(address));
            if let Some(place) =
                place.filter(|place| !self.slots.contains_key(place) && !self.by_name.contains_key(name))
            {
                self.keep(place, name, false);
            }
        }
    }

    /// The same text, of what is known now. Names that no line can hold are not in it.
    pub(super) fn text(&self, layout: &Layout) -> String {
        let mut text = String::new();
        for (place, slot) in &self.slots {
            // What would be read as another's is not written.
            let is_another = slot.name.trim() != slot.name || slot.name.contains([',', '#', ';']);
            if slot.name.is_empty() || is_another || slot.name.contains(char::is_control) {
                continue;
            }
            let given = layout.place(*place);
            let v4 = given.address4.map_or_else(String::new, |(address, _)| address.to_string());
            let v6 = given.address6.map_or_else(String::new, |(address, _)| address.to_string());
            text.push_str(&format!("{},{v4},{v6}\n", slot.name));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openvpn::server::testing::config;

    #[test]
    fn who_comes_again_has_the_same_place_and_strangers_take_what_was_free_for_longest() {
        let mut pool = Pool::new(3, true);
        assert_eq!((pool.take("a"), pool.take("b"), pool.take("c")), (Some(0), Some(1), Some(2)));
        assert_eq!(pool.take("d"), None, "all are taken");
        pool.free(1);
        pool.free(0);
        assert_eq!(pool.take("a"), Some(0));
        pool.free(0);
        assert_eq!(pool.take("d"), Some(1), "free for longer than the place of a");
        assert_eq!(pool.take("b"), Some(0), "its own was given away");
        assert_eq!(pool.take("a"), None);
        pool.free(2);
        assert_eq!(pool.take("a"), Some(2));
        assert!(!pool.claim(2, "e"), "a has it");
        pool.free(2);
        assert!(pool.claim(2, "e") && pool.take("e").is_none(), "nothing else is free");
    }

    #[test]
    fn where_names_say_nothing_each_has_a_place() {
        let mut pool = Pool::new(2, false);
        assert_eq!((pool.take("a"), pool.take("a"), pool.take("a")), (Some(0), Some(1), None));
        pool.free(0);
        assert_eq!(pool.take("a"), Some(0));
    }

    #[test]
    fn what_is_remembered_outlives_a_restart() {
        let layout =
            Layout::of(&config("server 10.8.0.0 255.255.255.0\ntopology subnet\nserver-ipv6 fd00::/64\n")).unwrap();
        let mut pool = Pool::new(layout.places(), true);
        for name in ["alice", "with,comma", "b\nob", "carol", " alice"] {
            pool.take(name);
        }
        let text = pool.text(&layout);
        assert_eq!(text, "alice,10.8.0.2,fd00::1000\ncarol,10.8.0.5,fd00::1003\n");
        let mut later = Pool::new(layout.places(), true);
        later.load(
            &format!("{text}nonsense\nmallory,10.8.0.2,\nalice,10.8.0.9,\ndave,192.0.2.1,\neve,,fd00::1007"),
            &layout,
        );
        assert_eq!((later.take("carol"), later.take("alice"), later.take("eve")), (Some(3), Some(0), Some(7)));
        assert_eq!(later.take("mallory"), Some(1), "it had none");
    }

    #[test]
    fn names_that_are_too_long_are_not_kept() {
        let mut pool = Pool::new(1, true);
        assert_eq!(pool.take(&"x".repeat(MAX_NAME + 1)), Some(0));
        assert!(pool.by_name.is_empty());
        pool.free(0);
        for n in 0..1000 {
            let place = pool.take(&n.to_string()).unwrap();
            pool.free(place);
        }
        assert_eq!((pool.by_name.len(), pool.slots.len()), (1, 1));
    }
}
