//! Reads the header field by field, never beyond the file nor the limits.
//!
//! Knows the format's primitive fields; what they mean is in `file.rs`.

use std::io::{BufReader, Read};
use std::path::Path;

use crate::{Array, Error, Limits, Result, Value};

/// A position in the header, with what may still be read.
pub(crate) struct Cursor<'a, R> {
    reader: BufReader<R>,
    path: &'a Path,
    limits: &'a Limits,
    position: u64,
    file_bytes: u64,
}

impl<'a, R: Read> Cursor<'a, R> {
    pub(crate) fn new(reader: R, path: &'a Path, limits: &'a Limits, file_bytes: u64) -> Self {
        Self {
            reader: BufReader::new(reader),
            path,
            limits,
            position: 0,
            file_bytes,
        }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Fails unless `needed` more bytes are in the file and within the header's limit. Everything
    /// that allocates asks this first.
    pub(crate) fn require(&self, needed: u64, what: impl Fn() -> String) -> Result<()> {
        let available = self.file_bytes - self.position;
        if needed > available {
            return Err(Error::Truncated {
                path: self.path.to_owned(),
                what: what(),
                offset: self.position,
                needed,
                available,
            });
        }
        // No overflow: both are at most the file's size.
        self.limit(
            self.position + needed,
            self.limits.header_bytes,
            "header_bytes",
            || format!("the header up to {}", what()),
        )
    }

    pub(crate) fn limit(
        &self,
        found: u64,
        limit: u64,
        name: &'static str,
        what: impl Fn() -> String,
    ) -> Result<()> {
        if found > limit {
            return Err(Error::LimitExceeded {
                path: self.path.to_owned(),
                what: what(),
                found,
                limit,
                name,
            });
        }
        Ok(())
    }

    fn fill(&mut self, bytes: &mut [u8], what: impl Fn() -> String) -> Result<()> {
        self.require(bytes.len() as u64, &what)?;
        self.reader.read_exact(bytes).map_err(|source| Error::Io {
            path: self.path.to_owned(),
            what: what(),
            source,
        })?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    pub(crate) fn bytes<const N: usize>(&mut self, what: impl Fn() -> String) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    pub(crate) fn u32(&mut self, what: impl Fn() -> String) -> Result<u32> {
        Ok(u32::from_le_bytes(self.bytes(what)?))
    }

    pub(crate) fn u64(&mut self, what: impl Fn() -> String) -> Result<u64> {
        Ok(u64::from_le_bytes(self.bytes(what)?))
    }

    /// A metadata key or a tensor's name.
    pub(crate) fn name(&mut self, what: impl Fn() -> String) -> Result<String> {
        self.text(self.limits.name_bytes, "name_bytes", what)
    }

    fn string(&mut self, what: impl Fn() -> String) -> Result<String> {
        self.text(self.limits.string_bytes, "string_bytes", what)
    }

    fn text(
        &mut self,
        limit: u64,
        limit_name: &'static str,
        what: impl Fn() -> String,
    ) -> Result<String> {
        let length = self.u64(|| format!("the length of {}", what()))?;
        self.require(length, &what)?;
        self.limit(length, limit, limit_name, || {
            format!("the length of {}", what())
        })?;
        let offset = self.position;
        let mut bytes = vec![0; self.to_usize(length, &what)?];
        self.fill(&mut bytes, &what)?;
        String::from_utf8(bytes).map_err(|_| Error::InvalidUtf8 {
            path: self.path.to_owned(),
            what: what(),
            offset,
        })
    }

    /// A length that `require` has compared with the file's size; on a 32-bit machine it may still
    /// be too large for memory.
    fn to_usize(&self, length: u64, what: impl Fn() -> String) -> Result<usize> {
        usize::try_from(length).map_err(|_| Error::LimitExceeded {
            path: self.path.to_owned(),
            what: what(),
            found: length,
            limit: usize::MAX as u64,
            name: "header_bytes",
        })
    }

    /// The value of `key`, behind its type number.
    pub(crate) fn value(&mut self, key: &str) -> Result<Value> {
        let what = || format!("metadata `{key}`");
        let id = self.u32(|| format!("the type of metadata `{key}`"))?;
        Ok(match id {
            0 => Value::U8(u8::from_le_bytes(self.bytes(what)?)),
            1 => Value::I8(i8::from_le_bytes(self.bytes(what)?)),
            2 => Value::U16(u16::from_le_bytes(self.bytes(what)?)),
            3 => Value::I16(i16::from_le_bytes(self.bytes(what)?)),
            4 => Value::U32(self.u32(what)?),
            5 => Value::I32(i32::from_le_bytes(self.bytes(what)?)),
            6 => Value::F32(f32::from_le_bytes(self.bytes(what)?)),
            7 => Value::Bool(self.boolean(key)?),
            8 => Value::String(self.string(what)?),
            9 => Value::Array(self.array(key, 1)?),
            10 => Value::U64(self.u64(what)?),
            11 => Value::I64(i64::from_le_bytes(self.bytes(what)?)),
            12 => Value::F64(f64::from_le_bytes(self.bytes(what)?)),
            other => return Err(self.invalid(key, format!("unknown value type {other}"))),
        })
    }

    fn boolean(&mut self, key: &str) -> Result<bool> {
        match self.bytes(|| format!("metadata `{key}`"))? {
            [0] => Ok(false),
            [1] => Ok(true),
            [byte] => Err(self.invalid(key, format!("a bool is stored as {byte}, not 0 or 1"))),
        }
    }

    /// The array of `key` at level `nesting`, behind the value's type number.
    fn array(&mut self, key: &str, nesting: u32) -> Result<Array> {
        let what = || format!("an array of metadata `{key}`");
        self.limit(
            nesting.into(),
            self.limits.array_nesting.into(),
            "array_nesting",
            || format!("the nesting of the arrays of metadata `{key}`"),
        )?;
        let id = self.u32(what)?;
        let length = self.u64(what)?;
        let element_bytes: u64 = match id {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            // A string has at least its length, an array its type and length.
            8 => 8,
            9 => 12,
            10..=12 => 8,
            other => return Err(self.invalid(key, format!("unknown element type {other}"))),
        };
        self.require(length.saturating_mul(element_bytes), what)?;
        self.limit(length, self.limits.array_elements, "array_elements", || {
            format!("the number of elements of {}", what())
        })?;
        let length = self.to_usize(length, what)?;
        Ok(match id {
            0 => Array::U8(self.numbers(length, what, u8::from_le_bytes)?),
            1 => Array::I8(self.numbers(length, what, i8::from_le_bytes)?),
            2 => Array::U16(self.numbers(length, what, u16::from_le_bytes)?),
            3 => Array::I16(self.numbers(length, what, i16::from_le_bytes)?),
            4 => Array::U32(self.numbers(length, what, u32::from_le_bytes)?),
            5 => Array::I32(self.numbers(length, what, i32::from_le_bytes)?),
            6 => Array::F32(self.numbers(length, what, f32::from_le_bytes)?),
            7 => Array::Bool(
                (0..length)
                    .map(|_| self.boolean(key))
                    .collect::<Result<_>>()?,
            ),
            8 => Array::String(
                (0..length)
                    .map(|element| self.string(|| format!("element {element} of `{key}`")))
                    .collect::<Result<_>>()?,
            ),
            9 => Array::Array(
                (0..length)
                    .map(|_| self.array(key, nesting + 1))
                    .collect::<Result<_>>()?,
            ),
            10 => Array::U64(self.numbers(length, what, u64::from_le_bytes)?),
            11 => Array::I64(self.numbers(length, what, i64::from_le_bytes)?),
            _ => Array::F64(self.numbers(length, what, f64::from_le_bytes)?),
        })
    }

    fn numbers<T, const N: usize>(
        &mut self,
        length: usize,
        what: impl Fn() -> String,
        convert: fn([u8; N]) -> T,
    ) -> Result<Vec<T>> {
        let mut numbers = Vec::with_capacity(length);
        for _ in 0..length {
            numbers.push(convert(self.bytes(&what)?));
        }
        Ok(numbers)
    }

    fn invalid(&self, key: &str, problem: String) -> Error {
        Error::InvalidMetadata {
            path: self.path.to_owned(),
            key: key.to_owned(),
            problem,
        }
    }
}
