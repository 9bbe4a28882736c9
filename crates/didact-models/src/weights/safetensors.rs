//! The safetensors container, read as untrusted input and written.
//!
//! The format: 8 bytes with the header's length (little-endian), the header (a JSON object of
//! `name → {dtype, shape, data_offsets}`), the tensors without holes or overlaps. Everything is checked
//! against the file's length before memory is taken; tensors are read one at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::error::io;
use crate::{Error, Result};

/// The longest header that is read, as the format's own implementation has it.
const LONGEST_HEADER: u64 = 100_000_000;
/// The bytes that hold the header's length.
const LENGTH_BYTES: u64 = 8;

/// One tensor of a file.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) element: String,
    pub(crate) shape: Vec<usize>,
    start: u64,
    end: u64,
}

impl Entry {
    /// Whether the elements can be read as f32.
    pub(crate) fn is_float(&self) -> bool {
        matches!(self.element.as_str(), "F32" | "F16" | "BF16")
    }
}

/// An open file whose header was checked.
#[derive(Debug)]
pub(crate) struct SafetensorsFile {
    path: PathBuf,
    file: File,
    data: u64,
    entries: BTreeMap<String, Entry>,
}

impl SafetensorsFile {
    /// Opens `path` and checks its header.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(io(path))?;
        let length = file.metadata().map_err(io(path))?.len();
        let malformed = |problem: String| Error::MalformedWeights {
            file: path.to_owned(),
            tensor: None,
            problem,
        };
        let Some(after_length) = length.checked_sub(LENGTH_BYTES) else {
            return Err(malformed(format!(
                "{length} bytes are too few for a safetensors file; is it truncated?"
            )));
        };
        let mut bytes = [0; LENGTH_BYTES as usize];
        file.read_exact(&mut bytes).map_err(io(path))?;
        let header = u64::from_le_bytes(bytes);
        if header > LONGEST_HEADER {
            return Err(malformed(format!(
                "its header claims {header} bytes, above the limit of {LONGEST_HEADER}; is this a \
                 safetensors file?"
            )));
        }
        if header > after_length {
            return Err(malformed(format!(
                "its header claims {header} bytes, but {after_length} follow; is it truncated?"
            )));
        }
        let mut text = vec![0; header as usize];
        file.read_exact(&mut text).map_err(io(path))?;
        let parsed: Header = serde_json::from_slice(&text)
            .map_err(|source| malformed(format!("its header cannot be read: {source}")))?;
        let entries = check(path, parsed, after_length - header)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            data: LENGTH_BYTES + header,
            entries,
        })
    }

    /// The tensors by name.
    pub(crate) fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// The numbers of a tensor, row-major.
    pub(crate) fn read(&mut self, name: &str) -> Result<Vec<f32>> {
        let malformed = |problem: String| Error::MalformedWeights {
            file: self.path.clone(),
            tensor: Some(name.to_owned()),
            problem,
        };
        let entry = self
            .entries
            .get(name)
            .ok_or_else(|| malformed("is not there".into()))?;
        self.file
            .seek(SeekFrom::Start(self.data + entry.start))
            .map_err(io(&self.path))?;
        let length = usize::try_from(entry.end - entry.start)
            .map_err(|_| malformed("is larger than this machine's memory".into()))?;
        let mut bytes = vec![0; length];
        self.file.read_exact(&mut bytes).map_err(io(&self.path))?;
        let (words, pairs) = (bytes.as_chunks::<4>().0, bytes.as_chunks::<2>().0);
        Ok(match entry.element.as_str() {
            "F32" => words.iter().map(|&word| f32::from_le_bytes(word)).collect(),
            "F16" => pairs
                .iter()
                .map(|&pair| f16::from_le_bytes(pair).to_f32())
                .collect(),
            "BF16" => pairs
                .iter()
                .map(|&pair| bf16::from_le_bytes(pair).to_f32())
                .collect(),
            other => return Err(malformed(format!("holds {other}, which are not f32"))),
        })
    }
}

/// The header's entries in the file's order, repeated names included.
struct Header(Vec<(String, serde_json::Value)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Header(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// What a header says of one tensor.
#[derive(Deserialize)]
struct Claim {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// Checks the claims of a header against the `available` bytes behind it.
fn check(path: &Path, header: Header, available: u64) -> Result<BTreeMap<String, Entry>> {
    let malformed = |tensor: Option<&str>, problem: String| Error::MalformedWeights {
        file: path.to_owned(),
        tensor: tensor.map(str::to_owned),
        problem,
    };
    let mut entries = BTreeMap::new();
    for (name, value) in header.0 {
        if name == "__metadata__" {
            continue;
        }
        let claim: Claim = serde_json::from_value(value)
            .map_err(|source| malformed(Some(&name), format!("cannot be read: {source}")))?;
        let [start, end] = claim.data_offsets;
        if start > end {
            let problem = format!("its offsets {start}..{end} run backwards");
            return Err(malformed(Some(&name), problem));
        }
        if end > available {
            let problem = format!(
                "its offsets {start}..{end} reach beyond the {available} bytes of data; is the file \
                 truncated?"
            );
            return Err(malformed(Some(&name), problem));
        }
        let Some(bits) = element_bits(&claim.dtype) else {
            let problem = format!("its element type `{}` is unknown", claim.dtype);
            return Err(malformed(Some(&name), problem));
        };
        let needed = claim
            .shape
            .iter()
            .try_fold(bits, |product, &size| product.checked_mul(size))
            .filter(|bits| bits.is_multiple_of(8))
            .map(|bits| bits / 8);
        if needed != Some(end - start) {
            let problem = format!(
                "{} {:?} needs {} bytes, but its offsets {start}..{end} hold {}",
                claim.dtype,
                claim.shape,
                needed.map_or_else(|| "uncountable".into(), |needed| needed.to_string()),
                end - start
            );
            return Err(malformed(Some(&name), problem));
        }
        // Every size divides a number of bytes that the file has, or the tensor is empty.
        let shape = claim
            .shape
            .iter()
            .map(|&size| usize::try_from(size).unwrap_or(usize::MAX));
        let entry = Entry {
            element: claim.dtype,
            shape: shape.collect(),
            start,
            end,
        };
        if entries.contains_key(&name) {
            return Err(malformed(Some(&name), "its name is there twice".into()));
        }
        entries.insert(name, entry);
    }
    let mut order: Vec<(&String, &Entry)> = entries.iter().collect();
    order.sort_by_key(|(_, entry)| (entry.start, entry.end));
    let mut before: Option<&String> = None;
    let mut reached = 0;
    for (name, entry) in order {
        if entry.start < reached {
            let problem = format!(
                "its offsets {}..{} overlap those of `{}`, which end at {reached}",
                entry.start,
                entry.end,
                before.map_or("", String::as_str)
            );
            return Err(malformed(Some(name), problem));
        }
        if entry.start > reached {
            let problem = format!(
                "its offsets {}..{} leave a hole behind byte {reached}",
                entry.start, entry.end
            );
            return Err(malformed(Some(name), problem));
        }
        (before, reached) = (Some(name), entry.end);
    }
    if reached != available {
        let problem = format!(
            "{} bytes behind the last tensor belong to none",
            available - reached
        );
        return Err(malformed(None, problem));
    }
    Ok(entries)
}

/// The size of an element in bits, by the format's names.
fn element_bits(name: &str) -> Option<u64> {
    Some(match name {
        "F4" => 4,
        "F6_E2M3" | "F6_E3M2" => 6,
        "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0" | "F8_E4M3FNUZ"
        | "F8_E5M2FNUZ" => 8,
        "I16" | "U16" | "F16" | "BF16" => 16,
        "I32" | "U32" | "F32" => 32,
        "I64" | "U64" | "F64" | "C64" => 64,
        _ => return None,
    })
}

/// Writes tensors of f32, in the order that was announced.
pub(crate) struct SafetensorsWriter<W: Write> {
    out: BufWriter<W>,
}

impl<W: Write> SafetensorsWriter<W> {
    /// Writes the header for tensors of these names and shapes.
    pub(crate) fn new<'a>(
        out: W,
        tensors: impl Iterator<Item = (&'a str, &'a [usize])>,
    ) -> std::io::Result<Self> {
        let mut header = serde_json::Map::new();
        header.insert("__metadata__".into(), serde_json::json!({ "format": "pt" }));
        let mut start = 0_u64;
        for (name, shape) in tensors {
            let end = start + 4 * shape.iter().product::<usize>() as u64;
            let claim =
                serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, end] });
            header.insert(name.to_owned(), claim);
            start = end;
        }
        let mut text = serde_json::to_vec(&header)?;
        // Spaces align the data, as the format's own writer does.
        text.resize(text.len().next_multiple_of(8), b' ');
        let mut out = BufWriter::new(out);
        out.write_all(&(text.len() as u64).to_le_bytes())?;
        out.write_all(&text)?;
        Ok(Self { out })
    }

    /// Writes the next tensor's numbers.
    pub(crate) fn write(&mut self, values: &[f32]) -> std::io::Result<()> {
        values
            .iter()
            .try_for_each(|value| self.out.write_all(&value.to_le_bytes()))
    }

    /// Gives the underlying file back when all is written.
    pub(crate) fn finish(self) -> std::io::Result<W> {
        self.out
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
    }
}
