//! Matrix products of f32 slices: the one place that calls the `gemm` crate.
use gemm::Parallelism;

/// A matrix laid over a slice: element (i, j) is `values[i·row_stride + j·column_stride]`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    values: &'a [f32],
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows one after the other, `width` wide.
    pub(super) fn rows(values: &'a [f32], width: usize) -> Self {
        Self {
            values,
            row_stride: width,
            column_stride: 1,
        }
    }

    /// The transpose, without moving anything.
    pub(super) fn transposed(self) -> Self {
        Self {
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    fn holds(self, rows: usize, columns: usize) -> bool {
        rows == 0
            || columns == 0
            || (rows - 1) * self.row_stride + (columns - 1) * self.column_stride < self.values.len()
    }
}

/// What happens to the destination's old values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Destination {
    Overwrite,
    Add,
}

/// `out (+)= scale · lhs · rhs` for `out` `[m, n]` in rows, `lhs` `[m, k]` and `rhs` `[k, n]`.
///
/// With [`Parallelism::Rayon`] the threads divide the output between them and never the sum over `k`.
pub(super) fn product(
    out: &mut [f32],
    [m, n, k]: [usize; 3],
    lhs: Matrix<'_>,
    rhs: Matrix<'_>,
    scale: f32,
    destination: Destination,
    parallelism: Parallelism,
) {
    assert!(
        out.len() >= m * n && lhs.holds(m, k) && rhs.holds(k, n),
        "product: a slice is short"
    );
    // SAFETY: the assertion holds every element that gemm reads or writes within its slice, and `out` is borrowed
    // mutably, so it overlaps neither operand, and all of it is initialised.
    unsafe {
        multiply(
            out.as_mut_ptr(),
            n,
            [m, n, k],
            lhs,
            rhs,
            scale,
            destination,
            parallelism,
        );
    }
}

/// `lhs · rhs` in memory of its own, `[m, n]` in rows, on all threads; see [`product`].
pub(super) fn whole_product([m, n, k]: [usize; 3], lhs: Matrix<'_>, rhs: Matrix<'_>) -> Vec<f32> {
    if m * n == 0 || k == 0 {
        return vec![0.0; m * n];
    }
    assert!(
        lhs.holds(m, k) && rhs.holds(k, n),
        "product: a slice is short"
    );
    let mut out: Vec<f32> = Vec::with_capacity(m * n);
    // SAFETY: the assertion holds every element that gemm reads within its slice. `out` has room for m·n
    // elements, which gemm only writes, and writes all of, since it does not add to what is there.
    unsafe {
        multiply(
            out.as_mut_ptr(),
            n,
            [m, n, k],
            lhs,
            rhs,
            1.0,
            Destination::Overwrite,
            Parallelism::Rayon(0),
        );
        out.set_len(m * n);
    }
    out
}

/// [`product`] into a part of a matrix's columns: rows of `out` are `stride` apart.
pub(super) fn product_into(
    out: &mut [f32],
    stride: usize,
    [m, n, k]: [usize; 3],
    lhs: Matrix<'_>,
    rhs: Matrix<'_>,
    destination: Destination,
    parallelism: Parallelism,
) {
    let room = m == 0 || n == 0 || (m - 1) * stride + n <= out.len();
    assert!(
        n <= stride && room && lhs.holds(m, k) && rhs.holds(k, n),
        "product: a slice is short"
    );
    // SAFETY: the assertion holds every element that gemm reads or writes within its slice, and `out` is borrowed
    // mutably, so it overlaps neither operand, and all of it is initialised.
    unsafe {
        multiply(
            out.as_mut_ptr(),
            stride,
            [m, n, k],
            lhs,
            rhs,
            1.0,
            destination,
            parallelism,
        );
    }
}

/// # Safety
/// Both operands hold what the sizes say. `out` has room for `m` rows of `n` elements that are `stride ≥ n` apart,
/// overlaps neither operand, and is initialised where its old values are added to.
#[allow(clippy::too_many_arguments)]
unsafe fn multiply(
    out: *mut f32,
    stride: usize,
    [m, n, k]: [usize; 3],
    lhs: Matrix<'_>,
    rhs: Matrix<'_>,
    scale: f32,
    destination: Destination,
    parallelism: Parallelism,
) {
    // SAFETY: offsets are i·row_stride + j·column_stride with i and j below the sizes given; the rest is what
    // the caller promises.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out,
            1,
            stride as isize,
            destination == Destination::Add,
            lhs.values.as_ptr(),
            lhs.column_stride as isize,
            lhs.row_stride as isize,
            rhs.values.as_ptr(),
            rhs.column_stride as isize,
            rhs.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiplies_transposes_scales_and_adds() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let b = [1.0, 0.0, 2.0, -1.0, 3.0, 1.0];
        let mut out = [10.0; 4];
        let (lhs, rhs) = (Matrix::rows(&a, 3), Matrix::rows(&b, 3).transposed());
        product(
            &mut out,
            [2, 2, 3],
            lhs,
            rhs,
            2.0,
            Destination::Add,
            Parallelism::None,
        );
        // a·bᵀ = [[7, 8], [16, 17]]
        assert_eq!(out, [24.0, 26.0, 42.0, 44.0]);
        product(
            &mut out,
            [2, 2, 3],
            lhs,
            rhs,
            1.0,
            Destination::Overwrite,
            Parallelism::None,
        );
        assert_eq!(out, [7.0, 8.0, 16.0, 17.0]);
    }

    #[test]
    #[should_panic(expected = "a slice is short")]
    fn refuses_short_slices() {
        let a = [1.0; 5];
        let mut out = [0.0; 4];
        let lhs = Matrix::rows(&a, 3);
        let rhs = lhs.transposed();
        product(
            &mut out,
            [2, 2, 3],
            lhs,
            rhs,
            1.0,
            Destination::Add,
            Parallelism::None,
        );
    }
}
