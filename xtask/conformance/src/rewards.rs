//! Teacher rewards, recomputed from the log-probs that `cases/*.json` store.
//!
//! The stored log-probs are at temperature 0.7. A configuration at another temperature needs the models,
//! so it is checked where the models are, and not here.

use std::path::Path;

use didact::core::{
    Outcome, Refusal, SampleScores, ScoreSpec, Scorer, Span, SpanName, TokenLogProbs,
};
use didact::reward::{
    KL_TERM, KlEstimator, Reduction, RltConfig, SOLUTION_TERM, SURPRISAL_TERM, TeacherReward,
    TeacherRewardConfig, Transform,
};
use serde_json::Value;

use crate::golden::{json_files, list, member, number, numbers, read, text};
use crate::report::{Report, error_to_one};

const STORED_TEMPERATURE: f64 = 0.7;
const TOLERANCE: f64 = 1e-4;
/// The configuration whose metrics and clean values the cases hold.
pub(crate) const DEFAULT_RUN: &str = "default_run";

/// Checks every case of `fixtures/cases` under every configuration of `fixtures/reward_configs.json`.
pub(crate) fn run(fixtures: &Path, report: &mut Report) {
    let files = json_files(&fixtures.join("cases"));
    if files.is_empty() {
        return;
    }
    let configs = match read(&fixtures.join("reward_configs.json")) {
        Ok(configs) => configs,
        Err(message) => return report.fail("reward", &message),
    };
    for file in files {
        let id = file.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!("reward {id}");
        if let Err(message) =
            read(&file).and_then(|case| check_case(&name, &case, &configs, report))
        {
            report.fail(&name, &message);
        }
    }
}

/// Checks one case; an error is one of its form.
fn check_case(
    name: &str,
    case: &Value,
    configs: &Value,
    report: &mut Report,
) -> Result<(), String> {
    let found = member(case, "intermediate")?;
    let scored = Scored {
        student: log_probs(member(found, "student_log_probs_T07")?)?,
        teacher: log_probs(member(found, "teacher_log_probs_T07")?)?,
        closed: is_closed(member(case, "inputs")?)?,
    };
    let published = Spans::of(found)?;
    let clean = member(case, "clean_offset_spans")?;
    let clean_spans = Spans::of(clean)?;
    // Such a case shows a defect of the reference: only its clean value is to be met.
    let pins_a_defect = !member(case, "quirk")?.is_null();
    let comparable = published.refusal().is_none() && !pins_a_defect;

    if let Some(refusal) = clean_spans.refusal() {
        let outcome = scored.outcome(
            &resolve(&RltConfig::default())?,
            &clean_spans,
            "clean spans",
        );
        let expected = Outcome::Refused(refusal);
        report.equal(
            &format!("{name} outcome"),
            outcome.as_ref() == Ok(&expected),
            || format!("expected {expected:?}, found {outcome:?}"),
        );
    }
    let gen_temperature = number(member(case, "gen_temperature")?)?;
    let variants = member(case, "variants")?
        .as_object()
        .ok_or("`variants` is not an object")?;
    for (variant, expected) in variants {
        let config = member(configs, variant)
            .and_then(|config| convert(config, gen_temperature))
            .map_err(|message| format!("configuration {variant}: {message}"))?;
        if !is_stored(&config) {
            continue;
        }
        let line = format!("{name} {variant}");
        if comparable {
            report_worst(
                report,
                &line,
                check_variant(&config, &scored, &published, expected),
            );
        } else if published.solution.is_some() {
            let line = format!("{line} solution");
            report_worst(
                report,
                &line,
                check_solution(&config, &scored, &published, expected),
            );
        }
    }
    // Metrics and clean values are of this one configuration; without it there is nothing to compare.
    let Some(default_run) = configs.get(DEFAULT_RUN) else {
        let reason = format!("reward_configs.json has no {DEFAULT_RUN}");
        report.skip(&format!("{name} metrics, clean spans"), &reason);
        return Ok(());
    };
    let default_run = convert(default_run, gen_temperature)
        .map_err(|message| format!("configuration {DEFAULT_RUN}: {message}"))?;
    if !is_stored(&default_run) {
        return Ok(());
    }
    if comparable {
        let line = format!("{name} metrics");
        match case.get("logged_metrics_default_run") {
            None | Some(Value::Null) => report.skip(&line, "the case has none"),
            Some(metrics) => report_worst(
                report,
                &line,
                check_metrics(&default_run, &scored, &published, metrics),
            ),
        }
    }
    // Where the clean text is another one, its log-probs are not stored.
    let same_text = [
        "student_chat_differs_from_reference",
        "teacher_text_differs_from_reference",
    ]
    .iter()
    .all(|key| clean.get(*key).and_then(Value::as_bool) != Some(true));
    if clean_spans.refusal().is_none() && same_text {
        let line = format!("{name} clean spans");
        report_worst(
            report,
            &line,
            check_clean(&default_run, &scored, &clean_spans, clean),
        );
    }
    Ok(())
}

/// Whether the log-probs that the configuration needs are the stored ones.
fn is_stored(config: &RltConfig) -> bool {
    [config.student_temperature, config.teacher_temperature] == [STORED_TEMPERATURE; 2]
}

fn report_worst(report: &mut Report, name: &str, worst: Result<f64, String>) {
    match worst {
        Ok(worst) => report.check(name, worst, TOLERANCE),
        Err(message) => report.fail(name, &message),
    }
}

fn resolve(config: &RltConfig) -> Result<TeacherReward, String> {
    config.resolve().map_err(|e| e.to_string())
}

/// The spans of one reading of a case; `None` is an empty one.
struct Spans {
    student_thought: Option<Span>,
    teacher_thought: Option<Span>,
    solution: Option<Span>,
}

impl Spans {
    fn of(value: &Value) -> Result<Self, String> {
        let span = |key| -> Result<Option<Span>, String> {
            match member(value, key)? {
                Value::Null => Ok(None),
                ends => match numbers(ends)?[..] {
                    [start, end] => Ok(Span::new(start as usize, end as usize).non_empty()),
                    _ => Err(format!("`{key}` is not a span")),
                },
            }
        };
        Ok(Self {
            student_thought: span("student_think_span")?,
            teacher_thought: span("teacher_think_span")?,
            solution: span("solution_span")?,
        })
    }

    /// The typed outcome that these spans lead to, if any is empty.
    fn refusal(&self) -> Option<Refusal> {
        if self.solution.is_none() {
            Some(Refusal::EmptySolution)
        } else if self.student_thought.is_none() || self.teacher_thought.is_none() {
            Some(Refusal::EmptyThought)
        } else {
            None
        }
    }
}

/// The stored log-probs of a case.
struct Scored {
    student: TokenLogProbs,
    teacher: TokenLogProbs,
    closed: bool,
}

impl Scored {
    /// What `reward` makes of these log-probs, read at `spans`.
    fn outcome(&self, reward: &TeacherReward, spans: &Spans, id: &str) -> Result<Outcome, String> {
        use didact::core::Reward as _;
        let scores = reward
            .requests()
            .iter()
            .map(|&ScoreSpec { scorer, span, .. }| {
                let (log_probs, span) = match (scorer, span) {
                    (Scorer::Student, SpanName::Solution) => (&self.student, spans.solution),
                    (Scorer::Student, SpanName::Thought) => (&self.student, spans.student_thought),
                    _ => (&self.teacher, spans.teacher_thought),
                };
                let Some(span) = span else { return Ok(None) };
                let values = log_probs.of_span(span).map_err(|e| e.to_string())?;
                Ok(Some(TokenLogProbs::new(span.start, values.to_vec())))
            })
            .collect::<Result<Vec<_>, String>>()?;
        let sample = SampleScores {
            id: id.to_owned(),
            scores,
            closed: self.closed,
            truncated: false,
            explanation: String::new(),
            answered: None,
            completion_tokens: 0,
        };
        reward.evaluate_sample(&sample).map_err(|e| e.to_string())
    }
}

/// The worst error of everything that a variant stores, relative to `max(1, |expected|)`.
fn check_variant(
    config: &RltConfig,
    scored: &Scored,
    spans: &Spans,
    expected: &Value,
) -> Result<f64, String> {
    let outcome = scored.outcome(&resolve(config)?, spans, "reference spans")?;
    let reward = outcome.reward().ok_or_else(|| format!("{outcome:?}"))?;
    let mut worst = Worst::default();
    for (key, term, reductions) in [
        (
            "log_prob_scores",
            SOLUTION_TERM,
            &config.solution_reductions,
        ),
        ("kl_scores", KL_TERM, &config.kl_reductions),
        (
            "kl_scores_no_entropy",
            SURPRISAL_TERM,
            &config.kl_reductions,
        ),
    ] {
        worst.compare_scores(&outcome, term, reductions, member(expected, key)?)?;
    }
    for (key, name) in [
        ("log_prob_reward", format!("reward/{SOLUTION_TERM}")),
        ("kl_reward", format!("reward/{KL_TERM}")),
        ("kl_reward_no_entropy", format!("reward/{SURPRISAL_TERM}")),
        ("match_reward", "penalty/missing_tag".to_owned()),
        ("total_with_entropy", "total/with_entropy".to_owned()),
        ("total_no_entropy", "total/without_entropy".to_owned()),
    ] {
        worst.compare(term(&outcome, &name)?, number(member(expected, key)?)?);
    }
    for key in ["reward", "reward_f64"] {
        worst.compare(reward, number(member(expected, key)?)?);
    }
    Ok(worst.0)
}

/// The same for the solution alone.
fn check_solution(
    config: &RltConfig,
    scored: &Scored,
    spans: &Spans,
    expected: &Value,
) -> Result<f64, String> {
    let mut terms = config.to_terms();
    terms.terms.truncate(1);
    let alone = TeacherRewardConfig {
        totals: Vec::new(),
        ..terms
    };
    let reward = alone.resolve().map_err(|e| e.to_string())?;
    let outcome = scored.outcome(&reward, spans, "solution alone")?;
    let mut worst = Worst::default();
    let scores = member(expected, "log_prob_scores")?;
    worst.compare_scores(&outcome, SOLUTION_TERM, &config.solution_reductions, scores)?;
    let found = term(&outcome, &format!("reward/{SOLUTION_TERM}"))?;
    worst.compare(found, number(member(expected, "log_prob_reward")?)?);
    Ok(worst.0)
}

/// The published run on spans by character offsets.
fn check_clean(
    config: &RltConfig,
    scored: &Scored,
    spans: &Spans,
    clean: &Value,
) -> Result<f64, String> {
    let outcome = scored.outcome(&resolve(config)?, spans, "clean spans")?;
    let reward = outcome.reward().ok_or_else(|| format!("{outcome:?}"))?;
    let mut worst = Worst::default();
    let scores = member(clean, "log_prob_scores")?;
    worst.compare_scores(&outcome, SOLUTION_TERM, &config.solution_reductions, scores)?;
    worst.compare_scores(
        &outcome,
        KL_TERM,
        &config.kl_reductions,
        member(clean, "kl_scores")?,
    )?;
    worst.compare(reward, number(member(clean, "default_run_reward")?)?);
    Ok(worst.0)
}

/// The published metrics under our names.
fn check_metrics(
    config: &RltConfig,
    scored: &Scored,
    spans: &Spans,
    metrics: &Value,
) -> Result<f64, String> {
    let outcome = scored.outcome(&resolve(config)?, spans, "reference spans")?;
    let metrics = metrics
        .as_object()
        .ok_or("`logged_metrics_default_run` is not an object")?;
    let mut worst = Worst::default();
    let mut compared = 0;
    for (published, expected) in metrics {
        if let Some(name) = our_metric(published) {
            worst.compare(term(&outcome, &name)?, number(expected)?);
            compared += 1;
        }
    }
    // No comparison is not an error of 0.
    if compared == 0 {
        return Err("`logged_metrics_default_run` names no metric of ours".to_owned());
    }
    Ok(worst.0)
}

/// Our name of a published metric; `None` for the two means over unlike reductions.
fn our_metric(published: &str) -> Option<String> {
    for (prefix, ours) in [
        ("unprocessed_answer_log_prob/_", "raw/solution_log_prob/"),
        (
            "no_entropy_unprocessed_thought_kl/_",
            "raw/student_surprisal/",
        ),
        ("unprocessed_thought_kl/_", "raw/kl/"),
        ("answer_log_prob_", "reward/solution_log_prob/"),
        ("no_entropy_reasoning_kl_", "reward/student_surprisal/"),
        ("reasoning_kl_", "reward/kl/"),
    ] {
        if let Some(reduction) = published.strip_prefix(prefix) {
            return Some(format!("{ours}{reduction}"));
        }
    }
    let ours = match published {
        "solution_log_prob_reward" => "reward/solution_log_prob",
        "thought_processed_kl" => "reward/kl/mean",
        "kl_reward" => "reward/kl",
        "processed_kl_no_entropy" => "reward/student_surprisal/mean",
        "kl_reward_no_entropy" => "reward/student_surprisal",
        "match_reward" => "penalty/missing_tag",
        "total_teacher_likelihood_reward" => "total/with_entropy",
        "total_tl_reward_no_entropy" => "total/without_entropy",
        _ => return None,
    };
    Some(ours.to_owned())
}

/// The largest error so far, relative to `max(1, |expected|)`.
#[derive(Default)]
struct Worst(f64);

impl Worst {
    fn compare(&mut self, found: f64, expected: f64) {
        self.0 = self.0.max(error_to_one(found, expected));
    }

    fn compare_scores(
        &mut self,
        outcome: &Outcome,
        name: &str,
        reductions: &[Reduction],
        expected: &Value,
    ) -> Result<(), String> {
        let expected = numbers(expected)?;
        if expected.len() != reductions.len() {
            return Err(format!(
                "{} scores for {} reductions",
                expected.len(),
                reductions.len()
            ));
        }
        for (reduction, expected) in reductions.iter().zip(expected) {
            self.compare(
                term(outcome, &format!("reward/{name}/{}", reduction.name()))?,
                expected,
            );
        }
        Ok(())
    }
}

fn term(outcome: &Outcome, name: &str) -> Result<f64, String> {
    outcome
        .term(name)
        .ok_or_else(|| format!("`{name}` is not logged in {outcome:?}"))
}

fn log_probs(value: &Value) -> Result<TokenLogProbs, String> {
    let values = numbers(value)?.into_iter().map(|x| x as f32).collect();
    Ok(TokenLogProbs::new(1, values))
}

/// Whether prompt and completion together hold the start tag and, after it, the end tag.
fn is_closed(inputs: &Value) -> Result<bool, String> {
    let field = |key| member(inputs, key).and_then(text);
    let written = format!(
        "{}{}",
        field("masked_out_think_prefix")?,
        field("completion")?
    );
    let (start, end) = (
        field("start_think_teacher_tags")?,
        field("end_think_teacher_tags")?,
    );
    Ok(written
        .split_once(start)
        .is_some_and(|(_, rest)| rest.contains(end)))
}

/// The reference's keyword arguments as our options.
pub(crate) fn convert(config: &Value, gen_temperature: f64) -> Result<RltConfig, String> {
    let get = |key: &str| config.get(key).unwrap_or(&Value::Null);
    let optional = |key: &str| match get(key) {
        Value::Null => Ok(None),
        value => number(value).map(Some),
    };
    let flag = |key: &str, default: bool| get(key).as_bool().unwrap_or(default);
    // A coefficient or reduction is a list or stands alone.
    let many = |key: &str| -> Result<Vec<Value>, String> {
        let value = member(config, key)?;
        Ok(list(value).map_or_else(|_| vec![value.clone()], <[Value]>::to_vec))
    };
    let coefficients = |key: &str| many(key)?.iter().map(number).collect::<Result<Vec<_>, _>>();
    let reductions = |key: &str| -> Result<Vec<Reduction>, String> {
        many(key)?
            .into_iter()
            .map(|name| serde_json::from_value(name).map_err(|e| format!("{key}: {e}")))
            .collect()
    };
    let transform = |key: &str| match get(key) {
        Value::Null => Ok(Transform::None),
        name => serde_json::from_value(name.clone()).map_err(|e| format!("{key}: {e}")),
    };
    Ok(RltConfig {
        solution_coefficients: coefficients("answer_log_prob_coeff")?,
        solution_reductions: reductions("reduction_log_prob_fn")?,
        solution_transform: transform("normalize_log_prob_fn")?,
        solution_floor: optional("clip_log_prob")?.map(|clip| -clip),
        kl_coefficients: coefficients("kl_penalty_reward_coeff")?,
        kl_reductions: reductions("reduction_kl_fn")?,
        kl_transform: transform("normalize_kl_fn")?,
        kl_ceiling: optional("clip_kl")?,
        kl_estimator: if flag("use_schulman_kl_estimation", false) {
            KlEstimator::K3
        } else {
            KlEstimator::K1
        },
        include_teacher_entropy: flag("include_teacher_think_entropy", true),
        student_temperature: optional("unbias_student_log_probs_temp")?.unwrap_or(1.0),
        teacher_temperature: if flag("unbias_teacher_log_probs", true) {
            gen_temperature
        } else {
            1.0
        },
        teacher: Scorer::Policy,
        missing_tag_penalty: optional("not_matched_penalty")?.unwrap_or(-1.0),
        log_raw: true,
    })
}
