//! The chance that at least one of k answers is right.
//!
//! Knows numbers only.

/// Estimates the chance that at least one of `k` answers is right, from `n` answers of which `c` are:
/// `1 − C(n − c, k) / C(n, k)`, the fraction of all choices of `k` among the `n` that hold a right one.
///
/// It is unbiased for `1 − (1 − p)^k`, where `p` is the chance of one answer, which `1 − (1 − c/n)^k` is not
/// (Chen et al., "Evaluating large language models trained on code", 2021, arXiv 2107.03374). Computed as
/// `−expm1(Σ ln(1 − k/i))` over `i = n − c + 1 … n`, or over `n − k + 1 … n` with `c` for `k`, whichever is
/// shorter: no binomial coefficient overflows, and a small chance keeps its digits.
///
/// `None` for `k` of 0 or above `n`, of which nothing can be told, and for `c` above `n`.
///
/// ```
/// use didact_distill::evaluation::pass_at_k;
///
/// assert_eq!(pass_at_k(4, 1, 1), Some(0.25));
/// assert_eq!(pass_at_k(4, 1, 4), Some(1.0));
/// assert_eq!(pass_at_k(4, 1, 5), None);
/// ```
#[must_use]
pub fn pass_at_k(n: usize, c: usize, k: usize) -> Option<f64> {
    if k == 0 || k > n || c > n {
        return None;
    }
    if c == 0 {
        return Some(0.0);
    }
    // Fewer wrong ones than are chosen: every choice holds a right one.
    if n - c < k {
        return Some(1.0);
    }
    // One answer is the plain fraction, to the last bit.
    if k == 1 {
        return Some(c as f64 / n as f64);
    }
    // C(n − c, k) / C(n, k) is symmetric in c and k.
    let (few, many) = (c.min(k), c.max(k));
    let sum: f64 = (n - few + 1..=n)
        .map(|i| (-(many as f64) / i as f64).ln_1p())
        .sum();
    Some(-sum.exp_m1())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Counts the choices of `k` among `n`, of which the first `c` are right.
    fn by_enumeration(n: usize, c: usize, k: usize) -> f64 {
        let (mut all, mut passed) = (0_u32, 0_u32);
        for choice in 0_u32..1 << n {
            if choice.count_ones() as usize == k {
                all += 1;
                passed += u32::from(choice & ((1 << c) - 1) != 0);
            }
        }
        f64::from(passed) / f64::from(all)
    }

    proptest! {
        #[test]
        fn every_choice_was_counted(n in 1usize..13, c in 0usize..13, k in 1usize..13) {
            prop_assume!(c <= n && k <= n);
            let found = pass_at_k(n, c, k).unwrap();
            let expected = by_enumeration(n, c, k);
            prop_assert!((found - expected).abs() < 1e-14, "{found} for {expected}");
        }

        #[test]
        fn more_answers_and_more_right_ones_never_hurt(n in 2usize..3000, c in 0usize..3000, k in 1usize..3000) {
            let (c, k) = (c % n, k % (n - 1) + 1);
            let here = pass_at_k(n, c, k).unwrap();
            let more_right = pass_at_k(n, c + 1, k).unwrap();
            let more_answers = pass_at_k(n, c, k + 1).unwrap();
            prop_assert!((0.0..=1.0).contains(&here));
            prop_assert!(more_right >= here - 1e-15, "{here} then {more_right}");
            prop_assert!(more_answers >= here - 1e-15, "{here} then {more_answers}");
        }

        #[test]
        fn it_is_unbiased(n in 1usize..40, k in 1usize..40, p in 0.0f64..1.0) {
            prop_assume!(k <= n);
            // Σ_c C(n, c) p^c (1 − p)^(n − c) pass@k(n, c) = 1 − (1 − p)^k.
            let mut chance = (1.0 - p).powi(n as i32);
            let mut mean = 0.0;
            for c in 0..=n {
                mean += chance * pass_at_k(n, c, k).unwrap();
                chance *= (n - c) as f64 / (c + 1) as f64 * p / (1.0 - p);
            }
            let expected = 1.0 - (1.0 - p).powi(k as i32);
            prop_assert!((mean - expected).abs() < 1e-9, "{mean} for {expected}");
        }
    }

    #[test]
    fn many_answers_neither_overflow_nor_lose_digits() {
        // With one right answer it is k / n.
        let found = pass_at_k(1_000_000_000, 1, 3).unwrap();
        assert!((found / 3e-9 - 1.0).abs() < 1e-14, "{found}");
        let found = pass_at_k(100_000, 50_000, 40_000).unwrap();
        assert_eq!(found, 1.0);
    }

    #[test]
    fn what_cannot_be_told_is_not() {
        assert_eq!(pass_at_k(4, 2, 0), None);
        assert_eq!(pass_at_k(4, 2, 5), None);
        assert_eq!(pass_at_k(4, 5, 1), None);
        assert_eq!(pass_at_k(0, 0, 1), None);
    }
}
