//! The curriculum by itself.

use didact::core::{Curriculum as _, ProblemResult};

use crate::frontier::Frontier;

fn frontier() -> Frontier {
    Frontier {
        seed: 3,
        drawn: 0,
        chances: vec![0.5; 4],
    }
}

fn result(problem: usize, rewards: [f64; 2]) -> ProblemResult {
    let rewards = rewards.map(Some).to_vec();
    ProblemResult { problem, rewards }
}

#[test]
fn the_whole_curriculum_is_below_60_lines() {
    assert!(include_str!("frontier.rs").lines().count() < 60);
}

#[test]
fn problems_whose_rewards_differ_come_more_often() {
    let mut curriculum = frontier();
    for step in 0..8 {
        let results = [
            result(0, [1.0, 1.0]),
            result(1, [0.0, 1.0]),
            result(2, [0.0, 0.0]),
            result(3, [0.0, 0.0]),
        ];
        curriculum.observe(step, &results);
    }
    let mut counts = [0; 4];
    for problem in curriculum.next(8, 1000) {
        counts[problem] += 1;
    }
    assert!(
        counts[1] > 600 && counts.iter().all(|&count| count > 10),
        "{counts:?}"
    );
}

#[test]
fn a_restored_curriculum_goes_on_alike() {
    let mut curriculum = frontier();
    curriculum.observe(0, &[result(2, [0.0, 1.0]), result(0, [0.0, 0.0])]);
    curriculum.next(0, 5);
    let mut restored = frontier();
    restored.restore(&curriculum.state()).unwrap();
    assert_eq!(restored.next(1, 20), curriculum.next(1, 20));
    assert!(restored.restore("nothing").is_err());
}
