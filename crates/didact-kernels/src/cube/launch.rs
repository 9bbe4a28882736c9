//! How kernels are launched: sizes by the device's properties, and results' memory.
//!
//! Every choice that depends on a device is made here.
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::backend::cubecl::dtype_to_storage_type;
use burn::tensor::{Bytes, DType, Shape};
use burn_cubecl::tensor::CubeTensor;
use cubecl::features::Plane;
use cubecl::ir::ElemType;
use cubecl::{CubeCount, CubeDim};

/// Most units of a cube; WebGPU promises no more than this.
pub(super) const MOST_UNITS: u32 = 256;
/// Most bytes of shared memory of a cube: what NVIDIA's devices since sm_80 all have, and what the sources that
/// `cuda_sources` gives are made for.
pub(super) const MOST_SHARED_BYTES: usize = 99 << 10;
/// Cubes along one axis; WebGPU allows 65 535.
const MOST_CUBES: usize = 32_768;

/// What kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tile {
    /// Units of a cube, a power of two.
    pub(super) units: usize,
    /// Whether units of a plane can add their numbers up.
    pub(super) planes: bool,
}

impl Tile {
    /// What the tensor's device is best at.
    pub(super) fn of(tensor: &CubeTensor) -> Self {
        let properties = tensor.client.properties();
        let hardware = &properties.hardware;
        let most = hardware.max_cube_dim.0.min(hardware.max_units_per_cube);
        let units = 1 << most.clamp(1, MOST_UNITS).ilog2();
        // A plane larger than the cube would add up units that are not there.
        let fits = hardware.plane_size_max > 1 && hardware.plane_size_max as usize <= units;
        Self {
            units,
            planes: fits && properties.features.plane.contains(Plane::Ops),
        }
    }

    pub(super) fn dim(self) -> CubeDim {
        CubeDim::new_1d(self.units as u32)
    }

    /// Cubes for one unit an element.
    pub(super) fn count(self, elements: usize) -> CubeCount {
        cubes(elements.div_ceil(self.units))
    }
}

/// What attention's kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AttentionTile {
    /// Query rows times the heads of a group that a block holds at most.
    pub(super) slots: usize,
    /// Keys in shared memory at a time.
    pub(super) keys: usize,
    /// Width of a head.
    pub(super) size: usize,
    /// Units that share a slot, or a key.
    pub(super) lanes: usize,
}

impl AttentionTile {
    /// Rows of `size` numbers that fit, when `per_slot` and `per_key` of them are kept for each slot and key, and
    /// `tables` numbers for each pair: the largest of square tiles.
    fn fitting(
        group: usize,
        size: usize,
        shared_bytes: usize,
        [per_slot, per_key, tables]: [usize; 3],
    ) -> Self {
        let numbers = shared_bytes / DType::F32.size();
        let needs = |slots: usize, keys: usize| {
            (per_slot * slots + per_key * keys) * (size + 1)
                + tables * slots.max(keys) * (slots.min(keys) + 1)
        };
        // A block holds at least one row with its whole group.
        let least = group.next_power_of_two();
        let edge = [32, 16, 8, 4]
            .into_iter()
            .find(|&edge| needs(edge.max(least), edge) <= numbers);
        let keys = edge.unwrap_or(2);
        let slots = keys.max(least);
        Self {
            slots,
            keys,
            size,
            lanes: 1,
        }
    }

    /// So many units an owner as the cube has, at most.
    fn shared_by(mut self, owners: usize, lanes: usize, units: usize) -> Self {
        self.lanes = lanes.min(units / owners).clamp(1, self.size);
        self
    }

    /// For values: of heads of `size` numbers, `group` of them to a key head, on a device with so many bytes of shared
    /// memory and units a cube. So too the next two.
    pub(super) fn forward(group: usize, size: usize, shared_bytes: usize, units: usize) -> Self {
        let tile = Self::fitting(group, size, shared_bytes, [1, 1, 1]);
        tile.shared_by(tile.slots, 8, units)
    }

    /// For the gradient of queries. With fewer numbers a unit than 64, ptxas spills some of what a loop leaves alone.
    pub(super) fn of_queries(group: usize, size: usize, shared_bytes: usize, units: usize) -> Self {
        let tile = Self::fitting(group, size, shared_bytes, [2, 1, 1]);
        tile.shared_by(tile.slots, size / 64, units)
    }

    /// For the gradients of keys and values: two numbers a column, so half as many columns a unit.
    pub(super) fn of_keys(group: usize, size: usize, shared_bytes: usize, units: usize) -> Self {
        let tile = Self::fitting(group, size, shared_bytes, [1, 2, 2]);
        tile.shared_by(tile.keys, size / 32, units)
    }

    /// One of the three above on the device of these queries and keys.
    pub(super) fn on_device(
        choose: fn(usize, usize, usize, usize) -> Self,
        q: &CubeTensor,
        k: &CubeTensor,
    ) -> Self {
        let (heads, size) = (q.meta.shape()[1], q.meta.shape()[2]);
        let shared_bytes = q.client.properties().hardware.max_shared_memory_size;
        let shared_bytes = shared_bytes.min(MOST_SHARED_BYTES);
        choose(
            heads / k.meta.shape()[1],
            size,
            shared_bytes,
            Tile::of(q).units,
        )
    }

    /// The units of a cube in which `owners` slots or keys are worked on.
    pub(super) fn dim(self, owners: usize) -> CubeDim {
        CubeDim::new_1d((owners * self.lanes) as u32)
    }
}

/// Rows up to which a product with a quantised weight reads its codes as it goes. Each output reads all rows anew, so
/// with more of them decoding the weight first moves fewer bytes.
pub(super) const MOST_STREAMED_ROWS: usize = 2;

/// A list of numbers on the device.
pub(super) fn float_numbers(like: &CubeTensor, values: &[f32]) -> CubeTensor {
    let client = like.client.clone();
    let shape = Shape::from([values.len()]);
    let buffer = client.create(Bytes::from_elems(values.to_vec()));
    CubeTensor::new_contiguous(client, like.device.clone(), shape, buffer, DType::F32)
}

/// Bytes on the device, four to a word, the first of them lowest.
pub(super) fn words(like: &CubeTensor, bytes: &[u8]) -> CubeTensor {
    let client = like.client.clone();
    let word = |bytes: &[u8]| {
        let mut word = [0; 4];
        word[..bytes.len()].copy_from_slice(bytes);
        u32::from_le_bytes(word)
    };
    let words: Vec<u32> = bytes.chunks(4).map(word).collect();
    let shape = Shape::from([words.len()]);
    let buffer = client.create(Bytes::from_elems(words));
    CubeTensor::new_contiguous(client, like.device.clone(), shape, buffer, DType::U32)
}

/// A list of whole numbers on the device.
pub(super) fn numbers(like: &CubeTensor, values: &[i32]) -> CubeTensor {
    let client = like.client.clone();
    let shape = Shape::from([values.len()]);
    let buffer = client.create(Bytes::from_elems(values.to_vec()));
    CubeTensor::new_contiguous(client, like.device.clone(), shape, buffer, DType::I32)
}

/// Products of a tile of the vocabulary, or decoded weights, that are in memory at a time: 64 MiB in f32.
static MOST_NUMBERS: AtomicUsize = AtomicUsize::new(1 << 24);
/// Tokens of the smallest tile, unless the vocabulary is smaller: fewer leave matrix units idle.
static FEWEST_TOKENS: AtomicUsize = AtomicUsize::new(1024);

/// Makes tiles so small that small tests have several; results stay the same but for rounding.
#[doc(hidden)]
pub fn limit_tiles(most_numbers: usize, fewest_tokens: usize) {
    MOST_NUMBERS.store(most_numbers, Ordering::Relaxed);
    FEWEST_TOKENS.store(fewest_tokens, Ordering::Relaxed);
}

/// Tokens of a tile of the vocabulary for so many rows.
pub(super) fn vocabulary_tile(rows: usize, vocabulary: usize) -> usize {
    let fewest = FEWEST_TOKENS.load(Ordering::Relaxed);
    let most = MOST_NUMBERS.load(Ordering::Relaxed) / rows.max(1) / fewest * fewest;
    most.max(fewest).min(vocabulary).max(1)
}

/// Outputs of a weight whose numbers, `depth` each, are decoded at a time.
pub(super) fn panel(depth: usize, outputs: usize) -> usize {
    (MOST_NUMBERS.load(Ordering::Relaxed) / depth.max(1)).clamp(1, outputs.max(1))
}

/// So many cubes, in two dimensions where one axis does not hold them.
pub(super) fn cubes(count: usize) -> CubeCount {
    CubeCount::Static(
        count.min(MOST_CUBES) as u32,
        count.div_ceil(MOST_CUBES) as u32,
        1,
    )
}

/// Memory for a result beside `like`.
pub(super) fn empty(like: &CubeTensor, shape: Shape, dtype: DType) -> CubeTensor {
    let client = like.client.clone();
    let buffer = client.empty(shape.num_elements() * dtype.size());
    CubeTensor::new_contiguous(client, like.device.clone(), shape, buffer, dtype)
}

/// What a kernel is compiled for to read and write tensors of this type.
pub(super) fn element(tensor: &CubeTensor) -> ElemType {
    dtype_to_storage_type(tensor.dtype)
}
