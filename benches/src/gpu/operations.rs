//! The operations that are checked, timed and predicted: one entry each.
use super::checks::{self, Checker};
use super::sizes::Sizes;
use super::works::{self, Work};

/// An operation of `didact-kernels`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation {
    /// Its function's name.
    pub(super) name: &'static str,
    /// Compares it with its reference.
    pub(super) check: fn(&mut Checker),
    /// What is timed of it, with sizes and a number's bytes, and how much work that is.
    pub(super) works: fn(&Sizes, f64) -> Vec<Work>,
}

/// All of them.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "linear_log_prob",
        check: checks::linear_log_prob,
        works: works::linear_log_prob,
    },
    Operation {
        name: "attention",
        check: checks::attention,
        works: works::attention,
    },
    Operation {
        name: "linear",
        check: checks::linear,
        works: works::linear,
    },
    Operation {
        name: "rms_norm",
        check: checks::rms_norm,
        works: works::rms_norm,
    },
    Operation {
        name: "rotary",
        check: checks::rotary,
        works: works::rotary,
    },
    Operation {
        name: "gated",
        check: checks::gated,
        works: works::gated,
    },
    Operation {
        name: "cached_attention",
        check: checks::cached_attention,
        works: works::cached_attention,
    },
    Operation {
        name: "write_slots",
        check: checks::write_slots,
        works: works::write_slots,
    },
    Operation {
        name: "quantised_linear",
        check: checks::quantised_linear,
        works: works::quantised_linear,
    },
    Operation {
        name: "streamed_quantised_product",
        check: checks::streamed_quantised_product,
        works: works::streamed_quantised_product,
    },
];
