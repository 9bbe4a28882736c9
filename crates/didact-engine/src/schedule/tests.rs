//! Whole calls with a cache that remembers which token each slot holds.

use proptest::prelude::*;

use super::*;

fn positive(value: usize) -> NonZeroUsize {
    NonZeroUsize::new(value).unwrap()
}

/// Whose token a slot holds, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Nothing,
    Prompt(usize, usize),
    Sampled(usize, usize),
}

/// Runs a schedule to its end; sequence `s` ends after `ends[s]` tokens.
struct Call {
    schedule: Schedule,
    work: Work,
    ends: Vec<usize>,
    sampled: Vec<usize>,
    ended: Vec<bool>,
    cache: Vec<Held>,
    /// Tokens read and tokens sampled, of all passes.
    read: usize,
    steps: usize,
}

impl Call {
    fn new(config: &EngineConfig, work: Work, ends: Vec<usize>, most_pages: usize) -> Self {
        let schedule = Schedule::new(config, &work, most_pages);
        assert!(schedule.most_slots() <= most_pages.saturating_mul(config.page_tokens.get()));
        Self {
            cache: vec![Held::Nothing; schedule.most_slots()],
            sampled: vec![0; ends.len()],
            ended: vec![false; ends.len()],
            schedule,
            work,
            ends,
            read: 0,
            steps: 0,
        }
    }

    fn run(&mut self) {
        let tokens: usize = self.ends.iter().sum();
        // Everything could be read again before each token, one token a pass.
        let longest = self.cache.len().max(1);
        let mut rounds = 0;
        while !self.schedule.is_done() {
            rounds += 1;
            assert!(rounds <= (tokens + 1) * longest, "no progress");
            self.schedule.admit();
            if let Some(reading) = self.schedule.next_reading() {
                self.read(&reading);
            }
            self.step();
            let running = &self.schedule.running;
            assert!(running.len() <= self.schedule.max_batch);
            let line: Vec<(usize, usize)> = running
                .iter()
                .chain(&self.schedule.waiting)
                .map(|&s| (self.work.sequences[s].0, s))
                .collect();
            assert!(line.is_sorted(), "the line keeps its order: {line:?}");
        }
        assert_eq!(self.sampled, self.ends);
        assert_eq!(
            self.schedule.pages.free(),
            self.schedule.pages.total(),
            "everything came back"
        );
    }

    fn read(&mut self, reading: &Reading) {
        match reading {
            Reading::Prompts(prompts) => {
                let lengths: Vec<usize> = prompts.iter().map(|&p| self.work.prompts[p]).collect();
                let tokens: usize = lengths.iter().sum();
                assert!(tokens <= self.schedule.max_batch_tokens || prompts.len() == 1);
                assert!(lengths.iter().all(|&l| l <= self.schedule.prefill_chunk));
                for &prompt in prompts {
                    self.read_prompt(prompt, 0..self.work.prompts[prompt]);
                }
            }
            Reading::PromptPart(prompt, part) => {
                assert!(part.len() <= self.schedule.prefill_chunk && !part.is_empty());
                self.read_prompt(*prompt, part.clone());
            }
            Reading::Sampled(sequence, part) => {
                assert!(part.len() <= self.schedule.prefill_chunk && !part.is_empty());
                assert!(part.end < self.sampled[*sequence]);
                for token in part.clone() {
                    let slot = self.schedule.sampled_slot(*sequence, token);
                    self.cache[slot] = Held::Sampled(*sequence, token);
                }
                self.check_sequence(*sequence, part.end);
                self.read += part.len();
            }
        }
        self.schedule.has_read(reading);
        let read: Vec<usize> = match reading {
            Reading::Prompts(prompts) => prompts.clone(),
            Reading::PromptPart(prompt, part) if part.end == self.work.prompts[*prompt] => {
                vec![*prompt]
            }
            _ => vec![],
        };
        for sequence in 0..self.ends.len() {
            if read.contains(&self.work.sequences[sequence].0) && self.sampled[sequence] == 0 {
                self.sample(sequence);
            }
        }
    }

    fn read_prompt(&mut self, prompt: usize, part: Range<usize>) {
        for token in part.clone() {
            let slot = self.schedule.prompt_slot(prompt, token);
            self.cache[slot] = Held::Prompt(prompt, token);
        }
        let slots = self.schedule.prompt_slots(prompt, part.end);
        let held: Vec<Held> = slots.into_iter().flatten().map(|s| self.cache[s]).collect();
        let expected: Vec<Held> = (0..part.end).map(|t| Held::Prompt(prompt, t)).collect();
        assert_eq!(held, expected);
        self.read += part.len();
    }

    fn step(&mut self) {
        for sequence in self.schedule.begin_step() {
            let last = self.sampled[sequence] - 1;
            let slot = self.schedule.sampled_slot(sequence, last);
            self.cache[slot] = Held::Sampled(sequence, last);
            self.check_sequence(sequence, last + 1);
            self.sample(sequence);
            self.steps += 1;
        }
    }

    /// What a sequence sees is its prompt and what it sampled.
    fn check_sequence(&self, sequence: usize, sampled: usize) {
        let prompt = self.work.sequences[sequence].0;
        let slots = self.schedule.sequence_slots(sequence, sampled);
        let held: Vec<Held> = slots.into_iter().flatten().map(|s| self.cache[s]).collect();
        let expected: Vec<Held> = (0..self.work.prompts[prompt])
            .map(|token| Held::Prompt(prompt, token))
            .chain((0..sampled).map(|token| Held::Sampled(sequence, token)))
            .collect();
        assert_eq!(held, expected);
    }

    fn sample(&mut self, sequence: usize) {
        assert!(!self.ended[sequence]);
        self.sampled[sequence] += 1;
        if self.sampled[sequence] == self.ends[sequence] {
            self.ended[sequence] = true;
            self.schedule.end(sequence);
        } else {
            self.schedule.has_sampled(sequence);
        }
    }
}

fn config(max_batch: usize, page_tokens: usize) -> EngineConfig {
    EngineConfig {
        max_batch: positive(max_batch),
        page_tokens: positive(page_tokens),
        ..EngineConfig::default()
    }
}

#[test]
fn a_prompt_is_read_once_for_its_group() {
    let work = Work {
        prompts: vec![10],
        sequences: vec![(0, 9); 4],
    };
    let mut call = Call::new(&config(2, 4), work, vec![9; 4], usize::MAX);
    call.run();
    assert_eq!((call.read, call.steps), (10, 4 * 8));
    // Three pages of the prompt, and two of each sequence that runs.
    assert_eq!(call.schedule.peak_pages(), 3 + 2 * 2);
    assert_eq!(call.schedule.pre_emptions(), 0);
}

#[test]
fn the_last_in_line_makes_room_and_is_read_again() {
    let work = Work {
        prompts: vec![4, 4],
        sequences: vec![(0, 9), (1, 9)],
    };
    // Alone each needs three pages; together they would need six.
    let mut call = Call::new(&config(2, 4), work, vec![9; 2], 5);
    call.run();
    assert_eq!(call.schedule.pre_emptions(), 1);
    assert_eq!(call.schedule.peak_pages(), 5);
    // The second lost its page when both had filled one; nobody needed that of its prompt.
    assert_eq!(call.read, 2 * 4 + 4);
}

#[test]
fn short_prompts_are_read_together_and_long_ones_in_parts() {
    let config = EngineConfig {
        prefill_chunk: positive(5),
        max_batch_tokens: positive(8),
        ..config(9, 2)
    };
    let work = Work {
        prompts: vec![5, 3, 12, 4],
        sequences: vec![(0, 2), (1, 2), (2, 2), (3, 2), (0, 2)],
    };
    let mut schedule = Schedule::new(&config, &work, 99);
    let mut next = || {
        schedule.admit();
        let reading = schedule.next_reading();
        if let Some(reading) = &reading {
            schedule.has_read(reading);
        }
        reading
    };
    assert_eq!(next(), Some(Reading::Prompts(vec![0, 1])));
    assert_eq!(next(), Some(Reading::PromptPart(2, 0..5)));
    assert_eq!(next(), Some(Reading::PromptPart(2, 5..10)));
    assert_eq!(next(), Some(Reading::PromptPart(2, 10..12)));
    assert_eq!(next(), Some(Reading::Prompts(vec![3])));
    assert_eq!(next(), None);
}

fn work() -> impl Strategy<Value = (Work, Vec<usize>)> {
    prop::collection::vec(1usize..12, 1..4).prop_flat_map(|prompts| {
        let sequence = (0..prompts.len(), 1usize..10, 0usize..10);
        prop::collection::vec(sequence, 1..10).prop_map(move |sequences| {
            let ends = sequences
                .iter()
                .map(|&(_, most, cut)| most - cut % most)
                .collect();
            let sequences = sequences
                .iter()
                .map(|&(prompt, most, _)| (prompt, most))
                .collect();
            let work = Work {
                prompts: prompts.clone(),
                sequences,
            };
            (work, ends)
        })
    })
}

proptest! {
    #[test]
    fn every_sequence_sees_its_own_tokens_whatever_the_room(
        (work, ends) in work(), max_batch in 1usize..6, page_tokens in 1usize..6,
        prefill_chunk in 1usize..9, max_batch_tokens in 1usize..20, spare in 0usize..12,
    ) {
        let config = EngineConfig {
            prefill_chunk: positive(prefill_chunk),
            max_batch_tokens: positive(max_batch_tokens),
            ..config(max_batch, page_tokens)
        };
        let alone = |&(prompt, most): &(usize, usize)| {
            pages_alone(config.page_tokens, work.prompts[prompt], most)
        };
        let least = work.sequences.iter().map(alone).max().unwrap();
        Call::new(&config, work.clone(), ends.clone(), least + spare).run();

        // Where everything fits, nothing is read twice.
        let mut call = Call::new(&config, work.clone(), ends, usize::MAX);
        call.run();
        let used = |p: &usize| work.sequences.iter().any(|s| s.0 == *p);
        let once: usize = (0..work.prompts.len()).filter(used).map(|p| work.prompts[p]).sum();
        prop_assert_eq!((call.read, call.schedule.pre_emptions()), (once, 0));
    }
}
