//! Log-probabilities of targets on CubeCL devices: launches of the kernels.
use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, IndexingUpdateOp, Shape};
use burn_cubecl::{CubeBackend, kernel::into_contiguous, tensor::CubeTensor};
use cubecl::{CubeCount, CubeDim};

use super::kernel;
use crate::LinearLogProbOps;

/// Most units of a cube; WebGPU promises no more than this.
const MOST_UNITS: u32 = 256;
/// Cubes along one axis; WebGPU allows 65 535.
const MOST_CUBES: usize = 32_768;

/// The operation's inputs, contiguous, and how its kernels are launched.
struct Inputs {
    hidden: CubeTensor,
    rows: CubeTensor,
    embedding: CubeTensor,
    targets: CubeTensor,
    inverse_temperature: f32,
    units: u32,
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
        // The kernels read both index lists as one type.
        let targets = into_contiguous(targets);
        assert!(
            rows.dtype == targets.dtype,
            "linear_log_prob: rows and targets differ in type"
        );
        // A power of two, which the kernels' tree needs.
        let most = hidden
            .client
            .properties()
            .hardware
            .max_cube_dim
            .0
            .clamp(1, MOST_UNITS);
        let units = 1 << most.ilog2();
        Self {
            hidden: into_contiguous(hidden),
            rows,
            embedding: into_contiguous(embedding),
            targets,
            inverse_temperature: (1.0 / temperature) as f32,
            units,
        }
    }

    fn empty(&self, shape: Shape) -> CubeTensor {
        let client = self.hidden.client.clone();
        let buffer = client.empty(shape.num_elements() * DType::F32.size());
        CubeTensor::new_contiguous(
            client,
            self.hidden.device.clone(),
            shape,
            buffer,
            DType::F32,
        )
    }

    fn count(&self) -> usize {
        self.rows.meta.shape()[0]
    }

    fn dim(&self) -> CubeDim {
        CubeDim::new_1d(self.units)
    }

    fn forward(self) -> CubeTensor {
        let output = self.empty(Shape::from([self.count(), 3]));
        let (count, dim) = (cubes(self.count()), self.dim());
        let index = dtype_to_storage_type(self.rows.dtype);
        kernel::forward::launch(
            &output.client,
            count,
            dim,
            self.hidden.into_tensor_arg(),
            self.rows.into_tensor_arg(),
            self.embedding.into_tensor_arg(),
            self.targets.into_tensor_arg(),
            output.clone().into_tensor_arg(),
            self.inverse_temperature,
            self.units as usize,
            index,
        );
        output
    }

    fn backward_hidden(&self, output: CubeTensor, gradient: CubeTensor) -> CubeTensor {
        let (tokens, width) = (self.hidden.meta.shape()[0], self.hidden.meta.shape()[1]);
        let of_rows = self.empty(Shape::from([self.count(), width]));
        kernel::backward_rows::launch(
            &of_rows.client,
            cubes(self.count()),
            self.dim(),
            self.hidden.clone().into_tensor_arg(),
            self.rows.clone().into_tensor_arg(),
            self.embedding.clone().into_tensor_arg(),
            self.targets.clone().into_tensor_arg(),
            output.into_tensor_arg(),
            gradient.into_tensor_arg(),
            of_rows.clone().into_tensor_arg(),
            self.inverse_temperature,
            self.units as usize,
            dtype_to_storage_type(self.rows.dtype),
        );
        // burn's kernel walks the list in order for each element, so the sum is repeatable.
        let zeros = CubeBackend::float_zeros(
            Shape::from([tokens, width]),
            &self.hidden.device,
            DType::F32.into(),
        );
        let rows = self.rows.clone();
        CubeBackend::float_select_assign(zeros, 0, rows, of_rows, IndexingUpdateOp::Add)
    }

    fn backward_embedding(&self, output: CubeTensor, gradient: CubeTensor) -> CubeTensor {
        let of_embedding = self.empty(self.embedding.meta.shape().clone());
        kernel::backward_embedding::launch(
            &of_embedding.client,
            cubes(self.embedding.meta.shape()[0]),
            self.dim(),
            self.hidden.clone().into_tensor_arg(),
            self.rows.clone().into_tensor_arg(),
            self.embedding.clone().into_tensor_arg(),
            self.targets.clone().into_tensor_arg(),
            output.into_tensor_arg(),
            gradient.into_tensor_arg(),
            of_embedding.clone().into_tensor_arg(),
            self.inverse_temperature,
            self.units as usize,
            dtype_to_storage_type(self.rows.dtype),
        );
        of_embedding
    }
}

fn cubes(count: usize) -> CubeCount {
    CubeCount::Static(
        count.min(MOST_CUBES) as u32,
        count.div_ceil(MOST_CUBES) as u32,
        1,
    )
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
        let (output, gradient) = (into_contiguous(output), into_contiguous(gradient));
        let of_hidden = inputs.backward_hidden(output.clone(), gradient.clone());
        (of_hidden, inputs.backward_embedding(output, gradient))
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
        let (output, gradient) = (into_contiguous(output), into_contiguous(gradient));
        Inputs::new(hidden, rows, embedding, targets, temperature).backward_hidden(output, gradient)
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
        let (output, gradient) = (into_contiguous(output), into_contiguous(gradient));
        Inputs::new(hidden, rows, embedding, targets, temperature)
            .backward_embedding(output, gradient)
    }
}
