//! Writes GGUF files for the tests, well-formed or not: the caller decides every number.

use didact_gguf::{Array, Gguf, Limits, Result, Value};

/// The bytes of a metadata value with its type number.
pub(crate) fn value_bytes(value: &Value) -> Vec<u8> {
    let (id, body): (u32, Vec<u8>) = match value {
        Value::U8(number) => (0, number.to_le_bytes().to_vec()),
        Value::I8(number) => (1, number.to_le_bytes().to_vec()),
        Value::U16(number) => (2, number.to_le_bytes().to_vec()),
        Value::I16(number) => (3, number.to_le_bytes().to_vec()),
        Value::U32(number) => (4, number.to_le_bytes().to_vec()),
        Value::I32(number) => (5, number.to_le_bytes().to_vec()),
        Value::F32(number) => (6, number.to_le_bytes().to_vec()),
        Value::Bool(flag) => (7, vec![u8::from(*flag)]),
        Value::String(text) => (8, string(text)),
        Value::Array(array) => (9, array_bytes(array)),
        Value::U64(number) => (10, number.to_le_bytes().to_vec()),
        Value::I64(number) => (11, number.to_le_bytes().to_vec()),
        Value::F64(number) => (12, number.to_le_bytes().to_vec()),
    };
    [id.to_le_bytes().to_vec(), body].concat()
}

fn array_bytes(array: &Array) -> Vec<u8> {
    fn all<T: Copy, const N: usize>(items: &[T], bytes: fn(T) -> [u8; N]) -> Vec<u8> {
        items.iter().flat_map(|&item| bytes(item)).collect()
    }
    let (id, body): (u32, Vec<u8>) = match array {
        Array::U8(items) => (0, items.clone()),
        Array::I8(items) => (1, all(items, i8::to_le_bytes)),
        Array::U16(items) => (2, all(items, u16::to_le_bytes)),
        Array::I16(items) => (3, all(items, i16::to_le_bytes)),
        Array::U32(items) => (4, all(items, u32::to_le_bytes)),
        Array::I32(items) => (5, all(items, i32::to_le_bytes)),
        Array::F32(items) => (6, all(items, f32::to_le_bytes)),
        Array::Bool(items) => (7, items.iter().map(|&flag| u8::from(flag)).collect()),
        Array::String(items) => (8, items.iter().flat_map(|item| string(item)).collect()),
        Array::Array(items) => (9, items.iter().flat_map(array_bytes).collect()),
        Array::U64(items) => (10, all(items, u64::to_le_bytes)),
        Array::I64(items) => (11, all(items, i64::to_le_bytes)),
        Array::F64(items) => (12, all(items, f64::to_le_bytes)),
    };
    [
        id.to_le_bytes().to_vec(),
        (array.len() as u64).to_le_bytes().to_vec(),
        body,
    ]
    .concat()
}

pub(crate) fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// A tensor of the file; `dimensions` in ggml's order, the contiguous one first.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) dimensions: Vec<u64>,
    pub(crate) kind: u32,
    /// Where the directory says that the data are; none: where they are.
    pub(crate) offset: Option<u64>,
    pub(crate) data: Vec<u8>,
}

impl Tensor {
    pub(crate) fn f32(name: &str, dimensions: &[u64], numbers: &[f32]) -> Self {
        Self {
            name: name.to_owned(),
            dimensions: dimensions.to_vec(),
            kind: 0,
            offset: None,
            data: numbers
                .iter()
                .flat_map(|number| number.to_le_bytes())
                .collect(),
        }
    }
}

/// A file to be written.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) version: u32,
    pub(crate) metadata: Vec<(String, Vec<u8>)>,
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) alignment: usize,
}

impl File {
    pub(crate) fn new() -> Self {
        Self {
            version: 3,
            metadata: Vec::new(),
            tensors: Vec::new(),
            alignment: 32,
        }
    }

    pub(crate) fn with(mut self, key: &str, value: &Value) -> Self {
        self.metadata.push((key.to_owned(), value_bytes(value)));
        self
    }

    pub(crate) fn with_raw(mut self, key: &str, value: Vec<u8>) -> Self {
        self.metadata.push((key.to_owned(), value));
        self
    }

    pub(crate) fn with_tensor(mut self, tensor: Tensor) -> Self {
        self.tensors.push(tensor);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            bytes.extend(string(key));
            bytes.extend(value);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            bytes.extend(string(&tensor.name));
            bytes.extend((tensor.dimensions.len() as u32).to_le_bytes());
            bytes.extend(
                tensor
                    .dimensions
                    .iter()
                    .flat_map(|length| length.to_le_bytes()),
            );
            bytes.extend(tensor.kind.to_le_bytes());
            bytes.extend(tensor.offset.unwrap_or(offset).to_le_bytes());
            offset += tensor.data.len().next_multiple_of(self.alignment) as u64;
        }
        for tensor in &self.tensors {
            bytes.resize(bytes.len().next_multiple_of(self.alignment), 0);
            bytes.extend(&tensor.data);
        }
        bytes
    }

    pub(crate) fn open(&self) -> Result<Gguf> {
        open(self.bytes())
    }
}

pub(crate) fn open(bytes: Vec<u8>) -> Result<Gguf> {
    Gguf::from_bytes("test.gguf", bytes, &Limits::default())
}

/// A small file with something of everything.
pub(crate) fn sample() -> File {
    let words = ["a", "", "mot é"].map(String::from).to_vec();
    File::new()
        .with("general.architecture", &Value::String("llama".into()))
        .with("llama.block_count", &Value::U32(2))
        .with("epsilon", &Value::F32(1e-5))
        .with("flag", &Value::Bool(true))
        .with("words", &Value::Array(Array::String(words)))
        .with("types", &Value::Array(Array::I32(vec![1, -3])))
        .with(
            "nested",
            &Value::Array(Array::Array(vec![Array::U8(vec![1]), Array::U16(vec![])])),
        )
        .with_tensor(Tensor::f32(
            "a.weight",
            &[3, 2],
            &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        ))
        .with_tensor(Tensor {
            name: "b.weight".into(),
            dimensions: vec![32],
            kind: 8,
            offset: None,
            data: [&[0x00, 0x38][..], &(0..32).collect::<Vec<u8>>()].concat(),
        })
}
