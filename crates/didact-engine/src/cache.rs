//! Keys and values of the tokens that a generation has read.
//!
//! A cache owns one row a live sequence: its prompt, shared with the sequences that continue the same
//! prompt, and the tokens it sampled since. It knows no ids and no sampling. [`HostCache`] attends on
//! the host over plain buffers; [`DeviceCache`] is the plain reference in tensor operations.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData, activation::softmax};
use didact_core::{Error, Result};
use didact_kernels::PackedLayout;
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
        let simd = pulp::Arch::new();
        let rows = &self.rows;
        out.par_chunks_mut(group)
            .zip(q.par_chunks(group))
            .enumerate()
            .for_each_init(Vec::new, |scores, (task, (out, q))| {
                let row = &rows[task / key_value];
                let keys = KeyHead {
                    parts: [&row.prompt[layer], &row.own[layer]],
                    offset: task % key_value * width,
                    stride: token,
                };
                simd.dispatch(|| keys.attend(q, width, scale as f32, scores, out));
            });
        Ok(Tensor::from_data(TensorData::new(out, shape), &device))
    }

    fn retain(&mut self, keep: &[bool]) {
        retain_by(&mut self.rows, keep);
    }
}

/// The keys and values of one head of one sequence: the prompt's, then its own.
struct KeyHead<'a> {
    parts: [&'a HostLayer; 2],
    offset: usize,
    stride: usize,
}

impl KeyHead<'_> {
    /// `out = Σₜ softmaxₜ(scale · q·kₜ) · vₜ` for each query head of `q`, `[heads, width]`, in f32 and in
    /// the order of the tokens.
    #[inline(always)]
    fn attend(&self, q: &[f32], width: usize, scale: f32, scores: &mut Vec<f32>, out: &mut [f32]) {
        let heads = q.len() / width;
        let tokens: usize = self
            .parts
            .iter()
            .map(|part| part.keys.len() / self.stride)
            .sum();
        scores.clear();
        scores.resize(heads * tokens, 0.0);

        let mut first = 0;
        for part in self.parts {
            for (t, key) in part.keys.chunks_exact(self.stride).enumerate() {
                let key = &key[self.offset..self.offset + width];
                for (head, q) in q.chunks_exact(width).enumerate() {
                    scores[head * tokens + first + t] = dot(q, key) * scale;
                }
            }
            first += part.keys.len() / self.stride;
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
        for part in self.parts {
            for (t, value) in part.values.chunks_exact(self.stride).enumerate() {
                let value = &value[self.offset..self.offset + width];
                for (head, out) in out.chunks_exact_mut(width).enumerate() {
                    let weight = scores[head * tokens + first + t];
                    out.iter_mut()
                        .zip(value)
                        .for_each(|(out, value)| *out += weight * value);
                }
            }
            first += part.values.len() / self.stride;
        }
    }
}

/// The product of two vectors, in sixteen interleaved sums that the compiler keeps in SIMD lanes.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0f32; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
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
