//! The works that are compared, and what their rows say.

use serde_json::Value;

use super::inputs::{COMPLETION, NEW_TOKENS, PROMPT, SEQUENCES, UNRELATED};

/// One row of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Work {
    /// Teacher's and student's pass, the published reward's way.
    ScoreOneAtATime,
    /// Teacher's and student's pass, in padded batches.
    ScorePadded,
    /// 16 completions side by side.
    GenerateB16,
    /// One completion.
    GenerateB1,
    /// A policy update on two groups of eight.
    UpdateGroup,
    /// A policy update on 16 unrelated sequences.
    UpdateUnrelated,
    /// One whole step of a teacher's training.
    Step,
    /// The peers as nobody asked for them: in bf16, and with another library for products. No ratios.
    Asides,
    /// Peak memory of the whole step, in fresh processes.
    Memory,
}

impl Work {
    pub(crate) const ALL: [Self; 9] = [
        Self::ScoreOneAtATime,
        Self::ScorePadded,
        Self::GenerateB16,
        Self::GenerateB1,
        Self::UpdateGroup,
        Self::UpdateUnrelated,
        Self::Step,
        Self::Asides,
        Self::Memory,
    ];

    /// Those that have a ratio of times.
    pub(crate) const TIMED: [Self; 7] = [
        Self::ScoreOneAtATime,
        Self::ScorePadded,
        Self::GenerateB16,
        Self::GenerateB1,
        Self::UpdateGroup,
        Self::UpdateUnrelated,
        Self::Step,
    ];

    /// Its name in requests and in JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ScoreOneAtATime => "score_one_at_a_time",
            Self::ScorePadded => "score_padded",
            Self::GenerateB16 => "generate_b16",
            Self::GenerateB1 => "generate_b1",
            Self::UpdateGroup => "update_group",
            Self::UpdateUnrelated => "update_unrelated",
            Self::Step => "step",
            Self::Asides => "asides",
            Self::Memory => "memory",
        }
    }

    /// The work, for a reader.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::ScoreOneAtATime => "score 2 × 8 explanations; peer: one chat at a time",
            Self::ScorePadded => "score 2 × 8 explanations; peer: padded batches",
            Self::GenerateB16 => "generate 16 completions side by side",
            Self::GenerateB1 => "generate one completion",
            Self::UpdateGroup => "update on 2 groups of 8",
            Self::UpdateUnrelated => "update on 16 unrelated sequences",
            Self::Step => "whole step",
            Self::Asides => "looks aside",
            Self::Memory => "memory",
        }
    }

    /// The tokens that tokens/s counts: those of every sequence, twice where two models read them; of generation and
    /// of the whole step those that are sampled.
    pub(crate) const fn tokens(self) -> usize {
        match self {
            Self::ScoreOneAtATime | Self::ScorePadded => 2 * SEQUENCES * (PROMPT + COMPLETION),
            Self::GenerateB16 | Self::Step => SEQUENCES * NEW_TOKENS,
            Self::GenerateB1 => NEW_TOKENS,
            Self::UpdateGroup => SEQUENCES * (PROMPT + COMPLETION),
            Self::UpdateUnrelated => SEQUENCES * UNRELATED,
            Self::Asides | Self::Memory => 0,
        }
    }
}

/// A peer's setting in a few words.
pub(crate) fn describe(setting: &Value) -> String {
    let mut words = Vec::new();
    if let Some(threads) = setting["threads"].as_u64() {
        words.push(if threads == 1 {
            "1 thread".to_owned()
        } else {
            format!("{threads} threads")
        });
    }
    if let Some(batch) = setting["batch"].as_u64() {
        words.push(format!("batches of {batch}"));
    }
    match setting["kept"].as_bool() {
        Some(true) => words.push("logits of the span".to_owned()),
        Some(false) => words.push("all logits".to_owned()),
        None => {}
    }
    match setting["head"].as_str() {
        Some("kept") => words.push("logits of the completion".to_owned()),
        Some(_) => words.push("TRL's chunked head".to_owned()),
        None => {}
    }
    for key in ["normaliser", "optimizer"] {
        words.extend(setting[key].as_str().map(str::to_owned));
    }
    words.extend(
        setting["cache"]
            .as_str()
            .map(|cache| format!("{cache} cache")),
    );
    words.join(", ")
}
