//! What every metric means: its formula and its unit.
//!
//! Owns the table that the README shows, and looks names up in it. Knows no values. A reward, a loss or a
//! pipeline of a user's own may log further names.

/// What a metric means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricDescription {
    /// The name; `*` stands for any rest.
    pub name: &'static str,
    /// What one unit of it is; empty for plain numbers.
    pub unit: &'static str,
    /// The formula, in words or symbols.
    pub meaning: &'static str,
}

const fn describes(
    name: &'static str,
    unit: &'static str,
    meaning: &'static str,
) -> MetricDescription {
    MetricDescription {
        name,
        unit,
        meaning,
    }
}

/// Every name that this crate logs, in the order of the README's table.
///
/// `lp` is a log-prob under the policy at the start of the update, `sampled` the same token's as the engine
/// sampled it. Means over tokens are over all trained tokens of the step.
pub const METRICS: &[MetricDescription] = &[
    describes("reward", "", "mean over the samples that have one"),
    describes(
        "reward_std",
        "",
        "standard deviation (divisor n − 1) of each group's rewards, mean over groups",
    ),
    describes(
        "frac_reward_zero_std",
        "share",
        "groups all of whose rewards are equal",
    ),
    describes(
        "reward/*",
        "",
        "term of the reward, coefficients included; `reward/T/R` is its reduction `R` without the coefficient",
    ),
    describes(
        "raw/*",
        "",
        "reduction of a term's values before transform and clip",
    ),
    describes("penalty/*", "", "what is added to the reward"),
    describes(
        "total/*",
        "",
        "sum of the terms that the total names; the first total is the reward",
    ),
    describes(
        "completions/mean_length",
        "tokens",
        "sampled tokens of a completion, mean over samples",
    ),
    describes("completions/min_length", "tokens", "of the shortest"),
    describes("completions/max_length", "tokens", "of the longest"),
    describes("completions/tokens", "tokens", "of all together"),
    describes(
        "completions/clipped_ratio",
        "share",
        "completions that a limit cut off",
    ),
    describes(
        "completions/straddling",
        "tokens",
        "tokens that hold both explanation and end tag, mean over samples",
    ),
    describes(
        "missing_tag_ratio",
        "share",
        "completions without the end tag",
    ),
    describes("refused/ratio", "share", "samples without a reward"),
    describes("refused/*", "share", "the same, by reason"),
    describes("loss", "", "before the update"),
    describes(
        "kl",
        "nats",
        "estimated divergence of the policy from the reference, mean over tokens; where the loss has a KL term",
    ),
    describes(
        "entropy",
        "nats",
        "of the policy's next-token distribution, mean over tokens",
    ),
    describes(
        "clip_ratio/low_mean",
        "share",
        "tokens (sequences, where they share a ratio) with a negative advantage whose ratio is clipped from below",
    ),
    describes(
        "clip_ratio/high_mean",
        "share",
        "the same with a positive advantage, clipped from above",
    ),
    describes("clip_ratio/region_mean", "share", "both together"),
    describes(
        "sampling/logp_diff_mean",
        "nats",
        "|sampled − lp|, mean over tokens",
    ),
    describes("sampling/logp_diff_max", "nats", "its largest"),
    describes(
        "sampling/logp_diff_by_position/*",
        "nats",
        "its mean over tokens from this position of the sequence to twice it",
    ),
    describes(
        "sampling/importance_ratio_mean",
        "",
        "exp(lp − sampled), mean over tokens",
    ),
    describes("sampling/importance_ratio_max", "", "its largest"),
    describes(
        "kl_sample_train_v1",
        "nats",
        "sampled − lp, mean over tokens",
    ),
    describes(
        "kl_sample_train_v2",
        "nats",
        "½ (sampled − lp)², mean over tokens",
    ),
    describes(
        "grad_norm",
        "",
        "global Euclidean norm of the gradients before clipping",
    ),
    describes("lr", "", "learning rate of the update"),
    describes("tokens", "tokens", "trained on"),
    describes("micro_batches", "", "parts that the update was computed in"),
    describes("loss/kl", "nats", "as `kl`"),
    describes(
        "loss/kl_sequence_mean",
        "nats",
        "mean over sequences of their means over tokens, which the published implementation logs as `kl`",
    ),
    describes("loss/clip_low", "share", "as `clip_ratio/low_mean`"),
    describes("loss/clip_high", "share", "as `clip_ratio/high_mean`"),
    describes("loss/clip", "share", "as `clip_ratio/region_mean`"),
    describes(
        "loss/capped",
        "share",
        "tokens with a positive advantage whose ratio CISPO caps",
    ),
    describes(
        "loss/off_policy_dropped",
        "share",
        "sequences with a token that the off-policy mask drops",
    ),
    describes(
        "loss/correction",
        "",
        "weight of samples of another engine, mean over tokens",
    ),
    describes("loss/entropy_kept", "share", "tokens in the entropy cut"),
    describes("dynamic_sampling/rounds", "", "times that the step sampled"),
    describes("dynamic_sampling/dropped", "groups", "flat ones"),
    describes(
        "reference/mixed",
        "0 or 1",
        "whether the reference followed the policy",
    ),
    describes(
        "skipped/samples",
        "",
        "samples left out for a number that is not finite, where that is allowed",
    ),
    describes(
        "skipped/steps",
        "0 or 1",
        "whether the step was left out for such a number",
    ),
    describes("perplexity", "", "exp(loss) of supervised fine-tuning"),
    describes("epoch", "", "passes over the examples so far"),
    describes("left_out", "", "examples longer than allowed"),
    describes(
        "reward_without_penalty",
        "",
        "reward less the penalty for a missing end tag; of held-out problems only",
    ),
    describes("eval/*", "", "the rest of the name, of held-out problems"),
    describes("time/generate", "s", "sampling"),
    describes("time/score", "s", "scoring samples with every model"),
    describes("time/update", "s", "forward, backward, optimizer"),
    describes("time/step", "s", "the three together"),
    describes("time/evaluate", "s", "a look at held-out problems"),
    describes(
        "time/tokens_per_second",
        "tokens/s",
        "sampled tokens by `time/step`; of fine-tuning, supervised tokens by `time/update`",
    ),
    describes(
        "time/generated_tokens_per_second",
        "tokens/s",
        "sampled tokens by `time/generate`",
    ),
    describes(
        "memory/peak",
        "bytes",
        "largest resident set of the process so far",
    ),
];

/// What the metric called `name` means; `None` for one that is not this crate's.
#[must_use]
pub fn describe(name: &str) -> Option<&'static MetricDescription> {
    let found = |name: &str| {
        let exact = METRICS.iter().find(|m| m.name == name);
        exact.or_else(|| {
            METRICS.iter().find(|m| {
                let start = m.name.strip_suffix('*');
                start.is_some_and(|start| name.len() > start.len() && name.starts_with(start))
            })
        })
    };
    match name.strip_prefix("eval/") {
        Some(rest) => found(rest),
        None => found(name).filter(|m| m.name != "reward_without_penalty"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_every_name_with_unit_and_formula() {
        let readme = include_str!("../../README.md");
        let expected: String = METRICS
            .iter()
            .map(|m| format!("| `{}` | {} | {} |\n", m.name, m.unit, m.meaning))
            .collect();
        assert!(
            readme.contains(&expected),
            "the table of the README should be:\n{expected}"
        );
    }

    #[test]
    fn names_are_found_exactly_or_by_their_beginning() {
        let name = |wanted| describe(wanted).map(|m| m.name);
        assert_eq!(name("reward"), Some("reward"));
        assert_eq!(name("reward/kl/mean"), Some("reward/*"));
        assert_eq!(name("refused/ratio"), Some("refused/ratio"));
        assert_eq!(name("refused/too_long"), Some("refused/*"));
        assert_eq!(
            name("eval/reward_without_penalty"),
            Some("reward_without_penalty")
        );
        assert_eq!(name("reward_without_penalty"), None);
        assert_eq!(name("eval/nothing"), None);
        assert_eq!(name("reward/"), None);
    }
}
