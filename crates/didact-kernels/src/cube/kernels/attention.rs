//! Attention over runs of consecutive queries that see ranges of keys.
//!
//! A cube works on one key head and a block of slots: a slot is one query row with one query head of the group that
//! shares the key head, so a key that is read once serves the whole group. `lanes` units share a slot. Keys come in
//! tiles through shared memory; the softmax is the running one (Milakov and Gimelshein, 2018; Dao et al., 2022).
//!
//! No access is checked on the device: blocks and ranges are made from a layout, whose rows the shapes of queries, keys
//! and values were compared with.
use cubecl::prelude::*;

/// Smaller than any score; WGSL has no infinity to begin a maximum with.
const LEAST: f32 = -3.0e38;

/// Numbers that describe a block of queries: first row, rows, first range, ranges, keys that the last row sees.
const BLOCK: usize = 5;

/// Copies rows of one head of `[rows, heads, size]` to shared memory, whose rows are one number longer so that units
/// that read one column meet no bank twice. Rows from `count` on become zero.
#[cube]
fn load<F: Float>(
    from: &Tensor<F>,
    into: &mut Shared<[f32]>,
    first: usize,
    count: usize,
    head: usize,
    #[comptime] rows: usize,
    #[comptime] size: usize,
    #[comptime] units: usize,
) {
    let heads = from.shape(1);
    let mut i = UNIT_POS as usize;
    while i < rows * size {
        let (row, column) = (i / size, i % size);
        let mut value = 0.0f32;
        if row < count {
            value = f32::cast_from(from[((first + row) * heads + head) * size + column]);
        }
        into[row * (size + 1) + column] = value;
        i += units;
    }
}

/// The same for slots: rows with the heads of a group.
#[cube]
fn load_slots<F: Float>(
    from: &Tensor<F>,
    into: &mut Shared<[f32]>,
    first: usize,
    count: usize,
    key_head: usize,
    group: usize,
    #[comptime] slots: usize,
    #[comptime] size: usize,
    #[comptime] units: usize,
) {
    let heads = from.shape(1);
    let mut i = UNIT_POS as usize;
    while i < slots * size {
        let (slot, column) = (i / size, i % size);
        let row = slot / group;
        let mut value = 0.0f32;
        if row < count {
            let head = key_head * group + slot % group;
            value = f32::cast_from(from[((first + row) * heads + head) * size + column]);
        }
        into[slot * (size + 1) + column] = value;
        i += units;
    }
}

/// The scalar product of two rows in shared memory.
#[cube]
fn dot(
    lhs: &Shared<[f32]>,
    left: usize,
    rhs: &Shared<[f32]>,
    right: usize,
    #[comptime] size: usize,
) -> f32 {
    let mut sum = 0.0f32;
    for i in 0..size {
        sum += lhs[left * (size + 1) + i] * rhs[right * (size + 1) + i];
    }
    sum
}

/// Values and log-sum-exp of every slot of one block.
///
/// Row `i` of a block of `rows` sees all but the last `rows − 1 − i` of the keys of its ranges.
#[cube(launch_unchecked)]
pub(in crate::cube) fn forward<F: Float>(
    q: &Tensor<F>,
    k: &Tensor<F>,
    v: &Tensor<F>,
    blocks: &Tensor<i32>,
    ranges: &Tensor<i32>,
    output: &mut Tensor<F>,
    log_sum_exp: &mut Tensor<f32>,
    scale: f32,
    #[comptime] slots: usize,
    #[comptime] keys: usize,
    #[comptime] size: usize,
    #[comptime] lanes: usize,
    #[define(F)] _float: ElemType,
) {
    let key_heads = k.shape(1);
    let (block, key_head) = (CUBE_POS / key_heads * BLOCK, CUBE_POS % key_heads);
    if block >= blocks.len() {
        terminate!();
    }
    let units = comptime!(slots * lanes);
    let group = q.shape(1) / key_heads;
    let first = usize::cast_from(blocks[block]);
    let rows = usize::cast_from(blocks[block + 1]);
    let first_range = usize::cast_from(blocks[block + 2]);
    let count = usize::cast_from(blocks[block + 3]);
    let seen = usize::cast_from(blocks[block + 4]);
    let unit = UNIT_POS as usize;
    let (slot, lane) = (unit / lanes, unit % lanes);
    let row = slot / group;
    let active = row < rows;
    // Keys before this place are seen by the slot.
    let mut limit = 0usize.runtime();
    if active {
        limit = seen + 1 + row - rows;
    }

    let mut queries = Shared::<[f32]>::new_slice(comptime!(slots * (size + 1)));
    let mut tile = Shared::<[f32]>::new_slice(comptime!(keys * (size + 1)));
    let mut scores = Shared::<[f32]>::new_slice(comptime!(slots * (keys + 1)));
    load_slots::<F>(
        q,
        &mut queries,
        first,
        rows,
        key_head,
        group,
        slots,
        size,
        units,
    );

    let columns = comptime!(size.div_ceil(lanes));
    let mut values = Array::<f32>::new(columns);
    for i in 0..columns {
        values[i] = 0.0f32;
    }
    let mut largest = f32::new(LEAST);
    let mut sum = 0.0f32;
    let mut place = 0usize.runtime();
    for range in first_range..first_range + count {
        let start = usize::cast_from(ranges[2 * range]);
        let length = usize::cast_from(ranges[2 * range + 1]);
        let mut from = 0usize.runtime();
        while from < length {
            let mut here = length - from;
            if here > keys {
                here = keys.runtime();
            }
            // Nobody reads the last tile any more.
            sync_cube();
            load::<F>(
                k,
                &mut tile,
                start + from,
                here,
                key_head,
                keys,
                size,
                units,
            );
            sync_cube();
            let mut key = lane;
            while key < keys {
                let mut score = f32::new(LEAST);
                if key < here && place + key < limit {
                    score = dot(&queries, slot, &tile, key, size) * scale;
                }
                scores[slot * (keys + 1) + key] = score;
                key += lanes;
            }
            sync_cube();
            load::<F>(
                v,
                &mut tile,
                start + from,
                here,
                key_head,
                keys,
                size,
                units,
            );
            sync_cube();
            if place < limit {
                // Each lane does this for its slot: cheaper than telling the others.
                let mut next = largest;
                for key in 0..keys {
                    let score = scores[slot * (keys + 1) + key];
                    if score > next {
                        next = score;
                    }
                }
                let factor = (largest - next).exp();
                sum *= factor;
                for i in 0..columns {
                    values[i] *= factor;
                }
                for key in 0..here {
                    if place + key < limit {
                        let weight = (scores[slot * (keys + 1) + key] - next).exp();
                        sum += weight;
                        for i in 0..columns {
                            let column = lane + i * lanes;
                            if column < size {
                                values[i] += weight * tile[key * (size + 1) + column];
                            }
                        }
                    }
                }
                largest = next;
            }
            place += here;
            from += keys;
        }
    }
    if active {
        let head = key_head * group + slot % group;
        let at = (first + row) * q.shape(1) + head;
        for i in 0..columns {
            let column = lane + i * lanes;
            if column < size {
                output[at * size + column] = F::cast_from(values[i] / sum);
            }
        }
        if lane == 0 {
            log_sum_exp[at] = largest + sum.ln();
        }
    }
}

/// `Σ output · gradient` of each row and head: one unit each.
#[cube(launch_unchecked)]
pub(in crate::cube) fn products<F: Float>(
    output: &Tensor<F>,
    gradient: &Tensor<F>,
    sums: &mut Tensor<f32>,
    #[comptime] size: usize,
    #[define(F)] _float: ElemType,
) {
    if ABSOLUTE_POS >= sums.len() {
        terminate!();
    }
    let mut sum = 0.0f32;
    for i in 0..size {
        let at = ABSOLUTE_POS * size + i;
        sum += f32::cast_from(output[at]) * f32::cast_from(gradient[at]);
    }
    sums[ABSOLUTE_POS] = sum;
}

/// Gradient of the queries: blocks and slots as in [`forward`]. With `p = exp(score − lse)` and
/// `s = p·(gradient·v − products)`: `of_q = scale·Σ s·k`.
#[cube(launch_unchecked)]
pub(in crate::cube) fn of_queries<F: Float>(
    q: &Tensor<F>,
    k: &Tensor<F>,
    v: &Tensor<F>,
    gradient: &Tensor<F>,
    log_sum_exp: &Tensor<f32>,
    products: &Tensor<f32>,
    blocks: &Tensor<i32>,
    ranges: &Tensor<i32>,
    of_q: &mut Tensor<F>,
    scale: f32,
    #[comptime] slots: usize,
    #[comptime] keys: usize,
    #[comptime] size: usize,
    #[comptime] lanes: usize,
    #[define(F)] _float: ElemType,
) {
    let key_heads = k.shape(1);
    let (block, key_head) = (CUBE_POS / key_heads * BLOCK, CUBE_POS % key_heads);
    if block >= blocks.len() {
        terminate!();
    }
    let units = comptime!(slots * lanes);
    let group = q.shape(1) / key_heads;
    let first = usize::cast_from(blocks[block]);
    let rows = usize::cast_from(blocks[block + 1]);
    let first_range = usize::cast_from(blocks[block + 2]);
    let count = usize::cast_from(blocks[block + 3]);
    let seen = usize::cast_from(blocks[block + 4]);
    let unit = UNIT_POS as usize;
    let (slot, lane) = (unit / lanes, unit % lanes);
    let row = slot / group;
    let active = row < rows;
    let mut limit = 0usize.runtime();
    let mut at = 0usize.runtime();
    let mut lse = 0.0f32;
    let mut product = 0.0f32;
    if active {
        limit = seen + 1 + row - rows;
        at = (first + row) * q.shape(1) + key_head * group + slot % group;
        lse = log_sum_exp[at];
        product = products[at];
    }

    let mut queries = Shared::<[f32]>::new_slice(comptime!(slots * (size + 1)));
    let mut gradients = Shared::<[f32]>::new_slice(comptime!(slots * (size + 1)));
    let mut tile = Shared::<[f32]>::new_slice(comptime!(keys * (size + 1)));
    let mut of_scores = Shared::<[f32]>::new_slice(comptime!(slots * (keys + 1)));
    load_slots::<F>(
        q,
        &mut queries,
        first,
        rows,
        key_head,
        group,
        slots,
        size,
        units,
    );
    load_slots::<F>(
        gradient,
        &mut gradients,
        first,
        rows,
        key_head,
        group,
        slots,
        size,
        units,
    );

    let columns = comptime!(size.div_ceil(lanes));
    let mut result = Array::<f32>::new(columns);
    for i in 0..columns {
        result[i] = 0.0f32;
    }
    let mut place = 0usize.runtime();
    for range in first_range..first_range + count {
        let start = usize::cast_from(ranges[2 * range]);
        let length = usize::cast_from(ranges[2 * range + 1]);
        let mut from = 0usize.runtime();
        while from < length {
            let mut here = length - from;
            if here > keys {
                here = keys.runtime();
            }
            sync_cube();
            load::<F>(
                v,
                &mut tile,
                start + from,
                here,
                key_head,
                keys,
                size,
                units,
            );
            sync_cube();
            let mut key = lane;
            while key < keys {
                let mut of_weight = 0.0f32;
                if key < here && place + key < limit {
                    of_weight = dot(&gradients, slot, &tile, key, size) - product;
                }
                of_scores[slot * (keys + 1) + key] = of_weight;
                key += lanes;
            }
            sync_cube();
            load::<F>(
                k,
                &mut tile,
                start + from,
                here,
                key_head,
                keys,
                size,
                units,
            );
            sync_cube();
            key = lane;
            while key < keys {
                if key < here && place + key < limit {
                    let score = dot(&queries, slot, &tile, key, size) * scale;
                    of_scores[slot * (keys + 1) + key] *= (score - lse).exp();
                }
                key += lanes;
            }
            sync_cube();
            for key in 0..here {
                let of_score = of_scores[slot * (keys + 1) + key];
                for i in 0..columns {
                    let column = lane + i * lanes;
                    if column < size {
                        result[i] += of_score * tile[key * (size + 1) + column];
                    }
                }
            }
            place += here;
            from += keys;
        }
    }
    if active {
        for i in 0..columns {
            let column = lane + i * lanes;
            if column < size {
                of_q[at * size + column] = F::cast_from(result[i] * scale);
            }
        }
    }
}

/// Gradients of a block of keys and values of a packed sequence, over all queries that see them.
///
/// Here `lanes` units share a key; queries come in tiles of slots. Descendants stand behind their ancestors, so a
/// query sees a key of these ranges where it does not stand before it. A block is its first key, its keys, its first
/// range of queries and their ranges.
#[cube(launch_unchecked)]
pub(in crate::cube) fn of_keys<F: Float>(
    q: &Tensor<F>,
    k: &Tensor<F>,
    v: &Tensor<F>,
    gradient: &Tensor<F>,
    log_sum_exp: &Tensor<f32>,
    products: &Tensor<f32>,
    blocks: &Tensor<i32>,
    ranges: &Tensor<i32>,
    of_k: &mut Tensor<F>,
    of_v: &mut Tensor<F>,
    scale: f32,
    #[comptime] slots: usize,
    #[comptime] keys: usize,
    #[comptime] size: usize,
    #[comptime] lanes: usize,
    #[define(F)] _float: ElemType,
) {
    let key_heads = k.shape(1);
    let (block, key_head) = (CUBE_POS / key_heads * 4, CUBE_POS % key_heads);
    if block >= blocks.len() {
        terminate!();
    }
    let units = comptime!(keys * lanes);
    let heads = q.shape(1);
    let group = heads / key_heads;
    let first = usize::cast_from(blocks[block]);
    let here = usize::cast_from(blocks[block + 1]);
    let first_range = usize::cast_from(blocks[block + 2]);
    let count = usize::cast_from(blocks[block + 3]);
    let unit = UNIT_POS as usize;
    let (key, lane) = (unit / lanes, unit % lanes);

    let mut own_keys = Shared::<[f32]>::new_slice(comptime!(keys * (size + 1)));
    let mut own_values = Shared::<[f32]>::new_slice(comptime!(keys * (size + 1)));
    let mut tile = Shared::<[f32]>::new_slice(comptime!(slots * (size + 1)));
    let mut weights = Shared::<[f32]>::new_slice(comptime!(keys * (slots + 1)));
    let mut of_scores = Shared::<[f32]>::new_slice(comptime!(keys * (slots + 1)));
    load::<F>(k, &mut own_keys, first, here, key_head, keys, size, units);
    load::<F>(v, &mut own_values, first, here, key_head, keys, size, units);

    let columns = comptime!(size.div_ceil(lanes));
    let mut of_key = Array::<f32>::new(columns);
    let mut of_value = Array::<f32>::new(columns);
    for i in 0..columns {
        of_key[i] = 0.0f32;
        of_value[i] = 0.0f32;
    }
    let rows = slots / group;
    for range in first_range..first_range + count {
        let start = usize::cast_from(ranges[2 * range]);
        let length = usize::cast_from(ranges[2 * range + 1]);
        let mut from = 0usize.runtime();
        while from < length {
            let mut these = length - from;
            if these > rows {
                these = rows;
            }
            let base = start + from;
            sync_cube();
            load_slots::<F>(
                q, &mut tile, base, these, key_head, group, slots, size, units,
            );
            sync_cube();
            let mut slot = lane;
            while slot < slots {
                let row = slot / group;
                let mut weight = 0.0f32;
                if row < these && key < here && base + row >= first + key {
                    let at = (base + row) * heads + key_head * group + slot % group;
                    let score = dot(&tile, slot, &own_keys, key, size) * scale;
                    weight = (score - log_sum_exp[at]).exp();
                }
                weights[key * (slots + 1) + slot] = weight;
                slot += lanes;
            }
            sync_cube();
            load_slots::<F>(
                gradient, &mut tile, base, these, key_head, group, slots, size, units,
            );
            sync_cube();
            slot = lane;
            while slot < slots {
                let row = slot / group;
                let mut of_score = 0.0f32;
                if row < these && key < here {
                    let at = (base + row) * heads + key_head * group + slot % group;
                    let of_weight = dot(&tile, slot, &own_values, key, size) - products[at];
                    of_score = weights[key * (slots + 1) + slot] * of_weight;
                }
                of_scores[key * (slots + 1) + slot] = of_score;
                slot += lanes;
            }
            sync_cube();
            for slot in 0..slots {
                let weight = weights[key * (slots + 1) + slot];
                for i in 0..columns {
                    let column = lane + i * lanes;
                    if column < size {
                        of_value[i] += weight * tile[slot * (size + 1) + column];
                    }
                }
            }
            sync_cube();
            load_slots::<F>(
                q, &mut tile, base, these, key_head, group, slots, size, units,
            );
            sync_cube();
            for slot in 0..slots {
                let of_score = of_scores[key * (slots + 1) + slot];
                for i in 0..columns {
                    let column = lane + i * lanes;
                    if column < size {
                        of_key[i] += of_score * tile[slot * (size + 1) + column];
                    }
                }
            }
            from += rows;
        }
    }
    if key < here {
        let at = ((first + key) * key_heads + key_head) * size;
        for i in 0..columns {
            let column = lane + i * lanes;
            if column < size {
                of_k[at + column] = F::cast_from(of_key[i] * scale);
                of_v[at + column] = F::cast_from(of_value[i]);
            }
        }
    }
}
