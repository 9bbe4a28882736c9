//! What experiments are made of: bases, teachers, explanations, students, evaluations, each made once.
//!
//! Owns which inputs decide about each of them. What is compared with what is the rows' business.

use std::path::Path;
use std::sync::Arc;

use arithmetic::grades::Grades;
use arithmetic::language;
use arithmetic::schooling::{Lesson, School};
use arithmetic::widening::widened;
use didact::Device;
use didact::core::Problem;
use didact::data::SupervisedExample;
use didact::distill::evaluation::Exactly;
use didact::distill::{Answers, AnswersConfig, ExplanationRecord, Stages};
use didact::models::Decoder;
use didact::reward::RltConfig;
use didact::rl::advantage::CreditConfig;
use didact::rl::{EvaluationConfig, TeacherConfig, TeacherTask};
use experiments::{Dataset, Explained, Folders, Model, Objective, Taught};
use serde::Serialize;
use serde_json::json;

use crate::Result;
use crate::plan::{Ablation, Budget, Setting, SizeName, TEMPERATURE};
use crate::solving;

/// What a model is trained for by reinforcement.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Aim {
    /// To explain, with an ablation of the published reward.
    Explain(Ablation),
    /// To explain to itself.
    ExplainToItself,
    /// To solve: 1 for a right answer.
    Solve,
}

/// A training by reinforcement.
#[derive(Debug, Clone)]
pub(crate) struct Training<'a> {
    pub(crate) aim: Aim,
    pub(crate) budget: Budget,
    /// What is trained.
    pub(crate) start: &'a Model,
    /// For whom explanations are.
    pub(crate) student: &'a Model,
    pub(crate) train: &'a [Problem],
    pub(crate) held_out: &'a [Problem],
    /// Steps between looks at the held-out problems; 0 for the first and the last alone.
    pub(crate) every: u64,
}

/// Makes everything of one world and seed.
pub(crate) struct Lab {
    pub(crate) setting: Setting,
    pub(crate) seed: u64,
    pub(crate) train: Vec<Problem>,
    pub(crate) held_out: Vec<Problem>,
    inner: experiments::Lab,
    device: Device,
}

impl Lab {
    /// Everything is kept in a folder of its own below `root`.
    pub(crate) fn new(setting: Setting, seed: u64, device: &str, root: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let device = didact::kernels::device(device)?.autodiff();
        let world = setting.name.name();
        let identity = [("seed", json!(seed)), ("world", json!(setting.world))];
        let inner = experiments::Lab {
            world: world.to_owned(),
            seed,
            identity: identity
                .map(|(key, value)| (key.to_owned(), value))
                .into_iter()
                .collect(),
            stages: Stages::open(root.join(format!("{world}-{seed}")))?,
            storage: Box::new(Folders {
                device: device.clone(),
            }),
            tokenizer: Arc::new(language::tokenizer(&setting.world, folder.path())?),
            format: language::format()?,
        };
        Ok(Self {
            device,
            train: setting.world.problems(&setting.train_set(seed)),
            held_out: setting.world.problems(&setting.held_out_set(seed)),
            inner,
            setting,
            seed,
        })
    }

    fn school(&self) -> School<'_> {
        School {
            world: self.setting.world,
            tokenizer: &self.inner.tokenizer,
            format: &self.inner.format,
            seed: self.seed,
        }
    }

    fn attend(&self, decoder: Decoder, lessons: &[Lesson]) -> Result<Decoder> {
        let (decoder, missed) =
            self.school()
                .attend(decoder, lessons, &mut experiments::Lab::console())?;
        for lesson in missed {
            println!("{lesson} ended before its loss was low enough; expect poor arithmetic");
        }
        Ok(decoder)
    }

    /// A model that has grown up with the world's traces.
    pub(crate) fn base(&self, size: SizeName) -> Result<Model> {
        let small = match size {
            SizeName::S => None,
            SizeName::L => Some(self.base(SizeName::S)?),
        };
        let lessons = if small.is_some() {
            &self.setting.school_wide
        } else {
            &self.setting.school
        };
        let inputs = json!({
            "size": size.size(),
            "lessons": lessons,
            "widened": small.as_ref().map(|small| &small.weights),
        });
        let device = &self.device;
        self.inner
            .model(&format!("base_{}", size.name()), inputs, || {
                let tokenizer = &self.inner.tokenizer;
                let decoder = match &small {
                    None => size.size().fresh(tokenizer, self.seed, device)?,
                    Some(small) => {
                        let config = size.size().config(tokenizer)?;
                        widened(&self.inner.load(small)?, &config, self.seed)?
                    }
                };
                self.attend(decoder, lessons)
            })
    }

    /// Parameters of a size.
    pub(crate) fn parameters(&self, size: SizeName) -> Result<f64> {
        let config = size.size().config(&self.inner.tokenizer)?;
        Ok(config.parameter_count().unwrap_or(0) as f64)
    }

    /// A base that has learnt the teacher's format: the teacher before reinforcement learning.
    pub(crate) fn warmed(&self, size: SizeName) -> Result<Model> {
        let base = self.base(size)?;
        let lesson = std::slice::from_ref(&self.setting.warm_up);
        let inputs = json!({"base": base.weights, "lessons": lesson});
        self.inner
            .model(&format!("warmed_{}", size.name()), inputs, || {
                self.attend(self.inner.load(&base)?, lesson)
            })
    }

    fn task(&self, aim: &Aim) -> Result<TeacherTask> {
        let (tokenizer, format) = (self.inner.tokenizer.clone(), self.inner.format.clone());
        let reward = match aim {
            Aim::Explain(ablation) => ablation.reward(),
            Aim::ExplainToItself => RltConfig::default(),
            Aim::Solve => return Ok(solving::task(tokenizer, format)),
        };
        let reward = Arc::new(reward.resolve()?);
        Ok(TeacherTask::new(tokenizer, format, reward))
    }

    /// Longest completion, in tokens.
    fn tokens(&self, aim: &Aim) -> usize {
        let Setting {
            explanation_tokens,
            answer_tokens,
            ..
        } = self.setting;
        match aim {
            Aim::Explain(_) | Aim::ExplainToItself => explanation_tokens,
            Aim::Solve => explanation_tokens + answer_tokens,
        }
    }

    /// A model trained by reinforcement.
    pub(crate) fn teach(&self, name: &str, training: &Training<'_>) -> Result<Taught> {
        let Training {
            aim,
            budget,
            start,
            student,
            train,
            held_out,
            every,
        } = training;
        let config = TeacherConfig {
            credit: match aim {
                Aim::Explain(ablation) => ablation.credit(),
                Aim::ExplainToItself | Aim::Solve => CreditConfig::Sequence,
            },
            evaluation: Some(EvaluationConfig {
                every: *every,
                ..EvaluationConfig::default()
            }),
            ..self
                .setting
                .reinforcement(*budget, self.seed, self.tokens(aim))
        };
        let training = experiments::Training {
            objective: Objective {
                aim: json!(aim),
                task: self.task(aim)?,
                config,
            },
            start,
            student,
            follows: *aim == Aim::ExplainToItself,
            train,
            held_out,
        };
        self.inner.teach(name, &training)
    }

    /// Explanations of a teacher with their rewards by the published reward under the base S, `samples` of each
    /// problem.
    pub(crate) fn explanations(
        &self,
        name: &str,
        teacher: &Model,
        problems: &[Problem],
        samples: usize,
    ) -> Result<Vec<ExplanationRecord>> {
        let student = self.base(SizeName::S)?;
        let aim = Aim::Explain(Ablation::Published);
        let budget = self.setting.teacher;
        let config = self
            .setting
            .reinforcement(budget, self.seed, self.tokens(&aim));
        let objective = Objective {
            aim: json!(aim),
            task: self.task(&aim)?,
            config,
        };
        self.inner
            .explanations(name, [teacher, &student], problems, samples, &objective)
    }

    /// A solver's answers to problems, `samples` to each.
    pub(crate) fn answers(
        &self,
        name: &str,
        solver: &Model,
        problems: &[Problem],
        samples: usize,
    ) -> Result<Answers> {
        let config = AnswersConfig {
            greedy: false,
            samples,
            temperature: TEMPERATURE,
            top_p: 1.0,
            max_completion_tokens: self.tokens(&Aim::Solve),
            seed: self.seed,
            ..AnswersConfig::default()
        };
        let task = self.task(&Aim::Explain(Ablation::Published))?;
        let judge = Exactly(solving::is_right);
        self.inner
            .answers(name, solver, problems, &task, &judge, &config)
    }

    /// The fraction of held-out problems that a model answers right.
    pub(crate) fn accuracy(&self, name: &str, model: &Model, problems: &[Problem]) -> Result<f64> {
        let answers = self.answers(name, model, problems, 1)?;
        let right = answers.records().iter().filter(|r| r.correct).count();
        Ok(right as f64 / answers.records().len().max(1) as f64)
    }

    /// A model that has learnt from explanations; itself where there are none.
    pub(crate) fn student(
        &self,
        name: &str,
        start: &Model,
        size: SizeName,
        data: &Dataset,
    ) -> Result<Model> {
        if data.is_empty() {
            return Ok(start.clone());
        }
        let examples = self.student_examples(data)?;
        self.tuned(name, start, size, &examples, &data.hash())
    }

    /// A model fine-tuned on examples, which `hash` names, as students are.
    pub(crate) fn tuned(
        &self,
        name: &str,
        start: &Model,
        size: SizeName,
        examples: &[SupervisedExample],
        hash: &str,
    ) -> Result<Model> {
        let config = self.setting.distillation(size, self.seed);
        self.inner.tuned(name, start, &config, examples, hash)
    }

    /// As many of a data set's explanations as fit into so many tokens.
    pub(crate) fn within(&self, data: &Dataset, tokens: usize) -> Result<Dataset> {
        data.within(tokens, &self.inner.tokenizer, &self.inner.format)
    }

    /// Tokens that a student reads of a data set in one pass.
    pub(crate) fn tokens_of(&self, data: &Dataset) -> Result<usize> {
        let examples = self.student_examples(data)?;
        Ok(examples.iter().map(|example| example.ids.len()).sum())
    }

    /// The right ones of tries at problems.
    pub(crate) fn right(&self, problems: &[Problem], tries: &Answers) -> Dataset {
        Dataset::right(problems, tries.records(), &self.inner.format)
    }

    /// How well the explanations of a data set are written.
    pub(crate) fn grades(&self, data: &Dataset) -> Grades {
        let texts = data.explained.iter();
        let texts = texts.map(|e| (e.problem.question.as_str(), e.explanation.as_str()));
        Grades::of_texts(self.setting.world, texts)
    }

    /// The examples of a teacher that would give these explanations.
    pub(crate) fn teacher_examples(&self, data: &Dataset) -> Result<Vec<SupervisedExample>> {
        let experiments::Lab {
            tokenizer, format, ..
        } = &self.inner;
        let example =
            |e: &Explained| Ok(format.teacher_example(tokenizer, &e.problem, &e.explanation)?);
        data.explained.iter().map(example).collect()
    }

    /// The examples of a student that reads these explanations.
    pub(crate) fn student_examples(&self, data: &Dataset) -> Result<Vec<SupervisedExample>> {
        data.examples(&self.inner.tokenizer, &self.inner.format)
    }
}
