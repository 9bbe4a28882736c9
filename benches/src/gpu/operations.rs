//! The operations that are checked, timed and predicted: one entry each.
use super::cases;
use super::checks::Checker;
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
        check: cases::linear_log_prob,
        works: works::linear_log_prob,
    },
    Operation {
        name: "linear_kl",
        check: cases::linear_kl,
        works: works::linear_kl,
    },
    Operation {
        name: "attention",
        check: cases::attention,
        works: works::attention,
    },
    Operation {
        name: "linear",
        check: cases::linear,
        works: works::linear,
    },
    Operation {
        name: "rms_norm",
        check: cases::rms_norm,
        works: works::rms_norm,
    },
    Operation {
        name: "rotary",
        check: cases::rotary,
        works: works::rotary,
    },
    Operation {
        name: "gated",
        check: cases::gated,
        works: works::gated,
    },
    Operation {
        name: "cached_attention",
        check: cases::cached_attention,
        works: works::cached_attention,
    },
    Operation {
        name: "write_slots",
        check: cases::write_slots,
        works: works::write_slots,
    },
    Operation {
        name: "streamed_product",
        check: cases::streamed_product,
        works: works::streamed_product,
    },
    Operation {
        name: "sample",
        check: cases::sample,
        works: works::sample,
    },
    Operation {
        name: "adamw",
        check: cases::adamw,
        works: works::adamw,
    },
    Operation {
        name: "quantised_linear",
        check: cases::quantised_linear,
        works: works::quantised_linear,
    },
    Operation {
        name: "streamed_quantised_product",
        check: cases::streamed_quantised_product,
        works: works::streamed_quantised_product,
    },
];
