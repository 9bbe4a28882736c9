//! Samples completions with a key/value cache: [`Generate`] for [`LocalEngine`].
//!
//! It knows which sequences are live, which wait and which are done; logits come from the decoder,
//! draws from `sample`, ends from `stop`.

use std::collections::VecDeque;
use std::sync::Arc;

use burn::tensor::Tensor;
use didact_core::{Completion, Error, Generate, GenerateRequest, Result, StopReason, TokenId};
use didact_kernels::{PackedLayout, Segment, attention};
use rayon::prelude::*;

use crate::cache::{DeviceCache, Heads, HostCache, KeyValueCache};
use crate::engine::upload;
use crate::pack::PrefixIndex;
use crate::sample::{Drawn, check_sampling, draw};
use crate::stop::StopWatch;
use crate::{CacheKind, LocalEngine, micro_batches};

impl Generate for LocalEngine {
    /// Requests with equal prompts share its computation, and its keys and values. Up to
    /// [`max_batch`](crate::EngineConfig::max_batch) sequences run side by side; one that ends makes room
    /// for the next that waits. A completion depends on its own request and on nothing else in the call.
    fn generate(&mut self, requests: &[GenerateRequest]) -> Result<Vec<Completion>> {
        for (index, request) in requests.iter().enumerate() {
            self.check_generate_request(index, request)?;
        }
        let config = self.decoder.config();
        let heads = Heads {
            query: config.num_attention_heads,
            key_value: config.num_key_value_heads,
            width: config.head_dim,
            scale: config.attention_scale(),
        };
        match self.config.cache {
            CacheKind::Host => Generation::new(self, requests, HostCache::new(heads), heads).run(),
            CacheKind::Device => {
                Generation::new(self, requests, DeviceCache::new(heads), heads).run()
            }
        }
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
        )
    }
}

/// One call's work.
struct Generation<'a, C: KeyValueCache> {
    engine: &'a LocalEngine,
    requests: &'a [GenerateRequest],
    heads: Heads,
    cache: C,
    prompts: Vec<Prompt<'a, C::Prompt>>,
    /// Each request that waits, with its prompt; requests of one prompt stand together.
    waiting: VecDeque<(usize, usize)>,
    /// The live sequences, in the order of the cache's rows.
    live: Vec<Live>,
    completions: Vec<Option<Completion>>,
}

/// A distinct prompt.
struct Prompt<'a, P> {
    ids: &'a Arc<[TokenId]>,
    requests: Vec<usize>,
    /// Requests that still wait for it.
    waiting: usize,
    /// From its first use to its last.
    read: Option<ReadPrompt<P>>,
}

/// What the model made of a prompt.
struct ReadPrompt<P> {
    keys_values: P,
    /// The logits after its last token, `[V]`.
    logits: Vec<f32>,
}

/// A row of logits, of which a request's next token is drawn.
struct Row<'a> {
    request: usize,
    token: usize,
    logits: &'a [f32],
}

/// A sequence that is being sampled.
struct Live {
    request: usize,
    ids: Vec<TokenId>,
    log_probs: Vec<f32>,
    watch: StopWatch,
}

impl<'a, C: KeyValueCache> Generation<'a, C> {
    fn new(
        engine: &'a LocalEngine,
        requests: &'a [GenerateRequest],
        cache: C,
        heads: Heads,
    ) -> Self {
        let mut index = PrefixIndex::default();
        let mut prompts: Vec<Prompt<'a, C::Prompt>> = Vec::new();
        for (request, GenerateRequest { prompt: ids, .. }) in requests.iter().enumerate() {
            let number = index.of(ids);
            if number == prompts.len() {
                prompts.push(Prompt {
                    ids,
                    requests: Vec::new(),
                    waiting: 0,
                    read: None,
                });
            }
            prompts[number].requests.push(request);
            prompts[number].waiting += 1;
        }
        let waiting = prompts
            .iter()
            .enumerate()
            .flat_map(|(number, prompt)| prompt.requests.iter().map(move |&r| (r, number)))
            .collect();
        let completions = requests.iter().map(|_| None).collect();
        let live = Vec::new();
        Self {
            engine,
            requests,
            heads,
            cache,
            prompts,
            waiting,
            live,
            completions,
        }
    }

    fn run(mut self) -> Result<Vec<Completion>> {
        while !(self.live.is_empty() && self.waiting.is_empty()) {
            self.admit()?;
            if !self.live.is_empty() {
                self.step()?;
            }
        }
        // Every request has been admitted, and has ended since.
        Ok(self.completions.into_iter().flatten().collect())
    }

    /// Fills the free places from those that wait, and samples their first tokens.
    fn admit(&mut self) -> Result<()> {
        let free = self
            .engine
            .config
            .max_batch
            .max(1)
            .saturating_sub(self.live.len());
        let entering: Vec<(usize, usize)> =
            self.waiting.drain(..free.min(self.waiting.len())).collect();
        let mut unread: Vec<usize> = Vec::new();
        for &(_, prompt) in &entering {
            if self.prompts[prompt].read.is_none() && !unread.contains(&prompt) {
                unread.push(prompt);
            }
        }
        let lengths: Vec<_> = unread
            .iter()
            .map(|&p| (self.prompts[p].ids.clone(), 0))
            .collect();
        for batch in micro_batches(&lengths, self.engine.config.max_batch_tokens) {
            let batch: Vec<usize> = batch.into_iter().map(|index| unread[index]).collect();
            self.read_prompts(&batch)?;
        }

        let rows: Vec<Row<'_>> = entering
            .iter()
            .map(|&(request, prompt)| Row {
                request,
                token: 0,
                logits: &self.read(prompt).logits,
            })
            .collect();
        let drawn = self.draw(&rows)?;
        for (&(request, prompt), drawn) in entering.iter().zip(drawn) {
            let GenerateRequest {
                prompt: ids,
                sampling,
                ..
            } = &self.requests[request];
            let room = self.engine.decoder.config().max_position_embeddings - ids.len();
            let watch = StopWatch::new(sampling, room);
            let mut live = Live {
                request,
                ids: Vec::new(),
                log_probs: Vec::new(),
                watch,
            };
            match self.push(&mut live, drawn) {
                Some(stop) => self.finish(live, stop),
                None => {
                    self.cache.admit(self.read(prompt).keys_values.clone());
                    self.live.push(live);
                }
            }
            self.prompts[prompt].waiting -= 1;
            if self.prompts[prompt].waiting == 0 {
                self.prompts[prompt].read = None;
            }
        }
        Ok(())
    }

    fn read(&self, prompt: usize) -> &ReadPrompt<C::Prompt> {
        self.prompts[prompt]
            .read
            .as_ref()
            .expect("a prompt is read before its requests enter")
    }

    /// Computes the keys, values and next logits of some prompts in one packed forward pass.
    fn read_prompts(&mut self, batch: &[usize]) -> Result<()> {
        let mut packed: Vec<&[TokenId]> = batch.iter().map(|&p| &self.prompts[p].ids[..]).collect();
        if let [[_]] = packed[..] {
            // A lone row takes another path through matrix products than rows among others.
            packed.push(packed[0]);
        }
        let segments: Vec<Segment> = packed.iter().map(|ids| Segment::root(ids.len())).collect();
        let layout = PackedLayout::new(&segments).map_err(|error| Error::Other(error.into()))?;
        let device = self.engine.device();
        let ids = upload(
            packed.iter().copied().flatten().map(|&id| id as usize),
            &device,
        );
        let mut layers = Vec::new();
        let scale = self.heads.scale;
        let hidden = self
            .engine
            .decoder
            .forward_with(ids, layout.positions(), |_, q, k, v| {
                layers.push((k.clone(), v.clone()));
                attention(q, k, v, &layout, scale)
            });
        let last = (0..batch.len()).map(|segment| layout.own_range(segment).end - 1);
        let logits = self.logits(hidden.select(0, upload(last, &device)))?;
        let keys_values = self.cache.prompts(layers, &layout)?;
        let vocabulary = self.engine.decoder.config().vocab_size;
        for ((&prompt, logits), keys_values) in batch
            .iter()
            .zip(logits.chunks_exact(vocabulary))
            .zip(keys_values)
        {
            self.prompts[prompt].read = Some(ReadPrompt {
                keys_values,
                logits: logits.to_vec(),
            });
        }
        Ok(())
    }

    /// Samples one more token of every live sequence.
    fn step(&mut self) -> Result<()> {
        let device = self.engine.device();
        // A lone row takes another path through matrix products than rows among others: it is
        // computed twice, so that its numbers do not depend on its company.
        let alone = self.live.len() == 1;
        let rows = || self.live.iter().chain(alone.then(|| &self.live[0]));
        let ids = rows().map(|live| live.ids.last().map_or(0, |&id| id as usize));
        let positions: Vec<u32> = rows()
            .map(|live| (self.requests[live.request].prompt.len() + live.ids.len() - 1) as u32)
            .collect();
        let ids = upload(ids, &device);
        let cache = &mut self.cache;
        let mut failure = None;
        let hidden = self
            .engine
            .decoder
            .forward_with(ids, &positions, |layer, q, k, v| {
                let nothing = q.zeros_like();
                let attended = if alone {
                    let first = |tensor: Tensor<3>| tensor.slice_dim(0, 0..1);
                    cache
                        .attend(layer, first(q), first(k), first(v))
                        .map(|out| Tensor::cat(vec![out.clone(), out], 0))
                } else {
                    cache.attend(layer, q, k, v)
                };
                attended.unwrap_or_else(|error| {
                    failure.get_or_insert(error);
                    nothing
                })
            });
        if let Some(error) = failure {
            return Err(error);
        }

        let logits = self.logits(hidden)?;
        let vocabulary = self.engine.decoder.config().vocab_size;
        let rows: Vec<Row<'_>> = self
            .live
            .iter()
            .zip(logits.chunks_exact(vocabulary))
            .map(|(live, logits)| Row {
                request: live.request,
                token: live.ids.len(),
                logits,
            })
            .collect();
        let drawn = self.draw(&rows)?;
        let mut live = std::mem::take(&mut self.live);
        let stops: Vec<Option<StopReason>> = live
            .iter_mut()
            .zip(drawn)
            .map(|(live, drawn)| self.push(live, drawn))
            .collect();
        let goes_on: Vec<bool> = stops.iter().map(Option::is_none).collect();
        if goes_on.contains(&false) {
            self.cache.retain(&goes_on);
        }
        for (live, stop) in live.into_iter().zip(stops) {
            match stop {
                Some(stop) => self.finish(live, stop),
                None => self.live.push(live),
            }
        }
        Ok(())
    }

    /// The logits of every row of `hidden`, `[B, V]`, row by row; more rows may follow.
    fn logits(&self, hidden: Tensor<2>) -> Result<Vec<f32>> {
        let embedding = self.engine.decoder.output_embedding();
        // A product of few rows and a tiny vocabulary takes another path than a larger one (gemm's
        // horizontal kernels, up to 256 outputs): rows are repeated until it does not.
        let [rows, _] = hidden.dims();
        let least = 256 / embedding.dims()[0] + 1;
        let hidden = if rows < least.max(2) {
            hidden.repeat_dim(0, least.max(2).div_ceil(rows))
        } else {
            hidden
        };
        // [V, B], so that the matrix product reads the embedding as it lies in memory; the other way round
        // it would be packed anew at every token.
        let logits = embedding.matmul(hidden.transpose()).transpose();
        logits
            .try_into_vec_as::<f32>()
            .map_err(|error| Error::Other(error.into()))
    }

    /// One draw a row. Each is a function of its own row, so the threads' order does not matter.
    fn draw(&self, rows: &[Row<'_>]) -> Result<Vec<Drawn>> {
        let drawn: Vec<_> = rows
            .par_iter()
            .map(|row| {
                let GenerateRequest {
                    sampling, stream, ..
                } = &self.requests[row.request];
                draw(row.logits, sampling, stream.uniform(row.token as u64))
            })
            .collect();
        drawn
            .into_iter()
            .zip(rows)
            .map(|(drawn, row)| {
                drawn.map_err(|bad| Error::NonFinite {
                    what: format!(
                        "generate request {}, sampled token {}: the logit of token {}",
                        row.request, row.token, bad.id
                    ),
                    value: f64::from(bad.value),
                })
            })
            .collect()
    }

    fn push(&self, live: &mut Live, drawn: Drawn) -> Option<StopReason> {
        live.ids.push(drawn.id);
        live.log_probs.push(drawn.log_prob);
        let sampling = &self.requests[live.request].sampling;
        let bytes = self.engine.token_bytes.as_deref();
        live.watch.after(drawn.id, live.ids.len(), sampling, bytes)
    }

    fn finish(&mut self, live: Live, stop: StopReason) {
        self.completions[live.request] = Some(Completion {
            ids: live.ids,
            sampling_log_probs: live.log_probs,
            stop,
            policy_version: self.engine.version,
        });
    }
}
