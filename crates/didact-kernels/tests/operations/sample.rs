//! Tokens drawn on the device against draws on the host.
use burn::tensor::{DType, Tensor};
use didact_kernels::{Draw, sample};

use crate::support::{count, flat, host, numbers, on_every_device};

/// How far from the border of two tokens a uniform number must be, as a share of all weights, for f32 sums to decide as
/// f64 ones do.
const BORDER: f64 = 2e-5;

fn draw(temperature: f64, top_k: usize, top_p: f64, min_p: f64) -> Draw {
    Draw {
        temperature,
        top_k,
        top_p,
        min_p,
        uniform: 0.0,
    }
}

fn draws() -> Vec<Draw> {
    vec![
        draw(0.0, 0, 1.0, 0.0),
        draw(1.0, 0, 1.0, 0.0),
        draw(0.7, 0, 1.0, 0.0),
        draw(1.0, 3, 1.0, 0.0),
        draw(1.3, 0, 0.9, 0.0),
        draw(0.8, 0, 0.31, 0.0),
        draw(1.0, 0, 1.0, 0.2),
        draw(0.9, 40, 0.8, 0.05),
        draw(1.0, 1, 1.0, 0.0),
        draw(1.0, 0, 1.0, 1.0),
    ]
}

/// The candidates of a row in the order of their running sum, with their weights.
fn candidates(logits: &[f32], draw: &Draw) -> Vec<(usize, f64)> {
    let temperature = if draw.temperature > 0.0 {
        draw.temperature
    } else {
        1.0
    };
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |id: usize| (f64::from(logits[id] - max) / temperature).exp();
    let mut ids: Vec<usize> = (0..logits.len()).collect();
    let all = draw.top_k == 0 || draw.top_k >= logits.len();
    if !(all && draw.top_p >= 1.0 && draw.min_p <= 0.0) {
        ids.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
        if !all {
            ids.truncate(draw.top_k);
        }
        let target = draw.top_p * ids.iter().map(|&id| weight(id)).sum::<f64>();
        let mut sum = 0.0;
        if draw.top_p < 1.0 {
            let enough = ids.iter().position(|&id| {
                sum += weight(id);
                sum >= target
            });
            ids.truncate(enough.expect("all of them are enough") + 1);
        }
        ids.retain(|&id| weight(id) >= draw.min_p);
    }
    ids.into_iter().map(|id| (id, weight(id))).collect()
}

#[test]
fn draws_are_the_hosts_on_every_device() {
    on_every_device(|device| {
        for vocabulary in [1, 2, 50, 257, 3001] {
            // Few different logits, so that several are equal, and many.
            for steps in [3.0, 1e6] {
                let rows = draws();
                let logits: Vec<f64> = numbers(7, rows.len() * vocabulary)
                    .iter()
                    .map(|x| (6.0 * x * steps).round() / steps)
                    .collect();
                let tensor = flat(&logits, device, DType::F32).reshape([rows.len(), vocabulary]);
                let single: Vec<f32> = logits.iter().map(|x| *x as f32).collect();
                for uniform in [0.0, 0.013, 0.37, 0.5, 0.871, 0.999_9] {
                    let draws: Vec<Draw> = rows.iter().map(|d| Draw { uniform, ..*d }).collect();
                    let found = host(sample(tensor.clone(), &draws));
                    for (row, draw) in draws.iter().enumerate() {
                        let logits = &single[row * vocabulary..][..vocabulary];
                        check(logits, draw, &found[2 * row..][..2], &format!("{draw:?}"));
                    }
                    count(DType::F32);
                }
            }
        }
    });
}

fn check(logits: &[f32], draw: &Draw, found: &[f64], name: &str) {
    let kept = candidates(logits, draw);
    let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
    let id = found[0] as usize;
    let (mut before, mut weight) = (0.0, None);
    for &(candidate, of) in &kept {
        if candidate == id {
            weight = Some(of);
            break;
        }
        before += of;
    }
    let weight = weight.unwrap_or_else(|| panic!("{name}: token {id} is cut off of {kept:?}"));
    if draw.temperature > 0.0 {
        let target = draw.uniform * total;
        let slack = BORDER * total;
        assert!(
            before - slack <= target && target <= before + weight + slack,
            "{name}: token {id} holds {before} to {}, not {target}",
            before + weight
        );
    } else {
        assert_eq!(
            id,
            kept.iter()
                .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
                .unwrap()
                .0
        );
    }
    let temperature = if draw.temperature > 0.0 {
        draw.temperature
    } else {
        1.0
    };
    let scaled = |id: usize| f64::from(logits[id]) / temperature;
    let log_sum = (0..logits.len())
        .map(|id| scaled(id).exp())
        .sum::<f64>()
        .ln();
    let expected = scaled(id) - log_sum;
    assert!(
        (found[1] - expected).abs() < 2e-5,
        "{name}: {} {expected}",
        found[1]
    );
}

#[test]
fn equal_logits_are_drawn_by_id() {
    on_every_device(|device| {
        let logits: Tensor<2> = Tensor::zeros([8, 600], device);
        let draws: Vec<Draw> = (0..8)
            .map(|row| Draw {
                uniform: (f64::from(row) + 0.5) / 8.0,
                ..draw(1.0, 8, 1.0, 0.0)
            })
            .collect();
        let found = host(sample(logits, &draws));
        let ids: Vec<f64> = found.iter().copied().step_by(2).collect();
        assert_eq!(ids, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    });
}

#[test]
fn a_row_that_is_not_finite_is_marked() {
    on_every_device(|device| {
        let mut logits = numbers(3, 3 * 300);
        logits[300 + 17] = f64::NAN;
        logits[600 + 299] = f64::INFINITY;
        let logits = flat(&logits, device, DType::F32).reshape([3, 300]);
        for one in [draw(0.0, 0, 1.0, 0.0), draw(1.0, 0, 0.9, 0.0)] {
            let found = host(sample(logits.clone(), &[one; 3]));
            assert!(found[0] >= 0.0);
            assert_eq!((found[2], found[4]), (-1.0, -1.0));
        }
    });
}

#[test]
fn at_the_ends_of_what_f32_holds_the_likeliest_token_is_left() {
    on_every_device(|device| {
        let mut logits = numbers(3, 2 * 300);
        (logits[17], logits[300 + 290]) = (2.0, 2.0);
        // What keeps a tape is drawn from without it.
        for device in [device.clone(), device.clone().autodiff()] {
            let logits = flat(&logits, &device, DType::F32).reshape([2, 300]);
            let draws = [draw(1e-39, 0, 1.0, 0.0), draw(1.0, 0, 1e-50, 0.0)].map(|draw| Draw {
                uniform: 0.999,
                ..draw
            });
            let found = host(sample(logits, &draws));
            assert_eq!((found[0], found[1], found[2]), (17.0, 0.0, 290.0));
        }
    });
}
