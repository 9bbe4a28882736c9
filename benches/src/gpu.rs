//! `didact-bench gpu`: whether a device computes what the references do, how long it takes, and how long it should.
mod cases;
mod checks;
mod counts;
mod numbers;
mod operations;
mod sizes;
mod table;
mod timing;
mod works;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{DType, Device, Tensor};

use crate::Result;
use checks::Checker;
use counts::Peaks;
use operations::{OPERATIONS, Operation};
use sizes::Sizes;
use table::Table;
use timing::Settings;

/// What to do, and on which device.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The device, by the name that `didact_kernels::device` knows; needs the feature of its family.
    #[arg(long, default_value = "cuda:0")]
    device: String,
    /// The type to time with, and to count bytes in.
    #[arg(long, value_enum, default_value_t = Float::Bf16)]
    dtype: Float,
    /// Prints the prediction alone; no device is used.
    #[arg(long)]
    predict: bool,
    /// Writes the prediction into the guide.
    #[arg(long, conflicts_with_all = ["small", "only", "dtype"])]
    write_docs: bool,
    /// Sizes for a slow device.
    #[arg(long)]
    small: bool,
    /// Operations to take, by a part of their names.
    #[arg(long)]
    only: Option<String>,
    /// Checks without timing.
    #[arg(long, conflicts_with = "predict")]
    check: bool,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    peaks: Peaks,
}

/// A type of floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Float {
    F32,
    F16,
    Bf16,
}

impl Float {
    const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }

    fn bytes(self) -> f64 {
        self.dtype().size() as f64
    }

    fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// Whether the device has kernels for it: the CPU has them for f32 alone.
    fn is_on(self, device: &Device) -> bool {
        let dtype = self.dtype();
        dtype == DType::F32 || (*device != Device::flex() && device.supports_dtype(dtype))
    }
}

/// Checks and times, or predicts.
///
/// # Errors
/// When the device is not there or lacks the type, an operation disagrees with its reference, or the guide has no place
/// for the table.
pub(crate) fn run(options: &Options) -> Result<()> {
    let operations: Vec<&Operation> = OPERATIONS
        .iter()
        .filter(|operation| {
            let part = options.only.as_deref().unwrap_or_default();
            operation.name.contains(part)
        })
        .collect();
    if operations.is_empty() {
        let names: Vec<_> = OPERATIONS.iter().map(|operation| operation.name).collect();
        return Err(format!("--only names none of {}", names.join(", ")).into());
    }
    let sizes = if options.small {
        Sizes::SMALL
    } else {
        Sizes::LARGE
    };
    if options.predict || options.write_docs {
        let float = options.dtype.bytes();
        let table = Table::predicted(&operations, &sizes, float, options.peaks);
        print!("{}", table.markdown());
        return if options.write_docs {
            table::write_docs(&table)
        } else {
            Ok(())
        };
    }
    let device = open(&options.device)?;
    let wrong = check(&device, &operations);
    if !options.check {
        time(&device, &operations, &sizes, options)?;
    }
    if wrong == 0 {
        Ok(())
    } else {
        Err(format!("{wrong} comparisons with the references failed; they are named above").into())
    }
}

/// The device, with a tensor on it: drivers that are not there are missed no earlier.
fn open(name: &str) -> Result<Device> {
    let device = didact_kernels::device(name)
        .map_err(|error| format!("{error} (of didact-bench: `--features cuda`, and so on)"))?;
    let opened = guarded(|| Tensor::<1>::ones([1], &device).into_data());
    match opened {
        Ok(_) => Ok(device),
        Err(reason) => Err(format!("{name} cannot be opened: {reason}").into()),
    }
}

/// Runs what may panic inside burn or a driver, so that one failure does not end the rest.
fn guarded<T>(run: impl FnOnce() -> T) -> std::result::Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| reason(panic.as_ref()))
}

fn reason(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it panicked without a message");
    // Compilers answer with whole sources.
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(200).collect()
}

/// Compares every operation in every type that the device has, and says what was found; how many comparisons failed.
fn check(device: &Device, operations: &[&Operation]) -> usize {
    println!(
        "Against the references on the CPU in f32: the worst error, and what is allowed, of the largest entry.\n"
    );
    let mut failures = 0;
    for operation in operations {
        for float in Float::ALL {
            if !float.is_on(device) {
                continue;
            }
            let mut checker = Checker::new(device, float.dtype());
            let panicked = guarded(|| (operation.check)(&mut checker)).err();
            let (found, mut wrong) = checker.finish();
            wrong.extend(panicked);
            if found.comparisons == 0 && wrong.is_empty() {
                continue;
            }
            println!(
                "{} {:<26} {:<4} {:>3} comparisons, {:.1e} of {:.1e}",
                if wrong.is_empty() { "pass" } else { "FAIL" },
                operation.name,
                float.name(),
                found.comparisons,
                found.error,
                found.allowed,
            );
            for line in &wrong {
                println!("     {line}");
            }
            failures += wrong.len();
        }
    }
    println!();
    failures
}

fn time(
    device: &Device,
    operations: &[&Operation],
    sizes: &Sizes,
    options: &Options,
) -> Result<()> {
    let (dtype, name) = (options.dtype.dtype(), options.dtype.name());
    if !options.dtype.is_on(device) {
        let others: Vec<_> = Float::ALL
            .into_iter()
            .filter(|float| float.is_on(device))
            .map(Float::name)
            .collect();
        return Err(format!(
            "{} has no {name} to time with; choose --dtype {}",
            options.device,
            others.join(" or --dtype ")
        )
        .into());
    }
    println!(
        "In {name} on {}. Peaks: {}.\n",
        options.device,
        options.peaks.describe()
    );
    let mut table = Table::new(options.peaks, true);
    for operation in operations {
        for work in (operation.works)(sizes, options.dtype.bytes()) {
            eprintln!("timing {}, {} …", operation.name, work.pass);
            let measured = guarded(|| {
                let mut call = (work.prepare)(device, dtype);
                let seconds = options.settings.seconds(device, &mut call);
                seconds.map_err(|error| error.to_string())
            });
            table.add(
                operation.name,
                &work,
                Some(&measured.and_then(|seconds| seconds)),
            );
            device.memory_cleanup();
        }
    }
    print!("{}", table.markdown());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parsed(arguments: &[&str]) -> Options {
        let name = std::iter::once(&"gpu");
        Line::try_parse_from(name.chain(arguments))
            .expect("arguments")
            .options
    }

    /// The table of the guide.
    pub(super) fn documented() -> Table {
        let options = parsed(&["--write-docs"]);
        let operations: Vec<_> = OPERATIONS.iter().collect();
        Table::predicted(
            &operations,
            &Sizes::LARGE,
            options.dtype.bytes(),
            options.peaks,
        )
    }

    #[test]
    fn every_work_runs_on_the_cpu() {
        for operation in OPERATIONS {
            for work in (operation.works)(&Sizes::SMALL, 4.0) {
                let mut call = (work.prepare)(&Device::flex(), DType::F32);
                call();
                call();
            }
        }
    }

    #[test]
    fn no_implementation_of_ours_is_expected_below_the_floor() {
        let peaks = parsed(&[]).peaks;
        for operation in OPERATIONS {
            for sizes in [Sizes::LARGE, Sizes::SMALL] {
                for work in (operation.works)(&sizes, 2.0) {
                    let (floor, expected) =
                        (peaks.floor(&work.counts), peaks.expected(&work.counts));
                    assert!(
                        floor > 0.0 && expected >= floor,
                        "{}, {work:?}",
                        operation.name
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_not_there_is_said() {
        let message = |arguments: &[&str]| run(&parsed(arguments)).unwrap_err().to_string();
        assert!(message(&["--only", "nothing"]).contains("linear_log_prob"));
        assert!(message(&["--device", "abacus"]).contains("abacus"));
        let cpu = ["--device", "cpu", "--small", "--only", "write_slots"];
        assert!(message(&cpu).contains("choose --dtype f32"));
    }

    #[test]
    fn a_panic_is_a_reason() {
        assert_eq!(guarded(|| 3), Ok(3));
        let found: std::result::Result<(), _> = guarded(|| panic!("no kernel\nand its source"));
        assert_eq!(found, Err("no kernel".to_owned()));
    }
}
