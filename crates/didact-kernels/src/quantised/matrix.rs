//! A matrix in blocks of small integers.
//!
//! Owns the layout in memory, how numbers become codes and how codes become numbers. It knows no device:
//! the bytes lie on the host, shared by all clones.
use std::fmt;
use std::sync::Arc;

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData, f16};
use rayon::prelude::*;

use crate::Error;

/// Bits of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bits {
    /// 256 levels, 1.125 bytes a weight.
    Eight,
    /// 16 levels, two codes to a byte, 0.625 bytes a weight.
    Four,
}

impl Bits {
    /// The largest code.
    const fn largest(self) -> u8 {
        match self {
            Self::Eight => u8::MAX,
            Self::Four => 15,
        }
    }

    /// Bytes of the codes of one block.
    pub(crate) const fn block_bytes(self) -> usize {
        match self {
            Self::Eight => BLOCK,
            Self::Four => BLOCK / 2,
        }
    }
}

/// Numbers that share a scale and a minimum.
pub(crate) const BLOCK: usize = 32;

/// What a block's codes are multiplied with, and what is then added.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Line {
    pub(crate) scale: f16,
    pub(crate) minimum: f16,
}

/// A frozen weight `[in, out]` of 8 or 4 bits.
///
/// The inputs of one output are divided into blocks of 32, the last of which may be shorter. A block keeps
/// a scale and a minimum in f16, and for each number a code `q`:
///
/// `ŵ = scale · q + minimum`, rounded once to f32
///
/// The minimum is rounded down and the scale up, so that the codes reach every number of the block, and
///
/// `|w − ŵ| ≤ scale/2 + 2⁻²²·(|minimum| + largest·scale)`
///
/// with `largest` the largest code, 255 or 15; the second term is what f32 rounds. The scale is
/// `(max − minimum)/largest`, up to the next f16.
///
/// With 4 bits the bytes of a block are those of ggml's Q4_1: byte `i` holds number `i` below and number
/// `i + 16` above. Its Q4_0 and Q8_0 become such blocks without a change of value too; see
/// [`from_blocks`](Self::from_blocks).
///
/// Clones share the bytes.
#[derive(Clone, PartialEq)]
pub struct QuantisedMatrix {
    inner: Arc<Inner>,
}

struct Inner {
    bits: Bits,
    shape: [usize; 2],
    /// Output after output, block after block.
    codes: Vec<u8>,
    lines: Vec<Line>,
    /// What was uploaded to devices that compute with codes of their own.
    #[cfg(feature = "cube")]
    elsewhere: std::sync::Mutex<Vec<crate::cube::OnDevice>>,
}

impl PartialEq for Inner {
    fn eq(&self, other: &Self) -> bool {
        self.bits == other.bits
            && self.shape == other.shape
            && self.codes == other.codes
            && self.lines == other.lines
    }
}

impl fmt::Debug for QuantisedMatrix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("QuantisedMatrix")
            .field("shape", &self.inner.shape)
            .field("bits", &self.inner.bits)
            .finish_non_exhaustive()
    }
}

impl QuantisedMatrix {
    /// Quantises a weight `[in, out]`.
    ///
    /// # Errors
    /// Where a number is not finite or beyond ±65 504, the range of f16.
    pub fn quantise(weight: Tensor<2>, bits: Bits) -> Result<Self, Error> {
        let [depth, columns] = weight.dims();
        let weight = match weight.dtype() {
            DType::F32 => weight,
            _ => weight.cast(FloatDType::F32),
        };
        let data = weight.into_data();
        let values = data
            .as_slice::<f32>()
            .expect("a tensor's data are contiguous, and cast to f32");
        Self::encode(values, [depth, columns], [columns, 1], bits)
    }

    /// Quantises a weight whose rows `[out, in]` lie one after the other, as checkpoints hold it.
    ///
    /// # Errors
    /// Those of [`quantise`](Self::quantise), and where the count of numbers is another than that of the shape.
    pub fn quantise_rows(
        values: &[f32],
        [columns, depth]: [usize; 2],
        bits: Bits,
    ) -> Result<Self, Error> {
        if columns.checked_mul(depth) != Some(values.len()) {
            return Err(Error::QuantisedLength {
                what: "numbers",
                expected: columns.saturating_mul(depth),
                found: values.len(),
            });
        }
        Self::encode(values, [depth, columns], [1, depth], bits)
    }

    /// Takes over blocks that are quantised already, of a weight `[in, out]`: for each output its blocks along the inputs,
    /// each with its codes and with its scale and minimum in f16.
    ///
    /// Codes of 4 bits come as in ggml's Q4_1. A Q4_0 block has the minimum `−8·d`; a Q8_0 block has
    /// codes greater by 128 and the minimum `−128·d`.
    ///
    /// # Errors
    /// Where there are more or fewer bytes or lines than the shape needs, or a scale or minimum is not finite.
    pub fn from_blocks(
        bits: Bits,
        shape: [usize; 2],
        codes: Vec<u8>,
        scales_and_minima: &[(f16, f16)],
    ) -> Result<Self, Error> {
        let [depth, columns] = shape;
        let blocks = depth.div_ceil(BLOCK).saturating_mul(columns);
        let sizes = [
            (
                "bytes of codes",
                blocks.saturating_mul(bits.block_bytes()),
                codes.len(),
            ),
            ("scales and minima", blocks, scales_and_minima.len()),
        ];
        for (what, expected, found) in sizes {
            if expected != found {
                return Err(Error::QuantisedLength {
                    what,
                    expected,
                    found,
                });
            }
        }
        let mut lines = Vec::with_capacity(blocks);
        for (index, &(scale, minimum)) in scales_and_minima.iter().enumerate() {
            for value in [scale, minimum] {
                if !value.is_finite() {
                    let per_column = depth.div_ceil(BLOCK);
                    return Err(Error::NotQuantisable {
                        input: index % per_column * BLOCK,
                        output: index / per_column,
                        value: value.to_string(),
                    });
                }
            }
            lines.push(Line { scale, minimum });
        }
        Ok(Self::new(bits, shape, codes, lines))
    }

    fn new(bits: Bits, shape: [usize; 2], codes: Vec<u8>, lines: Vec<Line>) -> Self {
        Self {
            inner: Arc::new(Inner {
                bits,
                shape,
                codes,
                lines,
                #[cfg(feature = "cube")]
                elsewhere: std::sync::Mutex::default(),
            }),
        }
    }

    /// The upload that `is_there` accepts, or what `upload` makes.
    #[cfg(feature = "cube")]
    pub(crate) fn on_device(
        &self,
        is_there: impl Fn(&crate::cube::OnDevice) -> bool,
        upload: impl FnOnce() -> crate::cube::OnDevice,
    ) -> crate::cube::OnDevice {
        // An upload that panicked has left nothing behind.
        let mut elsewhere = match self.inner.elsewhere.lock() {
            Ok(list) => list,
            Err(poisoned) => poisoned.into_inner(),
        };
        if let Some(found) = elsewhere.iter().find(|found| is_there(found)) {
            return found.clone();
        }
        let uploaded = upload();
        elsewhere.push(uploaded.clone());
        uploaded
    }

    /// Gives up what was uploaded to devices, for all clones; the next product on a device uploads it again.
    pub fn free_uploads(&self) {
        #[cfg(feature = "cube")]
        match self.inner.elsewhere.lock() {
            Ok(mut list) => list.clear(),
            Err(poisoned) => poisoned.into_inner().clear(),
        }
    }

    /// All codes, output after output.
    #[cfg(feature = "cube")]
    pub(crate) fn codes(&self) -> &[u8] {
        &self.inner.codes
    }

    /// Scale and minimum of all blocks, output after output.
    #[cfg(feature = "cube")]
    pub(crate) fn scales_and_minima_in_f32(&self) -> Vec<f32> {
        let lines = self.inner.lines.iter();
        lines
            .flat_map(|line| [line.scale.to_f32(), line.minimum.to_f32()])
            .collect()
    }

    /// `[in, out]`.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        self.inner.shape
    }

    /// Bits of a code.
    #[must_use]
    pub fn bits(&self) -> Bits {
        self.inner.bits
    }

    /// What the matrix takes in memory: codes, scales and minima.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.inner.codes.len() + self.inner.lines.len() * size_of::<Line>()
    }

    /// Shows `visit` everything that decides the numbers, piece by piece, such as to a hash.
    pub fn visit_bytes(&self, visit: &mut dyn FnMut(&[u8])) {
        let [depth, columns] = self.shape();
        visit(&[self.bits().largest()]);
        visit(&(depth as u64).to_le_bytes());
        visit(&(columns as u64).to_le_bytes());
        visit(&self.inner.codes);
        for Line { scale, minimum } in &self.inner.lines {
            visit(&scale.to_le_bytes());
            visit(&minimum.to_le_bytes());
        }
    }

    /// The matrix `[in, out]` in f32.
    #[must_use]
    pub fn dequantise(&self, device: &Device) -> Tensor<2> {
        let [depth, columns] = self.shape();
        let rows = TensorData::new(self.dequantise_rows(), [columns, depth]);
        Tensor::<2>::from_data(rows, (device, DType::F32)).transpose()
    }

    /// The numbers in f32 with the inputs of each output one after the other, `[out, in]`.
    #[must_use]
    pub fn dequantise_rows(&self) -> Vec<f32> {
        let [depth, columns] = self.shape();
        let mut values = vec![0.0; depth * columns];
        let rows = values.par_chunks_mut(depth.max(1)).enumerate();
        rows.for_each_init(
            || vec![0.0; self.padded_depth()],
            |scratch, (column, row)| {
                crate::flex::decode(self, column, scratch);
                row.copy_from_slice(&scratch[..depth]);
            },
        );
        values
    }

    /// The scale and the minimum of each block of an output.
    ///
    /// # Panics
    /// Where there is no such output.
    #[must_use]
    pub fn scales_and_minima(&self, output: usize) -> Vec<(f16, f16)> {
        let (_, lines) = self.column(output);
        lines
            .iter()
            .map(|line| (line.scale, line.minimum))
            .collect()
    }

    /// The inputs, up to whole blocks.
    pub(crate) fn padded_depth(&self) -> usize {
        self.shape()[0].next_multiple_of(BLOCK)
    }

    /// The codes and lines of one output.
    pub(crate) fn column(&self, output: usize) -> (&[u8], &[Line]) {
        let blocks = self.shape()[0].div_ceil(BLOCK);
        let bytes = blocks * self.bits().block_bytes();
        (
            &self.inner.codes[output * bytes..][..bytes],
            &self.inner.lines[output * blocks..][..blocks],
        )
    }

    /// Codes of `values[input·strides[0] + output·strides[1]]`.
    fn encode(
        values: &[f32],
        [depth, columns]: [usize; 2],
        strides: [usize; 2],
        bits: Bits,
    ) -> Result<Self, Error> {
        let blocks = depth.div_ceil(BLOCK);
        let mut codes = vec![0; blocks * columns * bits.block_bytes()];
        let zero = Line {
            scale: f16::ZERO,
            minimum: f16::ZERO,
        };
        let mut lines = vec![zero; blocks * columns];
        if lines.is_empty() {
            return Ok(Self::new(bits, [depth, columns], codes, lines));
        }
        // Neighbouring outputs lie in the same cache lines of a weight `[in, out]`.
        const TOGETHER: usize = 16;
        let tasks = codes
            .par_chunks_mut(TOGETHER * blocks * bits.block_bytes())
            .zip(lines.par_chunks_mut(TOGETHER * blocks))
            .enumerate();
        tasks.try_for_each(|(task, (codes, lines))| {
            for block in 0..blocks {
                let first = block * BLOCK;
                let count = BLOCK.min(depth - first);
                for index in 0..lines.len() / blocks {
                    let output = task * TOGETHER + index;
                    let mut numbers = [0.0; BLOCK];
                    for (offset, number) in numbers[..count].iter_mut().enumerate() {
                        *number = values[(first + offset) * strides[0] + output * strides[1]];
                    }
                    let at = index * blocks + block;
                    let bytes = &mut codes[at * bits.block_bytes()..][..bits.block_bytes()];
                    lines[at] = encode_block(&numbers[..count], bits, bytes).map_err(|offset| {
                        Error::NotQuantisable {
                            input: first + offset,
                            output,
                            value: numbers[offset].to_string(),
                        }
                    })?;
                }
            }
            Ok(())
        })?;
        Ok(Self::new(bits, [depth, columns], codes, lines))
    }
}

/// Writes the codes of one block, or says which number cannot be had.
fn encode_block(numbers: &[f32], bits: Bits, bytes: &mut [u8]) -> Result<Line, usize> {
    let largest_f16 = f16::MAX.to_f32();
    let refused = numbers
        .iter()
        .position(|number| number.is_nan() || number.abs() > largest_f16);
    if let Some(offset) = refused {
        return Err(offset);
    }
    let least = numbers.iter().copied().fold(f32::INFINITY, f32::min);
    let most = numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let minimum = down(least);
    let start = minimum.to_f32();
    let largest = f32::from(bits.largest());
    let mut scale = f16::from_f32((most - start) / largest);
    // The nearest f16 may leave the largest number out of reach; the next one does not.
    if scale.to_f32().mul_add(largest, start) < most {
        scale = f16::from_bits(scale.to_bits() + 1);
    }
    let inverse = match scale.to_f32() {
        0.0 => 0.0,
        scale => f64::from(scale).recip(),
    };
    let code = |number: f32| {
        // In f64, in which the difference is exact enough to round to the nearest code.
        let code = (f64::from(number) - f64::from(start)) * inverse;
        code.round().clamp(0.0, f64::from(largest)) as u8
    };
    match bits {
        Bits::Eight => {
            for (byte, number) in bytes.iter_mut().zip(numbers) {
                *byte = code(*number);
            }
        }
        Bits::Four => {
            for (offset, number) in numbers.iter().enumerate() {
                bytes[offset % (BLOCK / 2)] |= code(*number) << (4 * (offset / (BLOCK / 2)));
            }
        }
    }
    Ok(Line { scale, minimum })
}

/// The largest f16 that is not above `value`.
fn down(value: f32) -> f16 {
    let nearest = f16::from_f32(value);
    if nearest.to_f32() <= value {
        return nearest;
    }
    // The order of f16 is that of its bits, backwards below zero.
    match nearest.to_bits() {
        0 | 0x8000 => f16::from_bits(0x8001),
        bits if bits & 0x8000 == 0 => f16::from_bits(bits - 1),
        bits => f16::from_bits(bits + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_down() {
        for value in [
            0.1, -0.1, 1e-9, -1e-9, 0.0, -0.0, 1.0, -1.0, 65_503.9, -65_500.0,
        ] {
            let found = down(value);
            assert!(found.to_f32() <= value, "{value}: {found}");
            // The next one is above, or the value itself is f16.
            let exact = found.to_f32() == value;
            assert!(exact || f16::from_f32(value).to_f32() >= found.to_f32());
            assert!((value - found.to_f32()).abs() <= value.abs() / 1024.0 + 6e-8);
        }
    }

    #[test]
    fn four_bits_lie_as_ggml_lays_them() {
        let numbers: Vec<f32> = (0..32_u8).map(|i| f32::from(i * 7 % 16)).collect();
        let matrix = QuantisedMatrix::quantise_rows(&numbers, [1, 32], Bits::Four).unwrap();
        let (codes, lines) = matrix.column(0);
        assert_eq!(lines[0].scale.to_f32(), 1.0);
        assert_eq!(lines[0].minimum.to_f32(), 0.0);
        for (index, byte) in codes.iter().enumerate() {
            assert_eq!(f32::from(byte & 15), numbers[index]);
            assert_eq!(f32::from(byte >> 4), numbers[index + 16]);
        }
    }
}
