//! Reads given tokens with the model: [`Score`] for [`LocalEngine`].
//!
//! It knows how requests become packed batches and log-probs become answers; the numbers come from
//! the decoder and from `linear_log_prob`.

use std::ops::Range;

use didact_core::{Error, Result, Score, ScoreRequest, Span, TokenId, TokenLogProbs};
use didact_kernels::linear_log_prob;

use crate::engine::{other, upload};
use crate::{LocalEngine, PackedBatch, micro_batches};

/// One span of one request.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    request: usize,
    answer: usize,
    span: Span,
}

impl Score for LocalEngine {
    /// Equal prefixes are computed once, and only rows that predict a token of a span are projected to
    /// the vocabulary; tokens after the last span are not read. At most
    /// [`max_batch_tokens`](crate::EngineConfig::max_batch_tokens) tokens are computed at once.
    fn score(&mut self, requests: &[ScoreRequest]) -> Result<Vec<Vec<TokenLogProbs>>> {
        for (index, request) in requests.iter().enumerate() {
            self.check_score_request(index, request)?;
        }
        let mut answers: Vec<Vec<TokenLogProbs>> = requests
            .iter()
            .map(|r| {
                r.spans
                    .iter()
                    .map(|s| TokenLogProbs::new(s.start, Vec::new()))
                    .collect()
            })
            .collect();

        // A request whose spans are all empty needs no model.
        let asking: Vec<usize> = (0..requests.len())
            .filter(|&r| read(&requests[r]) > 0)
            .collect();
        let lengths: Vec<_> = asking
            .iter()
            .map(|&r| (requests[r].prefix.clone(), continuation(&requests[r]).len()))
            .collect();
        for batch in micro_batches(&lengths, self.config.max_batch_tokens.get()) {
            let batch: Vec<usize> = batch.into_iter().map(|index| asking[index]).collect();
            for (wanted, values) in self.score_batch(requests, &batch)? {
                answers[wanted.request][wanted.answer] =
                    TokenLogProbs::new(wanted.span.start, values);
            }
        }
        Ok(answers)
    }
}

/// How many tokens of a request must be read: those before its last asked token.
fn read(request: &ScoreRequest) -> usize {
    let ends = request
        .spans
        .iter()
        .filter(|span| !span.is_empty())
        .map(|span| span.end - 1);
    ends.max().unwrap_or(0)
}

/// The part of the continuation that must be read.
fn continuation(request: &ScoreRequest) -> &[TokenId] {
    &request.continuation[..read(request).saturating_sub(request.prefix.len())]
}

fn token(request: &ScoreRequest, position: usize) -> TokenId {
    match position.checked_sub(request.prefix.len()) {
        None => request.prefix[position],
        Some(after) => request.continuation[after],
    }
}

impl LocalEngine {
    fn check_score_request(&self, index: usize, request: &ScoreRequest) -> Result<()> {
        let what = || format!("score request {index}");
        let length = request.prefix.len() + request.continuation.len();
        let ids = request.prefix.iter().chain(&request.continuation).copied();
        self.check_sequence(what, ids, length)?;
        let refuse = |problem: String| {
            Err(Error::InvalidRequest {
                what: what(),
                problem,
            })
        };
        if !(request.temperature.is_finite() && request.temperature > 0.0) {
            return refuse(format!(
                "temperature {} is not above 0",
                request.temperature
            ));
        }
        for span in request.spans.iter().filter(|span| !span.is_empty()) {
            if span.start == 0 {
                return refuse("a span holds position 0, which nothing predicts".to_owned());
            }
            if span.end > length {
                return refuse(format!(
                    "the span {}..{} ends after the sequence of {length} tokens",
                    span.start, span.end
                ));
            }
        }
        Ok(())
    }

    fn score_batch(
        &self,
        requests: &[ScoreRequest],
        batch: &[usize],
    ) -> Result<Vec<(Wanted, Vec<f32>)>> {
        let sequences: Vec<_> = batch
            .iter()
            .map(|&r| (requests[r].prefix.clone(), continuation(&requests[r])))
            .collect();
        let packed = PackedBatch::new(&sequences)?;
        let device = self.device();
        let ids = upload(packed.ids().iter().map(|&id| id as usize), &device);
        let hidden = self.decoder.forward(ids, packed.layout());
        let embedding = self.decoder.output_embedding();

        let mut scored = Vec::new();
        for (temperature, members) in by_temperature(requests, batch) {
            let mut rows = Vec::new();
            let mut targets = Vec::new();
            let mut wanted: Vec<(Wanted, Range<usize>)> = Vec::new();
            for sequence in members {
                let index = batch[sequence];
                let request = &requests[index];
                for (answer, &span) in request.spans.iter().enumerate() {
                    let first = rows.len();
                    for position in span.range() {
                        // The last token asked for is not itself in the batch.
                        rows.push(packed.row(sequence, position - 1));
                        targets.push(token(request, position) as usize);
                    }
                    wanted.push((
                        Wanted {
                            request: index,
                            answer,
                            span,
                        },
                        first..rows.len(),
                    ));
                }
            }
            if rows.len() == 1 {
                // One row alone takes another path through matrix products than rows among others.
                rows.push(rows[0]);
                targets.push(targets[0]);
            }
            let columns = linear_log_prob(
                hidden.clone(),
                upload(rows.iter().copied(), &device),
                embedding.clone(),
                upload(targets.iter().copied(), &device),
                temperature,
            );
            let columns = columns
                .slice_dim(1, 0..1)
                .try_into_vec_as::<f32>()
                .map_err(other)?;
            for (wanted, range) in wanted {
                let values = columns[range].to_vec();
                for (position, value) in wanted.span.range().zip(&values) {
                    if !value.is_finite() {
                        return Err(Error::NonFiniteRequest {
                            request: wanted.request,
                            what: format!("the log-prob of token {position}"),
                            value: f64::from(*value),
                        });
                    }
                }
                scored.push((wanted, values));
            }
        }
        Ok(scored)
    }
}

/// The sequences of a batch that are scored at one temperature, in order of first appearance.
fn by_temperature(requests: &[ScoreRequest], batch: &[usize]) -> Vec<(f64, Vec<usize>)> {
    let mut groups: Vec<(f64, Vec<usize>)> = Vec::new();
    for (sequence, &request) in batch.iter().enumerate() {
        let temperature = requests[request].temperature;
        match groups.iter_mut().find(|(known, _)| *known == temperature) {
            Some((_, members)) => members.push(sequence),
            None => groups.push((temperature, vec![sequence])),
        }
    }
    groups
}
