//! Laws over arbitrary bytes and files.

use didact_gguf::{Array, Gguf, Limits, TensorType, Value, dequantise};
use proptest::prelude::*;

use crate::writer::{File, Tensor, open, sample};

/// Opens whatever it is given and reads all that it lists.
fn read_all(bytes: Vec<u8>) {
    if let Ok(gguf) = open(bytes) {
        for tensor in gguf.tensors() {
            if let Ok(numbers) = gguf.dequantise(tensor.name()) {
                assert_eq!(numbers.len(), tensor.shape().iter().product::<usize>());
            }
        }
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<i16>().prop_map(Value::I16),
        any::<u32>().prop_map(Value::U32),
        any::<i64>().prop_map(Value::I64),
        (-1e30f32..1e30).prop_map(Value::F32),
        (-1e30f64..1e30).prop_map(Value::F64),
        any::<bool>().prop_map(Value::Bool),
        ".{0,12}".prop_map(Value::String),
        prop::collection::vec(any::<u64>(), 0..5).prop_map(|items| Value::Array(Array::U64(items))),
        prop::collection::vec(".{0,4}", 0..5).prop_map(|items| Value::Array(Array::String(items))),
        prop::collection::vec(any::<bool>(), 0..5)
            .prop_map(|items| Value::Array(Array::Array(vec![Array::Bool(items)]))),
    ]
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        read_all(bytes);
    }

    #[test]
    fn arbitrary_bytes_behind_a_good_preamble_never_panic(
        tensors in 0u64..4,
        entries in 0u64..4,
        bytes in prop::collection::vec(prop_oneof![3 => 0u8..13, 1 => any::<u8>()], 0..512),
    ) {
        let counts = [tensors.to_le_bytes(), entries.to_le_bytes()].concat();
        read_all([&b"GGUF\x03\0\0\0"[..], &counts, &bytes].concat());
    }

    #[test]
    fn a_changed_byte_never_panics(at in 0usize..600, byte: u8) {
        let mut bytes = sample().bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        read_all(bytes);
    }

    #[test]
    fn what_is_written_is_read(
        metadata in prop::collection::btree_map("[a-z.]{1,12}", any_value(), 0..8),
        numbers in prop::collection::vec(-1e30f32..1e30, 1..40),
    ) {
        let mut file = File::new();
        for (key, value) in &metadata {
            file = file.with(key, value);
        }
        let length = numbers.len() as u64;
        let gguf = file.with_tensor(Tensor::f32("t", &[length], &numbers)).open().unwrap();
        for (key, value) in &metadata {
            prop_assert_eq!(gguf.metadata(key), Some(value));
        }
        prop_assert_eq!(gguf.dequantise("t").unwrap(), numbers);
    }

    #[test]
    fn memory_never_follows_a_claim(claim in (1u64 << 20)..u64::MAX, id in 0u32..13) {
        let array = [9u32.to_le_bytes(), id.to_le_bytes()].concat();
        let value = [&array[..], &claim.to_le_bytes()].concat();
        let bytes = File::new().with_raw("list", value).bytes();
        prop_assert!(Gguf::from_bytes("test.gguf", bytes, &Limits::default()).is_err());
    }

    #[test]
    fn blocks_of_any_bytes_never_panic(
        id in 0u32..32,
        blocks in 0usize..3,
        seed in prop::collection::vec(any::<u8>(), 256..257),
    ) {
        let kind = TensorType::from_id(id);
        if let Some((elements, size)) = kind.block() {
            let bytes: Vec<u8> = seed.iter().copied().cycle().take(blocks * size).collect();
            prop_assert_eq!(dequantise(kind, &bytes, blocks * elements).unwrap().len(), blocks * elements);
        }
    }
}
