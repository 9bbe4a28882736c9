//! TensorBoard's event files of a run that was killed and resumed, and beside them what a reader should find.

use std::collections::BTreeMap;
use std::path::Path;

use didact::rl::{Metrics, MetricsKind, MetricsRecord, Observer, TensorBoard};
use serde_json::json;

use crate::Result;

const STAGE: &str = "teacher";
/// The steps of a run that got to 7, and of its continuation from a checkpoint after step 4.
const SESSIONS: [std::ops::RangeInclusive<u64>; 2] = [1..=7, 5..=9];

/// Writes `tensorboard/teacher/…` and `events.json`.
pub(crate) fn write(folder: &Path) -> Result<()> {
    let mut expected: BTreeMap<&str, BTreeMap<u64, f64>> = BTreeMap::new();
    for (session, steps) in SESSIONS.into_iter().enumerate() {
        let mut board = TensorBoard::new(folder.join("tensorboard"));
        board.on_configuration(STAGE, &json!({"seed": 7, "stage": STAGE}))?;
        for step in steps {
            let values = [
                ("reward", -1.0 / (step + session as u64) as f64),
                ("completions/mean_length", 20.0 + step as f64),
            ];
            let mut metrics = Metrics::new();
            for (name, value) in values {
                metrics.set(name, value);
                expected.entry(name).or_default().insert(step, value);
            }
            board.on_metrics(&MetricsRecord {
                stage: STAGE.to_owned(),
                kind: MetricsKind::Train,
                step,
                metrics,
            })?;
        }
    }
    let scalars: BTreeMap<&str, Vec<(u64, f64)>> = expected
        .into_iter()
        .map(|(name, values)| (name, values.into_iter().collect()))
        .collect();
    let text = json!({"scalars": scalars, "texts": ["configuration"]}).to_string();
    Ok(std::fs::write(folder.join("events.json"), text)?)
}
