//! Rows of a matrix in which every pair of values of two axes stands together at least once: far fewer than all combinations.
//!
//! Greedy and without dice, so that a row is the same in every run. Not here: what axes and values mean.

use std::cmp::Reverse;
use std::collections::BTreeSet;

/// A value of an axis, both by number.
type Place = (usize, usize);

/// A row that is being filled: a value for each axis, where it has one yet.
pub(super) type Partial = [Option<usize>];

/// Rows for axes with so many values each, in which every pair that may stand together does. `allowed` says of a row, which may
/// still have gaps, whether it may be; with fewer gaps it never allows more.
pub(super) fn covering(axes: &[usize], allowed: impl Fn(&Partial) -> bool) -> Vec<Vec<usize>> {
    let mut open: BTreeSet<(Place, Place)> = pairs(axes).collect();
    let mut rows: Vec<Vec<usize>> = Vec::new();
    while let Some((one, other)) = open.first().copied() {
        let mut row = vec![None; axes.len()];
        for (axis, value) in [one, other] {
            row[axis] = Some(value);
        }
        if allowed(&row) && fill(&mut row, axes, &open, &rows, &allowed) {
            let row: Vec<usize> = row.into_iter().flatten().collect();
            open.retain(|(one, other)| row[one.0] != one.1 || row[other.0] != other.1);
            rows.push(row);
        } else {
            // They may not stand together, whatever the rest is.
            open.remove(&(one, other));
        }
    }
    rows
}

/// Every pair of values of two axes.
fn pairs(axes: &[usize]) -> impl Iterator<Item = (Place, Place)> {
    let places = |axis: usize| (0..axes[axis]).map(move |value| (axis, value));
    let of = move |one: usize| (one + 1..axes.len()).map(move |other| (one, other));
    (0..axes.len())
        .flat_map(of)
        .flat_map(move |(one, other)| places(one).flat_map(move |a| places(other).map(move |b| (a, b))))
}

/// Fills the gaps, each with the value that brings the most pairs that are still open, of equals the one that the fewest rows
/// have; whether that was possible.
fn fill(
    row: &mut [Option<usize>],
    axes: &[usize],
    open: &BTreeSet<(Place, Place)>,
    rows: &[Vec<usize>],
    allowed: &impl Fn(&Partial) -> bool,
) -> bool {
    let gaps = (0..row.len()).filter(|axis| row[*axis].is_none());
    let brings = |row: &[Option<usize>], axis: usize, value: usize| {
        let filled = row.iter().enumerate().filter_map(|(other, set)| Some((other, (*set)?)));
        filled.filter(|other| open.contains(&ordered((axis, value), *other))).count()
    };
    // The gap with the most to win is filled first; of equals the first.
    let best = gaps
        .map(|axis| {
            let mut values: Vec<_> = (0..axes[axis]).map(|value| (brings(row, axis, value), value)).collect();
            let used = |value: usize| rows.iter().filter(|row| row[axis] == value).count();
            values.sort_by_key(|(pairs, value)| (Reverse(*pairs), used(*value), *value));
            (axis, values)
        })
        .max_by_key(|(axis, values)| (values.first().map_or(0, |(pairs, _)| *pairs), Reverse(*axis)));
    let Some((axis, values)) = best else { return true };
    for (_, value) in values {
        row[axis] = Some(value);
        if allowed(row) && fill(row, axes, open, rows, allowed) {
            return true;
        }
    }
    row[axis] = None;
    false
}

fn ordered(one: Place, other: Place) -> (Place, Place) {
    if one.0 < other.0 { (one, other) } else { (other, one) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_in(rows: &[Vec<usize>], (one, other): (Place, Place)) -> bool {
        rows.iter().any(|row| row[one.0] == one.1 && row[other.0] == other.1)
    }

    #[test]
    fn every_pair_stands_together_in_far_fewer_rows_than_there_are_combinations() {
        let axes = [7, 7, 6, 5, 3, 3, 2, 2];
        let rows = covering(&axes, |_| true);
        assert!(pairs(&axes).all(|pair| is_in(&rows, pair)));
        assert!((49..=75).contains(&rows.len()), "{}", rows.len());
        assert_eq!(rows, covering(&axes, |_| true), "the same in every run");
    }

    #[test]
    fn what_may_not_stand_together_does_not_and_the_rest_does() {
        let axes = [3, 3, 3, 2];
        // The first value of the first axis needs the first of the third.
        let allowed = |row: &Partial| !matches!(row, [Some(0), _, Some(1..), _]);
        let rows = covering(&axes, allowed);
        for pair in pairs(&axes) {
            let forbidden = matches!(pair, ((0, 0), (2, 1..)));
            assert_eq!(is_in(&rows, pair), !forbidden, "{pair:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        /// Compared with all combinations.
        #[test]
        fn a_pair_is_there_if_any_row_may_have_it(
            axes in prop::collection::vec(1_usize..4, 2..5),
            forbidden in prop::collection::vec(((0_usize..5, 0_usize..4), (0_usize..5, 0_usize..4)), 0..6),
        ) {
            let has = |row: &Partial, (axis, value): Place| row.get(axis).copied().flatten() == Some(value);
            let allowed = |row: &Partial| forbidden.iter().all(|(one, other)| !(has(row, *one) && has(row, *other)));
            let mut all = vec![Vec::new()];
            for values in &axes {
                all = all.iter().flat_map(|row: &Vec<Option<usize>>| {
                    (0..*values).map(move |value| row.iter().copied().chain([Some(value)]).collect())
                }).collect();
            }
            let rows = covering(&axes, allowed);
            for row in &rows {
                let row: Vec<_> = row.iter().copied().map(Some).collect();
                prop_assert!(allowed(&row));
            }
            for (one, other) in pairs(&axes) {
                let possible = all.iter().any(|row| has(row, one) && has(row, other) && allowed(row));
                prop_assert_eq!(is_in(&rows, (one, other)), possible);
            }
        }
    }
}
