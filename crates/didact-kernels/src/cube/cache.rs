//! The key/value cache on CubeCL devices.
use std::sync::Arc;

use burn::backend::tensor::FloatTensor;
use burn_cubecl::{CubeBackend, kernel::into_contiguous};

use super::attention::{Blocks, forward};
use super::kernels::cache as kernel;
use super::launch::{AttentionTile, Tile, element, numbers};
use crate::{CacheLayout, CacheOps};

impl CacheOps for CubeBackend {
    fn cached_attention(
        q: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        layout: CacheLayout,
        scale: f64,
    ) -> FloatTensor<Self> {
        let [q, keys, values] = [q, keys, values].map(into_contiguous);
        let tile = AttentionTile::on_device(AttentionTile::forward, &q, &keys);
        let blocks = |rows| Blocks::of_cached(&layout, rows);
        let [output, _] = forward([&q, &keys, &values], scale, blocks, tile);
        output
    }

    fn write_slots(
        pool: FloatTensor<Self>,
        rows: FloatTensor<Self>,
        slots: Arc<[usize]>,
    ) -> FloatTensor<Self> {
        let (pool, rows) = (into_contiguous(pool), into_contiguous(rows));
        if slots.is_empty() {
            return pool;
        }
        // In place where nothing else sees the pool.
        let pool = if pool.can_mut() { pool } else { pool.copy() };
        let tile = Tile::of(&pool);
        let places: Vec<i32> = slots.iter().map(|slot| *slot as i32).collect();
        let float = element(&pool);
        kernel::write::launch(
            &pool.client,
            tile.count(rows.meta.num_elements()),
            tile.dim(),
            rows.into_tensor_arg(),
            numbers(&pool, &places).into_tensor_arg(),
            pool.clone().into_tensor_arg(),
            float,
        );
        pool
    }
}
