//! Whether both sides did the same work: their numbers agree, or no figure is reported.

use super::worker::Answer;

/// How far numbers of the two sides may lie apart, relative to the larger.
const TOLERANCE: f64 = 1e-3;
/// Below this, differences are taken relative to it: a log-prob near 0 has few digits left.
const SMALL: f64 = 0.1;
/// The largest relative difference of the check values; an error where they are not of the same work.
pub(crate) fn difference(work: &str, ours: &Answer, theirs: &Answer) -> Result<f64, String> {
    if ours.check.is_empty() || ours.check.keys().ne(theirs.check.keys()) {
        return Err(format!(
            "{work}: the sides check different things: {:?} and {:?}",
            ours.check.keys(),
            theirs.check.keys()
        ));
    }
    let mut worst = 0.0_f64;
    for (name, our_values) in &ours.check {
        let their_values = &theirs.check[name];
        if our_values.len() != their_values.len() {
            return Err(format!(
                "{work}: {} values of {name}, but {} of theirs",
                our_values.len(),
                their_values.len()
            ));
        }
        for (index, (a, b)) in our_values.iter().zip(their_values).enumerate() {
            let error = (a - b).abs() / a.abs().max(b.abs()).max(SMALL);
            // Not a number is never within the tolerance.
            if error.is_nan() || error > TOLERANCE {
                return Err(format!(
                    "{work}: {name} [{index}] is {a}, but theirs is {b}: the sides do not do the same work, and no \
                     figure is reported"
                ));
            }
            worst = worst.max(error);
        }
    }
    Ok(worst)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(values: &[f64]) -> Answer {
        Answer {
            check: [("loss".to_owned(), values.to_vec())].into(),
            ..Answer::default()
        }
    }

    #[test]
    fn equal_work_passes_and_says_how_equal() {
        let worst = difference("w", &answer(&[-20.0, 0.01]), &answer(&[-20.002, 0.01])).unwrap();
        assert!((worst - 1e-4).abs() < 1e-6);
    }

    #[test]
    fn other_work_is_refused() {
        for theirs in [
            &[-20.1, 0.0][..],
            &[-20.0],
            &[f64::NAN, 0.0],
            &[-20.0, 0.01],
        ] {
            assert!(difference("w", &answer(&[-20.0, 0.0]), &answer(theirs)).is_err());
        }
        let other = Answer {
            check: [("norm".to_owned(), vec![-20.0, 0.0])].into(),
            ..Answer::default()
        };
        assert!(difference("w", &answer(&[-20.0, 0.0]), &other).is_err());
        assert!(difference("w", &Answer::default(), &Answer::default()).is_err());
    }
}
