//! What is timed of divergences and draws, of AdamW's update, and of products of few rows.
use burn::backend::Dispatch;
use burn::tensor::{DType, Device, Distribution, Tensor};
use didact_kernels::{AdamWStep, Draw, KlDirection, LinearKlOps, Projected, projected_rows};

use super::super::counts::{self, Linear, LinearLogProb};
use super::super::numbers::random;
use super::super::sizes::Sizes;
use super::{Call, Work, dense_text, work};

/// Of the completions' rows, between two models of one size, in reverse.
pub(in super::super) fn linear_kl(sizes: &Sizes, float: f64) -> Vec<Work> {
    use didact_kernels::linear_kl;
    let head = LinearLogProb {
        tokens: sizes.tokens(),
        rows: sizes.projected(),
        hidden: sizes.hidden,
        vocabulary: sizes.vocabulary,
        float,
        models: 2,
    };
    let text = format!(
        "2 models, {} rows of {}, {} tokens",
        head.rows, head.hidden, head.vocabulary
    );
    let side = move |device: &Device, dtype| {
        let last = head.tokens - head.rows;
        let rows: Vec<usize> = (last..head.tokens).collect();
        let targets = vec![0; head.rows];
        let (rows, _) = projected_rows(&rows, &targets, head.tokens, head.vocabulary, device)
            .expect("rows and targets in range");
        Projected {
            hidden: random([head.tokens, head.hidden], 1.0, device, dtype),
            rows,
            embedding: random([head.vocabulary, head.hidden], 0.02, device, dtype),
        }
    };
    let backward = move |trained: bool| {
        move |device: &Device, dtype| -> Call {
            let [policy, other] = [(); 2].map(|()| side(device, dtype));
            let parts = |side: Projected| {
                let rows = side.rows.into_dispatch();
                let embedding = side.embedding.into_dispatch();
                (side.hidden.into_dispatch(), rows, embedding)
            };
            let (hidden, rows, embedding) = parts(policy);
            let (other_hidden, other_rows, other_embedding) = parts(other);
            let output = Dispatch::linear_kl(
                hidden.clone(),
                rows.clone(),
                embedding.clone(),
                other_hidden.clone(),
                other_rows.clone(),
                other_embedding.clone(),
                1.0,
                KlDirection::Reverse,
            );
            let gradient: Tensor<2> = Tensor::from_dispatch(output.clone());
            let gradient = gradient.random_like(Distribution::Normal(0.0, 1.0));
            let gradient = gradient.into_dispatch();
            Box::new(move || {
                let (hidden, rows, embedding) = (hidden.clone(), rows.clone(), embedding.clone());
                let other_hidden = other_hidden.clone();
                let (other_rows, other_embedding) = (other_rows.clone(), other_embedding.clone());
                let (output, gradient) = (output.clone(), gradient.clone());
                let direction = KlDirection::Reverse;
                if trained {
                    let _ = Dispatch::linear_kl_backward(
                        hidden,
                        rows,
                        embedding,
                        other_hidden,
                        other_rows,
                        other_embedding,
                        output,
                        gradient,
                        1.0,
                        direction,
                    );
                } else {
                    let _ = Dispatch::linear_kl_backward_hidden(
                        hidden,
                        rows,
                        embedding,
                        other_hidden,
                        other_rows,
                        other_embedding,
                        output,
                        gradient,
                        1.0,
                        direction,
                    );
                }
            })
        }
    };
    vec![
        work("forward", &text, head.divergence(), move |device, dtype| {
            let [policy, other] = [(); 2].map(|()| side(device, dtype));
            Box::new(move || {
                let _ = linear_kl(policy.clone(), other.clone(), 1.0, KlDirection::Reverse);
            })
        }),
        work(
            "backward",
            &text,
            head.divergence_backward(true),
            backward(true),
        ),
        work(
            "backward, embedding frozen",
            &text,
            head.divergence_backward(false),
            backward(false),
        ),
    ]
}

/// Of a decoding step, without and with top-p; logits are f32.
pub(in super::super) fn sample(sizes: &Sizes, _: f64) -> Vec<Work> {
    use didact_kernels::sample;
    let shape = [sizes.batch, sizes.vocabulary];
    let works = [("of all, f32", 1.0), ("top-p, f32", 0.95)].map(|(pass, top_p)| {
        let draws: Vec<Draw> = (0..shape[0])
            .map(|row| Draw {
                temperature: 0.7,
                top_k: 0,
                top_p,
                min_p: 0.0,
                uniform: (row as f64 + 0.5) / shape[0] as f64,
            })
            .collect();
        let text = format!("{} rows of {} logits", shape[0], shape[1]);
        let counts = counts::sample(shape, top_p < 1.0);
        work(pass, &text, counts, move |device, _| {
            let logits = random(shape, 3.0, device, DType::F32);
            let draws = draws.clone();
            Box::new(move || {
                let _ = sample(logits.clone(), &draws);
            })
        })
    });
    works.into()
}

/// Of one of the MLP's matrices, in place and in f32.
pub(in super::super) fn adamw(sizes: &Sizes, _: f64) -> Vec<Work> {
    use didact_kernels::adamw;
    let numbers = sizes.hidden * sizes.mlp;
    let step = AdamWStep {
        beta1: 0.9,
        beta2: 0.999,
        rest1: 0.1,
        rest2: 0.001,
        keep: 1.0,
        step_size: 1e-6,
        root_correction: 1.0,
        epsilon: 1e-8,
    };
    let text = format!("{} by {}", sizes.hidden, sizes.mlp);
    let counts = counts::adamw(numbers);
    vec![work("in place, f32", &text, counts, move |device, _| {
        let gradient: Tensor<1> = random([numbers], 1.0, device, DType::F32);
        let mut held = Some([(); 3].map(|()| Tensor::zeros([numbers], (device, DType::F32))));
        Box::new(move || {
            held = held.take().map(|[parameter, first, second]| {
                adamw(step, parameter, gradient.clone(), first, second)
            });
        })
    })]
}

/// Of a decoding step: f32 rows, a weight of the type that is timed.
pub(in super::super) fn streamed_product(sizes: &Sizes, float: f64) -> Vec<Work> {
    use didact_kernels::streamed_product;
    let dense = Linear {
        rows: sizes.batch,
        inputs: sizes.hidden,
        outputs: sizes.mlp,
        float,
    };
    vec![work(
        "decoding",
        &dense_text(dense),
        dense.streamed(),
        move |device, dtype| {
            let x = random([dense.rows, dense.inputs], 1.0, device, DType::F32);
            let weight = random([dense.inputs, dense.outputs], 0.02, device, dtype);
            Box::new(move || {
                let _ = streamed_product(x.clone(), weight.clone());
            })
        },
    )]
}
