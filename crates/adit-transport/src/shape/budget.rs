//! How much padding may be spent: a share of what is carried, and an allowance for the beginning.
//!
//! Not here: what it is spent on.

/// Thousandths of bytes that may be spent.
#[derive(Debug)]
pub(super) struct Budget {
    per_mille: u64,
    /// The most that may be left, which is what there is at first.
    allowance: u64,
    left: u64,
}

impl Budget {
    /// So many thousandths of what is carried, and so many bytes before anything is.
    pub(super) fn new(per_mille: u32, allowance: u32) -> Self {
        let allowance = u64::from(allowance) * 1_000;
        Self { per_mille: u64::from(per_mille), allowance, left: allowance }
    }

    /// So many bytes were carried.
    pub(super) fn earn(&mut self, bytes: usize) {
        self.left = (self.left + bytes as u64 * self.per_mille).min(self.allowance);
    }

    /// Whether there is enough for small things: half of the allowance is kept for handshakes.
    pub(super) fn is_ample(&self) -> bool {
        self.left >= self.allowance / 2
    }

    /// Takes the price of so many bytes of padding, if it is there.
    pub(super) fn spend(&mut self, bytes: usize) -> bool {
        let price = bytes as u64 * 1_000;
        let enough = self.left >= price;
        if enough {
            self.left -= price;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWANCE: u32 = 96 * 1024;

    #[test]
    fn padding_is_an_allowance_and_then_a_share() {
        let mut budget = Budget::new(30, ALLOWANCE);
        assert!(budget.spend(ALLOWANCE as usize));
        assert!(!budget.spend(1));
        budget.earn(100_000);
        assert!(!budget.spend(3_001));
        assert!(budget.spend(3_000));
        assert!(!budget.spend(1));
    }

    #[test]
    fn what_is_not_spent_does_not_pile_up() {
        let mut budget = Budget::new(1_000, ALLOWANCE);
        budget.earn(usize::MAX / 2_000);
        assert!(!budget.spend(ALLOWANCE as usize + 1));
        assert!(budget.spend(ALLOWANCE as usize));
    }

    #[test]
    fn a_share_of_nothing_is_nothing() {
        let mut budget = Budget::new(0, 0);
        budget.earn(1_000_000);
        assert!(!budget.spend(1));
    }
}
