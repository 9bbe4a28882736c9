//! `cases/*.json` through the models: log-probs of the stored ids by [`Score`], and every variant's
//! reward from them.

use std::collections::BTreeMap;
use std::path::Path;

use didact::core::{
    Outcome, Refusal, SampleScores, Score, ScoreContext, ScoreRequest, Scorer, Span, SpanName,
    TokenLogProbs,
};
use didact::engine::{EngineConfig, LocalEngine};
use didact::models::Decoder;
use didact::reward::TeacherReward;
use didact::{Device, core::ScoreSpec};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::golden::{json_files, number};
use crate::report::{Report, worst_difference};
use crate::rewards::{DEFAULT_RUN, convert};
use crate::tokenizer::read;

/// Absolute, as `fixtures/README.md` measures f32 against f64.
pub(crate) const LOG_PROB_TOLERANCE: f64 = 2e-4;
/// Relative to the value where that is above 1.
pub(crate) const REWARD_TOLERANCE: f64 = 1e-4;

#[derive(Deserialize)]
struct Case {
    id: String,
    student_model: String,
    teacher_model: String,
    gen_temperature: f64,
    quirk: Option<String>,
    intermediate: Intermediate,
    clean_offset_spans: Clean,
    variants: Map<String, Value>,
}

/// What the reference read.
#[derive(Deserialize)]
struct Intermediate {
    student_chat_ids: Vec<u32>,
    teacher_text_ids: Vec<u32>,
    #[serde(flatten)]
    spans: Spans,
    #[serde(rename = "student_log_probs_T07")]
    student_log_probs: Vec<f64>,
    #[serde(rename = "teacher_log_probs_T07")]
    teacher_log_probs: Vec<f64>,
}

/// What it should have read where that differs.
#[derive(Deserialize)]
struct Clean {
    student_chat_ids: Option<Vec<u32>>,
    teacher_text_ids: Option<Vec<u32>>,
    #[serde(flatten)]
    spans: Spans,
    default_run_reward: Option<f64>,
}

/// The spans of thought and solution, as the files hold them.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Spans {
    student_think_span: Option<(usize, usize)>,
    teacher_think_span: Option<(usize, usize)>,
    solution_span: Option<(usize, usize)>,
}

/// What student and teacher read in one case, with the models that read it.
pub(crate) struct Reader<'a> {
    pub(crate) student: &'a mut dyn Score,
    /// None where the teacher is the same model.
    pub(crate) teacher: Option<&'a mut dyn Score>,
    pub(crate) student_ids: Vec<u32>,
    pub(crate) teacher_ids: Vec<u32>,
    pub(crate) spans: Spans,
    pub(crate) closed: bool,
    /// Whole sequences already scored, by context and temperature.
    pub(crate) scored: BTreeMap<(bool, u64), TokenLogProbs>,
}

impl Reader<'_> {
    /// Log-probs of all tokens but the first.
    pub(crate) fn log_probs(
        &mut self,
        context: ScoreContext,
        temperature: f64,
    ) -> Result<&TokenLogProbs, String> {
        let student = context == ScoreContext::Student;
        let key = (student, temperature.to_bits());
        if !self.scored.contains_key(&key) {
            let ids = if student {
                &self.student_ids
            } else {
                &self.teacher_ids
            };
            let request = ScoreRequest {
                prefix: [].into(),
                continuation: ids.clone(),
                spans: vec![Span::new(1, ids.len())],
                temperature,
            };
            let model = match &mut self.teacher {
                Some(teacher) if !student => &mut **teacher,
                _ => &mut *self.student,
            };
            let scored = model.score(&[request]).map_err(|error| error.to_string())?;
            let log_probs = scored.into_iter().flatten().next().ok_or("no answer")?;
            self.scored.insert(key, log_probs);
        }
        Ok(&self.scored[&key])
    }

    fn score(&mut self, spec: &ScoreSpec) -> Result<Option<TokenLogProbs>, String> {
        let expected = match spec.context {
            ScoreContext::Student => Scorer::Student,
            ScoreContext::Teacher => Scorer::Policy,
        };
        if spec.scorer != expected {
            return Err(format!("{:?} reads as {:?}", spec.scorer, spec.context));
        }
        let span = match (spec.context, spec.span) {
            (_, SpanName::Solution) => self.spans.solution_span,
            (ScoreContext::Student, SpanName::Thought) => self.spans.student_think_span,
            (ScoreContext::Teacher, SpanName::Thought) => self.spans.teacher_think_span,
        };
        let Some(span) = span.and_then(|(start, end)| Span::new(start, end).non_empty()) else {
            return Ok(None);
        };
        let all = self.log_probs(spec.context, spec.temperature)?;
        let values = all.of_span(span).map_err(|error| error.to_string())?;
        Ok(Some(TokenLogProbs::new(span.start, values.to_vec())))
    }

    /// What `reward` makes of the case.
    pub(crate) fn outcome(&mut self, id: &str, reward: &TeacherReward) -> Result<Outcome, String> {
        use didact::core::Reward;
        let specs = reward.requests();
        let scores = specs
            .iter()
            .map(|spec| self.score(spec))
            .collect::<Result<Vec<_>, _>>()?;
        let sample = SampleScores {
            id: id.to_owned(),
            scores,
            closed: self.closed,
            truncated: false,
            explanation: String::new(),
            answered: None,
            completion_tokens: 0,
        };
        reward
            .evaluate_sample(&sample)
            .map_err(|error| error.to_string())
    }
}

/// Compares every case.
pub(crate) fn run(fixtures: &Path, report: &mut Report) {
    let paths = json_files(&fixtures.join("cases"));
    if paths.is_empty() {
        return;
    }
    let configs: Map<String, Value> =
        read(&fixtures.join("reward_configs.json"), report).unwrap_or_default();
    // Cases share their models.
    let mut models = BTreeMap::new();
    for path in paths {
        let Some(case) = read::<Case>(&path, report) else {
            continue;
        };
        let mut load = |model: &str| -> Result<LocalEngine, String> {
            if let Some(engine) = models.get(model) {
                return Ok(LocalEngine::clone(engine));
            }
            let engine = load(&fixtures.join(model))?;
            models.insert(model.to_owned(), engine.clone());
            Ok(engine)
        };
        let pair = load(&case.student_model).and_then(|s| Ok((s, load(&case.teacher_model)?)));
        match pair {
            Ok((mut student, mut teacher)) => {
                compare(&case, &mut student, &mut teacher, &configs, report);
            }
            Err(error) => report.fail(&format!("models/{}", case.id), &error),
        }
    }
}

/// An engine over the model in a folder.
pub(crate) fn load(folder: &Path) -> Result<LocalEngine, String> {
    let decoder =
        Decoder::load_folder(folder, &Device::flex()).map_err(|error| error.to_string())?;
    Ok(LocalEngine::new(decoder, EngineConfig::default()))
}

fn compare(
    case: &Case,
    student: &mut LocalEngine,
    teacher: &mut LocalEngine,
    configs: &Map<String, Value>,
    report: &mut Report,
) {
    // A variant's penalty may be 0.
    let penalised = |variant: &Value| number(&variant["match_reward"]).is_ok_and(|x| x < 0.0);
    let closed = !case.variants.values().any(penalised);
    let mut reader = Reader {
        student,
        teacher: Some(teacher),
        student_ids: case.intermediate.student_chat_ids.clone(),
        teacher_ids: case.intermediate.teacher_text_ids.clone(),
        spans: case.intermediate.spans,
        closed,
        scored: BTreeMap::new(),
    };
    for (who, context, expected) in [
        (
            "student",
            ScoreContext::Student,
            &case.intermediate.student_log_probs,
        ),
        (
            "teacher",
            ScoreContext::Teacher,
            &case.intermediate.teacher_log_probs,
        ),
    ] {
        let name = format!("models/{}/{who} log-probs", case.id);
        compare_log_probs(
            &name,
            reader.log_probs(context, case.gen_temperature),
            expected,
            report,
        );
    }

    if case.quirk.is_some() {
        // The reference hit one of its defects: only the clean value is comparable.
        let clean = &case.clean_offset_spans;
        if let Some(ids) = &clean.student_chat_ids {
            reader.student_ids.clone_from(ids);
        }
        if let Some(ids) = &clean.teacher_text_ids {
            reader.teacher_ids.clone_from(ids);
        }
        reader.spans = clean.spans;
        reader.scored.clear();
        compare_clean(case, &mut reader, configs, report);
        return;
    }
    for (variant, values) in &case.variants {
        let name = format!("models/{}/{variant}", case.id);
        let Some(config) = configs.get(variant) else {
            report.fail(&name, "reward_configs.json does not name this variant");
            continue;
        };
        let expected = number(&values["reward"]).ok();
        compare_reward(
            &name,
            &mut reader,
            config,
            case.gen_temperature,
            expected,
            report,
        );
    }
}

/// A case that shows a defect of the reference: its variants hold the defect's values, and the one clean
/// value that the file has is the default run's.
fn compare_clean(
    case: &Case,
    reader: &mut Reader<'_>,
    configs: &Map<String, Value>,
    report: &mut Report,
) {
    let name = format!("models/{}/{DEFAULT_RUN}", case.id);
    let Some(config) = configs.get(DEFAULT_RUN) else {
        let reason = "reward_configs.json does not name the one variant with a clean value";
        return report.skip(&name, reason);
    };
    let expected = case.clean_offset_spans.default_run_reward;
    compare_reward(
        &name,
        reader,
        config,
        case.gen_temperature,
        expected,
        report,
    );
    let others: Vec<&str> = case
        .variants
        .keys()
        .map(String::as_str)
        .filter(|variant| *variant != DEFAULT_RUN)
        .collect();
    if !others.is_empty() {
        let name = format!(
            "models/{}: {} other variants pin the reference's defect, so the clean {DEFAULT_RUN} is compared",
            case.id,
            others.len()
        );
        let unknown: Vec<&str> = others
            .into_iter()
            .filter(|variant| !configs.contains_key(*variant))
            .collect();
        report.equal(&name, unknown.is_empty(), || {
            format!("reward_configs.json does not name {unknown:?}")
        });
    }
}

/// Compares log-probs of all tokens but the first.
pub(crate) fn compare_log_probs(
    name: &str,
    found: Result<&TokenLogProbs, String>,
    expected: &[f64],
    report: &mut Report,
) {
    match found {
        Ok(found) => {
            let found: Vec<f64> = found
                .values()
                .iter()
                .map(|&value| f64::from(value))
                .collect();
            report.check(name, worst_difference(&found, expected), LOG_PROB_TOLERANCE);
        }
        Err(error) => report.fail(name, &error),
    }
}

/// Compares one reward, `expected` being what the file holds; an empty span must be refused.
pub(crate) fn compare_reward(
    name: &str,
    reader: &mut Reader<'_>,
    config: &Value,
    sampling_temperature: f64,
    expected: Option<f64>,
    report: &mut Report,
) {
    let outcome = convert(config, sampling_temperature)
        .and_then(|config| config.resolve().map_err(|error| error.to_string()))
        .and_then(|reward| reader.outcome(name, &reward));
    let empty = reader.spans.student_think_span.is_none() || reader.spans.solution_span.is_none();
    match (outcome, expected) {
        (Err(error), _) => report.fail(name, &error),
        (Ok(Outcome::Refused(refusal)), _) => {
            let right = match refusal {
                Refusal::EmptyThought => reader.spans.student_think_span.is_none(),
                Refusal::EmptySolution => reader.spans.solution_span.is_none(),
                _ => false,
            };
            report.equal(&format!("{name} is refused"), right, || refusal.to_string());
        }
        (Ok(Outcome::Scored { .. }), _) if empty => {
            report.fail(name, "an empty span was given a reward");
        }
        (Ok(Outcome::Scored { reward, .. }), Some(expected)) => {
            let scale = expected.abs().max(1.0);
            report.check(
                name,
                worst_difference(&[reward], &[expected]) / scale,
                REWARD_TOLERANCE,
            );
        }
        (Ok(Outcome::Scored { .. }), None) => report.fail(name, "the file holds no reward"),
    }
}
