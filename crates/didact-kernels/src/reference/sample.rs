use burn::tensor::{DType, Tensor, TensorData};

use crate::Draw;

/// Draws on the host, by sorting; see [`crate::sample()`].
#[must_use]
pub fn sample(logits: Tensor<2>, draws: &[Draw]) -> Tensor<2> {
    let [rows, vocabulary] = logits.dims();
    let device = logits.device();
    let values: Vec<f32> = logits
        .into_data()
        .try_into_vec_as::<f32>()
        .expect("logits are floats");
    let mut drawn = Vec::with_capacity(2 * rows);
    for (row, draw) in draws.iter().enumerate() {
        let (id, log_prob) = of_row(&values[row * vocabulary..][..vocabulary], draw);
        drawn.extend([id, log_prob]);
    }
    let data = TensorData::new(drawn, [rows, 2]);
    Tensor::from_data(data, (&device, DType::F32))
}

fn of_row(logits: &[f32], draw: &Draw) -> (f32, f32) {
    if logits.iter().any(|logit| !logit.is_finite()) {
        return (-1.0, 0.0);
    }
    let temperature = if draw.temperature > 0.0 {
        draw.temperature
    } else {
        1.0
    };
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scaled = |id: usize| (f64::from(logits[id]) - f64::from(max)) / temperature;
    let weight = |id: usize| scaled(id).exp();
    let total: f64 = (0..logits.len()).map(weight).sum();

    let mut kept: Vec<usize> = (0..logits.len()).collect();
    if draw.temperature <= 0.0 || !draw.keeps_all(logits.len()) {
        kept.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        if draw.counts(logits.len()) {
            kept.truncate(draw.top_k);
        }
        let target = draw.top_p * kept.iter().map(|&id| weight(id)).sum::<f64>();
        let mut sum = 0.0;
        let reached = kept.iter().position(|&id| {
            sum += weight(id);
            sum >= target
        });
        if let Some(rank) = reached.filter(|_| draw.top_p < 1.0) {
            kept.truncate(rank + 1);
        }
        let enough = kept.iter().filter(|&&id| weight(id) >= draw.min_p).count();
        kept.truncate(enough.max(1));
        if draw.temperature <= 0.0 {
            kept.truncate(1);
        }
    }
    let target = draw.uniform * kept.iter().map(|&id| weight(id)).sum::<f64>();
    let mut sum = 0.0;
    let drawn = kept.iter().copied().find(|&id| {
        sum += weight(id);
        sum > target
    });
    let last = kept.iter().copied().rfind(|&id| weight(id) > 0.0);
    let id = drawn.or(last).unwrap_or(0);
    (id as f32, (scaled(id) - total.ln()) as f32)
}
