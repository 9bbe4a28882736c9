//! Derivatives against differences of values.

use super::*;

/// What a change of one number does to the value, from both sides; `None` where the sides disagree, at a kink
/// of a clip.
fn slope(value: impl Fn(f64) -> f64) -> Option<f64> {
    let h = 1e-6;
    let (below, here, above) = (value(-h), value(0.0), value(h));
    let (left, right) = ((here - below) / h, (above - here) / h);
    let slope = (above - below) / (2.0 * h);
    ((left - right).abs() < 1e-5 * slope.abs().max(1.0)).then_some(slope)
}

/// Compares all derivatives of a loss; says how many were compared.
fn check(loss: &PolicyGradientLoss, step: &[LossSequence], name: &str) -> usize {
    let counts = normalisers(loss, step);
    let held: Vec<Vec<f64>> = step.iter().map(|s| s.log_probs.clone()).collect();
    let found = loss.evaluate(step, counts).unwrap();
    let at = |change: &dyn Fn(&mut [LossSequence])| {
        let mut moved = step.to_vec();
        change(&mut moved);
        loss.evaluate_held(&moved, Some(&held), counts)
            .unwrap()
            .value
    };
    let mut compared = 0;
    let mut compare = |what: String, derivative: f64, counts: bool, slope: Option<f64>| {
        if !counts {
            assert_eq!(derivative, 0.0, "{name}: {what}");
        } else if let Some(slope) = slope {
            compared += 1;
            let error = (derivative - slope).abs();
            assert!(
                error < 1e-7 * derivative.abs().max(1.0),
                "{name}: {what}: {derivative} is not {slope}"
            );
        }
    };
    for (s, sequence) in step.iter().enumerate() {
        for t in 0..sequence.mask.len() {
            let counts = sequence.mask[t];
            let moved = |h: f64| at(&|step| step[s].log_probs[t] += h);
            let of_log_prob = counts.then(|| slope(moved)).flatten();
            let derivative = found.d_log_probs[s][t];
            compare(
                format!("log-prob {t} of {s}"),
                derivative,
                counts,
                of_log_prob,
            );
            if let Some(derivatives) = &found.d_entropies {
                // Away from the threshold, which a change must not cross.
                let margin = loss.needs().top_entropy.is_none();
                let moved = |h: f64| at(&|step| step[s].entropies.as_mut().unwrap()[t] += h);
                let of_entropy = (counts && margin).then(|| slope(moved)).flatten();
                compare(
                    format!("entropy {t} of {s}"),
                    derivatives[s][t],
                    counts,
                    of_entropy,
                );
            }
        }
    }
    compared
}

#[test]
fn derivatives_are_those_of_finite_differences() {
    let step = step();
    let tokens = Normalisers::of(&step).tokens;
    for (index, loss) in policy_gradients().iter().enumerate() {
        let compared = check(loss, &step, &format!("loss {index}, {loss:?}"));
        assert!(
            compared >= tokens,
            "loss {index}: {compared} of {tokens} tokens are no kinks"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn derivatives_are_those_of_finite_differences_anywhere(step in sequences()) {
        for loss in policy_gradients() {
            check(&loss, &step, &format!("{loss:?}"));
        }
    }
}

#[test]
fn the_supervised_derivative_is_that_of_finite_differences() {
    let step = step();
    let found = evaluate(&SftLoss, &step);
    for (s, sequence) in step.iter().enumerate() {
        for t in (0..6).filter(|&t| sequence.mask[t]) {
            let expected = slope(|h| {
                let mut moved = step.clone();
                moved[s].log_probs[t] += h;
                evaluate(&SftLoss, &moved).value
            });
            assert!((found.d_log_probs[s][t] - expected.unwrap()).abs() < 1e-9);
        }
    }
}
