//! Walking over a decoder's parameters by the names that checkpoints give them.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;

use crate::Decoder;

/// Looks at each parameter of a [`Decoder`].
pub trait ParameterVisitor {
    /// `path` is the tensor's name in a Hugging Face checkpoint, such as
    /// `model.layers.0.self_attn.q_proj.weight`. Projections are `[in, out]` here, the transpose of
    /// what the checkpoint holds; so are the two matrices of an adapter,
    /// `model.layers.0.self_attn.q_proj.lora_A.weight` `[in, rank]` and `….lora_B.weight` `[rank, out]`.
    fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>);
}

/// Replaces each parameter of a [`Decoder`].
pub trait ParameterMapper {
    /// `path` and layout are those of [`ParameterVisitor::visit`].
    fn map<const D: usize>(&mut self, path: &str, parameter: Param<Tensor<D>>) -> Param<Tensor<D>>;
}

impl Decoder {
    /// Shows every parameter to `visitor`, always in the same order: that of the layers.
    pub fn visit_parameters(&self, visitor: &mut impl ParameterVisitor) {
        self.visit(&mut WithPath {
            path: Vec::new(),
            inner: visitor,
        });
    }

    /// Passes every parameter through `mapper`, in the order of
    /// [`visit_parameters`](Self::visit_parameters).
    #[must_use]
    pub fn map_parameters(self, mapper: &mut impl ParameterMapper) -> Self {
        self.map(&mut WithPath {
            path: Vec::new(),
            inner: mapper,
        })
    }

    /// The paths of all parameters, in the order of
    /// [`visit_parameters`](Self::visit_parameters).
    #[must_use]
    pub fn parameter_paths(&self) -> Vec<String> {
        struct Paths(Vec<String>);
        impl ParameterVisitor for Paths {
            fn visit<const D: usize>(&mut self, path: &str, _: &Param<Tensor<D>>) {
                self.0.push(path.to_owned());
            }
        }
        let mut paths = Paths(Vec::new());
        self.visit_parameters(&mut paths);
        paths.0
    }
}

/// Joins the names of the modules on the way to a parameter.
struct WithPath<'a, T> {
    path: Vec<String>,
    inner: &'a mut T,
}

impl<T> WithPath<'_, T> {
    /// The parameter's name in a checkpoint: an adapter's two matrices are called as PEFT calls them.
    fn path(&self) -> String {
        let mut path = String::new();
        for part in &self.path {
            let part = match part.as_str() {
                "adapter" => continue,
                "lora_a" => "lora_A",
                "lora_b" => "lora_B",
                part => part,
            };
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(part);
        }
        path
    }
}

impl<V: ParameterVisitor> ModuleVisitor for WithPath<'_, V> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.inner.visit(&self.path(), param);
    }
}

impl<M: ParameterMapper> ModuleMapper for WithPath<'_, M> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path();
        self.inner.map(&path, param)
    }
}
