//! Blocks dequantised by the Python package `gguf` (see `golden/generate.py`), equal to the bit.

use didact_gguf::{TensorType, dequantise};

#[derive(Debug)]
struct Case {
    name: String,
    kind: TensorType,
    bytes: Vec<u8>,
    expected: Vec<u32>,
}

fn cases() -> Vec<Case> {
    let parsed: serde_json::Value =
        serde_json::from_str(include_str!("golden/blocks.json")).unwrap();
    let case = |case: &serde_json::Value| {
        let hex = case["bytes"].as_str().unwrap();
        let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let bits = case["bits"].as_array().unwrap();
        Case {
            name: case["type"].as_str().unwrap().to_owned(),
            kind: TensorType::from_id(case["id"].as_u64().unwrap() as u32),
            bytes: (0..hex.len()).step_by(2).map(digits).collect(),
            expected: bits
                .iter()
                .map(|number| number.as_u64().unwrap() as u32)
                .collect(),
        }
    };
    parsed.as_array().unwrap().iter().map(case).collect()
}

#[test]
fn every_type_gives_the_same_bits() {
    let cases = cases();
    assert_eq!(cases.len(), 10);
    for case in cases {
        assert_eq!(case.kind.to_string(), case.name);
        let numbers = dequantise(case.kind, &case.bytes, case.expected.len()).unwrap();
        for (element, (number, &expected)) in numbers.iter().zip(&case.expected).enumerate() {
            // Zeros of either sign are the same weight.
            let same = number.to_bits() == expected || *number == f32::from_bits(expected);
            assert!(same, "{} element {element}: {number}", case.name);
        }
    }
}

#[test]
fn ragged_blocks_are_refused() {
    for case in cases() {
        let elements = case.expected.len();
        assert!(
            dequantise(case.kind, &case.bytes[1..], elements).is_err(),
            "{}",
            case.name
        );
        assert!(
            dequantise(case.kind, &case.bytes, elements - 1).is_err(),
            "{}",
            case.name
        );
        assert!(
            dequantise(case.kind, &[], elements).is_err(),
            "{}",
            case.name
        );
    }
    assert!(dequantise(TensorType::Unsupported(10), &[], 0).is_err());
}
