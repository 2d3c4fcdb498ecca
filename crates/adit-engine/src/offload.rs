//! Which offloads are wanted, and which are in use.
//!
//! Not here: trying them and falling back (`tun`, `udp`).

use std::fmt;
use std::str::FromStr;

/// Work in larger units than packets, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offloads {
    /// The inside gives TCP frames larger than the MTU, cut here.
    pub tso: bool,
    /// The inside gives UDP frames larger than the MTU, cut here.
    pub uso: bool,
    /// Packets for the inside are glued into larger frames.
    pub coalesce: bool,
    /// The outside takes several datagrams as one and cuts them.
    pub gso: bool,
    /// The outside gives several datagrams as one.
    pub gro: bool,
}

/// Which offloads may be used where the machine has them: all of them, unless told otherwise.
///
/// Parsed from a list as in the environment variable `ADIT_OFFLOAD`: `auto`, `off`, or names to switch off, joined by
/// commas: `no-tso`, `no-uso`, `no-coalesce`, `no-gso`, `no-gro`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offload {
    allowed: Offloads,
}

/// A word in an [`Offload`] list that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an offload\n  hint: write `off`, `auto`, or some of no-tso, no-uso, no-coalesce, no-gso, no-gro, joined by commas"
)]
pub struct UnknownOffload(pub String);

impl Offload {
    /// Everything the machine has.
    pub const AUTO: Self = Self { allowed: Offloads { tso: true, uso: true, coalesce: true, gso: true, gro: true } };

    /// Nothing: one packet a system call, for kernels that promise what they do not keep.
    pub const OFF: Self =
        Self { allowed: Offloads { tso: false, uso: false, coalesce: false, gso: false, gro: false } };

    /// What may be used.
    pub const fn allowed(self) -> Offloads {
        self.allowed
    }
}

impl Default for Offload {
    fn default() -> Self {
        Self::AUTO
    }
}

impl FromStr for Offload {
    type Err = UnknownOffload;

    fn from_str(list: &str) -> Result<Self, UnknownOffload> {
        let mut offload = Self::AUTO;
        for word in list.split(',').map(str::trim).filter(|w| !w.is_empty()) {
            let allowed = &mut offload.allowed;
            match word {
                "auto" | "on" => {}
                "off" => offload = Self::OFF,
                "no-tso" => allowed.tso = false,
                "no-uso" => allowed.uso = false,
                "no-coalesce" => allowed.coalesce = false,
                "no-gso" => allowed.gso = false,
                "no-gro" => allowed.gro = false,
                _ => return Err(UnknownOffload(word.to_owned())),
            }
        }
        Ok(offload)
    }
}

impl Offloads {
    /// Everything that either has.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self {
            tso: self.tso || other.tso,
            uso: self.uso || other.uso,
            coalesce: self.coalesce || other.coalesce,
            gso: self.gso || other.gso,
            gro: self.gro || other.gro,
        }
    }

    /// The names of those in use.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let all =
            [(self.tso, "tso"), (self.uso, "uso"), (self.coalesce, "coalesce"), (self.gso, "gso"), (self.gro, "gro")];
        all.into_iter().filter_map(|(on, name)| on.then_some(name))
    }
}

impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = self.names().peekable();
        if names.peek().is_none() {
            return f.write_str("none");
        }
        let mut first = true;
        for name in names {
            if !first {
                f.write_str(" ")?;
            }
            f.write_str(name)?;
            first = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_switches_off_what_it_names() {
        let some: Offload = "no-gso, no-tso".parse().unwrap();
        assert_eq!(some.allowed().to_string(), "uso coalesce gro");
        assert_eq!("".parse::<Offload>().unwrap(), Offload::AUTO);
        assert_eq!("auto".parse::<Offload>().unwrap(), Offload::AUTO);
        assert_eq!("off".parse::<Offload>().unwrap().allowed().to_string(), "none");
    }

    #[test]
    fn an_unknown_word_is_named() {
        assert_eq!("no-gso,fast".parse::<Offload>(), Err(UnknownOffload("fast".into())));
    }
}
