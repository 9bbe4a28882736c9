//! One model as teacher and as student.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::backend::{BackendTensor, DispatchTensorKind};
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use didact_core::ScoreContext;
use didact_models::{Decoder, LoraConfig, ParameterVisitor};
use didact_reward::{RltConfig, Signal};

use super::{decoder, hash, problems, task, teacher};
use crate::config::ReferenceMixing;
use crate::{Metrics, StudentModel, TeacherConfig, TeacherModels, TeacherTask, TeacherTrainer};

fn config() -> TeacherConfig {
    TeacherConfig {
        reference_mixing: None,
        ..teacher::config()
    }
}

/// The published reward but for the student's context in the divergence, which is the teacher's.
fn same_context() -> TeacherTask {
    let mut reward = RltConfig::default().to_terms();
    for term in &mut reward.terms {
        if let Signal::Divergence { baseline, .. } = &mut term.signal {
            baseline.context = ScoreContext::Teacher;
        }
    }
    TeacherTask {
        reward: Arc::new(reward.resolve().unwrap()),
        ..task()
    }
}

fn trainer(policy: Decoder, student: StudentModel, config: &TeacherConfig) -> TeacherTrainer {
    let models = TeacherModels { policy, student };
    TeacherTrainer::new(models, same_context(), &problems(4, 0), &[], config).unwrap()
}

fn divergence(metrics: &Metrics) -> f64 {
    assert!(metrics.get("reward/kl/max").is_some(), "{metrics:?}");
    let largest = metrics.get("raw/kl/max").unwrap();
    // The mean of what is 0 everywhere is 0 too; so the larger of the two sizes tells.
    largest.abs().max(metrics.get("reward/kl").unwrap().abs())
}

#[test]
fn the_divergence_of_a_teacher_from_itself_in_its_own_context_is_exactly_0() {
    let students: [(fn() -> StudentModel, [bool; 2]); 4] = [
        (|| decoder(1).into(), [true, false]),
        (|| StudentModel::Initial, [true, false]),
        (|| StudentModel::Current, [true, true]),
        (|| decoder(2).into(), [false, false]),
    ];
    for (student, expected) in students {
        let mut trainer = trainer(decoder(1), student(), &config());
        for none in expected {
            let found = divergence(&trainer.step(&mut ()).unwrap());
            assert_eq!(found == 0.0, none, "{:?}: {found}", student());
        }
    }
}

#[test]
fn the_initial_student_stays_and_the_current_one_follows() {
    let (policy, began) = (decoder(1), hash(&decoder(1)));
    let mixed = TeacherConfig {
        reference_mixing: Some(ReferenceMixing {
            every: 1,
            alpha: 0.9,
        }),
        ..config()
    };
    for config in [config(), mixed] {
        let mut initial = trainer(policy.clone(), StudentModel::Initial, &config);
        let mut current = trainer(policy.clone(), StudentModel::Current, &config);
        for _ in 0..2 {
            initial.step(&mut ()).unwrap();
            current.step(&mut ()).unwrap();
            assert_eq!(hash(initial.student()), began);
            let now = hash(current.policy().unwrap());
            assert_ne!(now, began);
            assert_eq!(hash(current.student()), now);
        }
    }
}

/// Bytes of the distinct buffers of some decoders.
fn bytes(decoders: &[&Decoder]) -> usize {
    struct Buffers(BTreeMap<usize, usize>);
    impl ParameterVisitor for Buffers {
        fn visit<const D: usize>(&mut self, _: &str, parameter: &Param<Tensor<D>>) {
            let tensor = parameter.val().into_dispatch();
            let DispatchTensorKind::Flex(BackendTensor::Float(tensor)) = tensor.kind else {
                panic!("not on the CPU");
            };
            let bytes = tensor.bytes();
            self.0.insert(bytes.as_ptr().addr(), bytes.len());
        }
    }
    let mut buffers = Buffers(BTreeMap::new());
    for decoder in decoders {
        decoder.valid().visit_parameters(&mut buffers);
    }
    buffers.0.values().sum()
}

fn held(trainer: &TeacherTrainer) -> usize {
    bytes(&[
        trainer.policy().unwrap(),
        trainer.reference().decoder(),
        trainer.student(),
    ])
}

#[test]
fn one_model_in_memory_plays_both() {
    let whole = bytes(&[&decoder(1)]);
    // Policy, reference and student before the first update and after it.
    let students: [(fn() -> StudentModel, [usize; 2]); 3] = [
        (|| StudentModel::Initial, [1, 2]),
        (|| StudentModel::Current, [1, 2]),
        (|| decoder(2).into(), [2, 3]),
    ];
    for (student, [before, after]) in students {
        let mut trainer = trainer(decoder(1), student(), &config());
        assert_eq!(held(&trainer), before * whole, "{:?}", student());
        trainer.step(&mut ()).unwrap();
        assert_eq!(held(&trainer), after * whole, "{:?}", student());
    }
}

#[test]
fn with_an_adapter_all_three_share_the_base() {
    let base = decoder(1);
    let whole = bytes(&[&base]);
    for student in [|| StudentModel::Initial, || StudentModel::Current] {
        let policy = base.with_adapter(&LoraConfig::new(2, 4.0), 3).unwrap();
        let adapter = bytes(&[&policy]) - whole;
        let mut trainer = trainer(policy, student(), &config());
        for none in [true, matches!(student(), StudentModel::Current)] {
            let found = divergence(&trainer.step(&mut ()).unwrap());
            assert_eq!(found == 0.0, none, "{:?}: {found}", student());
            // A reference that keeps the adapter as it began has numbers of its own for it.
            let held = held(&trainer);
            assert!(
                held >= whole + adapter && held <= whole + 2 * adapter,
                "{held}"
            );
        }
    }
}
