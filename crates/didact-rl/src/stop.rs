//! Ending a run from outside.
//!
//! Owns a flag that trainers look at between steps. Who sets it, such as a handler of Ctrl-C, is the program's
//! business.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Asks a run to end after the step that is being made. Clones are the same flag.
///
/// The run then writes a checkpoint, where it has somewhere to write it, and returns.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// A flag that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets it. It can be called from a signal handler. Returns whether it was set before.
    pub fn set(&self) -> bool {
        self.0.swap(true, Ordering::SeqCst)
    }

    /// Whether it is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
