//! What a well-formed file gives back.

use didact_gguf::{Array, Error, Gguf, TensorType, Value};

use crate::writer::{File, Tensor, sample};

#[test]
fn metadata_and_tensors_come_back() {
    let gguf = sample().open().unwrap();
    assert_eq!(gguf.version(), 3);
    assert_eq!(gguf.get::<&str>("general.architecture").unwrap(), "llama");
    assert_eq!(gguf.get::<usize>("llama.block_count").unwrap(), 2);
    assert_eq!(gguf.get::<f32>("epsilon").unwrap(), 1e-5);
    assert!(gguf.get::<bool>("flag").unwrap());
    assert_eq!(gguf.get::<&[String]>("words").unwrap(), ["a", "", "mot é"]);
    assert_eq!(gguf.get::<Vec<i32>>("types").unwrap(), [1, -3]);
    assert_eq!(
        gguf.metadata("nested"),
        Some(&Value::Array(Array::Array(vec![
            Array::U8(vec![1]),
            Array::U16(vec![])
        ])))
    );
    assert_eq!(gguf.find::<u64>("none").unwrap(), None);
    assert_eq!(gguf.keys().len(), 7);

    // ggml's dimensions are reversed: two rows of three.
    let tensor = gguf.tensor("a.weight").unwrap();
    assert_eq!(
        (tensor.shape(), tensor.kind()),
        (&[2, 3][..], TensorType::F32)
    );
    assert_eq!(
        gguf.dequantise("a.weight").unwrap(),
        [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    );
    // 0x3800 is 0.5.
    let halves: Vec<f32> = (0..32).map(|number| 0.5 * number as f32).collect();
    assert_eq!(gguf.dequantise("b.weight").unwrap(), halves);
    assert_eq!(gguf.tensors().len(), 2);
}

#[test]
fn a_file_on_disk_reads_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, sample().bytes()).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    assert_eq!(
        gguf.dequantise("a.weight").unwrap(),
        [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    );
    assert_eq!(gguf.dequantise("b.weight").unwrap()[31], 15.5);
    assert_eq!(gguf.path(), path);
}

#[test]
fn version_2_and_other_alignments_are_read() {
    let mut file = sample().with("general.alignment", &Value::U32(64));
    file.version = 2;
    file.alignment = 64;
    let gguf = file.open().unwrap();
    assert_eq!(gguf.version(), 2);
    assert_eq!(gguf.dequantise("a.weight").unwrap()[5], 6.0);
}

#[test]
fn errors_name_file_and_key_or_tensor() {
    let gguf = sample().open().unwrap();
    let missing = gguf.get::<u32>("llama.head_count").unwrap_err();
    assert!(matches!(missing, Error::MissingKey { .. }));
    assert_eq!(
        missing.to_string(),
        "test.gguf: metadata `llama.head_count` is missing"
    );
    let wrong = gguf.get::<u32>("epsilon").unwrap_err().to_string();
    assert!(wrong.starts_with("test.gguf: metadata `epsilon` is the f32 0.00001, but an integer"));
    let absent = gguf.dequantise("c.weight").unwrap_err();
    assert_eq!(
        absent.to_string(),
        "test.gguf: tensor `c.weight` is missing"
    );
}

#[test]
fn an_unsupported_type_is_listed_but_not_read() {
    let tensor = Tensor {
        kind: 13,
        ..Tensor::f32("k.weight", &[256], &[])
    };
    let gguf = File::new().with_tensor(tensor).open().unwrap();
    assert_eq!(gguf.tensor("k.weight").unwrap().shape(), [256]);
    let error = gguf.dequantise("k.weight").unwrap_err();
    assert!(matches!(error, Error::UnsupportedType { .. }));
    assert!(
        error
            .to_string()
            .contains("`k.weight` is stored as Q5_K (type 13)"),
        "{error}"
    );
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    let tensor = Tensor::f32("n.weight", &[3], &[0.0, f32::NAN, 1.0]);
    let error = File::new()
        .with_tensor(tensor)
        .open()
        .unwrap()
        .dequantise("n.weight")
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "test.gguf: tensor `n.weight` holds NaN at element 1"
    );
}
