//! The arithmetic of ggml's blocks.
//!
//! Knows how one block of each type becomes numbers; knows no file. Layouts and formulas follow
//! `ggml-common.h` and `ggml-quants.c` of ggml. All numbers are little-endian, and every product
//! and sum is rounded to f32 in the order written, as ggml's plain code does, so that the results
//! are the same to the bit.

use half::{bf16, f16};

use crate::{Error, Result, TensorType};

/// Turns whole blocks of `kind` into numbers.
///
/// With `d` and `m` binary16 scales and `q` the block's small integers, an element is
///
/// | type | element |
/// |---|---|
/// | F32, F16, BF16 | the number itself |
/// | Q8_0 | `d · q`, q in -128..=127 |
/// | Q4_0 | `d · (q - 8)`, q in 0..=15 |
/// | Q4_1 | `d · q + m`, q in 0..=15 |
/// | Q5_0 | `d · (q - 16)`, q in 0..=31 |
/// | Q5_1 | `d · q + m`, q in 0..=31 |
/// | Q4_K | `(d · s) · q - (m · t)`, q in 0..=15, six-bit s and t per 32 elements |
/// | Q6_K | `(d · s) · (q - 32)`, q in 0..=63, signed eight-bit s per 16 elements |
///
/// # Errors
///
/// If the type is unsupported or the bytes are not whole blocks of exactly `elements` elements.
pub fn dequantise(kind: TensorType, bytes: &[u8], elements: usize) -> Result<Vec<f32>> {
    let ragged = || Error::RaggedBlocks {
        kind,
        bytes: bytes.len(),
        elements,
    };
    let (block_elements, block_bytes) = kind.block().ok_or_else(ragged)?;
    if !bytes.len().is_multiple_of(block_bytes)
        || (bytes.len() / block_bytes).checked_mul(block_elements) != Some(elements)
    {
        return Err(ragged());
    }
    let mut numbers = Vec::with_capacity(elements);
    let decode = match kind {
        TensorType::F32 => f32_block,
        TensorType::F16 => f16_block,
        TensorType::Bf16 => bf16_block,
        TensorType::Q8_0 => q8_0,
        TensorType::Q4_0 => q4_0,
        TensorType::Q4_1 => q4_1,
        TensorType::Q5_0 => q5_0,
        TensorType::Q5_1 => q5_1,
        TensorType::Q4K => q4_k,
        TensorType::Q6K => q6_k,
        TensorType::Unsupported(_) => return Err(ragged()),
    };
    for block in bytes.chunks_exact(block_bytes) {
        decode(block, &mut numbers);
    }
    Ok(numbers)
}

/// The binary16 at byte `at`.
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn f32_block(block: &[u8], out: &mut Vec<f32>) {
    out.push(f32::from_le_bytes([block[0], block[1], block[2], block[3]]));
}

fn f16_block(block: &[u8], out: &mut Vec<f32>) {
    out.push(half_at(block, 0));
}

fn bf16_block(block: &[u8], out: &mut Vec<f32>) {
    out.push(bf16::from_le_bytes([block[0], block[1]]).to_f32());
}

/// `d` (2 bytes), 32 signed bytes.
fn q8_0(block: &[u8], out: &mut Vec<f32>) {
    let scale = half_at(block, 0);
    out.extend(block[2..].iter().map(|&byte| scale * f32::from(byte as i8)));
}

/// `d` (2 bytes), 16 bytes: low nibbles are elements 0..16, high nibbles 16..32.
fn q4_0(block: &[u8], out: &mut Vec<f32>) {
    let scale = half_at(block, 0);
    let nibbles = &block[2..];
    out.extend(
        nibbles
            .iter()
            .map(|&byte| scale * (f32::from(byte & 15) - 8.0)),
    );
    out.extend(
        nibbles
            .iter()
            .map(|&byte| scale * (f32::from(byte >> 4) - 8.0)),
    );
}

/// `d`, `m` (2 bytes each), nibbles as in Q4_0.
fn q4_1(block: &[u8], out: &mut Vec<f32>) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    let nibbles = &block[4..];
    out.extend(
        nibbles
            .iter()
            .map(|&byte| scale * f32::from(byte & 15) + minimum),
    );
    out.extend(
        nibbles
            .iter()
            .map(|&byte| scale * f32::from(byte >> 4) + minimum),
    );
}

/// The 32 five-bit numbers: four fifth bits bytes (bit `j` belongs to element `j`), then nibbles
/// as in Q4_0.
fn five_bits(fields: &[u8]) -> impl Iterator<Item = f32> + '_ {
    let high = u32::from_le_bytes([fields[0], fields[1], fields[2], fields[3]]);
    (0..32).map(move |element| {
        let byte = fields[4 + element % 16];
        let low = if element < 16 { byte & 15 } else { byte >> 4 };
        let fifth = (high >> element & 1) as u8;
        f32::from(low | fifth << 4)
    })
}

/// `d` (2 bytes), fifth bits (4), nibbles (16).
fn q5_0(block: &[u8], out: &mut Vec<f32>) {
    let scale = half_at(block, 0);
    out.extend(five_bits(&block[2..]).map(|number| scale * (number - 16.0)));
}

/// `d`, `m` (2 bytes each), fifth bits (4), nibbles (16).
fn q5_1(block: &[u8], out: &mut Vec<f32>) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    out.extend(five_bits(&block[4..]).map(|number| scale * number + minimum));
}

/// The six-bit scale and minimum of group `group` (0..8) out of Q4_K's twelve bytes: groups 0..4
/// have theirs in the low six bits of bytes 0..4 and 4..8; groups 4..8 have four bits each in bytes
/// 8..12 and the two others in the top bits of bytes 0..4 and 4..8.
fn six_bit_pair(packed: &[u8], group: usize) -> (f32, f32) {
    let (scale, minimum) = if group < 4 {
        (packed[group] & 63, packed[group + 4] & 63)
    } else {
        let low = packed[group + 4];
        (
            low & 15 | packed[group - 4] >> 6 << 4,
            low >> 4 | packed[group] >> 6 << 4,
        )
    };
    (f32::from(scale), f32::from(minimum))
}

/// `d`, `m` (2 bytes each), 12 bytes of scales and minima, 128 bytes: each 32 hold 64 elements, the
/// low nibbles one group and the high nibbles the next.
fn q4_k(block: &[u8], out: &mut Vec<f32>) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    let (packed, nibbles) = (&block[4..16], &block[16..]);
    for (pair, bytes) in nibbles.chunks_exact(32).enumerate() {
        for (half, shift) in [0, 4].into_iter().enumerate() {
            let (group_scale, group_minimum) = six_bit_pair(packed, 2 * pair + half);
            let (slope, offset) = (scale * group_scale, minimum * group_minimum);
            out.extend(
                bytes
                    .iter()
                    .map(|&byte| slope * f32::from(byte >> shift & 15) - offset),
            );
        }
    }
}

/// 128 bytes of low nibbles, 64 bytes of upper bit pairs, 16 signed scales, `d` (2 bytes). Each half
/// of the block (128 elements) has 64, 32 and 8 of them: element `32·quarter + l` takes its nibble
/// from byte `l + 32·(quarter mod 2)` (high for quarters 2 and 3) and its bit pair from byte `l` at
/// bit `2·quarter`; 16 elements share a scale.
fn q6_k(block: &[u8], out: &mut Vec<f32>) {
    let scale = half_at(block, 208);
    for half in 0..2 {
        let low = &block[64 * half..][..64];
        let high = &block[128 + 32 * half..][..32];
        let scales = &block[192 + 8 * half..][..8];
        for quarter in 0..4 {
            for element in 0..32 {
                let byte = low[element + 32 * (quarter % 2)];
                let nibble = if quarter < 2 { byte & 15 } else { byte >> 4 };
                let number = nibble | (high[element] >> (2 * quarter) & 3) << 4;
                let group_scale = scales[2 * quarter + element / 16] as i8;
                let slope = scale * f32::from(group_scale);
                out.push(slope * (f32::from(number) - 32.0));
            }
        }
    }
}
