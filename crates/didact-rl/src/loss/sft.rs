//! Supervised fine-tuning on the tokens that count.

use didact_core::{Error, Result};

use super::{Loss, LossNeeds, LossOutput, LossSequence, Normalisers};

/// The mean negative log-prob of the step's supervised tokens.
///
/// `− Σ_s Σ_t m_st · lp_st / Σ_s Σ_t m_st`, with both sums over the **whole step**: a token weighs the same
/// in a short and in a long sequence, in a full and in a last micro-batch (the mean of micro-batch means
/// would not do that). In nats a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SftLoss;

impl Loss for SftLoss {
    fn name(&self) -> &'static str {
        "sft"
    }

    fn needs(&self) -> LossNeeds {
        LossNeeds::default()
    }

    fn evaluate(&self, sequences: &[LossSequence], normalisers: Normalisers) -> Result<LossOutput> {
        normalisers.check(sequences)?;
        if normalisers.tokens == 0 {
            return Err(Error::InvalidRequest {
                what: "supervised loss".to_owned(),
                problem: "no token of the step is supervised, so that its mean is undefined; check the spans"
                    .to_owned(),
            });
        }
        let weight = 1.0 / normalisers.tokens as f64;
        let mut output = LossOutput::default();
        for sequence in sequences {
            let mut derivatives = vec![0.0; sequence.mask.len()];
            for (token, &log_prob) in sequence.log_probs.iter().enumerate() {
                if sequence.mask[token] {
                    output.value -= weight * log_prob;
                    derivatives[token] = -weight;
                }
            }
            output.d_log_probs.push(derivatives);
        }
        Ok(output)
    }
}
