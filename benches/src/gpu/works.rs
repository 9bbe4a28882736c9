//! What is timed of each operation: inputs of real sizes and the call, forward and backward apart.
//!
//! Backward passes are called as the gradient tape calls them, on plain tensors.
mod distributions;
mod frozen;

use std::fmt;
use std::sync::Arc;

use burn::backend::Dispatch;
use burn::tensor::{DType, Device, Tensor};
use didact_kernels::{Activation, AttentionOps, GatedOps, LinearLogProbOps, NormOps, RotaryOps};

pub(super) use distributions::{adamw, linear_kl, sample, streamed_product};
pub(super) use frozen::{quantised_linear, streamed_quantised_product};

use super::counts::{self, CachedAttention, Counts, Linear, LinearLogProb, PackedAttention};
use super::numbers::random;
use super::sizes::Sizes;

/// A call that can be repeated.
pub(super) type Call = Box<dyn FnMut()>;

/// One pass of one operation with sizes.
pub(super) struct Work {
    /// Which pass, or in which setting.
    pub(super) pass: String,
    /// The sizes in words.
    pub(super) sizes: String,
    pub(super) counts: Counts,
    /// Makes the inputs on a device, in the type that is timed.
    pub(super) prepare: Box<dyn Fn(&Device, DType) -> Call>,
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}: {:?}", self.pass, self.sizes, self.counts)
    }
}

fn work(
    pass: &str,
    sizes: &str,
    counts: Counts,
    prepare: impl Fn(&Device, DType) -> Call + 'static,
) -> Work {
    Work {
        pass: pass.to_owned(),
        sizes: sizes.to_owned(),
        counts,
        prepare: Box::new(prepare),
    }
}

/// Of the completions' rows, through the whole vocabulary.
pub(super) fn linear_log_prob(sizes: &Sizes, float: f64) -> Vec<Work> {
    use didact_kernels::{linear_log_prob, projected_rows};
    let head = LinearLogProb {
        tokens: sizes.tokens(),
        rows: sizes.projected(),
        hidden: sizes.hidden,
        vocabulary: sizes.vocabulary,
        float,
        models: 1,
    };
    let text = format!(
        "{} rows of {}, {} tokens",
        head.rows, head.hidden, head.vocabulary
    );
    let inputs = move |device: &Device, dtype| {
        let hidden = random([head.tokens, head.hidden], 1.0, device, dtype);
        let embedding = random([head.vocabulary, head.hidden], 0.02, device, dtype);
        let last = head.tokens - head.rows;
        let rows: Vec<usize> = (last..head.tokens).collect();
        let targets: Vec<u32> = (0..head.rows)
            .map(|row| (row * 7919 % head.vocabulary) as u32)
            .collect();
        let (rows, targets) = projected_rows(&rows, &targets, head.tokens, head.vocabulary, device)
            .expect("rows and targets in range");
        (hidden, rows, embedding, targets)
    };
    let backward = move |trained: bool| {
        move |device: &Device, dtype| -> Call {
            let (hidden, rows, embedding, targets) = inputs(device, dtype);
            let output = linear_log_prob(
                hidden.clone(),
                rows.clone(),
                embedding.clone(),
                targets.clone(),
                1.0,
            );
            let gradient = output.random_like(burn::tensor::Distribution::Normal(0.0, 1.0));
            Box::new(move || {
                let hidden = hidden.clone().into_dispatch();
                let rows = rows.clone().into_dispatch();
                let embedding = embedding.clone().into_dispatch();
                let targets = targets.clone().into_dispatch();
                let output = output.clone().into_dispatch();
                let gradient = gradient.clone().into_dispatch();
                if trained {
                    let _ = Dispatch::linear_log_prob_backward(
                        hidden, rows, embedding, targets, output, gradient, 1.0,
                    );
                } else {
                    let _ = Dispatch::linear_log_prob_backward_hidden(
                        hidden, rows, embedding, targets, output, gradient, 1.0,
                    );
                }
            })
        }
    };
    vec![
        work("forward", &text, head.forward(), move |device, dtype| {
            let (hidden, rows, embedding, targets) = inputs(device, dtype);
            Box::new(move || {
                let _ = linear_log_prob(
                    hidden.clone(),
                    rows.clone(),
                    embedding.clone(),
                    targets.clone(),
                    1.0,
                );
            })
        }),
        work("backward", &text, head.backward(true), backward(true)),
        work(
            "backward, embedding frozen",
            &text,
            head.backward(false),
            backward(false),
        ),
    ]
}

/// Of the packed training batch.
pub(super) fn attention(sizes: &Sizes, float: f64) -> Vec<Work> {
    use didact_kernels::attention;
    let (layout, heads) = (sizes.packed(), sizes.heads);
    let counts = PackedAttention {
        layout: &layout,
        heads,
        float,
    };
    let text = format!(
        "{}·({} + {}·{}) tokens, {}/{} heads of {}",
        sizes.prompts,
        sizes.prompt,
        sizes.completions,
        sizes.completion,
        heads.query,
        heads.key,
        heads.size
    );
    let [forward, backward] = [counts.forward(), counts.backward()];
    let scale = 1.0 / (heads.size as f64).sqrt();
    let inputs = move |tokens: usize, device: &Device, dtype| {
        [heads.query, heads.key, heads.key]
            .map(|count| random([tokens, count, heads.size], 1.0, device, dtype))
    };
    let held = layout.clone();
    vec![
        work("forward", &text, forward, move |device, dtype| {
            let [q, k, v] = inputs(held.tokens(), device, dtype);
            let layout = held.clone();
            Box::new(move || {
                let _ = attention(q.clone(), k.clone(), v.clone(), &layout, scale);
            })
        }),
        work("backward", &text, backward, move |device, dtype| {
            let [q, k, v] = inputs(layout.tokens(), device, dtype);
            let gradient = random(q.dims(), 1.0, device, dtype).into_dispatch();
            let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
            let layout = layout.clone();
            let (output, log_sum_exp) =
                Dispatch::packed_attention(q.clone(), k.clone(), v.clone(), layout.clone(), scale);
            Box::new(move || {
                let _ = Dispatch::packed_attention_backward(
                    q.clone(),
                    k.clone(),
                    v.clone(),
                    output.clone(),
                    log_sum_exp.clone(),
                    gradient.clone(),
                    layout.clone(),
                    scale,
                );
            })
        }),
    ]
}

/// The MLP's projection up, of all tokens and of a decoding step's.
pub(super) fn linear(sizes: &Sizes, float: f64) -> Vec<Work> {
    use didact_kernels::linear;
    let dense = Linear {
        rows: sizes.tokens(),
        inputs: sizes.hidden,
        outputs: sizes.mlp,
        float,
    };
    let forward = |dense: Linear| {
        move |device: &Device, dtype| -> Call {
            let x = random([dense.rows, dense.inputs], 1.0, device, dtype);
            let weight = random([dense.inputs, dense.outputs], 0.02, device, dtype);
            Box::new(move || {
                let _ = linear(x.clone(), weight.clone());
            })
        }
    };
    let few = Linear {
        rows: sizes.batch,
        ..dense
    };
    vec![
        work(
            "forward",
            &dense_text(dense),
            dense.forward(),
            forward(dense),
        ),
        work(
            "backward",
            &dense_text(dense),
            dense.backward(),
            move |device, dtype| {
                let x = random([dense.rows, dense.inputs], 1.0, device, dtype);
                let weight = random([dense.inputs, dense.outputs], 0.02, device, dtype);
                let gradient = random([dense.rows, dense.outputs], 1.0, device, dtype);
                // As burn's own tape multiplies.
                Box::new(move || {
                    let _ = gradient.clone().matmul(weight.clone().transpose());
                    let _ = x.clone().transpose().matmul(gradient.clone());
                })
            },
        ),
        work("forward", &dense_text(few), few.forward(), forward(few)),
    ]
}

fn dense_text(dense: Linear) -> String {
    let Linear {
        rows,
        inputs,
        outputs,
        ..
    } = dense;
    format!("{rows} rows, {inputs} to {outputs}")
}

/// Of all tokens.
pub(super) fn rms_norm(sizes: &Sizes, float: f64) -> Vec<Work> {
    use didact_kernels::rms_norm;
    let shape = [sizes.tokens(), sizes.hidden];
    let text = format!("{} rows of {}", shape[0], shape[1]);
    let inputs = move |device: &Device, dtype| {
        let [weight] = [random([shape[1]], 1.0, device, dtype)];
        (random(shape, 1.0, device, dtype), weight)
    };
    vec![
        work(
            "forward",
            &text,
            counts::rms_norm(shape, float),
            move |device, dtype| {
                let (x, weight) = inputs(device, dtype);
                Box::new(move || {
                    let _ = rms_norm(x.clone(), weight.clone(), 1e-6, 0.0);
                })
            },
        ),
        work(
            "backward",
            &text,
            counts::rms_norm_backward(shape, float),
            move |device, dtype| {
                let (x, weight) = inputs(device, dtype);
                let gradient = random(shape, 1.0, device, dtype).into_dispatch();
                let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
                Box::new(move || {
                    let _ = Dispatch::rms_norm_backward(
                        x.clone(),
                        weight.clone(),
                        gradient.clone(),
                        1e-6,
                        0.0,
                    );
                })
            },
        ),
    ]
}

/// Of the query heads of all tokens.
pub(super) fn rotary(sizes: &Sizes, float: f64) -> Vec<Work> {
    use didact_kernels::rotary;
    let shape = [sizes.tokens(), sizes.heads.query, sizes.heads.size];
    let text = format!("{} tokens, {} heads of {}", shape[0], shape[1], shape[2]);
    let inputs = move |device: &Device, dtype| {
        let angles = random([shape[0], shape[2] / 2], 1.0, device, DType::F32);
        let (cos, sin) = (angles.clone().cos(), angles.sin());
        (random(shape, 1.0, device, dtype), cos, sin)
    };
    let counts = counts::rotary(shape, float);
    vec![
        work("forward", &text, counts.clone(), move |device, dtype| {
            let (x, cos, sin) = inputs(device, dtype);
            Box::new(move || {
                let _ = rotary(x.clone(), cos.clone(), sin.clone());
            })
        }),
        work("backward", &text, counts, move |device, dtype| {
            let (gradient, cos, sin) = inputs(device, dtype);
            let gradient = gradient.into_dispatch();
            let (cos, sin) = (cos.into_dispatch(), sin.into_dispatch());
            Box::new(move || {
                let _ = Dispatch::rotary_backward(gradient.clone(), cos.clone(), sin.clone());
            })
        }),
    ]
}

/// SwiGLU of all tokens; approximate GeGLU moves the same bytes.
pub(super) fn gated(sizes: &Sizes, float: f64) -> Vec<Work> {
    use didact_kernels::gated;
    let shape = [sizes.tokens(), sizes.mlp];
    let text = format!("{} rows of {}", shape[0], shape[1]);
    let both = [Activation::Silu, Activation::GeluTanh].map(|activation| {
        let name = match activation {
            Activation::Silu => "SwiGLU",
            _ => "GeGLU",
        };
        [
            work(
                &format!("{name}, forward"),
                &text,
                counts::gated(shape, float, false),
                move |device, dtype| {
                    let [gate, up] = [(); 2].map(|()| random(shape, 1.0, device, dtype));
                    Box::new(move || {
                        let _ = gated(gate.clone(), up.clone(), activation);
                    })
                },
            ),
            work(
                &format!("{name}, backward"),
                &text,
                counts::gated(shape, float, true),
                move |device, dtype| {
                    let [gate, up, gradient] =
                        [(); 3].map(|()| random(shape, 1.0, device, dtype).into_dispatch());
                    Box::new(move || {
                        let _ = Dispatch::gated_backward(
                            gate.clone(),
                            up.clone(),
                            gradient.clone(),
                            activation,
                        );
                    })
                },
            ),
        ]
    });
    both.into_iter().flatten().collect()
}

/// Of a decoding step, with slots of every row's own and with shared prompts.
pub(super) fn cached_attention(sizes: &Sizes, float: f64) -> Vec<Work> {
    use didact_kernels::cached_attention;
    let (heads, cached, group) = (sizes.heads, sizes.cached, sizes.group);
    let settings = [false, true].map(|shared| {
        let layout = sizes.cache(shared);
        let counts = CachedAttention {
            layout: &layout,
            heads,
            float,
        }
        .counts();
        let pass = if shared { "half shared" } else { "own slots" };
        let sharing = if shared {
            format!(", half of them shared by {group} rows")
        } else {
            String::new()
        };
        let text = format!(
            "{} rows over {cached} slots{sharing}, {}/{} heads of {}",
            layout.rows(),
            heads.query,
            heads.key,
            heads.size
        );
        work(pass, &text, counts, move |device, dtype| {
            let q = random([layout.rows(), heads.query, heads.size], 1.0, device, dtype);
            let [keys, values] =
                [(); 2].map(|()| random([layout.end(), heads.key, heads.size], 1.0, device, dtype));
            let (layout, scale) = (layout.clone(), 1.0 / (heads.size as f64).sqrt());
            Box::new(move || {
                let _ = cached_attention(q.clone(), keys.clone(), values.clone(), &layout, scale);
            })
        })
    });
    settings.into()
}

/// Of a decoding step, in place.
pub(super) fn write_slots(sizes: &Sizes, float: f64) -> Vec<Work> {
    use didact_kernels::write_slots;
    let (rows, slots, heads) = (sizes.batch, sizes.batch * sizes.cached, sizes.heads);
    let shape = [rows, heads.key, heads.size];
    vec![work(
        "in place",
        &format!("{rows} rows of {} heads of {}", heads.key, heads.size),
        counts::write_slots(shape, float),
        move |device, dtype| {
            let new = random(shape, 1.0, device, dtype);
            let places: Arc<[usize]> = (0..rows).map(|row| row * (slots / rows)).collect();
            let mut pool = Some(random([slots, heads.key, heads.size], 1.0, device, dtype));
            Box::new(move || {
                pool = pool
                    .take()
                    .map(|pool| write_slots(pool, new.clone(), &places));
            })
        },
    )]
}
