//! Typed access to the keys of a JSON object, with errors that name file and key.
//!
//! What a key means is for the reader to say.

use serde_json::{Map, Value};

use crate::{Error, Result};

/// A JSON object with the name of its file.
pub(super) struct Keys<'a> {
    pub(super) file: &'a str,
    pub(super) prefix: &'a str,
    pub(super) map: &'a Map<String, Value>,
}

impl<'a> Keys<'a> {
    /// The value of `key`; null counts as absent, as it does for `transformers`.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn invalid(&self, key: &str, found: &Value, expected: impl Into<String>) -> Error {
        Error::InvalidKey {
            file: self.file.to_owned(),
            key: format!("{}{key}", self.prefix),
            found: shorten(found),
            expected: expected.into(),
        }
    }

    pub(super) fn unsupported(
        &self,
        key: &str,
        found: &Value,
        supported: impl Into<String>,
    ) -> Error {
        Error::UnsupportedOption {
            file: self.file.to_owned(),
            key: format!("{}{key}", self.prefix),
            found: shorten(found),
            supported: supported.into(),
        }
    }

    pub(super) fn missing(&self, key: &str, expected: &'static str) -> Error {
        Error::MissingKey {
            file: self.file.to_owned(),
            key: format!("{}{key}", self.prefix),
            expected,
        }
    }

    pub(super) fn integer(&self, key: &str) -> Result<Option<u64>> {
        let read = |value: &Value| {
            value
                .as_u64()
                .ok_or_else(|| self.invalid(key, value, "a whole number of at least 0"))
        };
        self.get(key).map(read).transpose()
    }

    pub(super) fn size(&self, key: &str) -> Result<Option<usize>> {
        // A number above the machine's word is above every limit too.
        Ok(self
            .integer(key)?
            .map(|value| usize::try_from(value).unwrap_or(usize::MAX)))
    }

    pub(super) fn required_size(&self, key: &str) -> Result<usize> {
        self.size(key)?
            .ok_or_else(|| self.missing(key, "a whole number above 0"))
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>> {
        let read = |value: &Value| {
            value
                .as_f64()
                .ok_or_else(|| self.invalid(key, value, "a number"))
        };
        self.get(key).map(read).transpose()
    }

    pub(super) fn required_number(&self, key: &str) -> Result<f64> {
        self.number(key)?
            .ok_or_else(|| self.missing(key, "a number"))
    }

    pub(super) fn boolean(&self, key: &str) -> Result<Option<bool>> {
        let read = |value: &Value| {
            value
                .as_bool()
                .ok_or_else(|| self.invalid(key, value, "true or false"))
        };
        self.get(key).map(read).transpose()
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>> {
        let read = |value: &'a Value| {
            value
                .as_str()
                .ok_or_else(|| self.invalid(key, value, "a string"))
        };
        self.get(key).map(read).transpose()
    }

    pub(super) fn object(&self, key: &str, prefix: &'a str) -> Result<Option<Self>> {
        let read = |value: &'a Value| match value {
            Value::Object(map) => Ok(Keys {
                file: self.file,
                prefix,
                map,
            }),
            other => Err(self.invalid(key, other, "an object or null")),
        };
        self.get(key).map(read).transpose()
    }

    /// A token id; the -1 that old files write for "none" is none.
    pub(super) fn token(&self, key: &str, value: &Value) -> Result<Option<u32>> {
        if value.as_i64() == Some(-1) {
            return Ok(None);
        }
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.map(Some)
            .ok_or_else(|| self.invalid(key, value, "a token id"))
    }

    pub(super) fn tokens(&self, key: &str) -> Result<Vec<u32>> {
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values
                .iter()
                .filter_map(|value| self.token(key, value).transpose())
                .collect(),
            Some(value) => Ok(self.token(key, value)?.into_iter().collect()),
        }
    }
}

/// A value as an error shows it: an object or a long list would bury the key.
fn shorten(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 80 {
        return text;
    }
    text.chars().take(77).chain("...".chars()).collect()
}
