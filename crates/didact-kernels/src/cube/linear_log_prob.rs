//! Log-probabilities of targets on CubeCL devices.
//!
//! The kernels here bring each row's running log-sum-exp up to date with a tile's products, and make their derivatives.
use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::{CubeBackend, tensor::CubeTensor};

use super::kernels::linear_log_prob as kernel;
use super::launch::{Tile, cubes, element, empty};
use super::projection::{Gathered, Projection, WANTED};
use crate::LinearLogProbOps;

/// The operation's inputs.
struct Inputs {
    projection: Projection,
    targets: CubeTensor,
}

impl Inputs {
    fn new(
        hidden: CubeTensor,
        rows: CubeTensor,
        embedding: CubeTensor,
        targets: CubeTensor,
        temperature: f64,
    ) -> Self {
        Self {
            projection: Projection::new(hidden, rows, embedding, temperature),
            targets: into_contiguous(targets),
        }
    }

    fn forward(&self) -> CubeTensor {
        let projection = &self.projection;
        let (count, like) = (projection.count(), &projection.picked);
        let tile = Tile::of(like);
        let state = empty(like, Shape::from([count, 4]), DType::F32);
        for tokens in projection.tiles(1) {
            kernel::absorb::launch(
                &state.client,
                cubes(count),
                tile.dim(),
                projection.products(&tokens).0.into_tensor_arg(),
                self.targets.clone().into_tensor_arg(),
                state.clone().into_tensor_arg(),
                projection.inverse_temperature,
                tokens.start as u32,
                tile.units,
                dtype_to_storage_type(self.targets.dtype),
            );
        }
        let output = empty(like, Shape::from([count, 3]), DType::F32);
        kernel::finish::launch(
            &output.client,
            tile.count(count),
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
        wanted: [bool; 2],
    ) -> [Option<CubeTensor>; 2] {
        let (output, gradient) = (into_contiguous(output), into_contiguous(gradient));
        let projection = &self.projection;
        let tile = Tile::of(&projection.picked);
        let mut gathered = Gathered::new(wanted);
        for tokens in projection.tiles(1) {
            let (products, part) = projection.products(&tokens);
            let of_products = projection.of_products(&products);
            kernel::of_products::launch(
                &products.client,
                tile.count(products.meta.num_elements()),
                tile.dim(),
                products.clone().into_tensor_arg(),
                self.targets.clone().into_tensor_arg(),
                output.clone().into_tensor_arg(),
                gradient.clone().into_tensor_arg(),
                of_products.clone().into_tensor_arg(),
                projection.inverse_temperature,
                tokens.start as u32,
                element(&of_products),
                dtype_to_storage_type(self.targets.dtype),
            );
            gathered.add(projection, of_products, part);
        }
        gathered.gradients(projection)
    }
}

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
