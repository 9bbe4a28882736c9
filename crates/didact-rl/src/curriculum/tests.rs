//! Laws of the curricula, for any problems, rewards and cuts.

use didact_core::ProblemResult;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const DOMAINS: [&str; 3] = ["algebra", "geometry", "logic"];

/// Problems whose domains come in no order; each domain has one at least, from three problems on.
fn problems(count: usize) -> Vec<Problem> {
    let stream = RandomStream::new(5);
    (0..count)
        .map(|index| Problem {
            id: format!("p{index}"),
            question: "?".to_owned(),
            solution: "!".to_owned(),
            answer: None,
            reasoning_trace: None,
            domain: Some(
                DOMAINS[if index < 3 {
                    index
                } else {
                    stream.below(index as u64, 3)
                }]
                .to_owned(),
            ),
        })
        .collect()
}

fn config(json: serde_json::Value) -> CurriculumConfig {
    serde_json::from_value(json).unwrap()
}

/// One of every kind, and nested ones.
fn kinds() -> Vec<CurriculumConfig> {
    let skip = json!({"kind": "skip_solved", "reward": 0.3, "fraction": 0.5});
    let mut easy = skip.clone();
    easy["of"] = json!({"kind": "easy_to_hard"});
    let mut same = skip.clone();
    same["of"] = json!({"kind": "uniform"});
    let mut mixed = skip.clone();
    mixed["of"] = json!({"kind": "domain_mixture"});
    [
        json!({"kind": "uniform"}),
        json!({"kind": "shuffled_epochs"}),
        json!({"kind": "easy_to_hard", "smoothing": 0.8}),
        json!({"kind": "domain_mixture", "weights": {"algebra": 5, "geometry": 0, "logic": 1.5}}),
        json!({"kind": "domain_mixture", "within": skip}),
        json!({"kind": "domain_mixture", "within": {"kind": "easy_to_hard"}}),
        skip,
        easy,
        same,
        mixed,
    ]
    .map(config)
    .into()
}

/// Rewards that differ by problem and step, some refused.
fn results(seed: u64, step: u64, chosen: &[usize]) -> Vec<ProblemResult> {
    let result = |(place, &problem): (usize, &usize)| {
        let stream = draws(seed, step, place as u64);
        let reward = |sample: u64| {
            let refused = stream.below(2 * sample, 5) == 0;
            (!refused).then(|| 2.0 * stream.uniform(2 * sample + 1) - 1.0 + problem as f64 / 50.0)
        };
        ProblemResult {
            problem,
            rewards: (0..3).map(reward).collect(),
        }
    };
    chosen.iter().enumerate().map(result).collect()
}

/// Makes the steps `steps` with `counts` problems each, and says what was chosen.
fn drive(
    curriculum: &mut dyn Curriculum,
    seed: u64,
    steps: std::ops::Range<usize>,
    counts: &[usize],
) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    for step in steps {
        let chosen = curriculum.next(step as u64, counts[step]);
        assert_eq!(chosen.len(), counts[step]);
        curriculum.observe(step as u64, &results(seed, step as u64, &chosen));
        all.push(chosen);
    }
    all
}

fn counts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0_usize..9, 2..12)
}

/// Whether each run of `length` holds every one of `0..length` once, the last one as far as it goes.
fn each_once(chosen: &[usize], length: usize) -> bool {
    chosen.chunks(length).all(|epoch| {
        let distinct: std::collections::BTreeSet<_> = epoch.iter().collect();
        distinct.len() == epoch.len() && epoch.iter().all(|&problem| problem < length)
    })
}

proptest! {
    #[test]
    fn a_restored_curriculum_goes_on_alike(
        seed: u64, count in 3_usize..20, counts in counts(), cut: prop::sample::Index,
    ) {
        let problems = problems(count);
        let cut = cut.index(counts.len());
        for config in kinds() {
            let mut whole = config.build(seed, &problems).unwrap();
            drive(&mut *whole, seed, 0..cut, &counts);
            let mut restored = config.build(seed, &problems).unwrap();
            restored.restore(&whole.state()).unwrap();
            prop_assert_eq!(restored.state(), whole.state());
            let rest = cut..counts.len();
            prop_assert_eq!(
                drive(&mut *restored, seed, rest.clone(), &counts),
                drive(&mut *whole, seed, rest, &counts)
            );
            prop_assert_eq!(restored.state(), whole.state());
        }
    }

    #[test]
    fn a_state_of_another_run_is_refused_and_changes_nothing(seed: u64, counts in counts()) {
        let (ours, theirs) = (problems(9), problems(10));
        for (index, config) in kinds().into_iter().enumerate() {
            let mut curriculum = config.build(seed, &ours).unwrap();
            drive(&mut *curriculum, seed, 0..counts.len(), &counts);
            let before = curriculum.state();
            let others = kinds().into_iter().enumerate().filter(|(other, _)| *other != index);
            let others = others.map(|(_, other)| other.build(seed, &ours).unwrap().state());
            let longer = config.build(seed, &theirs).unwrap().state();
            let seeded = config.build(seed ^ 1, &ours).unwrap().state();
            for other in others.chain([longer, seeded, "{}".to_owned(), String::new()]) {
                let error = curriculum.restore(&other).unwrap_err().to_string();
                prop_assert!(error.contains("curriculum"), "{}", error);
                prop_assert_eq!(curriculum.state(), before.clone());
            }
        }
    }

    #[test]
    fn an_epoch_holds_every_problem_once(seed: u64, count in 1_usize..20, counts in counts()) {
        for config in [json!({"kind": "shuffled_epochs"}), json!({"kind": "easy_to_hard"})] {
            let mut curriculum = self::config(config).build(seed, &problems(count)).unwrap();
            let chosen = drive(&mut *curriculum, seed, 0..counts.len(), &counts).concat();
            prop_assert!(each_once(&chosen, count), "{:?}", chosen);
        }
    }

    #[test]
    fn a_mixture_is_never_a_problem_ahead_of_a_share(
        seed: u64, count in 3_usize..30, counts in counts(),
        weights in prop::collection::vec(0.0_f64..5.0, 3),
    ) {
        prop_assume!(weights.iter().sum::<f64>() > 0.01);
        let problems = problems(count);
        let named = DOMAINS.iter().zip(&weights).map(|(d, w)| ((*d).to_owned(), json!(w)));
        let weighted: serde_json::Map<_, _> = named.collect();
        let mut curriculum = config(json!({"kind": "domain_mixture", "weights": weighted}))
            .build(seed, &problems)
            .unwrap();
        let chosen = drive(&mut *curriculum, seed, 0..counts.len(), &counts).concat();
        let sum: f64 = weights.iter().sum();
        for (domain, weight) in DOMAINS.iter().zip(&weights) {
            let of_domain = |&p: &usize| problems[p].domain.as_deref() == Some(domain);
            for length in 0..=chosen.len() {
                let taken = chosen[..length].iter().copied().filter(of_domain).count() as f64;
                let ahead = taken - weight / sum * length as f64;
                prop_assert!(ahead < 1.0 + 1e-9 && ahead > -2.0 - 1e-9, "{} {}", domain, ahead);
            }
            // Within a domain epochs follow each other.
            let members: Vec<usize> = (0..count).filter(of_domain).collect();
            let place = |p| members.iter().position(|m| *m == p).unwrap();
            let own: Vec<usize> = chosen.iter().copied().filter(of_domain).map(place).collect();
            prop_assert!(each_once(&own, members.len()), "{:?}", own);
        }
    }

    #[test]
    fn an_epoch_goes_from_high_rewards_to_low_ones(
        seed: u64, rewards in prop::collection::vec(prop::option::of(-3.0_f64..3.0), 1..15),
    ) {
        let mut curriculum = EasyToHard::new(seed, rewards.len(), 0.5);
        let first = curriculum.next(0, rewards.len());
        let result = |problem: usize| ProblemResult { problem, rewards: vec![rewards[problem], None] };
        curriculum.observe(0, &first.iter().copied().map(result).collect::<Vec<_>>());
        prop_assert_eq!(curriculum.estimates(), &rewards[..]);
        let second: Vec<_> = curriculum.next(1, rewards.len()).into_iter().map(|p| rewards[p]).collect();
        for pair in second.windows(2) {
            prop_assert!(pair[0].is_some() || pair[1].is_none(), "unknown ones come last: {:?}", second);
            prop_assert!(pair[0] >= pair[1], "{:?}", second);
        }
        let known = EasyToHard::new(seed, rewards.len(), 0.5).with_estimates(&rewards).next(0, rewards.len());
        prop_assert_eq!(known.into_iter().map(|p| rewards[p]).collect::<Vec<_>>(), second);
    }

    #[test]
    fn a_solved_problem_does_not_come_before_all_are(
        seed: u64, count in 3_usize..12, counts in counts(), inner in 0_usize..6,
    ) {
        let of = kinds()[inner].clone();
        let rule = Solved { reward: 0.3, fraction: 0.5 };
        let problems = problems(count);
        let mut curriculum = SkipSolved::new(of.build(seed, &problems).unwrap(), count, rule);
        let mut solved = vec![false; count];
        for (step, &wanted) in counts.iter().enumerate() {
            if solved.iter().all(|&s| s) {
                solved.fill(false);
            }
            let chosen = curriculum.next(step as u64, wanted);
            prop_assert_eq!(chosen.len(), wanted);
            prop_assert!(chosen.iter().all(|&p| !solved[p]), "{:?} of {:?}", chosen, solved);
            let results = results(seed, step as u64, &chosen);
            curriculum.observe(step as u64, &results);
            for result in results {
                let good = result.rewards.iter().flatten().filter(|r| **r >= 0.3).count();
                solved[result.problem] |= 2 * good >= 3;
            }
            prop_assert_eq!(curriculum.solved(), solved.iter().filter(|s| **s).count());
        }
    }
}

#[test]
fn uniform_draws_are_uniform() {
    let mut curriculum = Uniform::new(11, 10);
    let mut counts = [0_u32; 10];
    for step in 0..1_000 {
        for problem in curriculum.next(step, 20) {
            counts[problem] += 1;
        }
    }
    // The standard deviation of a count is 42: five of them.
    let fine = counts.iter().all(|count| count.abs_diff(2_000) < 212);
    assert!(fine, "{counts:?}");
}

#[test]
fn each_epoch_and_each_seed_has_its_own_order() {
    let mut curriculum = ShuffledEpochs::new(3, 7);
    let (first, second) = (curriculum.next(0, 7), curriculum.next(1, 7));
    assert_ne!(first, second);
    assert_ne!(ShuffledEpochs::new(4, 7).next(0, 7), first);
}

#[test]
fn all_solved_begins_a_new_round() {
    let of = Box::new(ShuffledEpochs::new(1, 2));
    let rule = Solved {
        reward: 0.0,
        fraction: 1.0,
    };
    let mut curriculum = SkipSolved::new(of, 2, rule);
    let good = |problem| ProblemResult {
        problem,
        rewards: vec![Some(0.5), Some(0.0)],
    };
    let refused = ProblemResult {
        problem: 1,
        rewards: vec![Some(0.5), None],
    };
    curriculum.observe(0, &[good(0), refused]);
    assert_eq!(curriculum.next(1, 3), [1, 1, 1], "the last one open");
    curriculum.observe(1, &[good(1)]);
    assert_eq!((curriculum.solved(), curriculum.rounds()), (2, 0));
    let mut both = curriculum.next(2, 2);
    both.sort_unstable();
    assert_eq!(both, [0, 1]);
    assert_eq!((curriculum.solved(), curriculum.rounds()), (0, 1));
}

#[test]
fn no_problems_give_no_choice() {
    for kind in ["uniform", "shuffled_epochs", "easy_to_hard"] {
        let mut curriculum = config(json!({"kind": kind})).build(1, &[]).unwrap();
        assert!(curriculum.next(0, 3).is_empty());
    }
}

#[test]
fn what_means_nothing_is_refused_by_its_key() {
    let refused = |json: serde_json::Value, expected: &str| {
        let error = match serde_json::from_value::<CurriculumConfig>(json) {
            Ok(config) => config.build(1, &problems(9)).err().map(|e| e.to_string()),
            Err(error) => Some(error.to_string()),
        };
        let error = error.unwrap_or_default();
        assert!(error.contains(expected), "{error:?} is not of {expected}");
    };
    refused(json!({"kind": "uniform", "smoothing": 0.5}), "smoothing");
    refused(json!({"kind": "hardest_first"}), "hardest_first");
    refused(
        json!({"kind": "easy_to_hard", "smoothing": 1.0}),
        "curriculum.smoothing",
    );
    refused(json!({"kind": "skip_solved"}), "reward");
    refused(
        json!({"kind": "skip_solved", "reward": 0, "fraction": 0}),
        "curriculum.fraction",
    );
    let nested = json!({"kind": "easy_to_hard", "smoothing": -1});
    refused(
        json!({"kind": "skip_solved", "reward": 0, "of": nested}),
        "curriculum.of.smoothing",
    );
    refused(
        json!({"kind": "domain_mixture", "within": nested}),
        "curriculum.within.smoothing",
    );
    let weights = |weights| json!({"kind": "domain_mixture", "weights": weights});
    refused(weights(json!({"algebra": 1})), "geometry");
    refused(
        weights(json!({"algebra": 1, "geometry": 1, "logic": 1, "poetry": 1})),
        "curriculum.weights.poetry",
    );
    refused(
        weights(json!({"algebra": -1, "geometry": 1, "logic": 1})),
        "curriculum.weights.algebra",
    );
    refused(
        weights(json!({"algebra": 0, "geometry": 0, "logic": 0})),
        "curriculum.weights",
    );
    let mut nowhere = problems(4);
    nowhere[3].domain = None;
    let error = config(json!({"kind": "domain_mixture"})).build(1, &nowhere);
    assert!(error.err().unwrap().to_string().contains("p3"));
}
