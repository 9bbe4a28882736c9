//! Teachers, their explanations and their students, each made once.

use std::path::Path;
use std::sync::Arc;

use didact::core::Problem;
use didact::data::{AnswerPlace, PromptFormat, SupervisedExample, Tokenizer};
use didact::distill::evaluation::{Judge as _, Mathematics};
use didact::distill::{Answers, ExplanationRecord, Stages, weights_hash};
use didact::models::Decoder;
use didact::reward::CorrectnessReward;
use didact::rl::rollout::Role;
use didact::rl::{FineTuneConfig, TeacherTask};
use experiments::{Adapters, Dataset, Lab, Model, Objective, Taught, Training};
use serde_json::json;

use super::plan::Plan;
use crate::{Result, reward};

/// Makes everything of one seed.
pub(super) struct Cast {
    plan: Plan,
    lab: Lab,
    /// The model that all adapters are of.
    decoder: Decoder,
    train: Vec<Problem>,
    held_out: Vec<Problem>,
}

impl Cast {
    pub(super) fn new(
        plan: Plan,
        decoder: &Decoder,
        tokenizer: &Arc<Tokenizer>,
        [train, held_out]: [&[Problem]; 2],
        out: &Path,
    ) -> Result<Self> {
        let (seed, format) = (plan.seed, PromptFormat::think());
        let identity = [
            ("seed", json!(seed)),
            ("model", json!(weights_hash(decoder))),
            ("format", json!(format)),
            ("judge", json!(Mathematics::default().name())),
        ];
        let lab = Lab {
            world: "gsm_symbolic".to_owned(),
            seed,
            identity: identity
                .map(|(k, v)| (k.to_owned(), v))
                .into_iter()
                .collect(),
            stages: Stages::open(out.join(format!("stages-{seed}")))?,
            storage: Box::new(Adapters {
                base: decoder.clone(),
            }),
            tokenizer: tokenizer.clone(),
            format,
        };
        Ok(Self {
            plan,
            lab,
            decoder: decoder.clone(),
            train: train.to_vec(),
            held_out: held_out[..plan.held_out().min(held_out.len())].to_vec(),
        })
    }

    fn explained(&self) -> &[Problem] {
        &self.train[..self.plan.explained().min(self.train.len())]
    }

    pub(super) const fn keeps_unclosed(&self) -> bool {
        // Untrained models close little within the smoke test's few tokens.
        self.plan.smoke
    }

    /// The model as it is, under an adapter that adds nothing.
    pub(super) fn base(&self) -> Result<Model> {
        let adapter = self.plan.adapter();
        self.lab.model("base", json!({"adapter": adapter}), || {
            Ok(self.decoder.with_adapter(&adapter, self.plan.seed)?)
        })
    }

    fn warmed(
        &self,
        name: &str,
        example: impl Fn(&Problem, &str) -> Result<SupervisedExample>,
    ) -> Result<Model> {
        let data = Dataset::traces(&self.train);
        let examples: Result<Vec<_>> = data
            .explained
            .iter()
            .map(|e| example(&e.problem, &e.explanation))
            .collect();
        let config = self.plan.warm_up();
        let name = format!("warmed_{name}");
        self.lab
            .tuned(&name, &self.base()?, &config, &examples?, &data.hash())
    }

    /// C: a teacher that knows its format.
    pub(super) fn warmed_teacher(&self) -> Result<Model> {
        let Lab {
            format, tokenizer, ..
        } = &self.lab;
        self.warmed("teacher", |problem, trace| {
            Ok(format.teacher_example(tokenizer, problem, trace)?)
        })
    }

    /// B before RL: a solver that knows a student's format.
    pub(super) fn warmed_solver(&self) -> Result<Model> {
        let Lab {
            format, tokenizer, ..
        } = &self.lab;
        self.warmed("solver", |problem, trace| {
            Ok(format.student_example(tokenizer, problem, trace)?)
        })
    }

    fn explaining(&self) -> Result<Objective> {
        let Lab {
            format, tokenizer, ..
        } = &self.lab;
        let reward = reward();
        let resolved = Arc::new(reward.resolve()?);
        Ok(Objective {
            aim: json!({"explain": reward}),
            task: TeacherTask::new(tokenizer.clone(), format.clone(), resolved),
            config: self.plan.explaining(),
        })
    }

    /// A: C after RLT.
    pub(super) fn explainer(&self) -> Result<Taught> {
        let (start, student) = (self.warmed_teacher()?, self.base()?);
        self.lab.teach(
            "teacher_A",
            &Training {
                objective: self.explaining()?,
                start: &start,
                student: &student,
                follows: false,
                train: &self.train,
                held_out: &self.held_out,
            },
        )
    }

    /// B: a solver after RL on right answers.
    pub(super) fn solver(&self) -> Result<Taught> {
        let start = self.warmed_solver()?;
        let reward = CorrectnessReward {
            // The tags say which part is the answer.
            marked_only: false,
            ..CorrectnessReward::default()
        };
        let Lab {
            format, tokenizer, ..
        } = &self.lab;
        let aim = json!({"solve": &reward});
        let task = TeacherTask::new(tokenizer.clone(), format.clone(), Arc::new(reward));
        self.lab.teach(
            "teacher_B",
            &Training {
                objective: Objective {
                    aim,
                    task: task.with_role(Role::Solver {
                        answer: AnswerPlace::Solution,
                    }),
                    config: self.plan.solving(),
                },
                start: &start,
                student: &start,
                follows: false,
                train: &self.train,
                held_out: &[],
            },
        )
    }

    /// Explanations of the problems that students learn from.
    pub(super) fn explanations(
        &self,
        name: &str,
        teacher: &Model,
        samples: usize,
    ) -> Result<Vec<ExplanationRecord>> {
        self.explanations_of(name, teacher, self.explained(), samples)
    }

    /// One explanation of each held-out problem.
    pub(super) fn held_out_explanations(
        &self,
        name: &str,
        teacher: &Model,
    ) -> Result<Vec<ExplanationRecord>> {
        let name = format!("held_out_{}", name.replace(' ', "_"));
        self.explanations_of(&name, teacher, &self.held_out, 1)
    }

    fn explanations_of(
        &self,
        name: &str,
        teacher: &Model,
        problems: &[Problem],
        samples: usize,
    ) -> Result<Vec<ExplanationRecord>> {
        let models = [teacher, &self.base()?];
        self.lab
            .explanations(name, models, problems, samples, &self.explaining()?)
    }

    /// Tries of a solver at the problems that teachers explain.
    pub(super) fn tries(&self, solver: &Model) -> Result<Answers> {
        let (task, config) = (self.explaining()?.task, self.plan.trying());
        let judge = Mathematics::default();
        self.lab
            .answers("tries", solver, self.explained(), &task, &judge, &config)
    }

    /// The right ones of tries, as explanations.
    pub(super) fn right(&self, tries: &Answers) -> Dataset {
        Dataset::right(self.explained(), tries.records(), &self.lab.format)
    }

    /// Every worked solution as its own explanation, without the line that states the answer.
    pub(super) fn worked(&self) -> Dataset {
        let worked = |problem: &Problem| {
            let solution = problem.solution.trim();
            let steps = solution
                .rsplit_once('\n')
                .map_or(solution, |(steps, _)| steps);
            Problem {
                reasoning_trace: Some(steps.to_owned()),
                ..problem.clone()
            }
        };
        let problems: Vec<Problem> = self.explained().iter().map(worked).collect();
        Dataset::traces(&problems)
    }

    pub(super) fn within(&self, data: &Dataset, tokens: usize) -> Result<Dataset> {
        data.within(tokens, &self.lab.tokenizer, &self.lab.format)
    }

    /// Tokens that a student reads of a data set in one pass.
    pub(super) fn tokens_of(&self, data: &Dataset) -> Result<usize> {
        let examples = data.examples(&self.lab.tokenizer, &self.lab.format)?;
        Ok(examples.iter().map(|example| example.ids.len()).sum())
    }

    /// The base after learning a data set; itself where that is empty.
    pub(super) fn student(&self, data: &Dataset) -> Result<Model> {
        self.distilled(data, &self.plan.distillation())
    }

    /// The same for one bucket of explanations.
    pub(super) fn student_of_bucket(&self, data: &Dataset) -> Result<Model> {
        self.distilled(data, &self.plan.bucket_distillation())
    }

    fn distilled(&self, data: &Dataset, config: &FineTuneConfig) -> Result<Model> {
        let base = self.base()?;
        if data.is_empty() {
            return Ok(base);
        }
        let examples = data.examples(&self.lab.tokenizer, &self.lab.format)?;
        self.lab
            .tuned("distilled", &base, config, &examples, &data.hash())
    }

    /// Accuracy of a model's likeliest answers to the held-out problems, and the mean log-prob of the known solutions
    /// after its thoughts.
    pub(super) fn examined(&self, model: &Model) -> Result<(f64, f64)> {
        let (task, config) = (self.explaining()?.task, self.plan.examination());
        let judge = Mathematics::default();
        let problems = &self.held_out[..self.plan.answered().min(self.held_out.len())];
        let answers = self
            .lab
            .answers("held_out", model, problems, &task, &judge, &config)?;
        let records = answers.records();
        let right = records.iter().filter(|r| r.correct).count();
        let log_probs: Vec<f64> = records.iter().filter_map(|r| r.solution_log_prob).collect();
        Ok((
            right as f64 / records.len().max(1) as f64,
            log_probs.iter().sum::<f64>() / log_probs.len().max(1) as f64,
        ))
    }
}
