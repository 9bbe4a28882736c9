use burn::module::Param;
use didact_kernels::{Segment, reference};

use super::*;
use crate::assemble::slots;
use crate::testing::{configs, decoder, numbers, options, parameters, upload};
use crate::{Family, ParameterVisitor};

const IDS: [i32; 9] = [4, 17, 0, 22, 9, 9, 13, 1, 5];

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs() / b.abs().max(1.0))
        .fold(0.0, f32::max)
}

#[test]
fn parameters_are_named_as_in_checkpoints() {
    for config in configs() {
        let decoder = Decoder::init(&config, 1, &Device::flex());
        let slots = slots(&config);
        let expected: Vec<_> = slots.iter().map(|slot| slot.path.clone()).collect();
        assert_eq!(decoder.parameter_paths(), expected);
        let count: usize = slots
            .iter()
            .map(|slot| slot.shape.iter().product::<usize>())
            .sum();
        assert_eq!(
            config.parameter_count(),
            Some(count as u64),
            "{:?}",
            config.family
        );
        for ((path, shape, _), slot) in parameters(&decoder).iter().zip(&slots) {
            let mut stored = slot.shape.clone();
            if path.contains("_proj.weight") {
                stored.reverse();
            }
            assert_eq!(*shape, stored, "{path}");
        }
    }
}

#[test]
fn one_seed_gives_one_decoder() {
    let config = &configs()[0];
    let of = |seed| parameters(&Decoder::init(config, seed, &Device::flex()));
    assert_eq!(of(3), of(3));
    assert_ne!(of(3), of(4));
    // Tensors of one shape differ too.
    let all = of(3);
    let numbers = |name: &str| {
        all.iter()
            .find(|(path, ..)| path == name)
            .unwrap()
            .2
            .clone()
    };
    assert_ne!(
        numbers("model.layers.0.mlp.up_proj.weight"),
        numbers("model.layers.1.mlp.up_proj.weight")
    );
}

#[test]
fn fresh_norms_scale_by_one() {
    for config in configs() {
        let decoder = Decoder::init(&config, 1, &Device::flex());
        let hidden = decoder.normalise(Tensor::full([1, 16], 3.0, &Device::flex()));
        assert!(
            worst(&numbers(hidden), &[1.0; 16]) < 1e-6,
            "{:?}",
            config.family
        );
    }
}

#[test]
fn gemma_scales_its_embeddings() {
    let device = Device::flex();
    for config in configs() {
        let decoder = decoder(&config, &device);
        let row = numbers(decoder.embed(upload(&[5], &device)));
        let table = &parameters(&decoder)[0].2;
        let factor = if config.family == Family::Gemma {
            4.0
        } else {
            1.0
        };
        let expected: Vec<f32> = table[5 * 16..6 * 16].iter().map(|v| v * factor).collect();
        assert!(row == expected, "{:?}", config.family);
    }
}

#[test]
fn a_prefix_and_its_continuations_equal_whole_sequences() {
    let device = Device::flex();
    for config in configs() {
        let decoder = decoder(&config, &device);
        let whole =
            numbers(decoder.forward(upload(&IDS, &device), &PackedLayout::single(9).unwrap()));
        let other = [4, 17, 0, 22, 2, 2];
        let other =
            numbers(decoder.forward(upload(&other, &device), &PackedLayout::single(6).unwrap()));
        let layout =
            PackedLayout::new(&[Segment::root(4), Segment::child(5, 0), Segment::child(2, 0)]);
        let packed: Vec<i32> = IDS.into_iter().chain([2, 2]).collect();
        let packed = numbers(decoder.forward(upload(&packed, &device), &layout.unwrap()));
        let width = config.hidden_size;
        assert!(
            worst(&packed[..9 * width], &whole) < 1e-5,
            "{:?}",
            config.family
        );
        assert!(
            worst(&packed[9 * width..], &other[4 * width..]) < 1e-5,
            "{:?}",
            config.family
        );
        // And the other continuation does matter.
        assert!(worst(&packed[9 * width..], &whole[4 * width..6 * width]) > 1e-3);
    }
}

#[test]
fn a_row_does_not_depend_on_the_rest_of_the_batch() {
    let device = Device::flex();
    for config in configs() {
        let decoder = decoder(&config, &device);
        let alone =
            numbers(decoder.forward(upload(&IDS, &device), &PackedLayout::single(9).unwrap()));
        let ids: Vec<i32> = [3, 8, 8].into_iter().chain(IDS).chain([11; 40]).collect();
        let layout =
            PackedLayout::new(&[Segment::root(3), Segment::root(9), Segment::root(40)]).unwrap();
        let packed = numbers(decoder.forward(upload(&ids, &device), &layout));
        let width = config.hidden_size;
        let difference = worst(&packed[3 * width..12 * width], &alone);
        assert!(difference <= 1e-5, "{:?}: {difference}", config.family);
    }
}

#[test]
fn an_injected_attention_sees_rotated_heads() {
    let device = Device::flex();
    for config in configs() {
        let decoder = decoder(&config, &device);
        let layout = PackedLayout::single(9).unwrap();
        let expected = numbers(decoder.forward(upload(&IDS, &device), &layout));
        let scale = config.attention_scale();
        let mut layers = Vec::new();
        let hidden = decoder.forward_with(
            upload(&IDS, &device),
            layout.positions(),
            |layer, q, k, v| {
                layers.push(layer);
                assert_eq!(
                    (q.dims(), k.dims(), v.dims()),
                    ([9, 4, 6], [9, 2, 6], [9, 2, 6])
                );
                reference::attention(q, k, v, &layout, scale)
            },
        );
        assert_eq!(layers, [0, 1]);
        assert!(
            worst(&numbers(hidden), &expected) < 1e-5,
            "{:?}",
            config.family
        );
    }
}

#[test]
fn positions_turn_heads_relative_to_each_other_only() {
    let device = Device::flex();
    let config = DecoderConfig::new(options(Family::Llama)).unwrap();
    let decoder = decoder(&config, &device);
    let layout = PackedLayout::single(9).unwrap();
    let at = |positions: Vec<u32>| {
        let attend = |_, q, k, v| attention(q, k, v, &layout, config.attention_scale());
        numbers(decoder.forward_with(upload(&IDS, &device), &positions, attend))
    };
    let from_zero = at((0..9).collect());
    assert!(worst(&at((40..49).collect()), &from_zero) < 1e-4);
    assert!(worst(&at((0..9).map(|p| 3 * p).collect()), &from_zero) > 1e-3);
}

#[test]
fn a_gradient_reaches_every_parameter() {
    struct Reached<'a> {
        gradients: &'a burn::tensor::Gradients,
        count: usize,
    }
    impl ParameterVisitor for Reached<'_> {
        fn visit<const D: usize>(&mut self, path: &str, parameter: &Param<Tensor<D>>) {
            let gradient = parameter.val().grad(self.gradients);
            let gradient = numbers(gradient.unwrap_or_else(|| panic!("{path} has no gradient")));
            assert!(gradient.iter().all(|value| value.is_finite()), "{path}");
            assert!(
                gradient.iter().any(|value| value.abs() > 1e-9),
                "{path} has a zero gradient"
            );
            self.count += 1;
        }
    }
    let device = Device::flex().autodiff();
    for config in configs() {
        let decoder = decoder(&config, &device);
        let layout = PackedLayout::new(&[Segment::root(4), Segment::child(5, 0)]).unwrap();
        let hidden = decoder.forward(upload(&IDS, &device), &layout);
        let logits = hidden.matmul(decoder.output_embedding().transpose());
        let weights = Tensor::<1, Int>::arange(0..23, &device)
            .float()
            .sin()
            .unsqueeze::<2>();
        let gradients = (logits.powf_scalar(2.0) * weights).mean().backward();
        let mut reached = Reached {
            gradients: &gradients,
            count: 0,
        };
        decoder.visit_parameters(&mut reached);
        assert_eq!(reached.count, slots(&config).len(), "{:?}", config.family);
    }
}

#[test]
fn the_snapshot_for_inference_computes_the_same() {
    let config = &configs()[2];
    let device = Device::flex().autodiff();
    let decoder = decoder(config, &device);
    let layout = PackedLayout::single(9).unwrap();
    let trained = numbers(decoder.forward(upload(&IDS, &device), &layout));
    let snapshot = decoder.valid();
    let plain = snapshot.forward(upload(&IDS, &Device::flex()), &layout);
    assert!(!plain.is_autodiff());
    assert!(worst(&numbers(plain), &trained) < 1e-6);
}

#[test]
#[should_panic(expected = "9 token ids, but positions for 4")]
fn ids_and_positions_must_match() {
    let decoder = Decoder::init(&configs()[0], 1, &Device::flex());
    let layout = PackedLayout::single(4).unwrap();
    let _ = decoder.forward(upload(&IDS, &Device::flex()), &layout);
}
