//! Draws one token from one row of logits, on the host.
//!
//! It knows [`Sampling`] settings and numbers, no tensor, no request and no batch: a draw depends on
//! the row, the settings and one uniform number alone, in a fixed order.

use didact_core::{Error, Result, Sampling, TokenId};

mod weights;

use weights::{Weights, likeliest};

/// A drawn token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawn {
    /// The token.
    pub id: TokenId,
    /// Its log-prob under the full softmax at the temperature, in nats, before anything was cut off;
    /// at temperature 0 the softmax is taken at temperature 1.
    pub log_prob: f32,
}

/// A logit that is not finite.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("the logit of token {id} is {value}")]
pub struct NonFiniteLogit {
    /// The token.
    pub id: TokenId,
    /// Its logit.
    pub value: f32,
}

/// Refuses settings that mean nothing; `what` names the request in the error.
///
/// # Errors
/// [`Error::InvalidRequest`] for a temperature that is negative or not finite, a `top_p` outside
/// `(0, 1]`, a `min_p` outside `[0, 1]`, a limit of 0 tokens, or an empty stop string.
pub fn check_sampling(what: &str, sampling: &Sampling) -> Result<()> {
    let refuse = |problem: String| {
        Err(Error::InvalidRequest {
            what: what.to_owned(),
            problem,
        })
    };
    if !sampling.temperature.is_finite() || sampling.temperature < 0.0 {
        return refuse(format!(
            "temperature {} is not 0 or above",
            sampling.temperature
        ));
    }
    if !(sampling.top_p > 0.0 && sampling.top_p <= 1.0) {
        return refuse(format!(
            "top_p {} lies outside (0, 1]; 1 keeps all",
            sampling.top_p
        ));
    }
    if !(0.0..=1.0).contains(&sampling.min_p) {
        return refuse(format!(
            "min_p {} lies outside [0, 1]; 0 keeps all",
            sampling.min_p
        ));
    }
    if sampling.max_tokens == 0 {
        return refuse("max_tokens is 0; ask for at least one token".to_owned());
    }
    if sampling.stop_strings.iter().any(String::is_empty) {
        return refuse("an empty stop string would end every completion at once".to_owned());
    }
    Ok(())
}

/// Draws a token from a row of logits.
///
/// With weights `w_i = exp((x_i − max x) / temperature)`, computed in f32 and summed in f64, the candidates are cut down in the order in which
/// Hugging Face transformers does it: temperature, then top-k, top-p, min-p.
///
/// 1. `top_k` keeps the k likeliest tokens (of equal logits the lower ids);
/// 2. `top_p` keeps the likeliest of these whose weights first sum to `top_p` of their common weight;
/// 3. `min_p` keeps those of at least `min_p` times the likeliest token's weight.
///
/// The likeliest token always stays. The token drawn is the first whose running sum of weights exceeds
/// `uniform` times the sum of all kept weights; the sum runs by id where nothing was cut off, by
/// falling logit otherwise.
///
/// `uniform` lies in `[0, 1)`; the settings have passed [`check_sampling`].
///
/// # Errors
/// [`NonFiniteLogit`] names the first logit that is not finite.
pub fn draw(
    logits: &[f32],
    sampling: &Sampling,
    uniform: f64,
) -> std::result::Result<Drawn, NonFiniteLogit> {
    let (likeliest, max) = likeliest(logits)?;
    let temperature = if sampling.temperature > 0.0 {
        sampling.temperature
    } else {
        1.0
    };
    let weights = Weights::new(logits, max, temperature);

    let id = if sampling.temperature == 0.0 {
        likeliest
    } else if keeps_all(sampling, logits.len()) {
        weights.pick(uniform * weights.total()).unwrap_or(likeliest)
    } else {
        let kept = kept(logits, &weights, sampling);
        let kept_total: f64 = kept.iter().map(|&id| weights.of(id)).sum();
        pick(&kept, &weights, uniform * kept_total).unwrap_or(likeliest)
    };
    let scaled = (f64::from(logits[id]) - f64::from(max)) / temperature;
    Ok(Drawn {
        id: id as TokenId,
        log_prob: (scaled - weights.total().ln()) as f32,
    })
}

fn keeps_all(sampling: &Sampling, vocabulary: usize) -> bool {
    (sampling.top_k == 0 || sampling.top_k >= vocabulary)
        && sampling.top_p >= 1.0
        && sampling.min_p <= 0.0
}

/// The first candidate at which the running sum exceeds `target`, else the last of positive weight.
fn pick(candidates: &[usize], weights: &Weights, target: f64) -> Option<usize> {
    let mut sum = 0.0;
    let mut last = None;
    for &id in candidates {
        let weight = weights.of(id);
        sum += weight;
        if weight > 0.0 {
            last = Some(id);
            if sum > target {
                break;
            }
        }
    }
    last
}

/// The candidates that stay, by falling logit and rising id.
fn kept(logits: &[f32], weights: &Weights, sampling: &Sampling) -> Vec<usize> {
    let mut ranked = Ranked {
        logits,
        ids: (0..logits.len()).collect(),
        sorted: 0,
    };
    let mut mass = weights.total();
    if sampling.top_k > 0 && sampling.top_k < logits.len() {
        ranked.sort_first(sampling.top_k);
        ranked.ids.truncate(sampling.top_k);
        mass = ranked.ids.iter().map(|&id| weights.of(id)).sum();
    }
    if sampling.top_p < 1.0 {
        let target = sampling.top_p * mass;
        let mut sum = 0.0;
        let reached = (0..ranked.ids.len()).find(|&rank| {
            sum += weights.of(ranked.id(rank));
            sum >= target
        });
        if let Some(rank) = reached {
            ranked.ids.truncate(rank + 1);
        }
    }
    if sampling.min_p > 0.0 {
        // The likeliest token's weight is 1.
        let below =
            (0..ranked.ids.len()).find(|&rank| weights.of(ranked.id(rank)) < sampling.min_p);
        if let Some(rank) = below {
            ranked.ids.truncate(rank.max(1));
        }
    }
    ranked.sort_first(ranked.ids.len());
    ranked.ids
}

/// Ids by falling logit and rising id, of which only as many are sorted as are looked at: what is cut
/// off is most of the vocabulary.
struct Ranked<'a> {
    logits: &'a [f32],
    ids: Vec<usize>,
    sorted: usize,
}

impl Ranked<'_> {
    fn id(&mut self, rank: usize) -> usize {
        if rank >= self.sorted {
            self.sort_first((self.sorted * 8).max(64).max(rank + 1));
        }
        self.ids[rank]
    }

    fn sort_first(&mut self, count: usize) {
        let count = count.min(self.ids.len());
        if count <= self.sorted {
            return;
        }
        let logits = self.logits;
        // All are finite, so this is a total order.
        let order = |&a: &usize, &b: &usize| {
            logits[b]
                .partial_cmp(&logits[a])
                .unwrap_or(std::cmp::Ordering::Equal)
                .then(a.cmp(&b))
        };
        let rest = &mut self.ids[self.sorted..];
        let wanted = count - self.sorted;
        if wanted < rest.len() {
            rest.select_nth_unstable_by(wanted, order);
        }
        rest[..wanted].sort_unstable_by(order);
        self.sorted = count;
    }
}

#[cfg(test)]
mod tests {
    use didact_core::RandomStream;
    use proptest::prelude::*;

    use super::*;

    fn settings(temperature: f64, top_k: usize, top_p: f64, min_p: f64) -> Sampling {
        Sampling {
            top_k,
            top_p,
            min_p,
            ..Sampling::new(temperature, 1)
        }
    }

    fn kept_ids(logits: &[f32], sampling: &Sampling) -> Vec<usize> {
        let (_, max) = likeliest(logits).unwrap();
        let weights = Weights::new(logits, max, sampling.temperature);
        kept(logits, &weights, sampling)
    }

    fn log_softmax(logits: &[f32], id: usize, temperature: f64) -> f64 {
        let sum: f64 = logits
            .iter()
            .map(|&x| (f64::from(x) / temperature).exp())
            .sum();
        f64::from(logits[id]) / temperature - sum.ln()
    }

    #[test]
    fn each_cut_keeps_what_a_hand_calculation_keeps() {
        // Probabilities 0.1, 0.4, 0.2, 0.05, 0.25.
        let logits: Vec<f32> = [0.1f32, 0.4, 0.2, 0.05, 0.25]
            .iter()
            .map(|p| p.ln())
            .collect();
        assert_eq!(kept_ids(&logits, &settings(1.0, 2, 1.0, 0.0)), [1, 4]);
        assert_eq!(kept_ids(&logits, &settings(1.0, 0, 0.6, 0.0)), [1, 4]);
        assert_eq!(kept_ids(&logits, &settings(1.0, 0, 0.7, 0.0)), [1, 4, 2]);
        assert_eq!(kept_ids(&logits, &settings(1.0, 0, 1.0, 0.3)), [1, 4, 2]);
        // Of the two that top-k keeps, the first holds 0.4 / 0.65 = 0.615 of the mass.
        assert_eq!(kept_ids(&logits, &settings(1.0, 2, 0.6, 0.0)), [1]);
        assert_eq!(kept_ids(&logits, &settings(1.0, 2, 0.65, 0.0)), [1, 4]);
    }

    #[test]
    fn equal_logits_are_ranked_by_id() {
        let logits = [1.0, 2.0, 2.0, 2.0];
        assert_eq!(kept_ids(&logits, &settings(1.0, 2, 1.0, 0.0)), [1, 2]);
        assert_eq!(draw(&logits, &Sampling::greedy(1), 0.9).unwrap().id, 1);
        assert_eq!(
            draw(&logits, &settings(1.0, 1, 1.0, 0.0), 0.9).unwrap().id,
            1
        );
    }

    #[test]
    fn a_logit_that_is_not_finite_is_named() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = draw(&[0.0, bad], &Sampling::new(1.0, 1), 0.5).unwrap_err();
            assert_eq!(error.id, 1);
        }
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        let fine = Sampling::new(0.7, 4);
        assert!(check_sampling("request 0", &fine).is_ok());
        let bad = [
            Sampling {
                temperature: -0.1,
                ..fine.clone()
            },
            Sampling {
                temperature: f64::NAN,
                ..fine.clone()
            },
            Sampling {
                temperature: f64::INFINITY,
                ..fine.clone()
            },
            Sampling {
                top_p: 0.0,
                ..fine.clone()
            },
            Sampling {
                top_p: 1.5,
                ..fine.clone()
            },
            Sampling {
                top_p: f64::NAN,
                ..fine.clone()
            },
            Sampling {
                min_p: -0.1,
                ..fine.clone()
            },
            Sampling {
                min_p: 1.1,
                ..fine.clone()
            },
            Sampling {
                max_tokens: 0,
                ..fine.clone()
            },
            Sampling {
                stop_strings: vec![String::new()],
                ..fine
            },
        ];
        for sampling in bad {
            let error = check_sampling("request 3", &sampling)
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("request 3: "), "{error}");
        }
    }

    /// Chi-square against the renormalised probabilities of the kept tokens.
    #[test]
    fn draws_follow_the_kept_probabilities() {
        let logits: Vec<f32> = (0..20).map(|i| ((i * 7) % 20) as f32 * 0.2).collect();
        for sampling in [
            settings(1.0, 0, 1.0, 0.0),
            settings(0.7, 8, 1.0, 0.0),
            settings(1.3, 0, 0.8, 0.0),
            settings(1.0, 0, 1.0, 0.2),
        ] {
            let kept = kept_ids(&logits, &sampling);
            let weight = |id: usize| (f64::from(logits[id]) / sampling.temperature).exp();
            let mass: f64 = kept.iter().map(|&id| weight(id)).sum();
            let stream = RandomStream::new(11);
            let n = 40_000;
            let mut counts = vec![0u32; logits.len()];
            for i in 0..n {
                counts[draw(&logits, &sampling, stream.uniform(i)).unwrap().id as usize] += 1;
            }
            let mut chi_square = 0.0;
            for (id, &count) in counts.iter().enumerate() {
                if kept.contains(&id) {
                    let expected = n as f64 * weight(id) / mass;
                    chi_square += (f64::from(count) - expected).powi(2) / expected;
                } else {
                    assert_eq!(count, 0, "token {id} was cut off");
                }
            }
            // Mean k − 1 and variance 2(k − 1): four standard deviations.
            let freedom = (kept.len() - 1) as f64;
            assert!(
                chi_square < freedom + 4.0 * (2.0 * freedom).sqrt(),
                "{chi_square} {kept:?}"
            );
        }
    }

    fn row() -> impl Strategy<Value = Vec<f32>> {
        prop::collection::vec(-30.0f32..30.0, 1..300)
    }

    proptest! {
        #[test]
        fn the_log_prob_is_the_full_softmaxs(
            logits in row(), temperature in 0.1f64..3.0, top_k in 0usize..20, top_p in 0.05f64..1.0,
            min_p in 0.0f64..0.5, uniform in 0.0f64..1.0,
        ) {
            let drawn = draw(&logits, &settings(temperature, top_k, top_p, min_p), uniform).unwrap();
            let expected = log_softmax(&logits, drawn.id as usize, temperature);
            // A log-prob of −600 has no more digits than that in f32.
            let tolerance = 1e-5_f64.max(expected.abs() * 1e-6);
            prop_assert!((f64::from(drawn.log_prob) - expected).abs() <= tolerance);
        }

        #[test]
        fn the_kept_are_the_likeliest_and_no_more_than_needed(
            logits in row(), temperature in 0.1f64..3.0, top_k in 0usize..50, top_p in 0.05f64..1.0,
            min_p in 0.0f64..0.5,
        ) {
            let sampling = settings(temperature, top_k, top_p, min_p);
            let kept = kept_ids(&logits, &sampling);
            prop_assert!(!kept.is_empty());
            prop_assert!(top_k == 0 || kept.len() <= top_k);
            let least = logits[kept[kept.len() - 1]];
            for (id, &logit) in logits.iter().enumerate() {
                prop_assert!(kept.contains(&id) || logit <= least);
            }
            for &id in &kept[1..] {
                let ratio = ((f64::from(logits[id]) - f64::from(logits[kept[0]])) / temperature).exp();
                prop_assert!(ratio >= min_p - 1e-6);
            }
            // Top-p alone: without its last token the nucleus holds less than top_p.
            let nucleus = kept_ids(&logits, &settings(temperature, 0, top_p, 0.0));
            let mass = |ids: &[usize]| -> f64 {
                ids.iter().map(|&id| log_softmax(&logits, id, temperature).exp()).sum()
            };
            prop_assert!(mass(&nucleus) >= top_p - 1e-6);
            prop_assert!(mass(&nucleus[..nucleus.len() - 1]) < top_p + 1e-6);
        }

        #[test]
        fn nothing_is_cut_off_by_settings_that_keep_all(logits in row(), uniform in 0.0f64..1.0) {
            let all = settings(0.8, 0, 1.0, 0.0);
            prop_assert!(keeps_all(&all, logits.len()));
            prop_assert_eq!(kept_ids(&logits, &all).len(), logits.len());
            let by_count = settings(0.8, logits.len(), 1.0, 0.0);
            prop_assert_eq!(
                draw(&logits, &all, uniform).unwrap(),
                draw(&logits, &by_count, uniform).unwrap()
            );
        }

        #[test]
        fn one_candidate_is_greedy(logits in row(), uniform in 0.0f64..1.0) {
            let greedy = draw(&logits, &Sampling::greedy(1), uniform).unwrap();
            let one = draw(&logits, &settings(1.0, 1, 1.0, 0.0), uniform).unwrap();
            prop_assert_eq!(greedy, one);
        }
    }
}
