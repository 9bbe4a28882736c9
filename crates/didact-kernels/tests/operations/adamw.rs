//! AdamW's update on every device against its reference, in place.
use burn::tensor::{DType, Device, Tensor};
use didact_kernels::{AdamWStep, adamw, adamw_in_place, reference};

use crate::support::{assert_close, count, flat, host, numbers, on_every_device};

const STEP: AdamWStep = AdamWStep {
    beta1: 0.9,
    beta2: 0.95,
    rest1: 0.1,
    rest2: 0.05,
    keep: 0.99,
    step_size: 0.03,
    root_correction: 1.7,
    epsilon: 1e-8,
};

/// Parameter, gradient, first and second moment.
fn inputs(length: usize) -> [Vec<f64>; 4] {
    let second = numbers(4, length).iter().map(|x| x * x).collect();
    [
        numbers(1, length),
        numbers(2, length),
        numbers(3, length),
        second,
    ]
}

fn tensors(length: usize, device: &Device) -> [Tensor<1>; 4] {
    inputs(length).map(|values| flat(&values, device, DType::F32))
}

#[test]
fn agrees_with_the_reference_on_every_device() {
    on_every_device(|device| {
        for length in [1, 7, 255, 257, 40_000] {
            let run = |update: fn(_, _, _, _, _) -> [Tensor<1>; 3]| {
                let [parameter, gradient, first, second] = tensors(length, device);
                update(STEP, parameter, gradient, first, second).map(host)
            };
            let (found, expected) = (run(adamw), run(reference::adamw));
            for (found, expected) in found.iter().zip(&expected) {
                assert_close(&format!("adamw, {length} entries"), found, expected, 1e-6);
            }
            count(DType::F32);
        }
    });
}

#[test]
fn what_others_hold_is_not_changed() {
    on_every_device(|device| {
        let [parameter, gradient, first, second] = tensors(300, device);
        let held = [parameter.clone(), first.clone(), second.clone()];
        let before = held.clone().map(host);
        let after = adamw(STEP, parameter, gradient, first, second).map(host);
        assert_eq!(held.map(host), before);
        assert!(after[0] != before[0] && after[1] != before[1] && after[2] != before[2]);
    });
}

#[test]
fn host_memory_and_tensors_get_the_same_bits() {
    let device = Device::flex();
    let length = 20_000;
    let single = |values: &Vec<f64>| values.iter().map(|x| *x as f32).collect::<Vec<_>>();
    let [mut parameter, gradient, mut first, mut second] = inputs(length).map(|v| single(&v));
    adamw_in_place(STEP, &mut parameter, &gradient, [&mut first, &mut second]);
    let [p, g, m, v] = tensors(length, &device);
    let found = adamw(STEP, p, g, m, v);
    for (found, expected) in found.into_iter().zip([parameter, first, second]) {
        assert_eq!(found.try_into_vec_as::<f32>().unwrap(), expected);
    }
}

#[test]
fn views_are_read_from_where_they_begin() {
    let device = Device::flex();
    let [parameter, gradient, first, second] = tensors(50, &device);
    let part = |tensor: Tensor<1>| tensor.narrow(0, 10, 30);
    let whole = tensors(50, &device);
    let [p, g, m, v] = [parameter, gradient, first, second].map(part);
    let found = adamw(STEP, p, g, m, v);
    let [p, g, m, v] = whole;
    let expected = adamw(STEP, p, g, m, v).map(part);
    assert_eq!(found.map(host), expected.map(host));
}
