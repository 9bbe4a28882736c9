//! `forward/info.json`: greedy continuations by [`Generate`], with the key/value cache.

use std::collections::BTreeMap;
use std::path::Path;

use didact::core::{Generate, GenerateRequest, RandomStream, Sampling};
use serde::Deserialize;

use crate::model_rewards::load;
use crate::report::Report;
use crate::tokenizer::read;

/// Below this distance of the two likeliest logits, f32 may choose either.
pub(crate) const LEAST_MARGIN: f64 = 1e-3;

#[derive(Deserialize)]
struct Info {
    models: BTreeMap<String, Model>,
}

#[derive(Deserialize)]
struct Model {
    greedy_prompt: Vec<u32>,
    greedy_ids: Vec<u32>,
    greedy_min_margin: f64,
}

/// Compares every model that the file names.
pub(crate) fn run(fixtures: &Path, report: &mut Report) {
    let folder = fixtures.join("forward");
    let Some(info) = read::<Info>(&folder.join("info.json"), report) else {
        return;
    };
    for (model, expected) in info.models {
        let name = format!("greedy/{model}");
        let found = load(&folder.join(&model)).and_then(|mut engine| {
            let request = GenerateRequest {
                prompt: expected.greedy_prompt.into(),
                sampling: Sampling::greedy(expected.greedy_ids.len()),
                stream: RandomStream::new(0),
            };
            engine
                .generate(&[request])
                .map_err(|error| error.to_string())
        });
        match found {
            Err(error) => report.fail(&name, &error),
            Ok(_) if expected.greedy_min_margin <= LEAST_MARGIN => report.skip(
                &name,
                &format!(
                    "two tokens are only {:.1e} apart",
                    expected.greedy_min_margin
                ),
            ),
            Ok(found) => report.equal(
                &name,
                found.len() == 1 && found[0].ids == expected.greedy_ids,
                || format!("found {found:?}, expected {:?}", expected.greedy_ids),
            ),
        }
    }
}
