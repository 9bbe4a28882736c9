//! CUDA C++ sources of the kernels, as CubeCL writes them, for machines without a GPU.
//!
//! It knows which types and sizes the kernels are launched with on NVIDIA's devices; it compiles nothing further.
use std::sync::Arc;

use burn::tensor::DType;
use cubecl::ir::ElemType;
use cubecl::prelude::*;
use cubecl_core::frontend::TensorMetaCompilationArg;
use cubecl_core::ir::features::Features;
use cubecl_core::ir::{DeviceIdentity, HardwareProperties, MemoryDeviceProperties};
use cubecl_core::profile::TimingMethod;
use cubecl_cpp::shared::{CompilationOptions, CppCompiler};
use cubecl_cpp::target::Cuda;
use cubecl_runtime::compiler::Compiler;
use cubecl_runtime::kernel::CubeKernel;

use super::kernels::{
    adamw, attention, cache, gated, linear_kl, linear_log_prob, norm, quantised, rotary, sample,
};
use super::launch::{AttentionTile, MOST_SHARED_BYTES, MOST_STREAMED_ROWS, MOST_UNITS};

/// One kernel for one type and tile.
#[derive(Debug, Clone)]
pub struct CudaSource {
    /// What it is and what it was made for, in words that serve as a file's name.
    pub name: String,
    /// CUDA C++.
    pub code: String,
    /// Units (CUDA's threads) of a cube (CUDA's block).
    pub units: u32,
    /// Bytes of shared memory of a cube.
    pub shared_bytes: usize,
}

/// Widths of heads: SmolLM2's and the small Llamas', most others', Gemma's.
const HEAD_SIZES: [usize; 3] = [64, 128, 256];

fn properties() -> Arc<DeviceProperties> {
    Arc::new(DeviceProperties::new(
        Features::default(),
        MemoryDeviceProperties::new(u64::MAX, 256),
        HardwareProperties {
            load_width: 128,
            vector_register_count: None,
            plane_size_min: 32,
            plane_size_max: 32,
            max_bindings: 1024,
            max_shared_memory_size: MOST_SHARED_BYTES,
            max_cube_count: (i32::MAX as u32, u32::from(u16::MAX), u32::from(u16::MAX)),
            max_units_per_cube: 1024,
            max_cube_dim: (1024, 1024, 64),
            num_streaming_multiprocessors: None,
            num_tensor_cores: None,
            min_tensor_cores_dim: None,
            num_cpu_cores: None,
            last_level_cache_size: None,
            max_vector_size: VectorSize::MAX,
            cube_mma_reserved_shared_memory: 0,
        },
        TimingMethod::Device,
        DeviceIdentity {
            name: "CUDA".into(),
            fingerprint: "CUDA".into(),
            physical: None,
        },
    ))
}

fn tensor() -> TensorCompilationArg {
    TensorCompilationArg {
        meta: TensorMetaCompilationArg { len: (), rank: () },
        buffer: BufferCompilationArg { inplace: None },
    }
}

/// Collects sources.
#[derive(Default)]
struct Sources(Vec<CudaSource>);

impl Sources {
    /// A kernel whose accesses are checked on the device.
    fn add<K: CubeKernel>(
        &mut self,
        name: String,
        units: u32,
        kernel: impl FnOnce(KernelSettings, Arc<DeviceProperties>, Arc<TargetProperties>) -> K,
    ) {
        self.add_in(ExecutionMode::Checked, name, units, kernel);
    }

    fn add_unchecked<K: CubeKernel>(
        &mut self,
        name: String,
        units: u32,
        kernel: impl FnOnce(KernelSettings, Arc<DeviceProperties>, Arc<TargetProperties>) -> K,
    ) {
        self.add_in(ExecutionMode::Unchecked, name, units, kernel);
    }

    fn add_in<K: CubeKernel>(
        &mut self,
        mode: ExecutionMode,
        name: String,
        units: u32,
        kernel: impl FnOnce(KernelSettings, Arc<DeviceProperties>, Arc<TargetProperties>) -> K,
    ) {
        let dim = CubeDim::new_1d(units);
        let settings = KernelSettings::new(*dim, mode, AddressType::U32);
        let kernel = kernel(
            settings,
            properties(),
            Arc::new(TargetProperties::default()),
        );
        let compiled = CppCompiler::<Cuda>::default()
            .compile(kernel.define(), &CompilationOptions::default())
            .unwrap_or_else(|error| panic!("{name}: CubeCL does not compile it: {error:?}"));
        self.0.push(CudaSource {
            name,
            units,
            shared_bytes: compiled.shared_memory_size,
            code: compiled.source,
        });
    }
}

/// Every kernel for every float type and tile that it is launched with.
///
/// # Panics
/// When CubeCL cannot compile a kernel, which is a defect of the kernel.
#[must_use]
pub fn cuda_sources() -> Vec<CudaSource> {
    let mut sources = Sources::default();
    let tokens = element(DType::I32);
    for planes in [true, false] {
        let how = if planes { "planes" } else { "tree" };
        for (dtype, float) in floats() {
            norms(&mut sources, &format!("{dtype}-{how}"), float, planes);
            products(&mut sources, &format!("{dtype}-{how}"), float, planes);
        }
    }
    for (dtype, float) in floats() {
        let t = tensor;
        let units = MOST_UNITS;
        for (name, tanh) in [("silu", false), ("gelu", true)] {
            sources.add(format!("{name}-forward-{dtype}"), units, |s, d, p| {
                gated::forward::Forward::new(s, d, p, t(), t(), t(), (), (), tanh, float)
            });
            sources.add(format!("{name}-backward-{dtype}"), units, |s, d, p| {
                gated::backward::Backward::new(
                    s,
                    d,
                    p,
                    t(),
                    t(),
                    t(),
                    t(),
                    t(),
                    (),
                    (),
                    tanh,
                    float,
                )
            });
        }
        sources.add(format!("rotary-{dtype}"), units, |s, d, p| {
            rotary::rotate::Rotate::new(s, d, p, t(), t(), t(), t(), (), float)
        });
        sources.add(format!("cache-write-{dtype}"), units, |s, d, p| {
            cache::write::Write::new(s, d, p, t(), t(), t(), float)
        });
        sources.add(format!("log-prob-of-products-{dtype}"), units, |s, d, p| {
            linear_log_prob::of_products::OfProducts::new(
                s,
                d,
                p,
                t(),
                t(),
                t(),
                t(),
                t(),
                (),
                (),
                float,
                tokens,
            )
        });
        for (direction, reverse) in DIRECTIONS {
            let name = format!("kl-of-products-{direction}-{dtype}");
            sources.add(name, units, |s, d, p| {
                linear_kl::of_products::OfProducts::new(
                    s,
                    d,
                    p,
                    t(),
                    t(),
                    t(),
                    t(),
                    t(),
                    (),
                    reverse,
                    float,
                )
            });
        }
        attentions(&mut sources, dtype, float);
    }
    let t = tensor;
    let units = MOST_UNITS as usize;
    sources.add("log-prob-absorb".into(), MOST_UNITS, |s, d, p| {
        linear_log_prob::absorb::Absorb::new(s, d, p, t(), t(), t(), (), (), units, tokens)
    });
    sources.add("log-prob-finish".into(), MOST_UNITS, |s, d, p| {
        linear_log_prob::finish::Finish::new(s, d, p, t(), t())
    });
    for (direction, reverse) in DIRECTIONS {
        sources.add(format!("kl-absorb-{direction}"), MOST_UNITS, |s, d, p| {
            linear_kl::absorb::Absorb::new(s, d, p, t(), t(), t(), (), (), reverse, units)
        });
        sources.add(format!("kl-finish-{direction}"), MOST_UNITS, |s, d, p| {
            linear_kl::finish::Finish::new(s, d, p, t(), t(), reverse)
        });
    }
    sources.add("adamw".into(), MOST_UNITS, |s, d, p| {
        adamw::update::Update::new(s, d, p, t(), t(), t(), t(), (), (), (), (), (), (), (), ())
    });
    for (what, cuts, counts) in [
        ("all", false, false),
        ("top-p", true, false),
        ("top-k", true, true),
    ] {
        for (how, planes) in [("planes", true), ("tree", false)] {
            let name = format!("sample-{what}-{how}");
            sources.add(name, MOST_UNITS, |s, d, p| {
                sample::draw::Draw::new(s, d, p, t(), t(), t(), cuts, counts, units, planes)
            });
        }
    }
    sources.0
}

/// Divergences, by whether they are the reverse one.
const DIRECTIONS: [(&str, bool); 2] = [("forward", false), ("reverse", true)];

fn element(dtype: DType) -> ElemType {
    burn::backend::cubecl::dtype_to_storage_type(dtype)
}

fn floats() -> [(&'static str, ElemType); 3] {
    [
        ("f32", DType::F32),
        ("f16", DType::F16),
        ("bf16", DType::BF16),
    ]
    .map(|(name, dtype)| (name, element(dtype)))
}

fn norms(sources: &mut Sources, suffix: &str, float: ElemType, planes: bool) {
    let t = tensor;
    let units = MOST_UNITS as usize;
    sources.add(format!("norm-forward-{suffix}"), MOST_UNITS, |s, d, p| {
        norm::forward::Forward::new(s, d, p, t(), t(), t(), (), (), units, planes, float)
    });
    sources.add(format!("norm-of-rows-{suffix}"), MOST_UNITS, |s, d, p| {
        norm::of_rows::OfRows::new(
            s,
            d,
            p,
            t(),
            t(),
            t(),
            t(),
            t(),
            (),
            (),
            units,
            planes,
            float,
        )
    });
    if planes {
        sources.add(format!("norm-of-weight-{suffix}"), MOST_UNITS, |s, d, p| {
            norm::of_weight::OfWeight::new(s, d, p, t(), t(), t(), t(), super::norm::ROWS, float)
        });
    }
}

fn products(sources: &mut Sources, suffix: &str, float: ElemType, planes: bool) {
    let t = tensor;
    let units = MOST_UNITS as usize;
    for (bits, four) in [(4, true), (8, false)] {
        if planes {
            let name = format!("decode-{bits}-bits-{suffix}");
            sources.add(name, MOST_UNITS, |s, d, p| {
                quantised::decode::Decode::new(s, d, p, t(), t(), t(), (), four, float)
            });
        }
        for rows in [1, MOST_STREAMED_ROWS] {
            let name = format!("product-{bits}-bits-{rows}-rows-{suffix}");
            sources.add(name, MOST_UNITS, |s, d, p| {
                quantised::product::Product::new(
                    s,
                    d,
                    p,
                    t(),
                    t(),
                    t(),
                    t(),
                    four,
                    rows,
                    units,
                    planes,
                    float,
                )
            });
        }
    }
}

fn attentions(sources: &mut Sources, dtype: &str, float: ElemType) {
    let t = tensor;
    for size in HEAD_SIZES {
        sources.add_unchecked(
            format!("attention-products-{size}-{dtype}"),
            MOST_UNITS,
            |s, d, p| attention::products::Products::new(s, d, p, t(), t(), t(), size, float),
        );
        let chosen = |tile: fn(usize, usize, usize, usize) -> AttentionTile| {
            tile(1, size, MOST_SHARED_BYTES, MOST_UNITS as usize)
        };
        let suffix = format!("{size}-{dtype}");
        let tile = chosen(AttentionTile::forward);
        let AttentionTile {
            slots, keys, lanes, ..
        } = tile;
        sources.add_unchecked(
            format!("attention-forward-{suffix}"),
            (slots * lanes) as u32,
            |s, d, p| {
                attention::forward::Forward::new(
                    s,
                    d,
                    p,
                    t(),
                    t(),
                    t(),
                    t(),
                    t(),
                    t(),
                    t(),
                    (),
                    slots,
                    keys,
                    size,
                    lanes,
                    float,
                )
            },
        );
        let tile = chosen(AttentionTile::of_queries);
        let AttentionTile {
            slots, keys, lanes, ..
        } = tile;
        sources.add_unchecked(
            format!("attention-of-queries-{suffix}"),
            (slots * lanes) as u32,
            |s, d, p| {
                attention::of_queries::OfQueries::new(
                    s,
                    d,
                    p,
                    t(),
                    t(),
                    t(),
                    t(),
                    t(),
                    t(),
                    t(),
                    t(),
                    t(),
                    (),
                    slots,
                    keys,
                    size,
                    lanes,
                    float,
                )
            },
        );
        let tile = chosen(AttentionTile::of_keys);
        let AttentionTile {
            slots, keys, lanes, ..
        } = tile;
        sources.add_unchecked(
            format!("attention-of-keys-{suffix}"),
            (keys * lanes) as u32,
            |s, d, p| {
                attention::of_keys::OfKeys::new(
                    s,
                    d,
                    p,
                    t(),
                    t(),
                    t(),
                    t(),
                    t(),
                    t(),
                    t(),
                    t(),
                    t(),
                    t(),
                    (),
                    slots,
                    keys,
                    size,
                    lanes,
                    float,
                )
            },
        );
    }
}
