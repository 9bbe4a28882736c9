//! Rows of hidden states against an output embedding on CubeCL devices, a tile of the vocabulary at a time.
//!
//! The products of a tile are cubek's, which uses the matrix units that a device has, and come in f32 whatever the
//! inputs are. Owns them, and where the gradients of a tile go; what is done with products is the operations' matter.
use std::ops::Range;

use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, FloatDType, IndexingUpdateOp, Shape, Slice};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::{CubeBackend, tensor::CubeTensor};

use super::launch::{empty, vocabulary_tile};

/// Why an optional gradient is there.
pub(super) const WANTED: &str = "a gradient that is wanted is made";

/// The rows, picked already, and the embedding of an operation.
pub(super) struct Projection {
    tokens: usize,
    rows: CubeTensor,
    /// `[R, H]`.
    pub(super) picked: CubeTensor,
    embedding: CubeTensor,
    pub(super) inverse_temperature: f32,
}

/// `lhs·rhs` in f32, whatever the one type of both is.
pub(super) fn product(lhs: CubeTensor, rhs: CubeTensor) -> CubeTensor {
    // It fails for shapes that do not go together alone.
    matmul(lhs, rhs, None, MatmulStrategy::default(), DType::F32)
        .unwrap_or_else(|error| panic!("a product: {error:?}"))
}

fn turned(tensor: CubeTensor) -> CubeTensor {
    CubeBackend::float_swap_dims(tensor, 0, 1)
}

fn float(dtype: DType) -> FloatDType {
    dtype.into()
}

impl Projection {
    pub(super) fn new(
        hidden: CubeTensor,
        rows: CubeTensor,
        embedding: CubeTensor,
        temperature: f64,
    ) -> Self {
        let rows = into_contiguous(rows);
        Self {
            tokens: hidden.meta.shape()[0],
            picked: CubeBackend::float_select(hidden, 0, rows.clone()),
            rows,
            embedding: into_contiguous(embedding),
            inverse_temperature: (1.0 / temperature) as f32,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.rows.meta.shape()[0]
    }

    fn width(&self) -> usize {
        self.picked.meta.shape()[1]
    }

    /// The vocabulary's tiles, by their tokens, where so many models' products of one are in memory at a time.
    pub(super) fn tiles(&self, models: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let vocabulary = self.embedding.meta.shape()[0];
        let tile = vocabulary_tile(models * self.count(), vocabulary);
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
    pub(super) fn products(&self, tokens: &Range<usize>) -> (CubeTensor, CubeTensor) {
        let part = self.part(tokens);
        let products = product(self.picked.clone(), turned(part.clone()));
        (into_contiguous(products), part)
    }

    /// Memory for the derivatives by a tile's products, in the inputs' type, which matrix units multiply fastest.
    pub(super) fn of_products(&self, products: &CubeTensor) -> CubeTensor {
        empty(products, products.meta.shape().clone(), self.picked.dtype)
    }
}

/// Gradients of the picked rows and of the embedding as tiles add to them, each where it is wanted.
pub(super) struct Gathered {
    wanted: [bool; 2],
    of_rows: Option<CubeTensor>,
    parts: Vec<CubeTensor>,
}

impl Gathered {
    pub(super) const fn new(wanted: [bool; 2]) -> Self {
        Self {
            wanted,
            of_rows: None,
            parts: Vec::new(),
        }
    }

    /// Adds what the derivatives by a tile's products come to. Tiles come in the vocabulary's order.
    pub(super) fn add(&mut self, of: &Projection, of_products: CubeTensor, part: CubeTensor) {
        let [wants_hidden, wants_embedding] = self.wanted;
        if wants_hidden {
            let more = product(of_products.clone(), part);
            self.of_rows = Some(match self.of_rows.take() {
                None => more,
                Some(before) => CubeBackend::float_add(before, more),
            });
        }
        if wants_embedding {
            let part = product(turned(of_products), of.picked.clone());
            self.parts
                .push(CubeBackend::float_cast(part, float(of.picked.dtype)));
        }
    }

    /// The gradients of the hidden states and of the embedding that were wanted.
    pub(super) fn gradients(self, of: &Projection) -> [Option<CubeTensor>; 2] {
        let of_hidden = self.of_rows.map(|of_rows| {
            let zeros = CubeBackend::float_zeros(
                Shape::from([of.tokens, of.width()]),
                &of.picked.device,
                DType::F32.into(),
            );
            // burn's kernel walks the list in order for each element, so the sum is repeatable.
            let rows = of.rows.clone();
            let sum =
                CubeBackend::float_select_assign(zeros, 0, rows, of_rows, IndexingUpdateOp::Add);
            CubeBackend::float_cast(sum, float(of.picked.dtype))
        });
        let [_, wants_embedding] = self.wanted;
        let of_embedding = wants_embedding.then(|| CubeBackend::float_cat(self.parts, 0));
        [of_hidden, of_embedding]
    }
}
