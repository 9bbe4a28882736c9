//! TRL's options, as parts of our loss.
//!
//! Owns the reading of a golden variant. Knows no numbers of a step.

use didact::rl::loss::{
    AggregationConfig, Bounds, Correction, CorrectionLevel, Normalisers, PolicyGradientConfig,
    PolicyGradientLoss, RatioLevel, SurrogateConfig, VespoWeight,
};
use serde_json::{Map, Value};

use crate::golden::{number, text};

/// The options that a variant may name.
const KNOWN: [&str; 24] = [
    "loss_type",
    "epsilon",
    "epsilon_high",
    "beta",
    "use_bias_correction_kl",
    "delta",
    "grad_accum",
    "on_policy",
    "max_completion_length",
    "num_items_in_batch",
    "steps_per_generation",
    "importance_sampling_level",
    "sapo_temperature_pos",
    "sapo_temperature_neg",
    "vespo_k_pos",
    "vespo_lambda_pos",
    "vespo_k_neg",
    "vespo_lambda_neg",
    "off_policy_mask_threshold",
    "vllm_importance_sampling_mode",
    "vllm_importance_sampling_clip_max",
    "vllm_importance_sampling_clip_min",
    "top_entropy_quantile",
    "entropy_coef",
];

/// A variant that is built.
pub(super) struct Variant {
    pub(super) loss: PolicyGradientLoss,
    /// Whether the old log-probs are the present ones.
    pub(super) on_policy: bool,
    /// Whether it is the RLT implementation's loss, which logs another mean of the KL.
    pub(super) published: bool,
    grad_accum: usize,
    steps_per_generation: usize,
    num_items_in_batch: Option<usize>,
}

impl Variant {
    /// The variant, or why it is not built; `width` is the padded length of the completions.
    pub(super) fn read(options: &Map<String, Value>, width: usize) -> Result<Self, String> {
        if let Some(key) = options.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(format!("option {key} is not built yet"));
        }
        let options = Options(options);
        let loss_type = options.text("loss_type")?.unwrap_or("grpo");
        let published = loss_type == "rlt_reference";
        let beta = options.number("beta")?.unwrap_or(0.0);
        let config = PolicyGradientConfig {
            surrogate: options.surrogate(loss_type)?,
            ratio: match options.text("importance_sampling_level")? {
                _ if loss_type == "rloo" => RatioLevel::Product,
                None | Some("token") => RatioLevel::Token,
                Some("sequence") => RatioLevel::Sequence,
                Some(other) => return Err(format!("ratio level {other} is not built yet")),
            },
            aggregation: match loss_type {
                "grpo" | "sapo" | "rlt_reference" | "rloo" => AggregationConfig::SequenceMean,
                "dapo" | "cispo" | "vespo" => AggregationConfig::TokenMean,
                "bnpo" => AggregationConfig::MicroBatchTokenMean,
                "luspo" => AggregationConfig::SequenceSum,
                "dr_grpo" => AggregationConfig::Constant {
                    tokens: Some(options.count("max_completion_length")?.unwrap_or(width)),
                },
                other => return Err(format!("loss type {other} is not built yet")),
            },
            beta,
            unbiased_kl: options.flag("use_bias_correction_kl") && beta > 0.0,
            correction: options.correction()?,
            off_policy_threshold: options.number("off_policy_mask_threshold")?,
            top_entropy: options.number("top_entropy_quantile")?.unwrap_or(1.0),
            entropy_bonus: options.number("entropy_coef")?.unwrap_or(0.0),
            ..PolicyGradientConfig::default()
        };
        let grad_accum = options.count("grad_accum")?.unwrap_or(1);
        Ok(Self {
            loss: config.resolve().map_err(|e| e.to_string())?,
            on_policy: options.flag("on_policy"),
            published,
            grad_accum,
            steps_per_generation: options.count("steps_per_generation")?.unwrap_or(grad_accum),
            num_items_in_batch: options.count("num_items_in_batch")?,
        })
    }

    /// Those of the step that a micro-batch with the counts `one` is a part of.
    pub(super) fn normalisers(&self, one: Normalisers) -> Normalisers {
        let items = self.num_items_in_batch.unwrap_or(one.tokens);
        Normalisers {
            sequences: one.sequences * self.grad_accum,
            tokens: items * self.grad_accum / self.steps_per_generation,
            micro_batches: self.grad_accum,
            ..one
        }
    }
}

/// The options of one variant.
struct Options<'a>(&'a Map<String, Value>);

impl<'a> Options<'a> {
    fn number(&self, key: &str) -> Result<Option<f64>, String> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => number(value).map(Some),
        }
    }

    fn count(&self, key: &str) -> Result<Option<usize>, String> {
        Ok(self.number(key)?.map(|value| value as usize))
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, String> {
        self.0.get(key).map(text).transpose()
    }

    fn flag(&self, key: &str) -> bool {
        self.0.get(key).and_then(Value::as_bool).unwrap_or(false)
    }

    fn surrogate(&self, loss_type: &str) -> Result<SurrogateConfig, String> {
        let or = |key: &str, default: f64| Ok::<_, String>(self.number(key)?.unwrap_or(default));
        Ok(match loss_type {
            "rlt_reference" => SurrogateConfig::OnPolicy,
            "cispo" => SurrogateConfig::Cispo {
                cap: or("epsilon_high", 0.2)?,
            },
            "sapo" => SurrogateConfig::Sapo {
                temperature_positive: or("sapo_temperature_pos", 1.0)?,
                temperature_negative: or("sapo_temperature_neg", 1.05)?,
            },
            "vespo" => SurrogateConfig::Vespo {
                positive: VespoWeight {
                    k: or("vespo_k_pos", 2.0)?,
                    lambda: or("vespo_lambda_pos", 3.0)?,
                },
                negative: VespoWeight {
                    k: or("vespo_k_neg", 3.0)?,
                    lambda: or("vespo_lambda_neg", 2.0)?,
                },
            },
            _ => SurrogateConfig::Clipped {
                epsilon: or("epsilon", 0.2)?,
                epsilon_high: self.number("epsilon_high")?,
                delta: self.number("delta")?,
            },
        })
    }

    fn correction(&self) -> Result<Option<Correction>, String> {
        let Some(mode) = self.text("vllm_importance_sampling_mode")? else {
            return Ok(None);
        };
        let unknown = || format!("importance mode {mode} is not built yet");
        let (level, bounds) = mode.split_once('_').ok_or_else(unknown)?;
        let or = |key: &str, default: f64| Ok::<_, String>(self.number(key)?.unwrap_or(default));
        Ok(Some(Correction {
            level: match level {
                "token" => CorrectionLevel::Token,
                "sequence" => CorrectionLevel::Sequence,
                _ => return Err(unknown()),
            },
            bounds: match bounds {
                "truncate" => Bounds::Truncate,
                "mask" => Bounds::Mask,
                _ => return Err(unknown()),
            },
            min: or("vllm_importance_sampling_clip_min", 0.0)?,
            max: or("vllm_importance_sampling_clip_max", 3.0)?,
        }))
    }
}
