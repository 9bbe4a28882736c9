//! Metadata values and how they are asked for.
//!
//! Knows the value types of the format; does not know what a key means.

/// A metadata value, as stored.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    missing_docs,
    reason = "each variant is the type that it is named after"
)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(String),
    Array(Array),
}

/// A metadata array: all elements are of one type.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    missing_docs,
    reason = "each variant is the type that it is named after"
)]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    String(Vec<String>),
    Array(Vec<Self>),
}

impl Array {
    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::U8(items) => items.len(),
            Self::I8(items) => items.len(),
            Self::U16(items) => items.len(),
            Self::I16(items) => items.len(),
            Self::U32(items) => items.len(),
            Self::I32(items) => items.len(),
            Self::U64(items) => items.len(),
            Self::I64(items) => items.len(),
            Self::F32(items) => items.len(),
            Self::F64(items) => items.len(),
            Self::Bool(items) => items.len(),
            Self::String(items) => items.len(),
            Self::Array(items) => items.len(),
        }
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn element_type(&self) -> &'static str {
        match self {
            Self::U8(_) => "u8",
            Self::I8(_) => "i8",
            Self::U16(_) => "u16",
            Self::I16(_) => "i16",
            Self::U32(_) => "u32",
            Self::I32(_) => "i32",
            Self::U64(_) => "u64",
            Self::I64(_) => "i64",
            Self::F32(_) => "f32",
            Self::F64(_) => "f64",
            Self::Bool(_) => "bool",
            Self::String(_) => "string",
            Self::Array(_) => "array",
        }
    }
}

impl Value {
    /// The value as an integer; none if it is of another type or beyond i128 (it never is).
    fn integer(&self) -> Option<i128> {
        match *self {
            Self::U8(number) => Some(number.into()),
            Self::I8(number) => Some(number.into()),
            Self::U16(number) => Some(number.into()),
            Self::I16(number) => Some(number.into()),
            Self::U32(number) => Some(number.into()),
            Self::I32(number) => Some(number.into()),
            Self::U64(number) => Some(number.into()),
            Self::I64(number) => Some(number.into()),
            Self::F32(_) | Self::F64(_) | Self::Bool(_) | Self::String(_) | Self::Array(_) => None,
        }
    }

    /// The type and, where it is short, the value: for error messages.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::String(text) => format!("a string of {} bytes", text.len()),
            Self::Array(array) => format!("an array of {} {}", array.len(), array.element_type()),
            Self::Bool(flag) => format!("the bool {flag}"),
            Self::F32(number) => format!("the f32 {number}"),
            Self::F64(number) => format!("the f64 {number}"),
            integer => format!("the integer {}", integer.integer().unwrap_or_default()),
        }
    }
}

/// A Rust type that a metadata value can be read as, for [`Gguf::get`](crate::Gguf::get).
///
/// Integers of every stored width convert where the value fits; an integer does not become a float
/// nor a float an integer.
pub trait FromValue<'a>: Sized {
    /// What is expected, for error messages.
    const EXPECTED: &'static str;

    /// The value, or none if it is of another type or out of range.
    fn from_value(value: &'a Value) -> Option<Self>;
}

macro_rules! integers {
    ($($name:ty => $expected:literal, $expected_array:literal;)*) => {$(
        impl FromValue<'_> for $name {
            const EXPECTED: &'static str = $expected;

            fn from_value(value: &Value) -> Option<Self> {
                Self::try_from(value.integer()?).ok()
            }
        }

        impl FromValue<'_> for Vec<$name> {
            const EXPECTED: &'static str = $expected_array;

            fn from_value(value: &Value) -> Option<Self> {
                fn convert<T: Copy>(items: &[T]) -> Option<Vec<$name>>
                where
                    $name: TryFrom<T>,
                {
                    items.iter().map(|&item| <$name>::try_from(item).ok()).collect()
                }
                match value {
                    Value::Array(Array::U8(items)) => convert(items),
                    Value::Array(Array::I8(items)) => convert(items),
                    Value::Array(Array::U16(items)) => convert(items),
                    Value::Array(Array::I16(items)) => convert(items),
                    Value::Array(Array::U32(items)) => convert(items),
                    Value::Array(Array::I32(items)) => convert(items),
                    Value::Array(Array::U64(items)) => convert(items),
                    Value::Array(Array::I64(items)) => convert(items),
                    _ => None,
                }
            }
        }
    )*};
}

integers! {
    u32 => "an integer of at most 32 bits, not negative", "an array of integers of at most 32 bits, not negative";
    i32 => "an integer of at most 32 bits", "an array of integers of at most 32 bits";
    u64 => "an integer, not negative", "an array of integers, not negative";
    i64 => "an integer", "an array of integers";
    usize => "an integer, not negative", "an array of integers, not negative";
}

impl FromValue<'_> for f64 {
    const EXPECTED: &'static str = "a float";

    fn from_value(value: &Value) -> Option<Self> {
        match *value {
            Value::F32(number) => Some(number.into()),
            Value::F64(number) => Some(number),
            _ => None,
        }
    }
}

impl FromValue<'_> for f32 {
    const EXPECTED: &'static str = "an f32";

    fn from_value(value: &Value) -> Option<Self> {
        match *value {
            Value::F32(number) => Some(number),
            _ => None,
        }
    }
}

impl FromValue<'_> for bool {
    const EXPECTED: &'static str = "a bool";

    fn from_value(value: &Value) -> Option<Self> {
        match *value {
            Value::Bool(flag) => Some(flag),
            _ => None,
        }
    }
}

impl<'a> FromValue<'a> for &'a str {
    const EXPECTED: &'static str = "a string";

    fn from_value(value: &'a Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

impl<'a> FromValue<'a> for &'a [String] {
    const EXPECTED: &'static str = "an array of strings";

    fn from_value(value: &'a Value) -> Option<Self> {
        match value {
            Value::Array(Array::String(items)) => Some(items),
            _ => None,
        }
    }
}

impl<'a> FromValue<'a> for &'a [f32] {
    const EXPECTED: &'static str = "an array of f32";

    fn from_value(value: &'a Value) -> Option<Self> {
        match value {
            Value::Array(Array::F32(items)) => Some(items),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_convert_where_they_fit() {
        assert_eq!(u32::from_value(&Value::U64(7)), Some(7));
        assert_eq!(u32::from_value(&Value::U64(1 << 32)), None);
        assert_eq!(u32::from_value(&Value::I8(-1)), None);
        assert_eq!(i64::from_value(&Value::I8(-1)), Some(-1));
        assert_eq!(u64::from_value(&Value::F32(1.0)), None);
        assert_eq!(f64::from_value(&Value::U8(1)), None);
        let array = Value::Array(Array::I32(vec![3, 4]));
        assert_eq!(Vec::<u32>::from_value(&array), Some(vec![3, 4]));
        assert_eq!(
            Vec::<u32>::from_value(&Value::Array(Array::I32(vec![-3]))),
            None
        );
    }

    #[test]
    fn descriptions_name_type_and_value() {
        assert_eq!(Value::I16(-3).describe(), "the integer -3");
        assert_eq!(
            Value::Array(Array::F32(vec![1.0])).describe(),
            "an array of 1 f32"
        );
        assert_eq!(
            Value::String("abc".into()).describe(),
            "a string of 3 bytes"
        );
    }
}
