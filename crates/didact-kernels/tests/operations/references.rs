//! The references' values against the formulas written out on the host.
use burn::tensor::{DType, Device, Int, Tensor};
use didact_kernels::{Activation, PackedLayout, Segment, reference};

use crate::support::{assert_close, flat, host, numbers};

#[test]
fn attention_sees_ancestors_and_what_stands_before() {
    let segments = [
        Segment::root(2),
        Segment::child(2, 0),
        Segment::child(1, 0),
        Segment::child(3, 1),
    ];
    let layout = PackedLayout::new(&segments).expect("a well-formed layout");
    let (tokens, query_heads, key_heads, size, scale) = (layout.tokens(), 4, 2, 3, 0.6);
    let [q, k, v] = [(1, query_heads), (2, key_heads), (3, key_heads)]
        .map(|(seed, heads)| numbers(seed, tokens * heads * size));
    let mut expected = vec![0.0; q.len()];
    for segment in 0..segments.len() {
        for token in layout.own_range(segment) {
            let keys: Vec<usize> = layout
                .key_ranges(segment)
                .iter()
                .cloned()
                .flatten()
                .filter(|key| !layout.own_range(segment).contains(key) || *key <= token)
                .collect();
            for head in 0..query_heads {
                let at = |token: usize, heads: usize, head: usize| (token * heads + head) * size;
                let key_head = head / (query_heads / key_heads);
                let scores: Vec<f64> = keys
                    .iter()
                    .map(|key| {
                        let (q0, k0) =
                            (at(token, query_heads, head), at(*key, key_heads, key_head));
                        (0..size).map(|i| q[q0 + i] * k[k0 + i]).sum::<f64>() * scale
                    })
                    .collect();
                let total: f64 = scores.iter().map(|score| score.exp()).sum();
                for (key, score) in keys.iter().zip(&scores) {
                    for i in 0..size {
                        expected[at(token, query_heads, head) + i] +=
                            score.exp() / total * v[at(*key, key_heads, key_head) + i];
                    }
                }
            }
        }
    }
    let device = Device::flex();
    let tensor = |values: &[f64], heads: usize| {
        flat(values, &device, DType::F64).reshape([tokens, heads, size])
    };
    let output = reference::attention(
        tensor(&q, query_heads),
        tensor(&k, key_heads),
        tensor(&v, key_heads),
        &layout,
        scale,
    );
    assert_close("attention", &host(output), &expected, 1e-12);
}

#[test]
fn linear_log_prob_is_the_softmax() {
    let (tokens, width, vocabulary, temperature) = (3, 4, 5, 0.8);
    let (hidden, embedding) = (numbers(1, tokens * width), numbers(2, vocabulary * width));
    let (rows, targets) = ([2usize, 2, 0], [4usize, 1, 0]);
    let mut expected = Vec::new();
    for (row, target) in rows.iter().zip(targets) {
        let logits: Vec<f64> = (0..vocabulary)
            .map(|token| {
                (0..width)
                    .map(|i| hidden[row * width + i] * embedding[token * width + i])
                    .sum()
            })
            .map(|logit: f64| logit / temperature)
            .collect();
        let log_sum_exp = logits.iter().map(|logit| logit.exp()).sum::<f64>().ln();
        let entropy: f64 = logits
            .iter()
            .map(|logit| logit - log_sum_exp)
            .map(|log_prob| -log_prob.exp() * log_prob)
            .sum();
        expected.extend([logits[target] - log_sum_exp, log_sum_exp, entropy]);
    }
    let device = Device::flex();
    let output = reference::linear_log_prob(
        flat(&hidden, &device, DType::F64).reshape([tokens, width]),
        Tensor::<1, Int>::from_data(rows.map(|row| row as i32), &device),
        flat(&embedding, &device, DType::F64).reshape([vocabulary, width]),
        Tensor::<1, Int>::from_data(targets.map(|target| target as i32), &device),
        temperature,
    );
    assert_close("linear_log_prob", &host(output), &expected, 1e-12);
}

#[test]
fn elementwise_references_are_their_formulas() {
    let device = Device::flex();
    let (x, weight) = (numbers(1, 10), numbers(2, 5));
    let expected: Vec<f64> = x
        .chunks(5)
        .flat_map(|row| {
            let rms = (row.iter().map(|x| x * x).sum::<f64>() / 5.0 + 1e-5).sqrt();
            row.iter()
                .zip(&weight)
                .map(move |(x, w)| x / rms * (1.0 + w))
        })
        .collect();
    let tensor = |values: &[f64]| flat(values, &device, DType::F64);
    let output = reference::rms_norm(tensor(&x).reshape([2, 5]), tensor(&weight), 1e-5, 1.0);
    assert_close("rms_norm", &host(output), &expected, 1e-12);

    // One token, one head, two pairs: (x0, x2) turned by 0.3 and (x1, x3) by 1.1.
    let (x, angles) = (numbers(3, 4), [0.3f64, 1.1]);
    let mut expected = vec![0.0; 4];
    for (i, angle) in angles.iter().enumerate() {
        expected[i] = x[i] * angle.cos() - x[i + 2] * angle.sin();
        expected[i + 2] = x[i + 2] * angle.cos() + x[i] * angle.sin();
    }
    let output = reference::rotary(
        tensor(&x).reshape([1, 1, 4]),
        tensor(&angles.map(f64::cos)).reshape([1, 2]),
        tensor(&angles.map(f64::sin)).reshape([1, 2]),
    );
    assert_close("rotary", &host(output), &expected, 1e-12);

    // 2·f(1.5) and 2·f(−0.5), from Python's math.exp, math.tanh and math.erf.
    for (activation, expected) in [
        (
            Activation::Silu,
            [2.452_723_428_580_931, -0.377_540_668_798_145_4],
        ),
        (
            Activation::GeluTanh,
            [2.799_143_153_960_465_6, -0.308_571_980_349_712_1],
        ),
        (
            Activation::Gelu,
            [2.799_578_396_193_426, -0.308_537_538_725_986_9],
        ),
    ] {
        let gate = tensor(&[1.5, -0.5]).reshape([1, 2]);
        let up = tensor(&[2.0, 2.0]).reshape([1, 2]);
        let output = host(reference::gated(gate, up, activation));
        assert_close(&format!("{activation:?}"), &output, &expected, 1e-12);
    }
}
