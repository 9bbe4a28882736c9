//! Solvers: what they read, what counts as their answer, and that they learn to give the right one.

use std::sync::Arc;

use didact_core::{
    Completion, Generate, GenerateRequest, Result as CoreResult, Score, ScoreRequest, StopReason,
    TokenBytes, TokenLogProbs,
};
use didact_data::AnswerPlace;
use didact_reward::CorrectnessReward;

use super::{decoder, problems, task};
use crate::algorithm::grpo;
use crate::rollout::{Role, RolloutModels, SampleOptions, sample, score};
use crate::{StudentModel, TeacherConfig, TeacherModels, TeacherTask, TeacherTrainer};

/// Writes the same texts to every problem, in order.
struct Script(Vec<Vec<u32>>);

impl Generate for Script {
    fn generate(&mut self, requests: &[GenerateRequest]) -> CoreResult<Vec<Completion>> {
        let scripts = self.0.iter().cycle();
        let completion = |ids: &Vec<u32>| Completion {
            ids: ids.clone(),
            sampling_log_probs: vec![-1.0; ids.len()],
            stop: StopReason::StopToken,
            policy_version: 0,
        };
        Ok(scripts.take(requests.len()).map(completion).collect())
    }
}

impl Score for Script {
    fn score(&mut self, _requests: &[ScoreRequest]) -> CoreResult<Vec<Vec<TokenLogProbs>>> {
        unreachable!("correctness asks for no scores")
    }
}

fn solver(answer: AnswerPlace) -> TeacherTask {
    let reward = CorrectnessReward {
        marked_only: false,
        ..CorrectnessReward::default()
    };
    TeacherTask {
        reward: Arc::new(reward),
        ..task()
    }
    .with_role(Role::Solver { answer })
}

#[test]
fn a_solver_reads_the_question_alone_and_is_judged_by_its_answer() {
    let written = [
        "4t>\n<s 8 s>",
        "4t>\n<s 9 s>",
        "it is 8 t>",
        "8, never closed",
        "t>8 <s 7 s>",
    ];
    for (place, correct) in [
        (AnswerPlace::Solution, [1.0, 0.0, 0.0, 0.0, 0.0]),
        (AnswerPlace::AfterThought, [1.0, 0.0, 0.0, 0.0, 0.0]),
        (AnswerPlace::Anywhere, [1.0, 0.0, 1.0, 1.0, 0.0]),
    ] {
        let task = solver(place);
        let encode = |text: &&str| {
            let mut ids = task.tokenizer.encode(text).unwrap().ids;
            ids.extend(task.tokenizer.eos());
            ids
        };
        let mut policy = Script(written.iter().map(encode).collect());
        let mut known = problems(1, 4);
        known[0].answer = Some("8".to_owned());
        let prepared = task.prepare(&known, 100).unwrap();
        let prompt = task.tokenizer.bytes_of(&prepared[0].prompt.ids);
        let prompt = String::from_utf8(prompt).unwrap();
        assert!(prompt.contains("4+4?") && !prompt.contains('8'), "{prompt}");
        assert!(prompt.ends_with("<t\n"), "{prompt}");

        let sampling = didact_core::Sampling::new(1.0, 20);
        let options = SampleOptions {
            seed: 1,
            stream: 0,
            group_size: written.len(),
            sampling: &sampling,
            earlier: &[],
        };
        let mut groups = sample(&mut policy, &task, &prepared, &[0], options).unwrap();
        let mut others = (Script(Vec::new()), Script(Vec::new()));
        let mut models = RolloutModels {
            policy: &mut policy,
            reference: &mut others.0,
            student: &mut others.1,
            teacher_context: 160,
            student_context: 160,
        };
        score(&mut models, &task, &prepared, &mut groups, 0, None).unwrap();
        let rewards: Vec<f64> = groups[0].rewards().map(Option::unwrap).collect();
        assert_eq!(rewards, correct, "{place:?}");

        let first = &groups[0].samples[0];
        let explained = &first.explained;
        assert_eq!((explained.text.as_str(), explained.closed), ("4", true));
        let bytes = task.tokenizer.bytes_of(&explained.student.ids());
        let student = String::from_utf8(bytes).unwrap();
        assert!(
            student.contains("<t\n4t>") && student.ends_with("<s\n8\ns><|im_end|>"),
            "{student}"
        );
        let thought = explained.teacher.thought.unwrap();
        assert_eq!(thought.start, prepared[0].prompt.ids.len());
        assert_eq!(thought.len(), 1);
    }
}

#[test]
fn a_solver_learns_to_answer() {
    let mut known = problems(4, 0);
    for problem in &mut known {
        // A first letter that is rare at first.
        problem.answer = Some("q".to_owned());
    }
    let config = TeacherConfig {
        seed: 3,
        steps: 40,
        problems_per_step: 4,
        group_size: 32,
        temperature: 1.0,
        max_completion_tokens: 1,
        learning_rate: 2e-2,
        reference_mixing: None,
        evaluation: None,
        ..TeacherConfig::published()
    }
    .with_algorithm(grpo());
    let exact = TeacherTask {
        reward: Arc::new(CorrectnessReward {
            exact: true,
            ..CorrectnessReward::default()
        }),
        ..solver(AnswerPlace::Anywhere)
    };
    let models = TeacherModels {
        policy: decoder(1),
        student: StudentModel::Initial,
    };
    let mut trainer = TeacherTrainer::new(models, exact, &known, &[], &config).unwrap();
    let report = trainer.run(&mut ()).unwrap();
    let mean = |from: usize| -> f64 {
        let steps = &report.steps[from..from + 5];
        steps.iter().map(|m| m.get("reward").unwrap()).sum::<f64>() / 5.0
    };
    assert!(mean(0) < 0.1 && mean(35) > 0.9, "{} {}", mean(0), mean(35));
}
