//! Which sequences run, which tokens are read next, and who makes room for whom.
//!
//! It counts tokens and pages; it knows no id, no tensor and no draw. Sequences stand in one line: those in
//! front run, up to the batch's size and the cache's pages, and the others wait. Where pages run out, a prompt
//! that no running sequence continues is dropped, else the last running sequence gives its own pages back and
//! is first of those that wait; its sampled tokens are read again later. So the first in line always goes on,
//! and the line never changes its order.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::ops::Range;

use crate::EngineConfig;
use crate::pages::{Pages, Table};

/// What one call's schedule is made of.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    /// Lengths of the distinct prompts; none is empty.
    pub(crate) prompts: Vec<usize>,
    /// Of each sequence its prompt, and the most tokens that it may sample, at least one.
    pub(crate) sequences: Vec<(usize, usize)>,
}

/// One forward pass that reads known tokens into the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Whole prompts, side by side.
    Prompts(Vec<usize>),
    /// A part of one prompt, by its tokens' positions.
    PromptPart(usize, Range<usize>),
    /// A part of what one sequence had sampled when it lost its pages.
    Sampled(usize, Range<usize>),
}

/// The state of one call.
#[derive(Debug)]
pub(crate) struct Schedule {
    max_batch: usize,
    max_batch_tokens: usize,
    prefill_chunk: usize,
    pages: Pages,
    prompts: Vec<Prompt>,
    sequences: Vec<Sequence>,
    waiting: VecDeque<usize>,
    /// First in line first.
    running: Vec<usize>,
    unfinished: usize,
    pre_emptions: usize,
}

#[derive(Debug)]
struct Prompt {
    length: usize,
    table: Table,
    /// Tokens whose keys and values are in the cache.
    read: usize,
    /// Sequences that have not ended.
    unfinished: usize,
    /// Those of them that run.
    running: usize,
}

#[derive(Debug)]
struct Sequence {
    prompt: usize,
    most: usize,
    sampled: usize,
    table: Table,
    /// Sampled tokens whose keys and values are in the cache.
    read: usize,
    ended: bool,
}

impl Sequence {
    /// Own slots that the next step needs: one for each token sampled before it.
    fn slots_of_next_step(&self) -> usize {
        self.sampled.max(1).min(self.most_slots())
    }

    /// The last token is never read.
    const fn most_slots(&self) -> usize {
        self.most - 1
    }
}

/// Pages that a sequence needs when nothing else is in the cache.
pub(crate) fn pages_alone(page_tokens: NonZeroUsize, prompt: usize, most: usize) -> usize {
    prompt.div_ceil(page_tokens.get()) + (most - 1).div_ceil(page_tokens.get())
}

impl Schedule {
    /// A schedule in a cache of at most `most_pages`, which hold every sequence alone.
    pub(crate) fn new(config: &EngineConfig, work: &Work, most_pages: usize) -> Self {
        let page = config.page_tokens;
        let max_batch = config.max_batch.get();
        let holding = |tokens: usize| tokens.div_ceil(page.get());
        // What a full batch of the longest would take.
        let longest = |mut all: Vec<usize>| -> usize {
            all.sort_unstable_by(|a, b| b.cmp(a));
            all.iter().take(max_batch).sum()
        };
        let wanted = longest(work.prompts.iter().map(|&length| holding(length)).collect())
            + longest(work.sequences.iter().map(|s| holding(s.1 - 1)).collect());
        let total = wanted.min(most_pages);

        let mut prompts: Vec<Prompt> = work
            .prompts
            .iter()
            .map(|&length| Prompt {
                length,
                table: Table::default(),
                read: 0,
                unfinished: 0,
                running: 0,
            })
            .collect();
        let mut waiting: Vec<usize> = (0..work.sequences.len()).collect();
        // Sequences of one prompt stand together.
        waiting.sort_by_key(|&sequence| work.sequences[sequence].0);
        let sequences = work
            .sequences
            .iter()
            .map(|&(prompt, most)| {
                prompts[prompt].unfinished += 1;
                Sequence {
                    prompt,
                    most,
                    sampled: 0,
                    table: Table::default(),
                    read: 0,
                    ended: false,
                }
            })
            .collect();
        Self {
            max_batch,
            max_batch_tokens: config.max_batch_tokens.get(),
            prefill_chunk: config.prefill_chunk.get(),
            pages: Pages::new(total, page),
            prompts,
            sequences,
            unfinished: waiting.len(),
            waiting: waiting.into(),
            running: Vec::new(),
            pre_emptions: 0,
        }
    }

    /// Slots that the cache may have.
    pub(crate) const fn most_slots(&self) -> usize {
        self.pages.most_slots()
    }

    /// Slots that it must have by now.
    pub(crate) const fn slots(&self) -> usize {
        self.pages.end_slot()
    }

    pub(crate) const fn is_done(&self) -> bool {
        self.unfinished == 0
    }

    pub(crate) const fn pre_emptions(&self) -> usize {
        self.pre_emptions
    }

    pub(crate) const fn peak_pages(&self) -> usize {
        self.pages.peak()
    }

    /// Lets those that wait run, in their order, while there is room.
    pub(crate) fn admit(&mut self) {
        while let Some(&next) = self.waiting.front() {
            let sequence = &self.sequences[next];
            if !sequence.ended {
                if self.running.len() == self.max_batch || !self.make_room(next) {
                    break;
                }
                self.running.push(next);
                self.prompts[self.sequences[next].prompt].running += 1;
            }
            self.waiting.pop_front();
        }
    }

    /// Reserves what a sequence needs to begin, if that leaves a page for each that runs and may want one.
    fn make_room(&mut self, sequence: usize) -> bool {
        let Sequence { prompt, .. } = self.sequences[sequence];
        let own = self.sequences[sequence].slots_of_next_step();
        let mut needed = self.pages.holding(own);
        if self.prompts[prompt].table.is_empty() {
            needed += self.pages.holding(self.prompts[prompt].length);
        }
        let growing = self.running.iter().map(|&s| &self.sequences[s]);
        needed += growing
            .filter(|s| s.table.pages() < self.pages.holding(s.most_slots()))
            .count();

        let idle = |(index, p): &(usize, &Prompt)| *index != prompt && p.running == 0;
        let prompts = self.prompts.iter().enumerate().filter(idle);
        let droppable: usize = prompts.map(|(_, p)| p.table.pages()).sum();
        if self.pages.free() + droppable < needed {
            return false;
        }
        while self.pages.free() < needed && self.drop_prompt(Some(prompt)) {}

        let Prompt { length, table, .. } = &mut self.prompts[prompt];
        self.pages.reserve(table, *length)
            && self.pages.reserve(&mut self.sequences[sequence].table, own)
    }

    /// Drops the last prompt, other than `kept`, that no running sequence continues.
    fn drop_prompt(&mut self, kept: Option<usize>) -> bool {
        let found = (0..self.prompts.len()).rev().find(|&index| {
            let prompt = &self.prompts[index];
            Some(index) != kept && prompt.running == 0 && !prompt.table.is_empty()
        });
        if let Some(index) = found {
            self.forget_prompt(index);
        }
        found.is_some()
    }

    fn forget_prompt(&mut self, prompt: usize) {
        let prompt = &mut self.prompts[prompt];
        self.pages.release(&mut prompt.table);
        prompt.read = 0;
    }

    /// What is to be read next: as many short prompts as fit into a pass, or one part of something longer.
    pub(crate) fn next_reading(&self) -> Option<Reading> {
        let mut whole = Vec::new();
        let mut tokens = 0;
        for &index in &self.running {
            let sequence = &self.sequences[index];
            let prompt = &self.prompts[sequence.prompt];
            let part = if prompt.read == prompt.length {
                if sequence.read + 1 >= sequence.sampled {
                    continue;
                }
                Reading::Sampled(index, self.part(sequence.read, sequence.sampled - 1))
            } else if prompt.length > self.prefill_chunk {
                Reading::PromptPart(sequence.prompt, self.part(prompt.read, prompt.length))
            } else if whole.contains(&sequence.prompt) {
                continue;
            } else if whole.is_empty() || tokens + prompt.length <= self.max_batch_tokens {
                tokens += prompt.length;
                whole.push(sequence.prompt);
                continue;
            } else {
                break;
            };
            if whole.is_empty() {
                return Some(part);
            }
        }
        (!whole.is_empty()).then_some(Reading::Prompts(whole))
    }

    fn part(&self, start: usize, end: usize) -> Range<usize> {
        start..end.min(start.saturating_add(self.prefill_chunk))
    }

    /// The keys and values of a reading are in the cache now.
    pub(crate) fn has_read(&mut self, reading: &Reading) {
        match reading {
            Reading::Prompts(prompts) => {
                for &prompt in prompts {
                    self.prompts[prompt].read = self.prompts[prompt].length;
                }
            }
            Reading::PromptPart(prompt, part) => self.prompts[*prompt].read = part.end,
            Reading::Sampled(sequence, part) => self.sequences[*sequence].read = part.end,
        }
    }

    /// Gives every sequence that has a token to go on from a slot for it, and names them, first in line
    /// first. Their keys and values are in the cache after the step.
    pub(crate) fn begin_step(&mut self) -> Vec<usize> {
        let mut stepping = Vec::new();
        let mut place = 0;
        while let Some(&index) = self.running.get(place) {
            let sequence = &self.sequences[index];
            let prompt = &self.prompts[sequence.prompt];
            let ready = prompt.read == prompt.length && sequence.read + 1 == sequence.sampled;
            if ready && self.grow(index) {
                self.sequences[index].read += 1;
                stepping.push(index);
            }
            // Where it could not grow it was the last, and runs no more.
            place += 1;
        }
        stepping
    }

    fn grow(&mut self, index: usize) -> bool {
        loop {
            let sequence = &mut self.sequences[index];
            if self.pages.reserve(&mut sequence.table, sequence.read + 1) {
                return true;
            }
            if !self.drop_prompt(None) && self.pre_empt() == Some(index) {
                return false;
            }
        }
    }

    /// Takes the pages of the last that runs.
    fn pre_empt(&mut self) -> Option<usize> {
        let last = self.running.pop()?;
        let sequence = &mut self.sequences[last];
        self.pages.release(&mut sequence.table);
        sequence.read = 0;
        self.prompts[sequence.prompt].running -= 1;
        self.waiting.push_front(last);
        self.pre_emptions += 1;
        Some(last)
    }

    /// One more token of a sequence is known.
    pub(crate) fn has_sampled(&mut self, sequence: usize) {
        self.sequences[sequence].sampled += 1;
    }

    /// A sequence, running or not, has ended.
    pub(crate) fn end(&mut self, index: usize) {
        let sequence = &mut self.sequences[index];
        let prompt = sequence.prompt;
        sequence.ended = true;
        self.pages.release(&mut sequence.table);
        self.unfinished -= 1;
        self.prompts[prompt].unfinished -= 1;
        if let Some(place) = self.running.iter().position(|&other| other == index) {
            self.running.remove(place);
            self.prompts[prompt].running -= 1;
        }
        if self.prompts[prompt].unfinished == 0 {
            self.forget_prompt(prompt);
        }
    }

    /// The slot of a prompt's token.
    pub(crate) fn prompt_slot(&self, prompt: usize, token: usize) -> usize {
        self.pages.slot(&self.prompts[prompt].table, token)
    }

    /// The slot of a sequence's sampled token.
    pub(crate) fn sampled_slot(&self, sequence: usize, token: usize) -> usize {
        self.pages.slot(&self.sequences[sequence].table, token)
    }

    /// The slots of a prompt's first tokens.
    pub(crate) fn prompt_slots(&self, prompt: usize, tokens: usize) -> Vec<Range<usize>> {
        let mut slots = Vec::new();
        let table = &self.prompts[prompt].table;
        self.pages.append_slots(&mut slots, table, tokens);
        slots
    }

    /// The slots of a sequence's prompt and first sampled tokens.
    pub(crate) fn sequence_slots(&self, index: usize, sampled: usize) -> Vec<Range<usize>> {
        let sequence = &self.sequences[index];
        let mut slots = self.prompt_slots(sequence.prompt, self.prompts[sequence.prompt].length);
        self.pages
            .append_slots(&mut slots, &sequence.table, sampled);
        slots
    }
}

#[cfg(test)]
mod tests;
