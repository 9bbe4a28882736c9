//! Log-probabilities of targets on CubeCL devices.
//!
//! The vocabulary is taken in tiles. The products of a tile are cubek's, which uses the matrix units that a device
//! has, and come in f32 whatever the inputs are; the kernels here bring each row's running log-sum-exp up to date with
//! them, and make their derivatives. Backward computes the tiles again.
use std::ops::Range;

use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, FloatDType, IndexingUpdateOp, Shape, Slice};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::{CubeBackend, tensor::CubeTensor};

use super::kernels::linear_log_prob as kernel;
use super::launch::{Tile, cubes, element, empty, vocabulary_tile};
use crate::LinearLogProbOps;

/// The operation's inputs, of which rows are picked already.
struct Inputs {
    tokens: usize,
    rows: CubeTensor,
    /// `[R, H]`.
    picked: CubeTensor,
    embedding: CubeTensor,
    targets: CubeTensor,
    inverse_temperature: f32,
}

/// `lhs·rhs` in f32.
fn product(lhs: CubeTensor, rhs: CubeTensor) -> CubeTensor {
    // It fails for shapes that do not go together alone.
    matmul(lhs, rhs, None, MatmulStrategy::default(), DType::F32)
        .unwrap_or_else(|error| panic!("linear_log_prob: {error:?}"))
}

fn turned(tensor: CubeTensor) -> CubeTensor {
    CubeBackend::float_swap_dims(tensor, 0, 1)
}

impl Inputs {
    fn new(
        hidden: CubeTensor,
        rows: CubeTensor,
        embedding: CubeTensor,
        targets: CubeTensor,
        temperature: f64,
    ) -> Self {
        let rows = into_contiguous(rows);
        Self {
            tokens: hidden.meta.shape()[0],
            picked: CubeBackend::float_select(hidden, 0, rows.clone()),
            rows,
            embedding: into_contiguous(embedding),
            targets: into_contiguous(targets),
            inverse_temperature: (1.0 / temperature) as f32,
        }
    }

    fn count(&self) -> usize {
        self.rows.meta.shape()[0]
    }

    fn width(&self) -> usize {
        self.picked.meta.shape()[1]
    }

    /// The vocabulary's tiles, by their tokens.
    fn tiles(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let vocabulary = self.embedding.meta.shape()[0];
        let tile = vocabulary_tile(self.count(), vocabulary);
        (0..vocabulary)
            .step_by(tile)
            .map(move |first| first..vocabulary.min(first + tile))
    }

    /// A tile of the embedding, `[T, H]`.
    fn part(&self, tokens: &Range<usize>) -> CubeTensor {
        let all = Slice::from(0..self.width());
        CubeBackend::float_slice(self.embedding.clone(), &[Slice::from(tokens.clone()), all])
    }

    /// `[R, T]`, and the part of the embedding that it was made with.
    fn products(&self, tokens: &Range<usize>) -> (CubeTensor, CubeTensor) {
        let part = self.part(tokens);
        let products = product(self.picked.clone(), turned(part.clone()));
        (into_contiguous(products), part)
    }

    fn forward(&self) -> CubeTensor {
        let tile = Tile::of(&self.picked);
        let state = empty(&self.picked, Shape::from([self.count(), 4]), DType::F32);
        for tokens in self.tiles() {
            let (products, _) = self.products(&tokens);
            kernel::absorb::launch(
                &state.client,
                cubes(self.count()),
                tile.dim(),
                products.into_tensor_arg(),
                self.targets.clone().into_tensor_arg(),
                state.clone().into_tensor_arg(),
                self.inverse_temperature,
                tokens.start as u32,
                tile.units,
                dtype_to_storage_type(self.targets.dtype),
            );
        }
        let output = empty(&self.picked, Shape::from([self.count(), 3]), DType::F32);
        kernel::finish::launch(
            &output.client,
            tile.count(self.count()),
            tile.dim(),
            state.into_tensor_arg(),
            output.clone().into_tensor_arg(),
        );
        output
    }

    /// Gradients of `hidden` and of the embedding, each if it is wanted.
    fn backward(
        &self,
        output: CubeTensor,
        gradient: CubeTensor,
        [wants_hidden, wants_embedding]: [bool; 2],
    ) -> [Option<CubeTensor>; 2] {
        let (output, gradient) = (into_contiguous(output), into_contiguous(gradient));
        let dtype = self.picked.dtype;
        let tile = Tile::of(&self.picked);
        let mut of_rows: Option<CubeTensor> = None;
        let mut parts = Vec::new();
        for tokens in self.tiles() {
            let (products, part) = self.products(&tokens);
            // In the inputs' type, which matrix units multiply fastest.
            let of_products = empty(&products, products.meta.shape().clone(), dtype);
            kernel::of_products::launch(
                &products.client,
                tile.count(products.meta.num_elements()),
                tile.dim(),
                products.clone().into_tensor_arg(),
                self.targets.clone().into_tensor_arg(),
                output.clone().into_tensor_arg(),
                gradient.clone().into_tensor_arg(),
                of_products.clone().into_tensor_arg(),
                self.inverse_temperature,
                tokens.start as u32,
                element(&of_products),
                dtype_to_storage_type(self.targets.dtype),
            );
            if wants_hidden {
                let more = product(of_products.clone(), part);
                of_rows = Some(match of_rows {
                    None => more,
                    Some(before) => CubeBackend::float_add(before, more),
                });
            }
            if wants_embedding {
                let part = product(turned(of_products), self.picked.clone());
                parts.push(CubeBackend::float_cast(part, float(dtype)));
            }
        }
        let of_hidden = of_rows.map(|of_rows| {
            let zeros = CubeBackend::float_zeros(
                Shape::from([self.tokens, self.width()]),
                &self.picked.device,
                DType::F32.into(),
            );
            // burn's kernel walks the list in order for each element, so the sum is repeatable.
            let rows = self.rows.clone();
            let sum =
                CubeBackend::float_select_assign(zeros, 0, rows, of_rows, IndexingUpdateOp::Add);
            CubeBackend::float_cast(sum, float(dtype))
        });
        let of_embedding = wants_embedding.then(|| CubeBackend::float_cat(parts, 0));
        [of_hidden, of_embedding]
    }
}

fn float(dtype: DType) -> FloatDType {
    dtype.into()
}

const WANTED: &str = "a gradient that is wanted is made";

impl LinearLogProbOps for CubeBackend {
    fn linear_log_prob(
        hidden: FloatTensor<Self>,
        rows: IntTensor<Self>,
        embedding: FloatTensor<Self>,
        targets: IntTensor<Self>,
        temperature: f64,
    ) -> FloatTensor<Self> {
        Inputs::new(hidden, rows, embedding, targets, temperature).forward()
    }

    fn linear_log_prob_backward(
        hidden: FloatTensor<Self>,
        rows: IntTensor<Self>,
        embedding: FloatTensor<Self>,
        targets: IntTensor<Self>,
        output: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        temperature: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let inputs = Inputs::new(hidden, rows, embedding, targets, temperature);
        let [of_hidden, of_embedding] = inputs.backward(output, gradient, [true, true]);
        (of_hidden.expect(WANTED), of_embedding.expect(WANTED))
    }

    fn linear_log_prob_backward_hidden(
        hidden: FloatTensor<Self>,
        rows: IntTensor<Self>,
        embedding: FloatTensor<Self>,
        targets: IntTensor<Self>,
        output: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        temperature: f64,
    ) -> FloatTensor<Self> {
        let inputs = Inputs::new(hidden, rows, embedding, targets, temperature);
        let [of_hidden, _] = inputs.backward(output, gradient, [true, false]);
        of_hidden.expect(WANTED)
    }

    fn linear_log_prob_backward_embedding(
        hidden: FloatTensor<Self>,
        rows: IntTensor<Self>,
        embedding: FloatTensor<Self>,
        targets: IntTensor<Self>,
        output: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        temperature: f64,
    ) -> FloatTensor<Self> {
        let inputs = Inputs::new(hidden, rows, embedding, targets, temperature);
        let [_, of_embedding] = inputs.backward(output, gradient, [false, true]);
        of_embedding.expect(WANTED)
    }
}
