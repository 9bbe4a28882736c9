//! Files that lie. Each must be refused with an error that says where, and without an allocation
//! of the size that it claims.

use didact_gguf::{Array, Error, Gguf, Limits, Result, Value};

use crate::writer::{File, Tensor, open, sample, string, value_bytes};

/// The message of the error that `result` must be.
fn refused(result: Result<Gguf>) -> String {
    result.expect_err("the file must be refused").to_string()
}

fn array(id: u32, length: u64, body: &[u8]) -> Vec<u8> {
    [
        &9u32.to_le_bytes()[..],
        &id.to_le_bytes(),
        &length.to_le_bytes(),
        body,
    ]
    .concat()
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = sample().bytes();
    assert!(open(bytes.clone()).is_ok());
    for length in 0..bytes.len() {
        let message = refused(open(bytes[..length].to_vec()));
        assert!(message.contains("truncated"), "at {length}: {message}");
    }
}

#[test]
fn other_files_and_versions_are_refused() {
    let mut bytes = sample().bytes();
    bytes[0] = b'X';
    assert!(matches!(open(bytes), Err(Error::NotGguf { .. })));
    for version in [0, 1, 4, u32::MAX] {
        let error = File {
            version,
            ..sample()
        }
        .open()
        .unwrap_err();
        assert!(matches!(
            error,
            Error::UnsupportedVersion {
                big_endian: false,
                ..
            }
        ));
    }
    let error = File {
        version: 3u32.swap_bytes(),
        ..sample()
    }
    .open()
    .unwrap_err();
    assert!(error.to_string().contains("a big-endian file"));
}

#[test]
fn counts_beyond_the_file_are_refused() {
    for (at, what) in [(8, "tensor entries"), (16, "metadata entries")] {
        let mut bytes = File::new().bytes();
        bytes[at..at + 8].copy_from_slice(&60_000u64.to_le_bytes());
        assert!(refused(open(bytes.clone())).contains(&format!("60000 {what} needs")));
        bytes[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(open(bytes), Err(Error::LimitExceeded { .. })));
    }
}

#[test]
fn lengths_beyond_the_file_are_refused() {
    let long = [&8u32.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat();
    let message = refused(File::new().with_raw("text", long).open());
    assert!(
        message.contains("metadata `text` needs 18446744073709551615 bytes"),
        "{message}"
    );
    for id in [0, 3, 6, 8, 9, 12] {
        for length in [u64::MAX, 1 << 40] {
            let message = refused(File::new().with_raw("list", array(id, length, &[])).open());
            assert!(
                message.contains("an array of metadata `list` needs"),
                "{message}"
            );
        }
    }
    let mut bytes = File::new().bytes();
    bytes[16] = 1;
    bytes.extend(u64::MAX.to_le_bytes());
    bytes.extend([0; 16]);
    assert!(refused(open(bytes)).contains("the key of metadata entry 0 needs"));
}

#[test]
fn limits_are_kept() {
    let bytes = sample().bytes();
    let with = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        refused(Gguf::from_bytes("test.gguf", bytes.clone(), &limits))
    };
    assert!(with(|limits| limits.metadata_entries = 6).contains("Limits::metadata_entries"));
    assert!(with(|limits| limits.tensors = 1).contains("Limits::tensors"));
    assert!(with(|limits| limits.string_bytes = 5).contains("Limits::string_bytes"));
    assert!(with(|limits| limits.name_bytes = 7).contains("Limits::name_bytes"));
    assert!(with(|limits| limits.array_elements = 2).contains("Limits::array_elements"));
    assert!(with(|limits| limits.array_nesting = 1).contains("Limits::array_nesting"));
    assert!(with(|limits| limits.header_bytes = 200).contains("Limits::header_bytes"));
}

#[test]
fn deep_nesting_is_refused() {
    let mut deep = Array::U8(vec![]);
    for _ in 0..4 {
        deep = Array::Array(vec![deep]);
    }
    let message = refused(File::new().with("deep", &Value::Array(deep)).open());
    assert!(
        message.contains("the nesting of the arrays of metadata `deep` is 5"),
        "{message}"
    );
    // As deep as 100 000 levels would have it: the stack must not follow.
    let mut body = Vec::new();
    for _ in 0..100_000 {
        body.extend(9u32.to_le_bytes());
        body.extend(1u64.to_le_bytes());
    }
    let raw = [&9u32.to_le_bytes()[..], &body].concat();
    assert!(refused(File::new().with_raw("deep", raw).open()).contains("array_nesting"));
}

#[test]
fn odd_metadata_is_refused() {
    let twice = File::new()
        .with("key", &Value::U8(1))
        .with("key", &Value::U8(2));
    assert!(refused(twice.open()).contains("metadata `key`: the key stands in the file twice"));
    let unknown = File::new().with_raw("key", 13u32.to_le_bytes().to_vec());
    assert!(refused(unknown.with("pad", &Value::U64(0)).open()).contains("unknown value type 13"));
    let unknown = File::new().with_raw("key", array(99, 0, &[]));
    assert!(refused(unknown.open()).contains("unknown element type 99"));
    let bool = File::new().with_raw("key", [&7u32.to_le_bytes()[..], &[2]].concat());
    assert!(refused(bool.open()).contains("a bool is stored as 2"));
    let mut text = value_bytes(&Value::String("ab".into()));
    *text.last_mut().unwrap() = 0xff;
    let message = refused(File::new().with_raw("key", text).open());
    assert!(message.contains("metadata `key` at offset") && message.contains("not UTF-8"));
}

#[test]
fn bad_alignments_are_refused() {
    for value in [
        Value::U32(0),
        Value::U32(24),
        Value::U64(32),
        Value::String("32".into()),
    ] {
        let message = refused(File::new().with("general.alignment", &value).open());
        assert!(
            message.contains("metadata `general.alignment`: a power of two"),
            "{message}"
        );
    }
}

#[test]
fn bad_dimensions_are_refused() {
    let tensor = |dimensions: &[u64], kind| {
        let tensor = Tensor {
            kind,
            ..Tensor::f32("t", dimensions, &[0.0; 64])
        };
        refused(File::new().with_tensor(tensor).open())
    };
    assert!(tensor(&[1, 1, 1, 1, 1], 0).contains("tensor `t`: it has 5 dimensions"));
    assert!(tensor(&[4, 0], 0).contains("a dimension is 0"));
    assert!(tensor(&[1 << 32, 1 << 32], 0).contains("overflows"));
    assert!(tensor(&[1 << 62], 0).contains("overflows"));
    assert!(tensor(&[16, 4], 8).contains("are not whole blocks of Q8_0"));
    assert!(tensor(&[1 << 40], 0).contains("tensor `t` needs 4398046511104 bytes"));
    // A count of dimensions far beyond the file.
    let mut bytes = File::new().bytes();
    bytes[8] = 1;
    bytes.extend(string("t"));
    bytes.extend(u32::MAX.to_le_bytes());
    bytes.extend([0; 32]);
    assert!(refused(open(bytes)).contains("it has 4294967295 dimensions"));
}

#[test]
fn bad_offsets_are_refused() {
    let tensor = |name: &str, offset| Tensor {
        offset: Some(offset),
        ..Tensor::f32(name, &[8], &[0.0; 8])
    };
    let one = |offset| refused(File::new().with_tensor(tensor("t", offset)).open());
    assert!(one(8).contains("tensor `t`: its offset 8 is not a multiple of 32"));
    assert!(one(32).contains("tensor `t` needs 32 bytes"));
    assert!(one(1 << 40).contains("but only 0 are there"));
    assert!(one(u64::MAX - 31).contains("but only 0 are there"));
    let two = |first, second| refused(File::new().with_tensor(first).with_tensor(second).open());
    assert!(two(tensor("a", 0), tensor("b", 0)).contains("its data overlap those of `"));
    let long = Tensor {
        offset: Some(0),
        ..Tensor::f32("a", &[16], &[0.0; 16])
    };
    let message = two(long, tensor("b", 32));
    assert!(
        message.contains("tensor `b`: its data overlap those of `a`"),
        "{message}"
    );
    let message = two(tensor("t", 0), tensor("t", 32));
    assert!(message.contains("tensor `t`: the name stands in the directory twice"));
}
