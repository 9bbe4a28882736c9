//! Gradients by tensor path: collecting, adding, measuring and clipping them.
//!
//! Owns a model's gradients and every reduction over them. Knows no loss and no optimizer. On the CPU a gradient's
//! buffer is moved out of the tape, not copied; on a GPU gradients stay there, and of a norm one number a tensor comes
//! back.
//!
//! On the CPU all reductions cut a tensor into chunks of [`CHUNK`] entries, sum each in order in f64 and add the
//! chunk sums in order: the result is the same for any number of threads. burn's own `sum` is not
//! (above 4 Mi entries its tree follows work stealing). On a GPU a tensor's squares are summed in f32.

use std::collections::BTreeMap;

use burn::module::Param;
use burn::tensor::{DType, Device, FloatDType, Gradients as Tape, Tensor, TensorData};
use didact_kernels::is_cpu;
use didact_models::{Decoder, ParameterVisitor};
use rayon::prelude::*;

use crate::{Error, Result};

/// Entries that one chunk of a reduction or of an element-wise pass holds.
pub const CHUNK: usize = 16 * 1024;

/// A model's gradients in f32, by the Hugging Face path of their tensors, where the model lies.
///
/// Shapes are those of memory: projections are stored `[in, out]`.
#[derive(Debug, Clone, Default)]
pub struct Gradients {
    tensors: BTreeMap<String, Numbers>,
}

/// One tensor's gradient.
#[derive(Debug, Clone)]
pub(crate) enum Numbers {
    /// Of a model on the CPU, or put in.
    Host(TensorData),
    /// Of a model on a GPU, flat, with its shape.
    Device(Tensor<1>, Vec<usize>),
}

impl Numbers {
    fn shape(&self) -> &[usize] {
        match self {
            Self::Host(data) => data.shape(),
            Self::Device(_, shape) => shape,
        }
    }

    fn read(&self, path: &str) -> Result<TensorData> {
        match self {
            Self::Host(data) => Ok(data.clone()),
            Self::Device(tensor, shape) => Ok(shaped(read(path, tensor.clone())?, shape)),
        }
    }

    /// In host memory.
    pub(crate) fn into_host(self, path: &str) -> Result<TensorData> {
        match self {
            Self::Host(data) => Ok(data),
            Self::Device(..) => self.read(path),
        }
    }

    /// Flat, on `device`.
    pub(crate) fn into_tensor(self, device: &Device) -> Tensor<1> {
        match self {
            Self::Host(data) => flat(data, device),
            Self::Device(tensor, _) => tensor,
        }
    }
}

/// The numbers one after the other, in f32.
pub(crate) fn flat(data: TensorData, device: &Device) -> Tensor<1> {
    let count = data.num_elements();
    Tensor::from_data(shaped(data, &[count]), (device, DType::F32))
}

/// The same numbers in another shape.
pub(crate) fn shaped(data: TensorData, shape: &[usize]) -> TensorData {
    let dtype = data.dtype();
    TensorData::from_bytes(data.into_bytes(), shape.to_vec(), dtype)
}

impl Gradients {
    /// No gradient yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the gradients of every parameter of `decoder` out of `tape`.
    ///
    /// A parameter that the loss does not depend on has no entry.
    ///
    /// # Errors
    /// A gradient that cannot be read from the device.
    pub fn take(decoder: &Decoder, tape: Tape) -> Result<Self> {
        let mut collector = Collector {
            tape,
            found: Ok(Self::new()),
        };
        decoder.visit_parameters(&mut collector);
        collector.found
    }

    /// Adds `other` entry by entry: `self ← self + other`.
    ///
    /// # Errors
    /// [`Error::MismatchedTensor`] where two gradients of one path differ in shape.
    pub fn add(&mut self, other: Self) -> Result<()> {
        for (path, term) in other.tensors {
            let Some(sum) = self.tensors.get_mut(&path) else {
                self.tensors.insert(path, term);
                continue;
            };
            if sum.shape() != term.shape() {
                return Err(Error::MismatchedTensor {
                    expected: format!("{:?}", sum.shape()),
                    found: format!("{:?}", term.shape()),
                    path,
                });
            }
            match sum {
                Numbers::Host(sum) => {
                    let term = term.into_host(&path)?;
                    mutable(&path, sum)?
                        .par_chunks_mut(CHUNK)
                        .zip(values(&path, &term)?.par_chunks(CHUNK))
                        .for_each(|(a, b)| a.iter_mut().zip(b).for_each(|(a, b)| *a += b));
                }
                Numbers::Device(sum, _) => {
                    let term = term.into_tensor(&sum.device());
                    sum.inplace(|sum| sum + term);
                }
            }
        }
        Ok(())
    }

    /// Puts a gradient in, replacing any of the same path. One of half precision is widened to f32.
    ///
    /// # Errors
    /// [`Error::MismatchedTensor`] where the data are neither.
    pub fn insert(&mut self, path: impl Into<String>, gradient: TensorData) -> Result<()> {
        let path = path.into();
        let gradient = widened(gradient);
        values(&path, &gradient)?;
        self.tensors.insert(path, Numbers::Host(gradient));
        Ok(())
    }

    /// The gradient of the tensor called `path`, in host memory.
    ///
    /// # Errors
    /// [`Error::UnknownTensor`] where there is none; one that cannot be read from its device.
    pub fn read(&self, path: &str) -> Result<TensorData> {
        let gradient = self.tensors.get(path).ok_or_else(|| Error::UnknownTensor {
            path: path.to_owned(),
        })?;
        gradient.read(path)
    }

    /// The shape of the gradient of the tensor called `path`.
    pub(crate) fn shape_of(&self, path: &str) -> Option<&[usize]> {
        self.tensors.get(path).map(Numbers::shape)
    }

    /// Takes the gradient of the tensor called `path` out.
    pub(crate) fn remove(&mut self, path: &str) -> Option<Numbers> {
        self.tensors.remove(path)
    }

    /// The paths that have a gradient, in alphabetical order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The number of tensors that have a gradient.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether no tensor has a gradient.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Euclidean norm of one tensor's gradient, `None` where it has none.
    ///
    /// # Errors
    /// [`Error::NonFiniteGradient`] names the tensor.
    pub fn norm_of(&self, path: &str) -> Result<Option<f64>> {
        let found = self.tensors.get_key_value(path);
        Ok(sums_of_squares(found)?.first().map(|sum| sum.sqrt()))
    }

    /// Global norm `sqrt(Σ g²)` over all entries of all tensors, in f64.
    ///
    /// # Errors
    /// [`Error::NonFiniteGradient`] names the first tensor (alphabetically) that holds a NaN or an
    /// infinity.
    pub fn global_norm(&self) -> Result<f64> {
        Ok(sums_of_squares(&self.tensors)?.iter().sum::<f64>().sqrt())
    }

    /// Scales all gradients by `min(1, maximum / (norm + 1e-6))` and returns the norm before.
    ///
    /// The small constant is torch's (`clip_grad_norm_`). `maximum` 0 clips nothing.
    ///
    /// # Errors
    /// As [`global_norm`](Self::global_norm).
    pub fn clip(&mut self, maximum: f64) -> Result<f64> {
        let norm = self.global_norm()?;
        let factor = maximum / (norm + 1e-6);
        if maximum > 0.0 && factor < 1.0 {
            self.scale(factor)?;
        }
        Ok(norm)
    }

    /// Multiplies every entry by `factor`.
    ///
    /// # Errors
    /// None for gradients that were put in through this type.
    pub fn scale(&mut self, factor: f64) -> Result<()> {
        let factor = factor as f32;
        for (path, numbers) in &mut self.tensors {
            match numbers {
                Numbers::Host(data) => mutable(path, data)?
                    .par_chunks_mut(CHUNK)
                    .for_each(|chunk| chunk.iter_mut().for_each(|g| *g *= factor)),
                Numbers::Device(tensor, _) => tensor.inplace(|tensor| tensor * factor),
            }
        }
        Ok(())
    }
}

/// `Σ g²` of each tensor, in their order. Those on a device are read at once.
fn sums_of_squares<'a>(
    tensors: impl IntoIterator<Item = (&'a String, &'a Numbers)>,
) -> Result<Vec<f64>> {
    let (mut sums, mut on_device) = (Vec::new(), Vec::new());
    for (path, numbers) in tensors {
        match numbers {
            Numbers::Host(data) => sums.push(sum_of_squares(path, data)?),
            Numbers::Device(tensor, _) => {
                on_device.push((path, sums.len(), tensor.clone().square().sum()));
                sums.push(0.0);
            }
        }
    }
    if on_device.is_empty() {
        return Ok(sums);
    }
    let all = on_device.iter().map(|(_, _, sum)| sum.clone()).collect();
    let all = read("the gradients' norm", Tensor::cat(all, 0))?;
    for ((path, place, _), sum) in on_device.into_iter().zip(all.iter::<f64>()) {
        sums[place] = finite(path, sum)?;
    }
    Ok(sums)
}

fn finite(path: &str, sum: f64) -> Result<f64> {
    if sum.is_finite() {
        Ok(sum)
    } else {
        Err(Error::NonFiniteGradient {
            path: path.to_owned(),
        })
    }
}

/// `Σ g²` in f64, in a fixed order.
pub(crate) fn sum_of_squares(path: &str, data: &TensorData) -> Result<f64> {
    let chunks: Vec<f64> = values(path, data)?
        .par_chunks(CHUNK)
        .map(|chunk| chunk.iter().map(|&g| f64::from(g) * f64::from(g)).sum())
        .collect();
    finite(path, chunks.iter().sum())
}

/// The entries of an f32 tensor.
pub(crate) fn values<'a>(path: &str, data: &'a TensorData) -> Result<&'a [f32]> {
    let dtype = data.dtype();
    data.as_slice().map_err(|_| not_f32(path, dtype))
}

/// The entries of an f32 tensor, to change in place.
pub(crate) fn mutable<'a>(path: &str, data: &'a mut TensorData) -> Result<&'a mut [f32]> {
    let dtype = data.dtype();
    data.as_mut_slice().map_err(|_| not_f32(path, dtype))
}

fn not_f32(path: &str, dtype: DType) -> Error {
    Error::MismatchedTensor {
        path: path.to_owned(),
        expected: "F32".to_owned(),
        found: format!("{dtype:?}"),
    }
}

/// Reads a tensor to the host; on the CPU the only owner's buffer is moved.
pub(crate) fn read<const D: usize>(path: &str, tensor: Tensor<D>) -> Result<TensorData> {
    tensor.try_into_data().map_err(|error| Error::Device {
        what: format!("reading {path}"),
        problem: error.to_string(),
    })
}

/// [`read`], with half precision widened.
pub(crate) fn read_f32<const D: usize>(path: &str, tensor: Tensor<D>) -> Result<TensorData> {
    read(path, tensor).map(widened)
}

/// Half precision as f32; anything else as it is.
pub(crate) fn widened(data: TensorData) -> TensorData {
    match data.dtype() {
        DType::F16 | DType::BF16 => data.convert_dtype(DType::F32),
        _ => data,
    }
}

struct Collector {
    tape: Tape,
    found: Result<Gradients>,
}

impl ParameterVisitor for Collector {
    fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
        let Ok(found) = &mut self.found else { return };
        let Some(gradient) = parameter.base().grad_remove(&mut self.tape) else {
            return;
        };
        if !is_cpu(&gradient.device()) {
            let shape = gradient.dims().to_vec();
            let flat = gradient.reshape([-1]).cast(FloatDType::F32);
            let numbers = Numbers::Device(flat, shape);
            found.tensors.insert(path.to_owned(), numbers);
            return;
        }
        let put = read(path, gradient).and_then(|data| found.insert(path, data));
        if let Err(error) = put {
            self.found = Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradients(entries: &[(&str, &[f32])]) -> Gradients {
        let mut found = Gradients::new();
        for (path, values) in entries {
            found
                .insert(*path, TensorData::new(values.to_vec(), [values.len()]))
                .unwrap();
        }
        found
    }

    #[test]
    fn the_norm_is_over_all_tensors_and_clipping_scales_them_alike() {
        let mut found = gradients(&[("a", &[3.0]), ("b", &[0.0, 4.0])]);
        assert_eq!(found.clip(1.0).unwrap(), 5.0);
        assert!((found.global_norm().unwrap() - 1.0).abs() < 1e-6);
        assert!((values("b", &found.read("b").unwrap()).unwrap()[1] - 0.8).abs() < 1e-6);
        assert!(
            (found.clip(2.0).unwrap() - 1.0).abs() < 1e-6,
            "nothing to clip"
        );
        assert!(
            (found.clip(0.0).unwrap() - 1.0).abs() < 1e-6,
            "0 clips nothing"
        );
        assert!((found.global_norm().unwrap() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn sums_of_gradients_keep_what_only_one_side_has() {
        let mut sum = gradients(&[("a", &[1.0, 2.0])]);
        sum.add(gradients(&[("a", &[10.0, 20.0]), ("b", &[5.0])]))
            .unwrap();
        assert_eq!(values("a", &sum.read("a").unwrap()).unwrap(), &[11.0, 22.0]);
        assert_eq!(values("b", &sum.read("b").unwrap()).unwrap(), &[5.0]);
        let error = sum.add(gradients(&[("a", &[1.0])])).unwrap_err();
        assert!(error.to_string().contains('a'), "{error}");
    }

    #[test]
    fn a_gradient_that_is_not_a_number_is_named() {
        let found = gradients(&[("model.a", &[1.0]), ("model.b", &[f32::NAN])]);
        assert!(
            found
                .global_norm()
                .unwrap_err()
                .to_string()
                .contains("model.b")
        );
    }

    #[test]
    fn the_norm_does_not_depend_on_the_number_of_threads() {
        let entries: Vec<f32> = (0..5 * CHUNK + 77)
            .map(|i| ((i * 37 % 1013) as f32).sin())
            .collect();
        let found = gradients(&[("a", &entries)]);
        let norms: Vec<u64> = [1, 2, 5]
            .into_iter()
            .map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .build()
                    .unwrap();
                pool.install(|| found.global_norm().unwrap().to_bits())
            })
            .collect();
        assert_eq!(norms[0], norms[1]);
        assert_eq!(norms[0], norms[2]);
    }
}
