//! Samples completions: [`Generate`] for [`LocalEngine`].
//!
//! It runs the passes that the schedule asks for, and knows what was sampled; draws come from `sample`, ends
//! from `stop`.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::Tensor;
use didact_core::{Completion, Error, Generate, GenerateRequest, Result, StopReason, TokenId};
use didact_kernels::{CachedRun, PackedLayout, Segment, attention, is_cpu};

use crate::cache::{Cache, Shape, layout};
use crate::draws::draw_rows;
use crate::engine::{other, upload};
use crate::pack::PrefixIndex;
use crate::sample::{Drawn, check_sampling};
use crate::schedule::{Reading, Schedule, Work, pages_alone};
use crate::stop::StopWatch;
use crate::{Error as EngineError, GenerationReport, LocalEngine};

impl Generate for LocalEngine {
    /// Requests with equal prompts share its computation, and its keys and values. Up to
    /// [`max_batch`](crate::EngineConfig::max_batch) sequences run side by side; one that ends makes room
    /// for the next that waits. A completion depends on its own request and on nothing else in the call,
    /// but for the rounding of what was read again after the cache ran out of pages.
    ///
    /// # Errors
    /// Beside those of the trait, a request that [`cache_bytes`](crate::EngineConfig::cache_bytes) could
    /// not hold alone: [`Error::CacheTooSmall`](crate::Error::CacheTooSmall).
    fn generate(&mut self, requests: &[GenerateRequest]) -> Result<Vec<Completion>> {
        self.report = GenerationReport::default();
        for (index, request) in requests.iter().enumerate() {
            self.check_generate_request(index, request)?;
        }
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let engine = &*self;
        let generate = || Generation::new(engine, requests).run();
        let (completions, report) = if is_cpu(&self.device()) {
            // Within the thread pool: from outside, every parallel operation would wait for a thread to wake up.
            rayon::scope(|_| generate())?
        } else {
            // CubeCL gives each thread a stream with memory of its own, which other threads could not use after.
            generate()?
        };
        self.report = report;
        Ok(completions)
    }
}

impl LocalEngine {
    fn check_generate_request(&self, index: usize, request: &GenerateRequest) -> Result<()> {
        let what = || format!("generate request {index}");
        let refuse = |problem: &str| {
            Err(Error::InvalidRequest {
                what: what(),
                problem: problem.to_owned(),
            })
        };
        check_sampling(&what(), &request.sampling)?;
        if request.prompt.is_empty() {
            return refuse("the prompt holds no token; give at least one, such as the bos token");
        }
        if !request.sampling.stop_strings.is_empty() && self.token_bytes.is_none() {
            return refuse("stop strings need the bytes of tokens; give them to the engine");
        }
        // A prompt that fills the context leaves no room for the first token.
        self.check_sequence(
            what,
            request.prompt.iter().copied(),
            request.prompt.len() + 1,
        )?;

        let page_tokens = self.config.page_tokens;
        let pages = pages_alone(page_tokens, request.prompt.len(), self.most(request));
        if pages > self.most_pages() {
            return Err(EngineError::CacheTooSmall {
                what: what(),
                tokens: pages.saturating_mul(page_tokens.get()),
                needed: self.page_bytes().saturating_mul(pages as u64),
                budget: self.config.cache_bytes,
                holds: self.most_pages().saturating_mul(page_tokens.get()),
            }
            .into());
        }
        Ok(())
    }

    /// Tokens that the context has room for after the prompt.
    fn room(&self, request: &GenerateRequest) -> usize {
        self.decoder.config().max_position_embeddings - request.prompt.len()
    }

    /// The most tokens that may be sampled.
    fn most(&self, request: &GenerateRequest) -> usize {
        request.sampling.max_tokens.min(self.room(request))
    }

    fn page_bytes(&self) -> u64 {
        Shape::of(&self.decoder)
            .slot_bytes()
            .saturating_mul(self.config.page_tokens.get() as u64)
    }

    fn most_pages(&self) -> usize {
        usize::try_from(self.config.cache_bytes / self.page_bytes()).unwrap_or(usize::MAX)
    }
}

/// One call's work.
struct Generation<'a> {
    engine: &'a LocalEngine,
    requests: &'a [GenerateRequest],
    /// The distinct prompts.
    prompts: Vec<Prompt<'a>>,
    schedule: Schedule,
    cache: Cache,
    drafts: Vec<Draft>,
    completions: Vec<Option<Completion>>,
    report: GenerationReport,
}

struct Prompt<'a> {
    ids: &'a Arc<[TokenId]>,
    requests: Vec<usize>,
    /// Whether the first tokens of its requests have been drawn.
    begun: bool,
}

/// What was sampled of a completion.
struct Draft {
    prompt: usize,
    ids: Vec<TokenId>,
    log_probs: Vec<f32>,
    watch: StopWatch,
}

/// A row of the logits, of which a request's next token is drawn.
struct Row {
    request: usize,
    row: usize,
}

impl<'a> Generation<'a> {
    fn new(engine: &'a LocalEngine, requests: &'a [GenerateRequest]) -> Self {
        let mut index = PrefixIndex::default();
        let mut prompts: Vec<Prompt<'a>> = Vec::new();
        let mut drafts = Vec::with_capacity(requests.len());
        for (position, request) in requests.iter().enumerate() {
            let prompt = index.of(&request.prompt);
            if prompt == prompts.len() {
                prompts.push(Prompt {
                    ids: &request.prompt,
                    requests: Vec::new(),
                    begun: false,
                });
            }
            prompts[prompt].requests.push(position);
            drafts.push(Draft {
                prompt,
                ids: Vec::new(),
                log_probs: Vec::new(),
                watch: StopWatch::new(&request.sampling, engine.room(request)),
            });
        }
        let sequences = requests.iter().zip(&drafts);
        let work = Work {
            prompts: prompts.iter().map(|prompt| prompt.ids.len()).collect(),
            sequences: sequences
                .map(|(request, draft)| (draft.prompt, engine.most(request)))
                .collect(),
        };
        let schedule = Schedule::new(&engine.config, &work, engine.most_pages());
        let shape = Shape::of(&engine.decoder);
        let cache = Cache::new(shape, schedule.most_slots(), engine.device());
        Self {
            engine,
            requests,
            prompts,
            schedule,
            cache,
            drafts,
            completions: requests.iter().map(|_| None).collect(),
            report: GenerationReport {
                page_bytes: engine.page_bytes(),
                ..GenerationReport::default()
            },
        }
    }

    fn run(mut self) -> Result<(Vec<Completion>, GenerationReport)> {
        while !self.schedule.is_done() {
            self.schedule.admit();
            self.cache.reserve(self.schedule.slots());
            if let Some(reading) = self.schedule.next_reading() {
                self.read(&reading)?;
            }
            self.step()?;
        }
        let report = GenerationReport {
            pre_emptions: self.schedule.pre_emptions(),
            peak_pages: self.schedule.peak_pages(),
            ..self.report
        };
        Ok((self.completions.into_iter().flatten().collect(), report))
    }

    fn read(&mut self, reading: &Reading) -> Result<()> {
        let (hidden, read) = match reading {
            Reading::Prompts(prompts) => self.read_prompts(prompts)?,
            Reading::PromptPart(prompt, part) => {
                let slots = part.clone().map(|t| self.schedule.prompt_slot(*prompt, t));
                let slots = slots.collect();
                let seen = self.schedule.prompt_slots(*prompt, part.end);
                let ids = self.prompts[*prompt].ids;
                let hidden = self.read_part(&ids[part.clone()], part.start, slots, seen)?;
                if part.end == ids.len() {
                    (hidden, vec![(*prompt, part.len() - 1)])
                } else {
                    (hidden, vec![])
                }
            }
            Reading::Sampled(request, part) => {
                let slots = part
                    .clone()
                    .map(|t| self.schedule.sampled_slot(*request, t));
                let slots = slots.collect();
                let seen = self.schedule.sequence_slots(*request, part.end);
                let first = self.requests[*request].prompt.len() + part.start;
                let ids = self.drafts[*request].ids[part.clone()].to_vec();
                (self.read_part(&ids, first, slots, seen)?, vec![])
            }
        };
        self.report.reading_passes += 1;
        self.schedule.has_read(reading);
        self.draw_first(hidden, &read)
    }

    /// Reads whole prompts, and gives the hidden states and the last row of each.
    fn read_prompts(&mut self, prompts: &[usize]) -> Result<(Tensor<2>, Vec<(usize, usize)>)> {
        let ids = |prompt: &usize| -> &'a [TokenId] { self.prompts[*prompt].ids };
        let mut packed = prompts.to_vec();
        if prompts.len() == 1 && ids(&prompts[0]).len() == 1 {
            // A lone row may take another path through matrix products than rows among others: it is
            // read twice, into one slot.
            packed.push(prompts[0]);
        }
        let segments: Vec<Segment> = packed.iter().map(|p| Segment::root(ids(p).len())).collect();
        let layout = PackedLayout::new(&segments).map_err(other)?;
        let flat: Vec<TokenId> = packed.iter().flat_map(ids).copied().collect();
        let slots = packed
            .iter()
            .flat_map(|&prompt| (0..ids(&prompt).len()).map(move |token| (prompt, token)));
        let slots: Arc<[usize]> = slots
            .map(|(prompt, token)| self.schedule.prompt_slot(prompt, token))
            .collect();
        self.report.read_tokens += prompts.iter().map(|p| ids(p).len()).sum::<usize>();
        let last = prompts.iter().enumerate();
        let last = last.map(|(segment, &prompt)| (prompt, layout.own_range(segment).end - 1));
        let last = last.collect();

        let cache = &mut self.cache;
        let scale = cache.scale();
        let ids = upload(flat.iter().map(|&id| id as usize), &self.engine.device());
        let decoder = &self.engine.decoder;
        let hidden = decoder.forward_with(ids, layout.positions(), |layer, q, k, v| {
            cache.write(layer, k.clone(), v.clone(), &slots);
            attention(q, k, v, &layout, scale)
        });
        Ok((hidden, last))
    }

    /// Reads consecutive tokens of one sequence, alone in their pass, and gives their hidden states. The first
    /// stands at position `first`; `slots` are theirs, the last of those `seen`.
    fn read_part(
        &mut self,
        ids: &[TokenId],
        first: usize,
        slots: Vec<usize>,
        seen: Vec<Range<usize>>,
    ) -> Result<Tensor<2>> {
        self.report.read_tokens += ids.len();
        let layout = layout(vec![CachedRun {
            rows: ids.len(),
            slots: seen,
        }])?;
        let positions: Vec<u32> = (first..first + ids.len()).map(|p| p as u32).collect();
        let ids = upload(ids.iter().map(|&id| id as usize), &self.engine.device());
        let slots: Arc<[usize]> = slots.into();
        let cache = &mut self.cache;
        let decoder = &self.engine.decoder;
        Ok(decoder.forward_with(ids, &positions, |layer, q, k, v| {
            cache.write(layer, k, v, &slots);
            cache.attend(layer, q, &layout)
        }))
    }

    /// Draws the first token of every request whose prompt has been read to its end, given the row of each
    /// prompt's last token.
    fn draw_first(&mut self, hidden: Tensor<2>, read: &[(usize, usize)]) -> Result<()> {
        // A prompt is read again where it was dropped for others.
        let fresh = |(prompt, _): &&(usize, usize)| !self.prompts[*prompt].begun;
        let read: Vec<(usize, usize)> = read.iter().filter(fresh).copied().collect();
        if read.is_empty() {
            return Ok(());
        }
        let last = upload(read.iter().map(|&(_, row)| row), &self.engine.device());
        let logits = self.engine.decoding().logits(hidden.select(0, last));
        let rows = read.iter().enumerate().flat_map(|(row, &(prompt, _))| {
            let requests = self.prompts[prompt].requests.iter();
            requests.map(move |&request| Row { request, row })
        });
        let rows: Vec<Row> = rows.collect();
        for &(prompt, _) in &read {
            self.prompts[prompt].begun = true;
        }
        self.sample(logits, &rows)
    }

    /// Samples one more token of every running sequence that has been read.
    fn step(&mut self) -> Result<()> {
        let stepping = self.schedule.begin_step();
        if stepping.is_empty() {
            return Ok(());
        }
        self.cache.reserve(self.schedule.slots());
        let mut ids = Vec::with_capacity(stepping.len());
        let mut positions = Vec::with_capacity(stepping.len());
        let mut slots = Vec::with_capacity(stepping.len());
        let mut runs = Vec::with_capacity(stepping.len());
        for &request in &stepping {
            let sampled = &self.drafts[request].ids;
            let last = sampled.len() - 1;
            ids.push(sampled[last] as usize);
            positions.push((self.requests[request].prompt.len() + last) as u32);
            slots.push(self.schedule.sampled_slot(request, last));
            runs.push(CachedRun {
                rows: 1,
                slots: self.schedule.sequence_slots(request, sampled.len()),
            });
        }
        let (layout, slots): (_, Arc<[usize]>) = (layout(runs)?, slots.into());
        let ids = upload(ids.into_iter(), &self.engine.device());
        let cache = &mut self.cache;
        let decoding = self.engine.decoding();
        let hidden = decoding.forward_with(ids, &positions, |layer, q, k, v| {
            cache.write(layer, k, v, &slots);
            cache.attend(layer, q, &layout)
        });
        self.report.decoding_steps += 1;

        let logits = self.engine.decoding().logits(hidden);
        let rows = stepping.iter().enumerate();
        let rows: Vec<Row> = rows.map(|(row, &request)| Row { request, row }).collect();
        self.sample(logits, &rows)
    }

    /// Draws from the rows of the logits and adds what was drawn to the drafts.
    fn sample(&mut self, logits: Tensor<2>, rows: &[Row]) -> Result<()> {
        let draws = rows.iter().map(|row| {
            let request = &self.requests[row.request];
            let token = self.drafts[row.request].ids.len();
            (
                row.row,
                &request.sampling,
                request.stream.uniform(token as u64),
            )
        });
        let drawn = draw_rows(logits, &draws.collect::<Vec<_>>())?;
        for (row, drawn) in rows.iter().zip(drawn) {
            let drawn = drawn.map_err(|bad| Error::NonFiniteRequest {
                request: row.request,
                what: format!(
                    "the logit of token {} for sampled token {}",
                    bad.id,
                    self.drafts[row.request].ids.len()
                ),
                value: f64::from(bad.value),
            })?;
            match self.push(row.request, drawn) {
                Some(stop) => self.finish(row.request, stop),
                None => self.schedule.has_sampled(row.request),
            }
        }
        Ok(())
    }

    fn push(&mut self, request: usize, drawn: Drawn) -> Option<StopReason> {
        self.report.sampled_tokens += 1;
        let draft = &mut self.drafts[request];
        draft.ids.push(drawn.id);
        draft.log_probs.push(drawn.log_prob);
        let sampling = &self.requests[request].sampling;
        let bytes = self.engine.token_bytes.as_deref();
        draft
            .watch
            .after(drawn.id, draft.ids.len(), sampling, bytes)
    }

    fn finish(&mut self, request: usize, stop: StopReason) {
        let draft = &mut self.drafts[request];
        self.completions[request] = Some(Completion {
            ids: std::mem::take(&mut draft.ids),
            sampling_log_probs: std::mem::take(&mut draft.log_probs),
            stop,
            policy_version: self.engine.version,
        });
        self.schedule.end(request);
    }
}
