//! The three products of a projection on the CPU.
//!
//! A product as the tensor library makes it fills its output with zeros and copies it to an aligned place before
//! it is computed; here the output is written once.
use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;

use super::product::{Matrix, whole_product};
use super::{floats, tensor};
use crate::LinearOps;

impl LinearOps for Flex {
    fn linear_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        multiplied(&x, false, &weight, false)
    }

    fn linear_product_backward_x(
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        multiplied(&gradient, false, &weight, true)
    }

    fn linear_product_backward_weight(
        x: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        multiplied(&x, true, &gradient, false)
    }
}

/// `lhs·rhs`, each transposed first where said so.
fn multiplied(
    lhs: &FloatTensor<Flex>,
    lhs_transposed: bool,
    rhs: &FloatTensor<Flex>,
    rhs_transposed: bool,
) -> FloatTensor<Flex> {
    let (lhs, lhs_turned) = laid_out(lhs, lhs_transposed);
    let (rhs, rhs_turned) = laid_out(rhs, rhs_transposed);
    let sizes = |tensor: &FloatTensor<Flex>, turned: bool| {
        let [rows, columns] = tensor.layout().shape().dims();
        if turned {
            [columns, rows]
        } else {
            [rows, columns]
        }
    };
    let ([m, k], [_, n]) = (sizes(&lhs, lhs_turned), sizes(&rhs, rhs_turned));
    tensor(
        whole_product(
            [m, n, k],
            matrix(&lhs, lhs_turned),
            matrix(&rhs, rhs_turned),
        ),
        [m, n],
    )
}

/// The tensor as it lies in memory, and whether it then stands transposed: a transposed view is not copied.
fn laid_out(tensor: &FloatTensor<Flex>, transposed: bool) -> (FloatTensor<Flex>, bool) {
    if tensor.is_contiguous() {
        return (tensor.clone(), transposed);
    }
    let turned = tensor.transpose(0, 1);
    if turned.is_contiguous() {
        (turned, !transposed)
    } else {
        (tensor.to_contiguous(), transposed)
    }
}

fn matrix(tensor: &FloatTensor<Flex>, turned: bool) -> Matrix<'_> {
    let rows = Matrix::rows(floats(tensor), tensor.layout().shape()[1]);
    if turned { rows.transposed() } else { rows }
}
