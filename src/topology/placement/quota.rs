//! Divides a whole among weights in integers, by the method of largest remainders.
//!
//! Hamilton's method: each weight gets the integer part of its exact share, and the rest goes, one each, to
//! the largest remainders. Every result is therefore less than one away from the exact share. Used for the
//! partitions of each member and for the standbys of each owner. Pure.

use std::cmp::Reverse;

/// Divides `total` in proportion to `weights`; the result has the order of `weights` and sums to
/// `total`, or to 0 if every weight is 0.
///
/// The rest after the integer parts goes first to the weights that `prefers(index, integer part)` selects,
/// then to the largest remainders, then to the lowest index. A weight without a remainder gets none of it.
/// Preferring holders of more than their integer part makes the fewest units change hands: a unit given to
/// such a holder is a unit that it need not give up.
pub(super) fn apportion(
    total: u64,
    weights: &[u32],
    prefers: impl Fn(usize, u64) -> bool,
) -> Vec<u64> {
    let whole: u128 = weights.iter().copied().map(u128::from).sum();
    if whole == 0 {
        return vec![0; weights.len()];
    }
    let mut claims = Vec::with_capacity(weights.len());
    let mut shares = Vec::with_capacity(weights.len());
    for (index, &weight) in weights.iter().enumerate() {
        let exact = u128::from(total) * u128::from(weight);
        // At most `total`, which is a u64.
        let floor = (exact / whole) as u64;
        let remainder = exact % whole;
        if remainder > 0 {
            claims.push((Reverse(prefers(index, floor)), Reverse(remainder), index));
        }
        shares.push(floor);
    }
    claims.sort_unstable();
    // The remainders sum to this many wholes and each is less than one: there are enough claims.
    let left = total - shares.iter().sum::<u64>();
    for (_, _, index) in claims.into_iter().take(left as usize) {
        shares[index] += 1;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_share_is_within_one_of_the_exact_share_and_they_sum_to_the_total(
            total in 0..=(4096u64 << 32),
            weights in prop::collection::vec(0..=u32::MAX, 1..50),
            preferred in any::<u64>(),
        ) {
            let whole: u128 = weights.iter().copied().map(u128::from).sum();
            prop_assume!(whole > 0);
            let shares = apportion(total, &weights, |index, _| preferred >> index & 1 == 1);
            prop_assert_eq!(shares.iter().sum::<u64>(), total);
            for (&share, &weight) in shares.iter().zip(&weights) {
                let exact = u128::from(total) * u128::from(weight);
                prop_assert!((u128::from(share) * whole).abs_diff(exact) < whole);
            }
        }
    }

    #[test]
    fn the_rest_goes_to_the_preferred_then_the_largest_remainder_then_the_lowest_index() {
        let none_preferred = |_, _| false;
        // Exact shares 3⅓, 3⅓, 3⅓: one is left.
        assert_eq!(apportion(10, &[1, 1, 1], none_preferred), [4, 3, 3]);
        // Exact shares 2.5, 3.75, 3.75: two are left.
        assert_eq!(apportion(10, &[2, 3, 3], none_preferred), [2, 4, 4]);
        assert_eq!(apportion(10, &[2, 3, 3], |index, _| index == 0), [3, 4, 3]);
        // Exact shares 5, 2.5, 2.5: the preference for the first has no effect, because it has no remainder.
        assert_eq!(apportion(10, &[2, 1, 1], |index, _| index == 0), [5, 3, 2]);
    }

    #[test]
    fn a_weight_of_zero_gets_no_share() {
        assert_eq!(apportion(10, &[0, 0], |_, _| true), [0, 0]);
        assert_eq!(apportion(10, &[], |_, _| true), [0; 0]);
        assert_eq!(apportion(10, &[0, 7], |_, _| true), [0, 10]);
    }
}
