//! Causal attention on the CPU, over packed segments and over a key/value cache.
//!
//! Both are runs of consecutive queries that see ranges of keys. A task is one key head and a chunk of one
//! run's queries, the group's query heads together. It
//! gathers the keys and values it sees, and computes its scores as one matrix product. Backward computes
//! the scores again; each task's gradients of the keys it saw are added in the order of the tasks, so a
//! shared prefix gathers its children's in the order of the layout.
use std::ops::Range;

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use gemm::Parallelism;
use rayon::prelude::*;

use super::product::{Destination, Matrix, product};
use super::vectorised::{LANES, exp, sum_lanes, vectorised};
use super::{contiguous, filled, floats, tensor};
use crate::{AttentionOps, CacheLayout, PackedLayout};

/// Queries of one task. More waste work above the diagonal; fewer gather the keys more often.
const QUERIES: usize = 128;

impl AttentionOps for Flex {
    fn packed_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        layout: PackedLayout,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (q, k, v) = (contiguous(q), contiguous(k), contiguous(v));
        let attention = Attention::new(&q, &k, &v, packed_runs(&layout), scale);
        let [rows, heads, size] = q.layout().shape().dims();
        let (output, log_sum_exp) = attention.output();
        (
            tensor::<3>(output, [rows, heads, size]),
            tensor::<2>(log_sum_exp, [rows, heads]),
        )
    }

    fn packed_attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        _output: FloatTensor<Self>,
        _log_sum_exp: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        layout: PackedLayout,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (q, k, v, gradient) = (
            contiguous(q),
            contiguous(k),
            contiguous(v),
            contiguous(gradient),
        );
        let attention = Attention::new(&q, &k, &v, packed_runs(&layout), scale);
        let tasks = attention.tasks();
        let gradient = floats(&gradient);
        let parts: Vec<TaskGradients> = tasks
            .par_iter()
            .map(|task| attention.backward(task, gradient))
            .collect();
        let of_q = attention.assembled(&tasks, &parts, attention.size, |part| &part.of_queries);
        let of_k = attention.gathered(&tasks, &parts, |part| &part.of_keys);
        let of_v = attention.gathered(&tasks, &parts, |part| &part.of_values);
        let shape = k.layout().shape().dims();
        (
            tensor::<3>(of_q, q.layout().shape().dims()),
            tensor::<3>(of_k, shape),
            tensor::<3>(of_v, shape),
        )
    }
}

/// Consecutive queries and the ranges of the keys that the last of them sees, its own last.
pub(super) struct Run<'a> {
    start: usize,
    queries: usize,
    keys: &'a [Range<usize>],
}

impl Run<'_> {
    fn seen(&self) -> usize {
        self.keys.iter().map(ExactSizeIterator::len).sum()
    }
}

fn packed_runs(layout: &PackedLayout) -> Vec<Run<'_>> {
    let segments = layout.segments().iter().enumerate();
    segments
        .map(|(index, segment)| Run {
            start: layout.start(index),
            queries: segment.length,
            keys: layout.key_ranges(index),
        })
        .collect()
}

pub(super) fn cached_runs(layout: &CacheLayout) -> Vec<Run<'_>> {
    let mut start = 0;
    let runs = layout.runs().iter();
    runs.map(|run| {
        start += run.rows;
        Run {
            start: start - run.rows,
            queries: run.rows,
            keys: &run.slots,
        }
    })
    .collect()
}

/// The operation's inputs on the host.
pub(super) struct Attention<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    runs: Vec<Run<'a>>,
    scale: f32,
    query_heads: usize,
    key_heads: usize,
    size: usize,
}

/// One key head and a chunk of one run's queries.
struct Task {
    run: usize,
    key_head: usize,
    /// Index of the first query.
    start: usize,
    queries: usize,
    /// Keys that the first query sees, itself among them.
    visible: usize,
}

impl Task {
    /// Keys that the last query sees.
    fn keys(&self) -> usize {
        self.visible + self.queries - 1
    }
}

/// Gradients of what one task read, laid out as it gathered them.
struct TaskGradients {
    of_queries: Vec<f32>,
    of_keys: Vec<f32>,
    of_values: Vec<f32>,
}

impl<'a> Attention<'a> {
    pub(super) fn new(
        q: &'a FloatTensor<Flex>,
        k: &'a FloatTensor<Flex>,
        v: &'a FloatTensor<Flex>,
        runs: Vec<Run<'a>>,
        scale: f64,
    ) -> Self {
        let [_, query_heads, size] = q.layout().shape().dims();
        let key_heads = k.layout().shape()[1];
        let (q, k, v, scale) = (floats(q), floats(k), floats(v), scale as f32);
        Self {
            q,
            k,
            v,
            runs,
            scale,
            query_heads,
            key_heads,
            size,
        }
    }

    fn group(&self) -> usize {
        self.query_heads / self.key_heads
    }

    fn tasks(&self) -> Vec<Task> {
        let mut tasks = Vec::new();
        for (index, run) in self.runs.iter().enumerate() {
            let before = run.seen() - run.queries;
            for first in (0..run.queries).step_by(QUERIES) {
                let queries = QUERIES.min(run.queries - first);
                let visible = before + first + 1;
                tasks.extend((0..self.key_heads).map(|key_head| Task {
                    run: index,
                    key_head,
                    start: run.start + first,
                    queries,
                    visible,
                }));
            }
        }
        tasks
    }

    /// The attended values of all queries, and the log-sum-exp of their scores.
    pub(super) fn output(&self) -> (Vec<f32>, Vec<f32>) {
        let tasks = self.tasks();
        let outputs: Vec<(Vec<f32>, Vec<f32>)> =
            tasks.par_iter().map(|task| self.forward(task)).collect();
        (
            self.assembled(&tasks, &outputs, self.size, |(values, _)| values),
            self.assembled(&tasks, &outputs, 1, |(_, log_sum_exp)| log_sum_exp),
        )
    }

    /// `[N, Hq, size]` of what each task has of its queries.
    fn assembled<P: Sync>(
        &self,
        tasks: &[Task],
        parts: &[P],
        size: usize,
        of_queries: fn(&P) -> &Vec<f32>,
    ) -> Vec<f32> {
        let mut output = vec![0.0; self.q.len() / self.size * size];
        let (row, width) = (self.query_heads * size, self.group() * size);
        // The key heads' tasks of one chunk stand together, and chunks follow each other.
        let mut rest = &mut output[..];
        let mut places = Vec::new();
        for tasks in tasks.chunks(self.key_heads) {
            let (place, after) = rest.split_at_mut(tasks[0].queries * row);
            places.push(place);
            rest = after;
        }
        let parts = parts.par_chunks(self.key_heads);
        places
            .into_par_iter()
            .zip(parts)
            .for_each(|(place, parts)| {
                for (key_head, part) in parts.iter().enumerate() {
                    let values = of_queries(part).chunks_exact(width);
                    for (row, values) in place.chunks_exact_mut(row).zip(values) {
                        row[key_head * width..][..width].copy_from_slice(values);
                    }
                }
            });
        output
    }

    /// `[N, Hkv, D]`, the sums of what each task has of the keys it saw, in the order of the tasks.
    fn gathered<P: Sync>(
        &self,
        tasks: &[Task],
        parts: &[P],
        of_keys: fn(&P) -> &Vec<f32>,
    ) -> Vec<f32> {
        let (heads, size) = (self.key_heads, self.size);
        let sums: Vec<Vec<f32>> = (0..heads)
            .into_par_iter()
            .map(|key_head| {
                let mut sums = vec![0.0; self.k.len() / heads];
                let of_head = tasks.iter().zip(parts).skip(key_head).step_by(heads);
                for (task, part) in of_head {
                    let values = of_keys(part).chunks_exact(size);
                    for (token, values) in self.key_tokens(task).zip(values) {
                        let sums = sums[token * size..][..size].iter_mut();
                        sums.zip(values).for_each(|(sum, value)| *sum += value);
                    }
                }
                sums
            })
            .collect();
        let chunk = QUERIES * heads * size;
        let [output] = filled(self.k.len(), chunk, |index, [output]| {
            for (offset, row) in output.chunks_exact_mut(heads * size).enumerate() {
                let token = index * QUERIES + offset;
                for (to, sums) in row.chunks_exact_mut(size).zip(&sums) {
                    to.copy_from_slice(&sums[token * size..][..size]);
                }
            }
        });
        output
    }

    /// The indices of the keys that a task sees.
    fn key_tokens(&self, task: &Task) -> impl Iterator<Item = usize> + use<'_, 'a> {
        self.runs[task.run]
            .keys
            .iter()
            .cloned()
            .flatten()
            .take(task.keys())
    }

    /// A task's rows of the query heads of its group, `[queries · group, D]`.
    fn gather_queries(&self, from: &[f32], task: &Task) -> Vec<f32> {
        let width = self.group() * self.size;
        let mut gathered = Vec::with_capacity(task.queries * width);
        for token in task.start..task.start + task.queries {
            let start = (token * self.key_heads + task.key_head) * width;
            gathered.extend_from_slice(&from[start..start + width]);
        }
        gathered
    }

    /// A task's keys or values, `[keys, D]`.
    fn gather_keys(&self, from: &[f32], task: &Task) -> Vec<f32> {
        let mut gathered = Vec::with_capacity(task.keys() * self.size);
        for token in self.key_tokens(task) {
            let start = (token * self.key_heads + task.key_head) * self.size;
            gathered.extend_from_slice(&from[start..start + self.size]);
        }
        gathered
    }

    /// Attention probabilities, `[queries · group, keys]`, zero where a query does not see a key, and each row's
    /// log-sum-exp.
    fn probabilities(&self, task: &Task, queries: &[f32], keys: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let (rows, columns) = (task.queries * self.group(), task.keys());
        let mut scores = vec![0.0; rows * columns];
        product(
            &mut scores,
            [rows, columns, self.size],
            Matrix::rows(queries, self.size),
            Matrix::rows(keys, self.size).transposed(),
            self.scale,
            Destination::Overwrite,
            Parallelism::None,
        );
        let mut log_sum_exp = vec![0.0; rows];
        let each = scores.chunks_exact_mut(columns).zip(&mut log_sum_exp);
        for (row, (scores, log_sum_exp)) in each.enumerate() {
            let visible = task.visible + row / self.group();
            softmax(&mut scores[..visible], log_sum_exp);
            scores[visible..].fill(0.0);
        }
        (scores, log_sum_exp)
    }

    fn forward(&self, task: &Task) -> (Vec<f32>, Vec<f32>) {
        let queries = self.gather_queries(self.q, task);
        let keys = self.gather_keys(self.k, task);
        let values = self.gather_keys(self.v, task);
        let (probabilities, log_sum_exp) = self.probabilities(task, &queries, &keys);
        let mut output = queries;
        product(
            &mut output,
            [task.queries * self.group(), self.size, task.keys()],
            Matrix::rows(&probabilities, task.keys()),
            Matrix::rows(&values, self.size),
            1.0,
            Destination::Overwrite,
            Parallelism::None,
        );
        (output, log_sum_exp)
    }

    /// With P the probabilities and G the output's gradient: dV = Pᵀ·G, dP = G·Vᵀ,
    /// dS = P∘(dP − rowsum(P∘dP)), dQ = scale·dS·K and dK = scale·dSᵀ·Q.
    fn backward(&self, task: &Task, gradient: &[f32]) -> TaskGradients {
        let (rows, columns, size) = (task.queries * self.group(), task.keys(), self.size);
        let queries = self.gather_queries(self.q, task);
        let gradient = self.gather_queries(gradient, task);
        let keys = self.gather_keys(self.k, task);
        let values = self.gather_keys(self.v, task);
        let (probabilities, _) = self.probabilities(task, &queries, &keys);
        let probability_rows = Matrix::rows(&probabilities, columns);
        let multiply = |out: &mut [f32], sizes, lhs, rhs, scale| {
            product(
                out,
                sizes,
                lhs,
                rhs,
                scale,
                Destination::Overwrite,
                Parallelism::None,
            );
        };

        let mut of_values = vec![0.0; columns * size];
        let gradient = Matrix::rows(&gradient, size);
        multiply(
            &mut of_values,
            [columns, size, rows],
            probability_rows.transposed(),
            gradient,
            1.0,
        );
        let mut of_scores = vec![0.0; rows * columns];
        let values = Matrix::rows(&values, size).transposed();
        multiply(&mut of_scores, [rows, columns, size], gradient, values, 1.0);
        let both = of_scores
            .chunks_exact_mut(columns)
            .zip(probabilities.chunks_exact(columns));
        for (of_scores, probabilities) in both {
            softmax_backward(of_scores, probabilities);
        }
        let of_scores = Matrix::rows(&of_scores, columns);
        let mut of_queries = vec![0.0; rows * size];
        let keys = Matrix::rows(&keys, size);
        multiply(
            &mut of_queries,
            [rows, size, columns],
            of_scores,
            keys,
            self.scale,
        );
        let mut of_keys = vec![0.0; columns * size];
        let queries = Matrix::rows(&queries, size);
        multiply(
            &mut of_keys,
            [columns, size, rows],
            of_scores.transposed(),
            queries,
            self.scale,
        );
        TaskGradients {
            of_queries,
            of_keys,
            of_values,
        }
    }
}

vectorised! {
    /// Softmax in place of a row with at least one entry, and the log-sum-exp of what it was.
    pub(super) fn softmax(row: &mut [f32], log_sum_exp: &mut f32) {
        let mut maxima = [f32::NEG_INFINITY; LANES];
        for chunk in row.chunks(LANES) {
            for (max, score) in maxima.iter_mut().zip(chunk) {
                *max = if score > max { *score } else { *max };
            }
        }
        let max = maxima.into_iter().fold(f32::NEG_INFINITY, f32::max);
        let mut sums = [0.0; LANES];
        for chunk in row.chunks_mut(LANES) {
            for (sum, score) in sums.iter_mut().zip(chunk) {
                *score = exp(*score - max);
                *sum += *score;
            }
        }
        let sum = sum_lanes(sums);
        *log_sum_exp = max + sum.ln();
        let scale = 1.0 / sum;
        for score in row {
            *score *= scale;
        }
    }
}

vectorised! {
    /// Turns a row of dP into dS.
    fn softmax_backward(row: &mut [f32], probabilities: &[f32]) {
        let mut sums = [0.0; LANES];
        for (row, probabilities) in row.chunks(LANES).zip(probabilities.chunks(LANES)) {
            for ((sum, gradient), probability) in sums.iter_mut().zip(row).zip(probabilities) {
                *sum += gradient * probability;
            }
        }
        let sum = sum_lanes(sums);
        for (gradient, probability) in row.iter_mut().zip(probabilities) {
            *gradient = probability * (*gradient - sum);
        }
    }
}
