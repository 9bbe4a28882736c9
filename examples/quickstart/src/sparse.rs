//! Fewer lines of progress: tiny models make more steps than anyone wants to read.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use didact::rl::{MetricsKind, MetricsRecord, Observer, Progress, Result};

/// Time between two lines of one stage.
const INTERVAL: Duration = Duration::from_secs(4);

/// Hands on every progress and evaluation, but of a stage's updates only some.
pub(crate) struct Sparse<'a> {
    inner: &'a mut dyn Observer,
    shown: BTreeMap<String, Instant>,
}

impl<'a> Sparse<'a> {
    /// Shows some of what it sees to `inner`.
    pub(crate) fn new(inner: &'a mut dyn Observer) -> Self {
        Self {
            inner,
            shown: BTreeMap::new(),
        }
    }
}

impl Observer for Sparse<'_> {
    fn on_progress(&mut self, progress: &Progress<'_>) -> Result<()> {
        self.inner.on_progress(progress)
    }

    fn on_metrics(&mut self, record: &MetricsRecord) -> Result<()> {
        if record.kind == MetricsKind::Train {
            let last = self.shown.get(&record.stage);
            if last.is_some_and(|last| last.elapsed() < INTERVAL) {
                return Ok(());
            }
            self.shown.insert(record.stage.clone(), Instant::now());
        }
        self.inner.on_metrics(record)
    }
}
