//! Sums over the units of a cube.
use cubecl::prelude::*;

/// The sum of one value of each unit, known to all of them; `shared` holds a number for each.
///
/// With `planes` in two steps over planes, else by a tree. `units` is a power of two.
#[cube]
pub(super) fn sum(
    value: f32,
    shared: &mut Shared<[f32]>,
    #[comptime] units: usize,
    #[comptime] planes: bool,
) -> f32 {
    let unit = UNIT_POS as usize;
    let mut total = 0.0f32;
    if comptime!(planes) {
        let of_plane = plane_sum(value);
        if UNIT_POS_PLANE == 0 {
            shared[(UNIT_POS / PLANE_DIM) as usize] = of_plane;
        }
        sync_cube();
        for plane in 0..CUBE_DIM / PLANE_DIM {
            total += shared[plane as usize];
        }
    } else {
        shared[unit] = value;
        sync_cube();
        let mut step = (units / 2).runtime();
        while step > 0 {
            if unit < step {
                let other = shared[unit + step];
                shared[unit] += other;
            }
            sync_cube();
            step /= 2;
        }
        total = shared[0];
    }
    // Nobody writes the next sum before all have read this one.
    sync_cube();
    total
}
