//! Loops that the compiler turns into vector instructions, and the exponential that they share.
//!
//! Sums run in [`LANES`] fixed lanes, and a multiply-add is fused only where the code says `mul_add`, so
//! that a value does not depend on which vector instructions the machine has.

/// Independent partial sums in a reduction, a multiple of every vector width in use.
pub(super) const LANES: usize = 16;

/// Compiles a function once for each vector instruction set and picks the widest at run time.
macro_rules! vectorised {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $visibility fn $name($($argument: $type),*) $(-> $out)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn plain($($argument: $type),*) $(-> $out)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($argument: $type),*) $(-> $out)? { plain($($argument),*) }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($argument: $type),*) $(-> $out)? { plain($($argument),*) }

                let fma = std::is_x86_feature_detected!("fma");
                if fma && std::is_x86_feature_detected!("avx512f") {
                    // SAFETY: the instructions that the function needs have just been detected.
                    return unsafe { avx512($($argument),*) };
                }
                if fma && std::is_x86_feature_detected!("avx2") {
                    // SAFETY: as above.
                    return unsafe { avx2($($argument),*) };
                }
            }
            plain($($argument),*)
        }
    };
}

pub(super) use vectorised;

/// eˣ to about one unit in the last place; 0 below −87, where f32 runs out of normal numbers.
///
/// The argument is split as `x = n·ln 2 + r` with |r| ≤ ½ ln 2, and eʳ is its Taylor polynomial of
/// degree 7, whose remainder is below 6·10⁻⁹. NaN stays NaN.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const SMALLEST: f32 = -87.0;
    const LARGEST: f32 = 88.0;
    // Adding 1.5·2²³ rounds to the nearest integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts; the first has few bits, so that n times it is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Comparisons, unlike `clamp` in the other order, let NaN through.
    let bounded = if x < SMALLEST { SMALLEST } else { x };
    let bounded = if bounded > LARGEST {
        f32::INFINITY
    } else {
        bounded
    };
    let finite = if bounded > LARGEST { LARGEST } else { bounded };
    let shifted = finite * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (finite - n * LN_2_HIGH) - n * LN_2_LOW;
    let mut p = 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = (p * r) * r + r + 1.0;
    let exponent = shifted
        .to_bits()
        .wrapping_sub(ROUND.to_bits())
        .wrapping_add(127)
        << 23;
    let value = p * f32::from_bits(exponent);
    let value = if x < SMALLEST { 0.0 } else { value };
    if x > LARGEST { f32::INFINITY } else { value }
}

/// Sums lanes pairwise, in an order that never changes.
#[inline(always)]
pub(super) fn sum_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_is_accurate_to_the_last_place() {
        let mut worst = 0.0f64;
        for step in 0..=1_750_000 {
            let x = -87.0 + step as f32 * 1e-4;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
        }
        assert!(worst < 2e-7, "worst relative error {worst:e}");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-1e4), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(100.0), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }
}
