//! One line a check, and the closing count.

/// Prints each check as it is made and counts the outcomes.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Report {
    /// Passes where `worst_error` is at most `tolerance`; a NaN fails.
    pub(crate) fn check(&mut self, name: &str, worst_error: f64, tolerance: f64) {
        if worst_error <= tolerance {
            self.passed += 1;
            println!("ok    {name}  worst {worst_error:.2e} of {tolerance:.0e}");
        } else {
            self.failed += 1;
            println!("FAIL  {name}  worst {worst_error:.2e} of {tolerance:.0e}");
        }
    }

    /// Passes where `equal`; `detail` says what differs otherwise.
    pub(crate) fn equal(&mut self, name: &str, equal: bool, detail: impl FnOnce() -> String) {
        if equal {
            self.passed += 1;
            println!("ok    {name}  equal");
        } else {
            self.fail(name, &detail());
        }
    }

    /// A check that could not be made or came out wrong.
    pub(crate) fn fail(&mut self, name: &str, message: &str) {
        self.failed += 1;
        println!("FAIL  {name}  {message}");
    }

    /// A case that is not built yet, or whose inputs are not there.
    pub(crate) fn skip(&mut self, name: &str, reason: &str) {
        self.skipped += 1;
        println!("skip  {name}  {reason}");
    }

    /// Prints the count; whether something was checked and nothing failed.
    pub(crate) fn close(&self) -> bool {
        if self.passed + self.failed + self.skipped == 0 {
            println!("no fixture found");
        }
        println!(
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        );
        self.failed == 0 && self.passed > 0
    }
}

/// `|found − expected| / scale`. Equal values are 0 apart, infinities too; a NaN is infinitely far from
/// everything, so that a fold with `f64::max` cannot drop it.
pub(crate) fn scaled_error(found: f64, expected: f64, scale: f64) -> f64 {
    if found == expected {
        return 0.0;
    }
    let error = (found - expected).abs() / scale;
    if error.is_nan() { f64::INFINITY } else { error }
}

/// `|found − expected| / max(1, |expected|)`.
pub(crate) fn error_to_one(found: f64, expected: f64) -> f64 {
    scaled_error(found, expected, expected.abs().max(1.0))
}

/// The largest absolute difference of two slices; infinite where their lengths differ or a value is
/// not a number.
pub(crate) fn worst_difference(found: &[f64], expected: &[f64]) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    found.iter().zip(expected).fold(0.0, |worst, (a, b)| {
        let difference = if a == b { 0.0 } else { (a - b).abs() };
        if difference.is_nan() {
            f64::INFINITY
        } else {
            worst.max(difference)
        }
    })
}
