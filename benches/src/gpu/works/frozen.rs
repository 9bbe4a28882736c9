//! Products with frozen weights of 8 and 4 bits.
use burn::backend::Dispatch;
use burn::tensor::DType;
use didact_kernels::{Bits, QuantisedMatrix, QuantisedOps};

use super::super::counts::{Linear, QuantisedLinear};
use super::super::numbers::random;
use super::super::sizes::Sizes;
use super::{Work, dense_text, work};

const BITS: [(Bits, usize); 2] = [(Bits::Eight, 8), (Bits::Four, 4)];

/// Two matrices, so that no cache holds the one that is multiplied next.
fn matrices(dense: Linear, bits: Bits) -> [QuantisedMatrix; 2] {
    let count = dense.inputs * dense.outputs;
    [1, 2].map(|seed| {
        let values: Vec<f32> = (0..count)
            .map(|index| (index.wrapping_mul(2_654_435_761 + seed) % 1999) as f32 * 1e-5 - 0.01)
            .collect();
        QuantisedMatrix::quantise_rows(&values, [dense.outputs, dense.inputs], bits)
            .expect("small numbers")
    })
}

/// The MLP's projection up with a frozen weight, of all tokens.
pub(in super::super) fn quantised_linear(sizes: &Sizes, float: f64) -> Vec<Work> {
    use didact_kernels::quantised_linear;
    let dense = Linear {
        rows: sizes.tokens(),
        inputs: sizes.hidden,
        outputs: sizes.mlp,
        float,
    };
    let passes = BITS.map(|(bits, width)| {
        let counts = QuantisedLinear { dense, bits: width };
        let text = dense_text(dense);
        [
            work(
                &format!("{width} bits, forward"),
                &text,
                counts.forward(),
                move |device, dtype| {
                    let x = random([dense.rows, dense.inputs], 1.0, device, dtype);
                    let mut weights = matrices(dense, bits);
                    Box::new(move || {
                        weights.swap(0, 1);
                        let _ = quantised_linear(x.clone(), &weights[0]);
                    })
                },
            ),
            work(
                &format!("{width} bits, backward"),
                &text,
                counts.backward(),
                move |device, dtype| {
                    let gradient = random([dense.rows, dense.outputs], 1.0, device, dtype);
                    let gradient = gradient.into_dispatch();
                    let mut weights = matrices(dense, bits);
                    Box::new(move || {
                        weights.swap(0, 1);
                        let _ = Dispatch::quantised_product_backward(
                            gradient.clone(),
                            weights[0].clone(),
                        );
                    })
                },
            ),
        ]
    });
    passes.into_iter().flatten().collect()
}

/// The same of few rows, which are f32.
pub(in super::super) fn streamed_quantised_product(sizes: &Sizes, _: f64) -> Vec<Work> {
    use didact_kernels::streamed_quantised_product;
    let batch = sizes.batch;
    let (inputs, outputs) = (sizes.hidden, sizes.mlp);
    let works = BITS.map(|(bits, width)| {
        [1, 2, batch].map(|rows| {
            let dense = Linear {
                rows,
                inputs,
                outputs,
                float: 4.0,
            };
            let counts = QuantisedLinear { dense, bits: width };
            work(
                &format!("{width} bits, f32"),
                &dense_text(dense),
                counts.streamed(),
                move |device, _| {
                    let x = random([rows, inputs], 1.0, device, DType::F32);
                    let mut weights = matrices(dense, bits);
                    Box::new(move || {
                        weights.swap(0, 1);
                        let _ = streamed_quantised_product(x.clone(), &weights[0]);
                    })
                },
            )
        })
    });
    works.into_iter().flatten().collect()
}
