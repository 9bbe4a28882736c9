//! The CPU implementations, over the Flex backend's f32 tensors.
//!
//! Shared here: reading and making Flex tensors. Every implementation computes each output element in
//! an order that depends on shapes only, so results are the same, bit for bit, for any thread count.
mod adamw;
mod attention;
mod cache;
mod gated;
mod linear;
mod linear_kl;
mod linear_log_prob;
mod norm;
mod product;
mod projection;
mod quantised;
mod rotary;
mod streamed;
mod vectorised;

pub(crate) use adamw::adamw;
pub(crate) use quantised::decode;

use std::mem::MaybeUninit;

use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{FlexTensor, Layout};
use rayon::prelude::*;

/// Why an optional gradient is there.
const WANTED: &str = "a gradient that is wanted is made";

/// The tensor itself where its elements are consecutive, else a copy that is.
fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// The elements of a contiguous f32 tensor.
fn floats(tensor: &FlexTensor) -> &[f32] {
    tensor
        .as_slice::<f32>()
        .expect("the dispatch passes f32, made contiguous")
}

/// The elements of an index tensor, each checked to be below `limit`.
///
/// # Panics
/// When an index is out of range; `what` names the list.
fn indices(tensor: &FlexTensor, limit: usize, what: &str) -> Vec<usize> {
    let tensor = contiguous(tensor.clone());
    let wide: Vec<i64> = match tensor.dtype() {
        DType::I64 => tensor.as_slice::<i64>().expect("made contiguous").to_vec(),
        DType::I32 => widened(tensor.as_slice::<i32>().expect("made contiguous")),
        DType::U32 => widened(tensor.as_slice::<u32>().expect("made contiguous")),
        other => panic!("{what} must be 32-bit or signed 64-bit integers, got {other:?}"),
    };
    wide.into_iter()
        .enumerate()
        .map(|(entry, index)| match usize::try_from(index) {
            Ok(index) if index < limit => index,
            _ => panic!("entry {entry} of {what} is {index}, which is not below {limit}"),
        })
        .collect()
}

fn widened<I: Copy + Into<i64>>(values: &[I]) -> Vec<i64> {
    values.iter().map(|value| (*value).into()).collect()
}

/// A contiguous f32 tensor that takes over the values.
fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    debug_assert_eq!(values.len(), shape.iter().product::<usize>());
    let layout = Layout::contiguous(Shape::from(shape));
    FlexTensor::new(Bytes::from_elems(values), layout, DType::F32)
}

/// Buffers of `count` numbers, which `fill` writes in parallel, in chunks of `chunk`; it is given each chunk's
/// index and the zeros at its place in every buffer.
///
/// Zeros that one thread writes over a whole buffer before others compute it are time that they all wait for.
fn filled<const B: usize>(
    count: usize,
    chunk: usize,
    fill: impl Fn(usize, [&mut [f32]; B]) + Sync,
) -> [Vec<f32>; B] {
    let mut buffers: [Vec<f32>; B] = std::array::from_fn(|_| Vec::with_capacity(count));
    let mut chunks = buffers
        .each_mut()
        .map(|buffer| buffer.spare_capacity_mut()[..count].chunks_mut(chunk.max(1)));
    let parts: Vec<[&mut [MaybeUninit<f32>]; B]> = (0..count.div_ceil(chunk.max(1)))
        .map(|_| {
            chunks
                .each_mut()
                .map(|chunks| chunks.next().expect("all buffers have as many"))
        })
        .collect();
    parts
        .into_par_iter()
        .enumerate()
        .for_each(|(index, parts)| {
            fill(
                index,
                parts.map(|part| {
                    part.fill(MaybeUninit::new(0.0));
                    // SAFETY: all of it has just been written.
                    unsafe { part.assume_init_mut() }
                }),
            );
        });
    for buffer in &mut buffers {
        // SAFETY: the chunks cover the first `count` elements, and each has been written.
        unsafe { buffer.set_len(count) };
    }
    buffers
}
