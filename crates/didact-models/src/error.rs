//! What can go wrong between a file and a model.

use std::path::PathBuf;

/// A result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What reading, checking and writing models can fail with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that cannot be read or written.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file that is not the JSON it should be.
    #[error("{file}: not valid JSON: {source}")]
    Json {
        /// The file.
        file: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A key without which the model is not defined.
    #[error("{file}: `{key}` is missing; expected {expected}")]
    MissingKey {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// What should stand there.
        expected: &'static str,
    },
    /// A key whose value means nothing.
    #[error("{file}: `{key}` is {found}; expected {expected}")]
    InvalidKey {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// What should stand there.
        expected: String,
    },
    /// An option that would change the model's results and is not built.
    #[error("{file}: `{key}` is {found}, which is not supported; {supported}")]
    UnsupportedOption {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// What is supported instead.
        supported: String,
    },
    /// A size above the limit, refused before anything is allocated.
    #[error(
        "{file}: {what} is {found}, above the limit of {limit}; if the model is really that large, raise the limit in `Limits`"
    )]
    AboveLimit {
        /// The file.
        file: String,
        /// The key or the quantity computed from several.
        what: String,
        /// Its value; `overflow` where it does not fit into 64 bits.
        found: String,
        /// The limit.
        limit: u64,
    },
    /// A weight file that breaks its own format.
    #[error("{}: {}{problem}", file.display(), tensor_prefix(tensor.as_deref()))]
    MalformedWeights {
        /// The file.
        file: PathBuf,
        /// The tensor, where one is to blame.
        tensor: Option<String>,
        /// What is wrong.
        problem: String,
    },
    /// Weights that are not those of the configured model; every difference is listed.
    #[error("{place}: the weights do not fit the configuration:{}", list(problems))]
    MismatchedWeights {
        /// The folder or file.
        place: String,
        /// All the differences.
        problems: Vec<TensorProblem>,
    },
    /// A weight that is not a number.
    #[error("{place}: tensor `{tensor}` holds {value} at element {index}; the weights are damaged")]
    NonFinite {
        /// The file.
        place: String,
        /// The tensor.
        tensor: String,
        /// The row-major index of the first such element.
        index: usize,
        /// The element.
        value: f32,
    },
    /// An adapter where there should be none, or none where there should be one.
    #[error("{problem}")]
    Adapter {
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A weight that cannot be quantised.
    #[error("`{tensor}` cannot be quantised: {source}")]
    NotQuantisable {
        /// The weight's path.
        tensor: String,
        /// Which number, and why.
        source: didact_kernels::Error,
    },
    /// Quantised weights where there should be none.
    #[error("{problem}")]
    Quantised {
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A GGUF file that cannot be read.
    #[error(transparent)]
    Gguf(#[from] didact_gguf::Error),
    /// A parameter that cannot be read back from its device.
    #[error("parameter `{path}` cannot be read back: {problem}")]
    UnreadableParameter {
        /// Its path.
        path: String,
        /// What the device says.
        problem: String,
    },
}

/// One difference between the tensors that a configuration asks for and those that a file has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorProblem {
    /// The configuration asks for a tensor that no file has.
    #[error("missing `{name}` {shape:?}")]
    Missing {
        /// The tensor.
        name: String,
        /// Its shape by the configuration.
        shape: Vec<usize>,
    },
    /// A file has a tensor that the configuration does not ask for.
    #[error("unused `{name}` {shape:?} in {file}")]
    Unused {
        /// The tensor.
        name: String,
        /// Its shape in the file.
        shape: Vec<usize>,
        /// The file.
        file: String,
    },
    /// A tensor of another shape.
    #[error("`{name}` is {found:?} in {file}, {expected:?} by the configuration")]
    Misshapen {
        /// The tensor.
        name: String,
        /// Its shape by the configuration.
        expected: Vec<usize>,
        /// Its shape in the file.
        found: Vec<usize>,
        /// The file.
        file: String,
    },
    /// A tensor whose numbers are not floats that can be read.
    #[error("`{name}` holds {found} in {file}; expected F32, F16 or BF16")]
    ElementType {
        /// The tensor.
        name: String,
        /// Its element type in the file.
        found: String,
        /// The file.
        file: String,
    },
    /// A tensor that two shards have.
    #[error("`{name}` is both in {first} and in {second}")]
    Repeated {
        /// The tensor.
        name: String,
        /// One shard.
        first: String,
        /// The other.
        second: String,
    },
    /// The index of a sharded model promises a tensor that the shard does not have.
    #[error("`{name}` is not in {file}, where the index says it is")]
    NotInShard {
        /// The tensor.
        name: String,
        /// The shard.
        file: String,
    },
}

fn tensor_prefix(tensor: Option<&str>) -> String {
    tensor.map_or_else(String::new, |name| format!("tensor `{name}`: "))
}

fn list(problems: &[TensorProblem]) -> String {
    problems
        .iter()
        .map(|problem| format!("\n  {problem}"))
        .collect()
}

impl Error {
    /// Turns a refusal of quantising into one that names the tensor.
    pub(crate) fn not_quantisable(tensor: &str) -> impl FnOnce(didact_kernels::Error) -> Self + '_ {
        move |source| Self::NotQuantisable {
            tensor: tensor.to_owned(),
            source,
        }
    }
}

/// Turns an I/O error into one that names the file.
pub(crate) fn io(file: &std::path::Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
    move |source| Error::Io {
        file: file.to_owned(),
        source,
    }
}
