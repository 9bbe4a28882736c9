//! What is wrong with a reward's configuration.
//!
//! What is wrong with the scores of a sample is a [`didact_core::Error`], since that is what
//! [`didact_core::Reward`] returns.

/// A result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A configuration that means nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reductions and coefficients do not pair up.
    #[error(
        "reward term `{term}` has {reductions} reductions but {coefficients} coefficients; give one coefficient a reduction"
    )]
    CoefficientCount {
        /// The term.
        term: String,
        /// The number of reductions.
        reductions: usize,
        /// The number of coefficients.
        coefficients: usize,
    },
    /// A term without any reduction.
    #[error("reward term `{term}` has no reduction; name at least one, such as `mean`")]
    NoReduction {
        /// The term.
        term: String,
    },
    /// A reduction named twice in one term.
    #[error(
        "reward term `{term}` names the reduction `{reduction}` twice; add up its coefficients"
    )]
    RepeatedReduction {
        /// The term.
        term: String,
        /// The reduction's name.
        reduction: &'static str,
    },
    /// A number outside the range in which it means something.
    #[error("`{setting}` of {owner} is {value}, but must be {allowed}")]
    OutOfRange {
        /// The term or reward.
        owner: String,
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: f64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Clips that cross.
    #[error(
        "reward term `{term}` clips below at {floor} and above at {ceiling}, which leaves nothing between"
    )]
    CrossedClips {
        /// The term.
        term: String,
        /// The lower clip.
        floor: f64,
        /// The upper clip.
        ceiling: f64,
    },
    /// A signal that cannot be computed.
    #[error("reward term `{term}`: {problem}")]
    Signal {
        /// The term.
        term: String,
        /// What is wrong with it and what is allowed.
        problem: &'static str,
    },
    /// A name used twice.
    #[error("two {kind}s of the reward are named `{name}`; give each its own name")]
    RepeatedName {
        /// A term or a total.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A name that metrics could not carry.
    #[error("`{name}` cannot name a {kind}: use letters, digits and underscores")]
    UnusableName {
        /// A term or a total.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A total of a term that does not exist.
    #[error(
        "total `{total}` adds up the term `{term}`, which does not exist; the terms are {known}"
    )]
    UnknownTerm {
        /// The total.
        total: String,
        /// The missing term.
        term: String,
        /// The terms there are.
        known: String,
    },
    /// A reward made of nothing.
    #[error("the reward has no {kind}; give at least one")]
    Empty {
        /// Terms, or the terms of a total.
        kind: &'static str,
    },
}

impl From<Error> for didact_core::Error {
    fn from(error: Error) -> Self {
        Self::Other(Box::new(error))
    }
}
