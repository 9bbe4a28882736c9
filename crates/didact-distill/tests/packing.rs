//! Students' examples packed into one sequence train as if each went alone: the same loss, the same gradients,
//! positions that begin anew, and no attention from one example to another.

mod common;

use burn::tensor::{Device, TensorData};
use didact_core::{Problem, Span};
use didact_data::SupervisedExample;
use didact_distill::weights_hash;
use didact_rl::loss::SftLoss;
use didact_rl::optimizer::AdamWConfig;
use didact_rl::step::TokenValues;
use didact_rl::{FineTuneConfig, StepOptions, Trainer, TrainingSequence, fine_tune};

/// Examples of different lengths, two of them with the same question.
fn examples() -> Vec<SupervisedExample> {
    let task = common::task();
    let thoughts = [
        (1, "Twice one."),
        (
            2,
            "Two and two are four, as one sees by counting: three, four.",
        ),
        (2, "Another thought of the same question."),
        (3, "Three more after three."),
        (
            4,
            "4 + 4: double it, which is eight, and that is all there is to say of it.",
        ),
    ];
    let example = |(id, thought): (usize, &str)| {
        let problem: Problem = common::problem(id);
        let example = task
            .format
            .student_example(&task.tokenizer, &problem, thought);
        example.expect("a student's example")
    };
    thoughts.map(example).to_vec()
}

fn sequence(example: &SupervisedExample) -> TrainingSequence {
    let Span { start, end } = example.supervised;
    TrainingSequence {
        id: example.text.clone(),
        prefix: example.ids[..start].into(),
        continuation: example.ids[start..end].to_vec(),
        trained: example.supervised,
        advantage: 0.0.into(),
        old_log_probs: None,
        reference_log_probs: None,
        sampling_log_probs: None,
    }
}

struct Pass {
    loss: f64,
    micro_batches: usize,
    values: Vec<TokenValues>,
    gradients: Vec<(String, TensorData)>,
}

/// Loss and gradients of `sequences`, at most `tokens` of them at once.
fn pass(sequences: &[TrainingSequence], tokens: usize) -> Pass {
    let options = StepOptions {
        temperature: 1.0,
        max_grad_norm: 0.0,
        micro_batch_tokens: tokens,
        recompute_layers: false,
    };
    let student = common::decoder(5, &Device::flex().autodiff());
    let trainer = Trainer::new(student, AdamWConfig::default(), options).expect("a trainer");
    let sequences: Vec<&TrainingSequence> = sequences.iter().collect();
    let (gradients, report) = trainer.gradients(&sequences, &SftLoss).expect("gradients");
    let paths: Vec<String> = gradients.paths().map(str::to_owned).collect();
    let take = |path: String| {
        let gradient = gradients.read(&path).expect("a gradient");
        (path, gradient)
    };
    Pass {
        loss: report.loss,
        micro_batches: report.micro_batches,
        values: report.values,
        gradients: paths.into_iter().map(take).collect(),
    }
}

const ALL_AT_ONCE: usize = 10_000;
const EACH_ALONE: usize = 1;

#[test]
fn packed_examples_have_the_loss_and_gradients_of_single_ones() {
    let sequences: Vec<TrainingSequence> = examples().iter().map(sequence).collect();
    let (packed, alone) = (pass(&sequences, ALL_AT_ONCE), pass(&sequences, EACH_ALONE));
    assert_eq!(packed.micro_batches, 1);
    assert!(
        alone.micro_batches >= sequences.len() - 1,
        "{}",
        alone.micro_batches
    );
    let relative = (packed.loss / alone.loss - 1.0).abs();
    assert!(
        relative < 1e-6,
        "{} packed, {} alone",
        packed.loss,
        alone.loss
    );

    assert_eq!(packed.gradients.len(), alone.gradients.len());
    assert!(!packed.gradients.is_empty());
    for ((path, packed), (other, alone)) in packed.gradients.iter().zip(&alone.gradients) {
        assert_eq!(path, other);
        let packed: Vec<f32> = packed.iter().collect();
        let alone: Vec<f32> = alone.iter().collect();
        let largest = alone.iter().fold(0.0_f32, |most, g| most.max(g.abs()));
        let apart = packed
            .iter()
            .zip(&alone)
            .fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(largest > 0.0, "{path} has no gradient");
        assert!(
            apart <= 1e-5 * largest,
            "{path}: {apart:e} apart of at most {largest:e}"
        );
    }
}

#[test]
fn single_examples_by_themselves_make_the_same_step() {
    // Nothing of the trainer's packing or prefix sharing: one call for each example, weighted by its tokens.
    let sequences: Vec<TrainingSequence> = examples().iter().map(sequence).collect();
    let packed = pass(&sequences, ALL_AT_ONCE);
    let total: usize = sequences.iter().map(|s| s.trained.len()).sum();
    let singles: Vec<(f64, Pass)> = sequences
        .iter()
        .map(|s| {
            let share = s.trained.len() as f64 / total as f64;
            (share, pass(std::slice::from_ref(s), ALL_AT_ONCE))
        })
        .collect();
    let loss: f64 = singles
        .iter()
        .map(|(share, single)| share * single.loss)
        .sum();
    assert!(
        (packed.loss / loss - 1.0).abs() < 1e-6,
        "{} for {loss}",
        packed.loss
    );
    for (index, (path, gradient)) in packed.gradients.iter().enumerate() {
        let packed: Vec<f32> = gradient.iter().collect();
        let mut sum = vec![0.0_f64; packed.len()];
        for (share, single) in &singles {
            for (sum, part) in sum.iter_mut().zip(single.gradients[index].1.iter::<f32>()) {
                *sum += share * f64::from(part);
            }
        }
        let largest = sum.iter().fold(0.0_f64, |most, g| most.max(g.abs()));
        for (found, expected) in packed.iter().zip(&sum) {
            let apart = (f64::from(*found) - expected).abs();
            assert!(
                apart <= 1e-5 * largest,
                "{path}: {apart:e} apart of at most {largest:e}"
            );
        }
    }
}

#[test]
fn no_example_sees_another_and_positions_begin_anew() {
    let sequences: Vec<TrainingSequence> = examples().iter().map(sequence).collect();
    let packed = pass(&sequences, ALL_AT_ONCE).values;
    // Alone each begins at position 0, so the same values in the pack mean that it does there too.
    for (index, sequence) in sequences.iter().enumerate() {
        let alone = pass(std::slice::from_ref(sequence), ALL_AT_ONCE).values;
        let pairs = packed[index].log_probs.iter().zip(&alone[0].log_probs);
        for (place, (a, b)) in pairs.enumerate() {
            assert!(
                (a - b).abs() < 1e-5,
                "example {index}, token {place}: {a} packed, {b} alone"
            );
        }
    }
    // Another neighbour changes nothing, to the last bit.
    let mut others = sequences.clone();
    others[0]
        .continuation
        .iter_mut()
        .for_each(|id| *id = (*id + 7) % 2048);
    let beside_others = pass(&others, ALL_AT_ONCE).values;
    assert_ne!(beside_others[0], packed[0]);
    assert_eq!(beside_others[1..], packed[1..]);
    // Nor does the order.
    others.clone_from(&sequences);
    others.reverse();
    let mut reversed = pass(&others, ALL_AT_ONCE).values;
    reversed.reverse();
    assert_eq!(reversed, packed);
}

#[test]
fn fine_tuning_packed_is_fine_tuning() {
    let tune = |micro_batch_tokens| {
        let config = FineTuneConfig {
            epochs: 2,
            batch_size: 3,
            learning_rate: 1e-3,
            micro_batch_tokens,
            ..FineTuneConfig::published_distillation()
        };
        let student = common::decoder(5, &Device::flex().autodiff());
        let tuned = fine_tune(student, &examples(), &config, &mut ()).expect("a tuned student");
        (weights_hash(&tuned.decoder), tuned.losses)
    };
    let ((packed_weights, packed), (alone_weights, alone)) = (tune(ALL_AT_ONCE), tune(EACH_ALONE));
    assert_eq!(packed.len(), 4);
    for (packed, alone) in packed.iter().zip(&alone) {
        assert!(
            (packed / alone - 1.0).abs() < 1e-4,
            "{packed} packed, {alone} alone"
        );
    }
    assert!(packed[3] < packed[0], "{packed:?}");
    // They differ by rounding, so the test has not compared one thing with itself.
    assert_ne!(packed_weights, alone_weights);
}
