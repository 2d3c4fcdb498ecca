//! A path-compressed binary trie over bit strings, its nodes in one vector.
//!
//! Not here: addresses and networks (`prefix`).

/// The bits of an address.
pub(crate) trait Bits: Copy + Eq {
    /// The first `len` bits, the others zero.
    fn masked(self, len: u8) -> Self;
    /// Bit number `at` from the front, as 0 or 1; 0 beyond the end.
    fn bit(self, at: u8) -> usize;
    /// How many leading bits are the same as in `other`.
    fn common(self, other: Self) -> u8;
}

macro_rules! bits {
    ($type:ty) => {
        impl Bits for $type {
            #[inline]
            fn masked(self, len: u8) -> Self {
                self & !<$type>::MAX.checked_shr(u32::from(len)).unwrap_or(0)
            }

            #[inline]
            fn bit(self, at: u8) -> usize {
                usize::from(self.checked_shl(u32::from(at)).unwrap_or(0) >> (<$type>::BITS - 1) != 0)
            }

            #[inline]
            fn common(self, other: Self) -> u8 {
                (self ^ other).leading_zeros() as u8
            }
        }
    };
}

bits!(u32);
bits!(u128);

/// Values under bit strings: the fronts of `K`s.
///
/// Invariants: a child's string is longer than its parent's and begins with it; a node without a value has two children.
/// So the depth is at most one more than the bits of a `K`, and there are fewer than twice as many nodes as values.
#[derive(Clone)]
pub(crate) struct Trie<K, T> {
    nodes: Vec<Node<K, T>>,
    root: u32,
    /// Unused nodes, linked through their first child.
    free: u32,
    len: usize,
}

#[derive(Clone)]
struct Node<K, T> {
    /// Its string; the bits from `len` on are zero.
    bits: K,
    len: u8,
    value: Option<T>,
    /// The strings that go on with 0, and with 1.
    children: [u32; 2],
}

/// No node: beyond the end of any vector of nodes.
const NIL: u32 = u32::MAX;

/// Where a reference to a node is kept.
#[derive(Clone, Copy)]
enum Link {
    Root,
    Child(u32, usize),
}

impl<K: Bits, T> Trie<K, T> {
    /// Puts a value under the first `len` bits of `key`; gives back the one that was there.
    pub(crate) fn insert(&mut self, key: K, len: u8, value: T) -> Option<T> {
        let bits = key.masked(len);
        let mut link = Link::Root;
        loop {
            let at = self.follow(link);
            let Some(node) = self.node_mut(at) else {
                let leaf = self.allocate(bits, len, Some(value), [NIL; 2]);
                self.relink(link, leaf);
                break;
            };
            let common = node.bits.common(bits).min(node.len).min(len);
            if common == node.len && common == len {
                let old = node.value.replace(value);
                self.len += usize::from(old.is_none());
                return old;
            }
            if common == node.len {
                link = Link::Child(at, bits.bit(common));
                continue;
            }
            // The strings part ways (or the new one ends) inside the node's: something goes in above it.
            let side = node.bits.bit(common);
            let above = if common == len {
                self.allocate(bits, len, Some(value), one_child(side, at))
            } else {
                let leaf = self.allocate(bits, len, Some(value), [NIL; 2]);
                let mut children = [leaf; 2];
                if let Some(child) = children.get_mut(side) {
                    *child = at;
                }
                self.allocate(bits.masked(common), common, None, children)
            };
            self.relink(link, above);
            break;
        }
        self.len += 1;
        None
    }

    /// Takes out the value under exactly the first `len` bits of `key`.
    pub(crate) fn remove(&mut self, key: K, len: u8) -> Option<T> {
        let bits = key.masked(len);
        let (mut above, mut link) = (None, Link::Root);
        let at = loop {
            let at = self.follow(link);
            let node = self.node(at)?;
            if node.len == len && node.bits == bits {
                break at;
            }
            if node.len >= len || node.bits != bits.masked(node.len) {
                return None;
            }
            (above, link) = (Some(link), Link::Child(at, bits.bit(node.len)));
        };
        let value = self.node_mut(at)?.value.take()?;
        self.len -= 1;
        self.collapse(link);
        if let Some(above) = above {
            self.collapse(above);
        }
        Some(value)
    }

    /// Keeps only the values for which `keep` answers true.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(K, u8, &T) -> bool) {
        self.retain_below(Link::Root, &mut keep);
        if self.len == 0 {
            *self = Self::new();
        }
    }

    /// The value under exactly the first `len` bits of `key`.
    pub(crate) fn get(&self, key: K, len: u8) -> Option<&T> {
        let bits = key.masked(len);
        let mut at = self.root;
        loop {
            let node = self.node(at)?;
            if node.len >= len {
                return if node.len == len && node.bits == bits { node.value.as_ref() } else { None };
            }
            at = node.child(bits);
        }
    }

    /// The value under the longest string that `key` begins with.
    #[inline]
    pub(crate) fn lookup(&self, key: K) -> Option<&T> {
        let (mut at, mut best) = (self.root, None);
        while let Some(node) = self.node(at) {
            if node.bits.common(key) < node.len {
                break;
            }
            best = node.value.as_ref().or(best);
            at = node.child(key);
        }
        best
    }

    /// All strings with their values; a string before those that begin with it, otherwise ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, u8, &T)> + '_ {
        let mut ahead = vec![self.root];
        std::iter::from_fn(move || {
            loop {
                let Some(node) = self.node(ahead.pop()?) else { continue };
                let [zero, one] = node.children;
                ahead.extend([one, zero]);
                if let Some(value) = &node.value {
                    return Some((node.bits, node.len, value));
                }
            }
        })
    }

    /// Recursion, at most as deep as the trie: 129 for IPv6.
    fn retain_below(&mut self, link: Link, keep: &mut impl FnMut(K, u8, &T) -> bool) {
        let at = self.follow(link);
        let Some(node) = self.node_mut(at) else { return };
        if node.value.as_ref().is_some_and(|v| !keep(node.bits, node.len, v)) {
            node.value = None;
            self.len -= 1;
        }
        self.retain_below(Link::Child(at, 0), keep);
        self.retain_below(Link::Child(at, 1), keep);
        self.collapse(link);
    }

    /// Takes the node there out if it is not needed: no value, and fewer than two children.
    fn collapse(&mut self, link: Link) {
        let at = self.follow(link);
        let Some(Node { value: None, children, .. }) = self.node(at) else { return };
        let ([NIL, only] | [only, NIL]) = *children else { return };
        self.relink(link, only);
        let free = self.free;
        if let Some(node) = self.node_mut(at) {
            node.children = [free, NIL];
            self.free = at;
        }
    }

    fn allocate(&mut self, bits: K, len: u8, value: Option<T>, children: [u32; 2]) -> u32 {
        let node = Node { bits, len, value, children };
        let at = self.free;
        if let Some(unused) = self.node_mut(at) {
            let [next, _] = std::mem::replace(unused, node).children;
            self.free = next;
            return at;
        }
        self.nodes.push(node);
        (self.nodes.len() - 1) as u32
    }

    fn follow(&self, link: Link) -> u32 {
        match link {
            Link::Root => self.root,
            Link::Child(at, side) => self.node(at).and_then(|n| n.children.get(side)).map_or(NIL, |child| *child),
        }
    }

    fn relink(&mut self, link: Link, to: u32) {
        match link {
            Link::Root => self.root = to,
            Link::Child(at, side) => {
                if let Some(child) = self.node_mut(at).and_then(|n| n.children.get_mut(side)) {
                    *child = to;
                }
            }
        }
    }

    #[inline]
    fn node(&self, at: u32) -> Option<&Node<K, T>> {
        self.nodes.get(at as usize)
    }

    fn node_mut(&mut self, at: u32) -> Option<&mut Node<K, T>> {
        self.nodes.get_mut(at as usize)
    }
}

impl<K, T> Trie<K, T> {
    /// An empty one.
    pub(crate) const fn new() -> Self {
        Self { nodes: Vec::new(), root: NIL, free: NIL, len: 0 }
    }

    /// How many values.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }
}

impl<K: Bits, T> Node<K, T> {
    /// The child on the way to `key`.
    #[inline]
    fn child(&self, key: K) -> u32 {
        let [zero, one] = self.children;
        if key.bit(self.len) == 0 { zero } else { one }
    }
}

const fn one_child(side: usize, child: u32) -> [u32; 2] {
    if side == 0 { [child, NIL] } else { [NIL, child] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_removed_values_are_used_again() {
        let mut trie = Trie::new();
        for round in 0..10_u32 {
            for key in 0..1000_u32 {
                trie.insert(key.reverse_bits() ^ round, 32, ());
            }
            for key in 0..1000_u32 {
                assert!(trie.remove(key.reverse_bits() ^ round, 32).is_some());
            }
        }
        assert_eq!(trie.len(), 0);
        assert_eq!(trie.root, NIL);
        assert!(trie.nodes.len() < 2000);
    }

    #[test]
    fn a_missing_string_is_not_removed_for_a_longer_or_shorter_one() {
        let mut trie = Trie::new();
        trie.insert(0x0a00_0000_u32, 16, 'a');
        trie.insert(0x0a01_0000_u32, 16, 'b');
        for len in (0..=32).filter(|len| *len != 16) {
            assert_eq!(trie.remove(0x0a00_0000, len), None);
            assert_eq!(trie.get(0x0a00_0000, len), None);
        }
        assert_eq!(trie.len(), 2);
    }

    #[test]
    fn bits_count_from_the_front() {
        assert_eq!((0x8000_0001_u32.bit(0), 0x8000_0001_u32.bit(1), 0x8000_0001_u32.bit(31)), (1, 0, 1));
        assert_eq!((1_u128.bit(127), 1_u128.bit(128), u32::MAX.bit(32)), (1, 0, 0));
        assert_eq!((u32::MAX.masked(0), u32::MAX.masked(8), u32::MAX.masked(32)), (0, 0xff00_0000, u32::MAX));
        assert_eq!((5_u128.common(5), 0_u128.common(1), 0_u32.common(1 << 31)), (128, 127, 0));
    }
}
