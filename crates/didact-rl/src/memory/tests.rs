//! Figures of models that people train.

use didact_models::{DecoderOptions, Family};

use super::*;
use crate::config::ReferenceMixing;
use crate::{FineTuneConfig, MuonConfig, TeacherConfig};

/// Qwen2.5-7B.
fn seven_billion() -> DecoderConfig {
    let mut options = DecoderOptions::new(Family::Qwen2, 152_064, 3584, 18_944, 28, 28);
    options.num_key_value_heads = 4;
    options.max_position_embeddings = 32_768;
    DecoderConfig::new(options).unwrap()
}

fn teacher(
    model: &DecoderConfig,
    change: impl FnOnce(&mut TeacherConfig),
) -> ResolvedTeacherConfig {
    let mut config = TeacherConfig {
        reference_mixing: None,
        max_completion_tokens: 2048,
        micro_batch_tokens: 4096,
        ..TeacherConfig::published()
    };
    change(&mut config);
    config
        .resolve(model.max_position_embeddings, &[0], "</explanation>")
        .unwrap()
}

const GIGABYTE: f64 = 1e9;

fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / GIGABYTE
}

fn part(estimate: &MemoryEstimate, name: &str) -> u64 {
    let parts = estimate.parts().iter().filter(|part| part.name == name);
    parts.map(|part| part.bytes).sum()
}

#[test]
fn seven_billion_parameters_need_what_is_known_of_them() {
    let model = seven_billion();
    let parameters = model.parameter_count().unwrap();
    assert_eq!(parameters, 7_615_616_512, "as the model's card says");
    let config = teacher(&model, |_| {});
    let full =
        MemoryEstimate::of_teacher(&(&model).into(), &PlannedStudent::Initial, &config, 1024)
            .unwrap();
    // Weights, reference, two moments, gradients: 6 numbers a parameter, and a tenth for the rest at least.
    let known = 6.0 * 4.0 * gigabytes(parameters);
    let peak = gigabytes(full.peak());
    assert!(peak > known && peak < 1.4 * known, "{known} {peak}\n{full}");

    let lora = LoraConfig::new(16, 32.0);
    let adapted = |weights| {
        let policy = PlannedModel {
            adapter: Some(&lora),
            weights,
            place: MemoryPlace::Host,
            config: &model,
        };
        let config = teacher(&model, |c| c.recompute_layers = true);
        MemoryEstimate::of_teacher(&policy, &PlannedStudent::Initial, &config, 1024).unwrap()
    };
    let base = adapted(WeightStorage::F32);
    assert_eq!(part(&base, "reference") + part(&base, "student"), 0);
    assert_eq!(part(&base, "weights"), 4 * parameters);
    // Rank 16 on all projections of Qwen2.5-7B: 40.4 million, as PEFT prints it.
    assert_eq!(part(&base, "adapter"), 4 * 40_370_176);
    assert_eq!(part(&base, "optimizer state"), 8 * 40_370_176);
    let peak = gigabytes(base.peak());
    assert!(
        peak > 30.0 && peak < 0.3 * gigabytes(full.peak()),
        "{peak}\n{base}"
    );

    let (eight, four) = (
        adapted(WeightStorage::EightBit),
        adapted(WeightStorage::FourBit),
    );
    // Two embeddings of 152064 times 3584 stay as they are.
    let embeddings = 4.0 * gigabytes(2 * 152_064 * 3584);
    for (estimate, bytes_a_number) in [(&eight, 1.125), (&four, 0.625)] {
        let expected = embeddings + bytes_a_number * 6.526;
        let found = gigabytes(part(estimate, "weights"));
        assert!((found - expected).abs() < 0.01, "{found} {expected}");
    }
    assert!(four.peak() < eight.peak() && eight.peak() < base.peak());
}

#[test]
fn every_choice_moves_memory_the_way_it_should() {
    let model = seven_billion();
    let peak = |change: fn(&mut TeacherConfig)| {
        let config = teacher(&model, change);
        let student = PlannedStudent::Initial;
        MemoryEstimate::of_teacher(&(&model).into(), &student, &config, 1024).unwrap()
    };
    let plain = peak(|_| {});
    let less = |other: &MemoryEstimate| assert!(other.peak() < plain.peak(), "{plain}\n{other}");
    less(&peak(|c| c.recompute_layers = true));
    less(&peak(|c| c.micro_batch_tokens = 3100));
    less(&peak(|c| c.optimizer = MuonConfig::default().into()));
    let mixed = peak(|c| {
        c.reference_mixing = Some(ReferenceMixing {
            every: 32,
            alpha: 0.9,
        })
    });
    assert!(mixed.peak() > plain.peak());
    assert_eq!(part(&mixed, "student"), part(&mixed, "reference"));
    assert_eq!(part(&plain, "student"), 0);
    let separate = PlannedStudent::Separate((&model).into());
    let config = teacher(&model, |_| {});
    let separate = MemoryEstimate::of_teacher(&(&model).into(), &separate, &config, 1024).unwrap();
    assert_eq!(part(&separate, "student"), part(&plain, "weights"));
    // The engine's limit holds.
    let narrow = peak(|c| c.engine.cache_bytes = 1 << 20);
    assert_eq!(part(&narrow, "keys and values"), 1 << 20);

    let fine_tune = FineTuneConfig::published_warmup();
    let resolved = fine_tune
        .resolve(1000, model.max_position_embeddings)
        .unwrap();
    let fine_tune = MemoryEstimate::of_fine_tune(&(&model).into(), &resolved, 1024).unwrap();
    assert_eq!(fine_tune.bytes_of(MemoryPhase::Sampling), 0);
    let known = 4 * 4 * model.parameter_count().unwrap();
    assert!(fine_tune.peak() > known, "weights, moments, gradients");
    let more = fine_tune.peak();
    assert_eq!(fine_tune.with("another model", 7).peak(), more + 7);
}

#[test]
fn the_table_names_every_part_and_the_peak() {
    let model = seven_billion();
    let config = teacher(&model, |_| {});
    let student = PlannedStudent::Separate((&model).into());
    let estimate = MemoryEstimate::of_teacher(&(&model).into(), &student, &config, 1024).unwrap();
    let table = estimate.to_string();
    for part in estimate.parts() {
        assert!(table.contains(&part.name), "{table}");
    }
    let last = table.lines().last().unwrap();
    assert!(
        last.starts_with("at most") && last.ends_with("MB"),
        "{last}"
    );
    assert!(!table.contains("on the host"), "{table}");
    let policy = on_gpu(&model, WeightStorage::Half);
    let estimate = MemoryEstimate::of_teacher(&policy, &student, &config, 1024).unwrap();
    let table = estimate.to_string();
    let peaks = table.lines().filter(|line| line.starts_with("at most"));
    assert_eq!(peaks.count(), 2, "{table}");
    assert!(table.contains("\non the host\n"), "{table}");
}

/// A policy on a GPU.
fn on_gpu(model: &DecoderConfig, weights: WeightStorage) -> PlannedModel<'_> {
    PlannedModel {
        weights,
        place: MemoryPlace::Device,
        ..model.into()
    }
}

const MIXING: Option<ReferenceMixing> = Some(ReferenceMixing {
    every: 32,
    alpha: 0.9,
});

#[test]
fn parked_weights_are_counted_where_they_lie() {
    let model = seven_billion();
    let weights = 2 * model.parameter_count().unwrap();
    let policy = on_gpu(&model, WeightStorage::Half);
    let of = |policy: &PlannedModel<'_>, student: &PlannedStudent<'_>, mixing, park_weights| {
        let config = teacher(&model, |c| {
            (c.reference_mixing, c.park_weights) = (mixing, park_weights);
        });
        MemoryEstimate::of_teacher(policy, student, &config, 1024)
    };
    // How many models' weights are parked.
    let separate = PlannedStudent::Separate(policy);
    for (student, mixing, models) in [
        (separate, None, 2),
        (separate, MIXING, 2),
        (PlannedStudent::Initial, None, 1),
        (PlannedStudent::Initial, MIXING, 2),
        (PlannedStudent::Current, MIXING, 1),
    ] {
        let [plain, parked] = [false, true].map(|p| of(&policy, &student, mixing, p).unwrap());
        let phase = |phase| [&plain, &parked].map(|estimate| estimate.bytes_of(phase));
        let [before, after] = phase(MemoryPhase::Throughout);
        assert_eq!(before - after, models * weights, "{plain}\n{parked}");
        // One at a time.
        let [before, after] = phase(MemoryPhase::Scoring);
        assert_eq!(after - before, weights);
        let always = |estimate: &MemoryEstimate| {
            estimate.bytes_at(MemoryPlace::Host, MemoryPhase::Throughout)
        };
        assert_eq!(always(&parked) - always(&plain), models * weights);
        // A parked reference is mixed where it lies.
        let [before, after] = phase(MemoryPhase::Mixing);
        assert_eq!((before > 0, after), (mixing.is_some(), 0));
        assert!(parked.peak() < plain.peak() && parked.host() > plain.host());
    }

    let lora = LoraConfig::new(16, 32.0);
    let adapted = PlannedModel {
        adapter: Some(&lora),
        ..policy
    };
    let parked = of(&adapted, &separate, None, true).unwrap();
    assert_eq!(part(&parked, "parked weights, to score"), weights);
    assert_eq!(part(&parked, "reference"), 0);
    let on_the_processor = PlannedModel::from(&model);
    for (policy, student, expected) in [
        (on_the_processor, PlannedStudent::Initial, "CPU"),
        (adapted, PlannedStudent::Initial, "adapter"),
        (adapted, PlannedStudent::Current, "adapter"),
    ] {
        let error = of(&policy, &student, None, true).unwrap_err().to_string();
        assert!(
            error.contains("park_weights") && error.contains(expected),
            "{error}"
        );
    }
}

#[test]
fn half_precision_halves_what_it_holds_and_adds_a_master() {
    let model = seven_billion();
    let parameters = model.parameter_count().unwrap();
    let of = |weights| {
        let config = teacher(&model, |c| {
            c.engine.cache_bytes = u64::MAX;
            // Enough for activations to take more than the gradients, which are f32.
            c.micro_batch_tokens = 16_384;
            c.reference_mixing = MIXING;
        });
        let student = PlannedStudent::Current;
        let policy = on_gpu(&model, weights);
        MemoryEstimate::of_teacher(&policy, &student, &config, 1024).unwrap()
    };
    let (whole, half) = (of(WeightStorage::F32), of(WeightStorage::Half));
    for name in [
        "weights",
        "reference",
        "new reference",
        "keys and values",
        "a pass that reads prompts",
        "a pass that scores",
        "activations, then gradients",
    ] {
        assert!(part(&half, name) > 0, "{name}");
        assert_eq!(2 * part(&half, name), part(&whole, name), "{name}");
    }
    // 28 layers with 512 numbers of keys and as many of values: 56 KiB a token in bf16.
    let slots = 64 * 2048 + 2 * 1024;
    assert_eq!(part(&half, "keys and values"), slots * (56 << 10));
    assert_eq!(part(&whole, "optimizer state"), 8 * parameters);
    assert_eq!(part(&half, "optimizer state"), 12 * parameters);
    for estimate in [&whole, &half] {
        assert_eq!(
            part(estimate, "logits that are sampled"),
            64 * 4 * 152_064,
            "logits are f32"
        );
        // The reference is mixed on the host, in f32.
        assert!((4 * parameters..5 * parameters).contains(&estimate.host()));
    }
}

#[test]
fn on_a_gpu_adamw_s_state_lies_there_and_muon_s_on_the_host() {
    let model = seven_billion();
    let of = |place| {
        let config = teacher(&model, |c| c.optimizer = MuonConfig::default().into());
        let policy = PlannedModel {
            place,
            ..on_gpu(&model, WeightStorage::Half)
        };
        let student = PlannedStudent::Current;
        MemoryEstimate::of_teacher(&policy, &student, &config, 1024).unwrap()
    };
    let found = of(MemoryPlace::Device);
    // 28 layers' projections have 6.526 thousand million numbers; moments and master of the rest are 12 bytes each.
    let matrices = gigabytes(part(&found, "Muon's state")) / 8.0;
    assert!((matrices - 6.526).abs() < 0.001, "{matrices}");
    let rest = gigabytes(model.parameter_count().unwrap()) - matrices;
    let state = gigabytes(part(&found, "optimizer state"));
    assert!((state - 12.0 * rest).abs() < 0.01, "{state}");
    let momentum = part(&found, "Muon's state");
    assert!((momentum..momentum + (1 << 30)).contains(&found.host()));
    let on_the_processor = of(MemoryPlace::Host);
    assert_eq!(on_the_processor.host(), 0);
    assert!(on_the_processor.peak() > found.peak() + momentum);
}

#[test]
fn frozen_projections_on_a_gpu_have_f32_scales_there_and_their_codes_on_the_host() {
    let model = seven_billion();
    let lora = LoraConfig::new(16, 32.0);
    for (weights, on_gpu_bytes, on_host_bytes) in [
        (WeightStorage::EightBitHalf, 1.25, 1.125),
        (WeightStorage::FourBitHalf, 0.75, 0.625),
    ] {
        let policy = PlannedModel {
            adapter: Some(&lora),
            ..on_gpu(&model, weights)
        };
        let config = teacher(&model, |_| {});
        let student = PlannedStudent::Initial;
        let estimate = MemoryEstimate::of_teacher(&policy, &student, &config, 1024).unwrap();
        let rest = 2.0 * gigabytes(2 * 152_064 * 3584);
        let found = gigabytes(part(&estimate, "weights"));
        let expected = rest + on_gpu_bytes * 6.526;
        assert!((found - expected).abs() < 0.01, "{found} {expected}");
        let found = gigabytes(part(&estimate, "quantised weights"));
        assert!((found - on_host_bytes * 6.526).abs() < 0.01, "{found}");
        assert_eq!(part(&estimate, "adapter"), 2 * 40_370_176);
        assert_eq!(part(&estimate, "optimizer state"), 12 * 40_370_176);
    }
}
