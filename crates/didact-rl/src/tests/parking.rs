//! Weights in host memory while they do not score.

use didact_models::{Decoder, LoraConfig};

use super::{decoder, problems, task, teacher};
use crate::{StudentModel, TeacherConfig, TeacherModels, TeacherTrainer};

fn config(park_weights: bool) -> TeacherConfig {
    TeacherConfig {
        park_weights,
        reference_mixing: None,
        ..teacher::config()
    }
}

fn adapted(decoder: &Decoder) -> Decoder {
    decoder.with_adapter(&LoraConfig::new(2, 4.0), 3).unwrap()
}

#[test]
fn on_the_processor_there_is_nowhere_to_park() {
    let students: [fn() -> StudentModel; 3] = [
        || decoder(2).into(),
        || StudentModel::Initial,
        || StudentModel::Current,
    ];
    for student in students {
        for policy in [decoder(1), adapted(&decoder(1))] {
            let models = TeacherModels {
                policy,
                student: student(),
            };
            let refused = TeacherTrainer::new(models, task(), &problems(4, 0), &[], &config(true));
            let error = refused.unwrap_err().to_string();
            assert!(
                error.contains("park_weights") && error.contains("CPU"),
                "{error}"
            );
        }
    }
}

#[cfg(feature = "wgpu")]
mod on_a_gpu {
    use burn::tensor::Device;
    use didact_models::Bits;

    use super::*;
    use crate::config::ReferenceMixing;
    use crate::memory::MemoryPlace;
    use crate::metrics::Metrics;
    use crate::tests::teacher::Samples;
    use crate::tests::{Recorder, decoder_on, devices::software, hash};

    /// Everything of two steps that a run keeps, and the trainer.
    fn run(
        models: TeacherModels,
        config: &TeacherConfig,
    ) -> ((Vec<(u64, Metrics)>, String, [String; 3]), TeacherTrainer) {
        let held_out = problems(1, 50);
        let mut trainer =
            TeacherTrainer::new(models, task(), &problems(4, 0), &held_out, config).unwrap();
        let (mut recorder, mut samples) = (Recorder::default(), Samples::default());
        for _ in 0..2 {
            trainer.step(&mut (&mut recorder, &mut samples)).unwrap();
        }
        trainer
            .evaluate(&mut (&mut recorder, &mut samples))
            .unwrap();
        let rollouts = samples.0.iter().map(|(_, _, records)| records);
        let rollouts: Vec<String> = rollouts
            .map(|records| serde_json::to_string(records).unwrap())
            .collect();
        let decoders = [
            trainer.policy().unwrap(),
            trainer.reference().decoder(),
            trainer.student(),
        ];
        let hashes = decoders.map(|decoder| hash(decoder));
        (
            (recorder.reproducible(), rollouts.join("\n"), hashes),
            trainer,
        )
    }

    #[test]
    fn a_run_with_parked_weights_is_the_run_without() {
        let Some(device) = software() else {
            println!("skipped: no software Vulkan adapter on this machine");
            return;
        };
        let recording = device.clone().autodiff();
        let mixing = |every| Some(ReferenceMixing { every, alpha: 0.9 });
        // Who is parked: the reference, the student.
        type Case<'a> = (
            &'a str,
            fn(&Device) -> TeacherModels,
            Option<ReferenceMixing>,
            [bool; 2],
        );
        let cases: [Case<'_>; 4] = [
            (
                "a student of its own, a mixed reference",
                |device| TeacherModels {
                    policy: decoder_on(device, 1),
                    student: decoder_on(device, 2).into(),
                },
                mixing(1),
                [true, true],
            ),
            (
                "the policy as it began",
                |device| TeacherModels {
                    policy: decoder_on(device, 1),
                    student: StudentModel::Initial,
                },
                mixing(2),
                [true, true],
            ),
            (
                "the policy as it is",
                |device| TeacherModels {
                    policy: decoder_on(device, 1),
                    student: StudentModel::Current,
                },
                None,
                [true, false],
            ),
            (
                "an adapter, a student of 4 bits",
                |device| TeacherModels {
                    policy: adapted(&decoder_on(device, 1)),
                    student: decoder_on(device, 2).quantise(Bits::Four).unwrap().into(),
                },
                None,
                [false, true],
            ),
        ];
        for (name, models, reference_mixing, parked) in cases {
            let of = |park_weights| TeacherConfig {
                reference_mixing,
                ..config(park_weights)
            };
            let is_host =
                |decoder: &Decoder| MemoryPlace::of(&decoder.device()) == MemoryPlace::Host;
            let (plain, trainer) = run(models(&recording), &of(false));
            for decoder in [trainer.reference().decoder(), trainer.student()] {
                assert!(!is_host(decoder), "{name}");
            }
            let (found, trainer) = run(models(&recording), &of(true));
            let decoders = [trainer.reference().decoder(), trainer.student()];
            assert_eq!(decoders.map(is_host), parked, "{name}");
            assert_eq!(found, plain, "{name}");
        }
    }

    #[test]
    fn an_adapter_whose_base_all_share_has_nothing_to_park() {
        let Some(device) = software() else {
            println!("skipped: no software Vulkan adapter on this machine");
            return;
        };
        let policy = adapted(&decoder_on(&device.autodiff(), 1));
        for student in [StudentModel::Initial, StudentModel::Current] {
            let models = TeacherModels {
                policy: policy.clone(),
                student,
            };
            let refused = TeacherTrainer::new(models, task(), &problems(4, 0), &[], &config(true));
            let error = refused.unwrap_err().to_string();
            assert!(
                error.contains("park_weights") && error.contains("adapter"),
                "{error}"
            );
        }
    }
}
