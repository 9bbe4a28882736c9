//! Divergence of two models' distributions on CubeCL devices.
//!
//! As [`linear_log_prob`](super::linear_log_prob), with the products of both models' tiles side by side.
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::{CubeBackend, tensor::CubeTensor};

use super::kernels::linear_kl as kernel;
use super::launch::{Tile, cubes, element, empty};
use super::projection::{Gathered, Projection, WANTED};
use crate::{KlDirection, LinearKlOps};

/// The two models' rows.
struct Pair {
    policy: Projection,
    other: Projection,
    reverse: bool,
}

impl Pair {
    fn new(policy: Projection, other: Projection, direction: KlDirection) -> Self {
        Self {
            policy,
            other,
            reverse: direction == KlDirection::Reverse,
        }
    }

    fn forward(&self) -> CubeTensor {
        let (count, like) = (self.policy.count(), &self.policy.picked);
        let tile = Tile::of(like);
        let state = empty(like, Shape::from([count, 5]), DType::F32);
        for tokens in self.policy.tiles(2) {
            kernel::absorb::launch(
                &state.client,
                cubes(count),
                tile.dim(),
                self.policy.products(&tokens).0.into_tensor_arg(),
                self.other.products(&tokens).0.into_tensor_arg(),
                state.clone().into_tensor_arg(),
                self.policy.inverse_temperature,
                tokens.start as u32,
                self.reverse,
                tile.units,
            );
        }
        let output = empty(like, Shape::from([count, 3]), DType::F32);
        kernel::finish::launch(
            &output.client,
            tile.count(count),
            tile.dim(),
            state.into_tensor_arg(),
            output.clone().into_tensor_arg(),
            self.reverse,
        );
        output
    }

    /// Gradients of the policy's hidden states and embedding, each if it is wanted.
    fn backward(
        &self,
        output: CubeTensor,
        gradient: CubeTensor,
        wanted: [bool; 2],
    ) -> [Option<CubeTensor>; 2] {
        let (output, gradient) = (into_contiguous(output), into_contiguous(gradient));
        let tile = Tile::of(&self.policy.picked);
        let mut gathered = Gathered::new(wanted);
        for tokens in self.policy.tiles(2) {
            let (products, part) = self.policy.products(&tokens);
            let of_products = self.policy.of_products(&products);
            kernel::of_products::launch(
                &products.client,
                tile.count(products.meta.num_elements()),
                tile.dim(),
                products.clone().into_tensor_arg(),
                self.other.products(&tokens).0.into_tensor_arg(),
                output.clone().into_tensor_arg(),
                gradient.clone().into_tensor_arg(),
                of_products.clone().into_tensor_arg(),
                self.policy.inverse_temperature,
                self.reverse,
                element(&of_products),
            );
            gathered.add(&self.policy, of_products, part);
        }
        gathered.gradients(&self.policy)
    }
}

impl LinearKlOps for CubeBackend {
    fn linear_kl(
        hidden: FloatTensor<Self>,
        rows: IntTensor<Self>,
        embedding: FloatTensor<Self>,
        other_hidden: FloatTensor<Self>,
        other_rows: IntTensor<Self>,
        other_embedding: FloatTensor<Self>,
        temperature: f64,
        direction: KlDirection,
    ) -> FloatTensor<Self> {
        let policy = Projection::new(hidden, rows, embedding, temperature);
        let other = Projection::new(other_hidden, other_rows, other_embedding, temperature);
        Pair::new(policy, other, direction).forward()
    }

    fn linear_kl_backward(
        hidden: FloatTensor<Self>,
        rows: IntTensor<Self>,
        embedding: FloatTensor<Self>,
        other_hidden: FloatTensor<Self>,
        other_rows: IntTensor<Self>,
        other_embedding: FloatTensor<Self>,
        output: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        temperature: f64,
        direction: KlDirection,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let policy = Projection::new(hidden, rows, embedding, temperature);
        let other = Projection::new(other_hidden, other_rows, other_embedding, temperature);
        let pair = Pair::new(policy, other, direction);
        let [of_hidden, of_embedding] = pair.backward(output, gradient, [true, true]);
        (of_hidden.expect(WANTED), of_embedding.expect(WANTED))
    }

    fn linear_kl_backward_hidden(
        hidden: FloatTensor<Self>,
        rows: IntTensor<Self>,
        embedding: FloatTensor<Self>,
        other_hidden: FloatTensor<Self>,
        other_rows: IntTensor<Self>,
        other_embedding: FloatTensor<Self>,
        output: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        temperature: f64,
        direction: KlDirection,
    ) -> FloatTensor<Self> {
        let policy = Projection::new(hidden, rows, embedding, temperature);
        let other = Projection::new(other_hidden, other_rows, other_embedding, temperature);
        let pair = Pair::new(policy, other, direction);
        let [of_hidden, _] = pair.backward(output, gradient, [true, false]);
        of_hidden.expect(WANTED)
    }
}
