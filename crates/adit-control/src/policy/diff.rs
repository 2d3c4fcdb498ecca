//! What one policy allows by rules that another does not have.

use super::{Policy, Rule};

/// The rules in which two policies differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyDiff {
    /// Rules of the old one only.
    pub removed: Vec<Rule>,
    /// Rules of the new one only.
    pub added: Vec<Rule>,
}

impl PolicyDiff {
    /// Whether both say the same.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }
}

impl Policy {
    /// What changes when `new` takes the place of this one.
    pub fn diff(&self, new: &Self) -> PolicyDiff {
        let missing = |from: &Self, rules: &Self| -> Vec<_> {
            from.rules.iter().filter(|rule| !rules.rules.contains(rule)).cloned().collect()
        };
        PolicyDiff { removed: missing(self, new), added: missing(new, self) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::home;

    #[test]
    fn a_difference_has_what_goes_and_what_comes() {
        let model = home();
        let parse = |text: &str| Policy::parse(text, &model).unwrap();
        let old = parse("[[policy]]\nfrom = 'all'\nto = 'internet'\n[[policy]]\nfrom = 'host:nas'\nto = 'all'\n");
        let new =
            parse("[[policy]]\nfrom = 'group:family'\nto = 'host:nas'\n[[policy]]\nfrom = 'all'\nto = 'internet'\n");
        let diff = old.diff(&new);
        assert_eq!(diff.removed, [old.rules[1].clone()]);
        assert_eq!(diff.added, [new.rules[0].clone()]);
        assert!(old.diff(&old).is_empty() && !diff.is_empty());
    }
}
