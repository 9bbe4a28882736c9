//! Other devices give the CPU's gradients.

use std::panic::catch_unwind;

use burn::tensor::{Device, DeviceKind, Tensor};

use super::steps::{OPTIONS, sequences, worst};
use crate::loss::{Loss, PolicyGradientConfig, SftLoss};
use crate::{AdamWConfig, Gradients, Trainer, TrainingSequence};

fn gradients(device: &Device, all: &[TrainingSequence], loss: &dyn Loss) -> Gradients {
    let decoder = super::decoder_on(&device.clone().autodiff(), 1);
    let trainer = Trainer::new(decoder, AdamWConfig::default(), OPTIONS).unwrap();
    let refs: Vec<&TrainingSequence> = all.iter().collect();
    trainer.gradients(&refs, loss).unwrap().0
}

/// The software device, if this machine has one: opening it is the only way to ask.
pub(super) fn software() -> Option<Device> {
    let device = Device::wgpu(DeviceKind::Cpu);
    let opened = catch_unwind(|| Tensor::<1>::ones([1], &device).into_data()).is_ok();
    opened.then_some(device)
}

#[test]
fn a_gpus_gradients_are_the_cpus() {
    let Some(device) = software() else {
        println!("skipped: no software Vulkan adapter on this machine");
        return;
    };
    let mut without_reference = sequences();
    for sequence in &mut without_reference {
        sequence.reference_log_probs = None;
        sequence.advantage = 1.0.into();
    }
    let rlt = PolicyGradientConfig::default().resolve().unwrap();
    let cases: [(&str, Vec<TrainingSequence>, &dyn Loss); 2] = [
        ("RLT", sequences(), &rlt),
        ("SFT", without_reference, &SftLoss),
    ];
    for (name, sequences, loss) in cases {
        let expected = gradients(&Device::flex(), &sequences, loss);
        let found = gradients(&device, &sequences, loss);
        let worst = worst(&found, &expected);
        println!(
            "{name}: {} tensors, worst difference {worst:.1e}",
            expected.paths().count()
        );
        assert!(worst < 1e-3, "{name}: {worst}");
    }
}
