//! Keys and values of the tokens that a generation has read.
//!
//! A cache owns one row a live sequence: its prompt, shared with the sequences that continue the same
//! prompt, and the tokens it sampled since. It knows no ids and no sampling. [`HostCache`] attends on
//! the host over plain buffers; [`DeviceCache`] is the plain reference in tensor operations.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData, activation::softmax};
use didact_core::{Error, Result};
use didact_kernels::PackedLayout;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// What a cache must know of attention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads {
    /// Query heads.
    pub(crate) query: usize,
    /// Key and value heads; divides the query heads.
    pub(crate) key_value: usize,
    /// Width of one head.
    pub(crate) width: usize,
    /// Multiplies the products of queries and keys.
    pub(crate) scale: f64,
}

/// Keeps the keys and values of live sequences and attends over them.
pub(crate) trait KeyValueCache {
    /// The keys and values of one prompt, in every layer; cheap to clone.
    type Prompt: Clone;

    /// Cuts the packed keys and values of each layer, `[N, Hkv, D]`, into one prompt a root segment.
    fn prompts(
        &self,
        layers: Vec<(Tensor<3>, Tensor<3>)>,
        layout: &PackedLayout,
    ) -> Result<Vec<Self::Prompt>>;

    /// Adds a row that continues `prompt`.
    fn admit(&mut self, prompt: Self::Prompt);

    /// Appends one token's key and value to every row, `[B, Hkv, D]`, and attends with its query,
    /// `[B, Hq, D]`, over all of the row's tokens.
    fn attend(
        &mut self,
        layer: usize,
        q: Tensor<3>,
        k: Tensor<3>,
        v: Tensor<3>,
    ) -> Result<Tensor<3>>;

    /// Drops the rows that `keep` says no to.
    fn retain(&mut self, keep: &[bool]);
}

/// Keeps the elements that `keep` says yes to, in order.
pub(crate) fn retain_by<T>(items: &mut Vec<T>, keep: &[bool]) {
    let mut keep = keep.iter();
    items.retain(|_| keep.next().copied().unwrap_or(true));
}

/// Keys and values in host memory: appending copies one token, and a prompt is never copied.
#[derive(Debug)]
pub(crate) struct HostCache {
    heads: Heads,
    rows: Vec<HostRow>,
}

#[derive(Debug)]
struct HostRow {
    prompt: Arc<Vec<HostLayer>>,
    own: Vec<HostLayer>,
}

/// One layer's keys and values of consecutive tokens, each `[tokens, Hkv, D]`.
#[derive(Debug, Default)]
pub(crate) struct HostLayer {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl HostCache {
    pub(crate) const fn new(heads: Heads) -> Self {
        Self {
            heads,
            rows: Vec::new(),
        }
    }
}

fn read(tensor: Tensor<3>) -> Result<Vec<f32>> {
    tensor
        .try_into_vec_as::<f32>()
        .map_err(|error| Error::Other(error.into()))
}

impl KeyValueCache for HostCache {
    type Prompt = Arc<Vec<HostLayer>>;

    fn prompts(
        &self,
        layers: Vec<(Tensor<3>, Tensor<3>)>,
        layout: &PackedLayout,
    ) -> Result<Vec<Self::Prompt>> {
        let width = self.heads.key_value * self.heads.width;
        let segments = layout.segments().len();
        let mut prompts: Vec<Vec<HostLayer>> = (0..segments).map(|_| Vec::new()).collect();
        for (keys, values) in layers {
            let (keys, values) = (read(keys)?, read(values)?);
            for (segment, prompt) in prompts.iter_mut().enumerate() {
                let own = layout.own_range(segment);
                let range = own.start * width..own.end * width;
                prompt.push(HostLayer {
                    keys: keys[range.clone()].to_vec(),
                    values: values[range].to_vec(),
                });
            }
        }
        Ok(prompts.into_iter().map(Arc::new).collect())
    }

    fn admit(&mut self, prompt: Self::Prompt) {
        let own = prompt.iter().map(|_| HostLayer::default()).collect();
        self.rows.push(HostRow { prompt, own });
    }

    fn attend(
        &mut self,
        layer: usize,
        q: Tensor<3>,
        k: Tensor<3>,
        v: Tensor<3>,
    ) -> Result<Tensor<3>> {
        let Heads {
            query,
            key_value,
            width,
            scale,
        } = self.heads;
        let (shape, device) = (q.dims(), q.device());
        let (q, k, v) = (read(q)?, read(k)?, read(v)?);
        let token = key_value * width;
        for ((row, k), v) in self
            .rows
            .iter_mut()
            .zip(k.chunks(token))
            .zip(v.chunks(token))
        {
            row.own[layer].keys.extend_from_slice(k);
            row.own[layer].values.extend_from_slice(v);
        }
        // One task a row and key head: the query heads that share the key head.
        let group = query / key_value * width;
        let mut out = vec![0.0; q.len()];
        let simd = Arch::new();
        let rows = &self.rows;
        out.par_chunks_mut(group)
            .zip(q.par_chunks(group))
            .enumerate()
            .for_each_init(Vec::new, |scores, (task, (out, q))| {
                let row = &rows[task / key_value];
                simd.dispatch(HeadAttention {
                    parts: [&row.prompt[layer], &row.own[layer]],
                    offset: task % key_value * width,
                    stride: token,
                    width,
                    scale: scale as f32,
                    q,
                    scores,
                    out,
                });
            });
        Ok(Tensor::from_data(TensorData::new(out, shape), &device))
    }

    fn retain(&mut self, keep: &[bool]) {
        retain_by(&mut self.rows, keep);
    }
}

/// Attention of the query heads that share one key head of one sequence:
/// `out = Σₜ softmaxₜ(scale · q·kₜ) · vₜ`, in f32 and in the order of the tokens.
struct HeadAttention<'a> {
    /// The prompt's keys and values, then the sequence's own.
    parts: [&'a HostLayer; 2],
    /// Where the key head begins within a token.
    offset: usize,
    /// Numbers a token, `Hkv · D`.
    stride: usize,
    width: usize,
    scale: f32,
    /// `[heads, D]`.
    q: &'a [f32],
    scores: &'a mut Vec<f32>,
    /// `[heads, D]`.
    out: &'a mut [f32],
}

impl WithSimd for HeadAttention<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            parts,
            offset,
            stride,
            width,
            scale,
            q,
            scores,
            out,
        } = self;
        let tokens: usize = parts.iter().map(|part| part.keys.len() / stride).sum();
        scores.clear();
        scores.resize(q.len() / width * tokens, 0.0);

        let mut first = 0;
        for part in parts {
            for (t, key) in part.keys.chunks_exact(stride).enumerate() {
                let key = &key[offset..offset + width];
                for (head, q) in q.chunks_exact(width).enumerate() {
                    scores[head * tokens + first + t] = dot(simd, q, key) * scale;
                }
            }
            first += part.keys.len() / stride;
        }

        for scores in scores.chunks_exact_mut(tokens) {
            let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0;
            for score in scores.iter_mut() {
                *score = (*score - max).exp();
                sum += f64::from(*score);
            }
            let normaliser = (1.0 / sum) as f32;
            scores.iter_mut().for_each(|score| *score *= normaliser);
        }

        out.fill(0.0);
        let mut first = 0;
        for part in parts {
            let tokens_here = part.values.len() / stride;
            let value = |t: usize| &part.values[t * stride + offset..][..width];
            for (scores, out) in scores.chunks_exact(tokens).zip(out.chunks_exact_mut(width)) {
                let (fours, rest) = scores[first..first + tokens_here].as_chunks::<4>();
                for (four, &weights) in fours.iter().enumerate() {
                    let t = 4 * four;
                    let values = [value(t), value(t + 1), value(t + 2), value(t + 3)];
                    add_four(simd, out, weights, values);
                }
                for (t, &weight) in rest.iter().enumerate() {
                    let value = value(4 * fours.len() + t);
                    out.iter_mut()
                        .zip(value)
                        .for_each(|(out, value)| *out += weight * value);
                }
            }
            first += tokens_here;
        }
    }
}

/// The product of two vectors of one length.
#[inline(always)]
fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = S::as_simd_f32s(a);
    let (b, b_rest) = S::as_simd_f32s(b);
    let sums = a
        .iter()
        .zip(b)
        .fold(simd.splat_f32s(0.0), |sums, (&a, &b)| {
            simd.mul_add_e_f32s(a, b, sums)
        });
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    simd.reduce_sum_f32s(sums) + rest
}

/// `out += Σᵢ wᵢ·vᵢ` for four vectors at once, so that `out` is read and written once for all.
#[inline(always)]
fn add_four<S: Simd>(simd: S, out: &mut [f32], weights: [f32; 4], values: [&[f32]; 4]) {
    let [va, vb, vc, vd] = values;
    let (a, a_rest) = S::as_simd_f32s(va);
    let (b, b_rest) = S::as_simd_f32s(vb);
    let (c, c_rest) = S::as_simd_f32s(vc);
    let (d, d_rest) = S::as_simd_f32s(vd);
    let [wa, wb, wc, wd] = weights;
    let (la, lb) = (simd.splat_f32s(wa), simd.splat_f32s(wb));
    let (lc, ld) = (simd.splat_f32s(wc), simd.splat_f32s(wd));
    let (out, out_rest) = S::as_mut_simd_f32s(out);
    for ((((out, &a), &b), &c), &d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        let sum = simd.mul_add_e_f32s(a, la, *out);
        let sum = simd.mul_add_e_f32s(b, lb, sum);
        let sum = simd.mul_add_e_f32s(c, lc, sum);
        *out = simd.mul_add_e_f32s(d, ld, sum);
    }
    let rest = out_rest
        .iter_mut()
        .zip(a_rest)
        .zip(b_rest)
        .zip(c_rest)
        .zip(d_rest);
    for ((((out, a), b), c), d) in rest {
        *out += (wa * a + wb * b) + (wc * c + wd * d);
    }
}

/// Keys and values on the model's device, in plain tensor operations: the reference, which copies a
/// row's keys and values at every token.
#[derive(Debug)]
pub(crate) struct DeviceCache {
    heads: Heads,
    /// Of each row and layer the keys and values, `[tokens, Hkv, D]`.
    rows: Vec<Vec<(Tensor<3>, Tensor<3>)>>,
}

impl DeviceCache {
    pub(crate) const fn new(heads: Heads) -> Self {
        Self {
            heads,
            rows: Vec::new(),
        }
    }
}

impl KeyValueCache for DeviceCache {
    type Prompt = Vec<(Tensor<3>, Tensor<3>)>;

    fn prompts(
        &self,
        layers: Vec<(Tensor<3>, Tensor<3>)>,
        layout: &PackedLayout,
    ) -> Result<Vec<Self::Prompt>> {
        let cut = |tensor: &Tensor<3>, segment: usize| {
            tensor.clone().slice_dim(0, layout.own_range(segment))
        };
        Ok((0..layout.segments().len())
            .map(|s| layers.iter().map(|(k, v)| (cut(k, s), cut(v, s))).collect())
            .collect())
    }

    fn admit(&mut self, prompt: Self::Prompt) {
        self.rows.push(prompt);
    }

    fn attend(
        &mut self,
        layer: usize,
        q: Tensor<3>,
        k: Tensor<3>,
        v: Tensor<3>,
    ) -> Result<Tensor<3>> {
        let Heads {
            query,
            key_value,
            width,
            scale,
        } = self.heads;
        let append = |kept: &Tensor<3>, new: &Tensor<3>, row: usize| {
            Tensor::cat(
                vec![kept.clone(), new.clone().slice_dim(0, row..row + 1)],
                0,
            )
        };
        let rows = self.rows.iter_mut().enumerate().map(|(row, layers)| {
            let (keys, values) = &mut layers[layer];
            *keys = append(keys, &k, row);
            *values = append(values, &v, row);
            let q = q.clone().slice_dim(0, row..row + 1);
            let q = q.reshape([key_value, query / key_value, width]);
            // [Hkv, queries of a key head, tokens]
            let scores = q.matmul(keys.clone().permute([1, 2, 0])).mul_scalar(scale);
            let out = softmax(scores, 2).matmul(values.clone().swap_dims(0, 1));
            out.reshape([1, query, width])
        });
        Ok(Tensor::cat(rows.collect(), 0))
    }

    fn retain(&mut self, keep: &[bool]) {
        retain_by(&mut self.rows, keep);
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use didact_core::RandomStream;
    use didact_kernels::Segment;

    use super::*;

    fn random(seed: u64, shape: [usize; 3]) -> Tensor<3> {
        let stream = RandomStream::new(seed);
        let count = shape.iter().product::<usize>() as u64;
        let values: Vec<f32> = (0..count)
            .map(|i| stream.uniform(i) as f32 * 4.0 - 2.0)
            .collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    /// Two prompts, three rows, then one row leaves and another comes.
    fn run<C: KeyValueCache>(mut cache: C, heads: Heads) -> Vec<Vec<f32>> {
        let Heads {
            query,
            key_value,
            width,
            ..
        } = heads;
        let layout = PackedLayout::new(&[Segment::root(3), Segment::root(5)]).unwrap();
        let layers = (0..2)
            .map(|layer| {
                let shape = [8, key_value, width];
                (random(10 + layer, shape), random(20 + layer, shape))
            })
            .collect();
        let prompts = cache.prompts(layers, &layout).unwrap();
        for prompt in [1, 0, 1] {
            cache.admit(prompts[prompt].clone());
        }
        let mut outs = Vec::new();
        let mut step = |cache: &mut C, seed: u64| {
            for layer in 0..2 {
                let q = random(seed + layer, [3, query, width]);
                let k = random(seed + 10 + layer, [3, key_value, width]);
                let v = random(seed + 20 + layer, [3, key_value, width]);
                outs.push(read(cache.attend(layer as usize, q, k, v).unwrap()).unwrap());
            }
        };
        step(&mut cache, 100);
        step(&mut cache, 200);
        cache.retain(&[true, false, true]);
        cache.admit(prompts[0].clone());
        step(&mut cache, 300);
        outs
    }

    #[test]
    fn the_host_attends_as_tensor_operations_do() {
        for (query, key_value, width) in [(6, 2, 16), (4, 4, 10), (3, 1, 40)] {
            let heads = Heads {
                query,
                key_value,
                width,
                scale: 0.3,
            };
            let host = run(HostCache::new(heads), heads);
            let device = run(DeviceCache::new(heads), heads);
            assert_eq!(host.len(), device.len());
            for (host, device) in host.iter().flatten().zip(device.iter().flatten()) {
                assert!((host - device).abs() <= 1e-5, "{host} {device}");
            }
        }
    }
}
