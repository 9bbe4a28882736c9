//! What the machine can do at most, and what this process has used of it.

use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use serde_json::{Value, json};

use crate::Result;

/// Products `[m, k] · [k, n]`: a large cube, and the shapes of SmolLM2's layers for some thousand tokens.
const PRODUCTS: [[usize; 3]; 3] = [[2048, 2048, 2048], [2840, 576, 1536], [2840, 1536, 576]];
const REPEATS: usize = 11;
const BYTES_READ: usize = 512 << 20;

/// Matrix peak (the best median of all shapes) and memory bandwidth, with all threads.
///
/// The products are those of the `gemm` crate, which burn's CPU backend calls for them.
pub(crate) fn measure() -> Value {
    let products: Vec<Value> = PRODUCTS
        .iter()
        .map(|&shape| json!({ "shape": shape, "gflops": product(shape) / 1e9 }))
        .collect();
    let peak = products
        .iter()
        .filter_map(|product| product["gflops"].as_f64())
        .fold(0.0, f64::max);
    json!({
        "matrix_gflops": peak,
        "products": products,
        "bandwidth_gb": bandwidth() / 1e9,
        "threads": rayon_threads(),
    })
}

/// Floating-point operations a second, the median of some runs.
fn product([m, k, n]: [usize; 3]) -> f64 {
    let device = Device::flex();
    let random = |shape| Tensor::<2>::random(shape, Distribution::Uniform(-1.0, 1.0), &device);
    let (lhs, rhs) = (random([m, k]), random([k, n]));
    let mut seconds: Vec<f64> = (0..REPEATS)
        .map(|_| {
            let begin = Instant::now();
            let _product = lhs.clone().matmul(rhs.clone());
            begin.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    2.0 * (m * k * n) as f64 / seconds[REPEATS / 2]
}

/// Bytes a second that all threads read together, the best of some runs.
fn bandwidth() -> f64 {
    let threads = rayon_threads();
    let values = vec![1_u64; BYTES_READ / 8];
    let read = |values: &[u64]| {
        // Independent sums, so that the reading and not the adding is waited for.
        let mut sums = [0_u64; 16];
        for chunk in values.chunks_exact(16) {
            for (sum, value) in sums.iter_mut().zip(chunk) {
                *sum = sum.wrapping_add(*value);
            }
        }
        sums.into_iter().fold(0, u64::wrapping_add)
    };
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let begin = Instant::now();
        std::thread::scope(|scope| {
            for part in values.chunks(values.len().div_ceil(threads)) {
                scope.spawn(move || std::hint::black_box(read(part)));
            }
        });
        best = best.min(begin.elapsed().as_secs_f64());
    }
    BYTES_READ as f64 / best
}

/// As many threads as the products use.
fn rayon_threads() -> usize {
    let asked = std::env::var("RAYON_NUM_THREADS").ok();
    asked
        .and_then(|text| text.parse().ok())
        .filter(|&threads| threads > 0)
        .or_else(|| std::thread::available_parallelism().ok().map(Into::into))
        .unwrap_or(1)
}

/// The most memory that was resident in this process, in bytes (`VmHWM`); `None` where the system does not say.
pub(crate) fn peak_resident() -> Result<Option<u64>> {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return Ok(None);
    };
    let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) else {
        return Ok(None);
    };
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(Some(1024 * kilobytes))
}
