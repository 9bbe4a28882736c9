//! What an adapter is: its rank, its scale and the projections that have one.
//!
//! Owns how names and patterns choose projections, which is PEFT's way. Knows no tensors.

use std::collections::BTreeMap;

use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use super::Which;
use crate::assemble::{Role, slots};
use crate::{DecoderConfig, Error, Result};

/// The names of all projections.
pub(super) const PROJECTIONS: [&str; 7] = [
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
];
/// PEFT's word for all of them.
const ALL: &str = "all-linear";
/// Above this rank an adapter would be larger than any weight it stands beside.
const GREATEST_RANK: usize = 65_536;

/// A low-rank adapter: `y = x·W + (x·A)·B·scale` over frozen weights `W`.
///
/// `scale` is `alpha / rank`, or `alpha / √rank` with `rslora`. Nothing is dropped out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// The inner width of the two matrices; at least 1.
    pub rank: usize,
    /// What is added is multiplied by this over the rank; above 0.
    pub alpha: f64,
    /// The projections that get an adapter. Default all.
    #[serde(default)]
    pub targets: LoraTargets,
    /// Divides `alpha` by `√rank` instead of `rank` (Kalajdzievski, "A rank stabilization scaling factor for
    /// fine-tuning with LoRA", 2023). Default false.
    #[serde(default)]
    pub rslora: bool,
    /// Only in these layers, counted from 0; all where empty, the default. Targets that are a pattern or a
    /// projection's whole path do not heed it, as in PEFT.
    #[serde(default)]
    pub layers: Vec<usize>,
    /// Other ranks: regular expressions that match the end of a projection's path, from a dot on, and the rank
    /// of those.
    #[serde(default)]
    pub rank_pattern: BTreeMap<String, usize>,
    /// Other alphas, in the same way.
    #[serde(default)]
    pub alpha_pattern: BTreeMap<String, f64>,
}

/// Which projections get an adapter.
///
/// In a configuration file `"all-linear"`, a list of names, or a regular expression.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub enum LoraTargets {
    /// All of them. Embeddings have none.
    #[default]
    All,
    /// Those whose path is one of these or ends in a dot and one of these: `q_proj`, `self_attn.q_proj`,
    /// `model.layers.0.self_attn.q_proj`.
    Names(Vec<String>),
    /// Those whose whole path matches.
    Pattern(String),
}

impl<const N: usize> From<[&str; N]> for LoraTargets {
    fn from(names: [&str; N]) -> Self {
        Self::Names(names.map(str::to_owned).to_vec())
    }
}

/// [`LoraTargets`] as a file has them.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    One(String),
    Several(Vec<String>),
}

impl From<Written> for LoraTargets {
    fn from(written: Written) -> Self {
        match written {
            Written::One(word) if word == ALL => Self::All,
            Written::One(pattern) => Self::Pattern(pattern),
            Written::Several(names) => Self::Names(names),
        }
    }
}

impl From<LoraTargets> for Written {
    fn from(targets: LoraTargets) -> Self {
        match targets {
            LoraTargets::All => Self::One(ALL.to_owned()),
            LoraTargets::Names(names) => Self::Several(names),
            LoraTargets::Pattern(pattern) => Self::One(pattern),
        }
    }
}

/// An adapter of one projection.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placed {
    /// The projection's path.
    pub(super) path: String,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) rank: usize,
    pub(super) scale: f64,
}

impl Placed {
    /// The shape of a matrix as PEFT stores it.
    pub(super) const fn shape(&self, which: Which) -> [usize; 2] {
        match which {
            Which::A => [self.rank, self.inputs],
            Which::B => [self.outputs, self.rank],
        }
    }

    /// The path of a matrix.
    pub(super) fn factor_path(&self, which: Which) -> String {
        let name = match which {
            Which::A => "lora_A",
            Which::B => "lora_B",
        };
        format!("{}.{name}.weight", self.path)
    }
}

impl LoraConfig {
    /// An adapter of all projections, scaled by `alpha / rank`.
    #[must_use]
    pub const fn new(rank: usize, alpha: f64) -> Self {
        Self {
            rank,
            alpha,
            targets: LoraTargets::All,
            rslora: false,
            layers: Vec::new(),
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
        }
    }

    /// Checks that every key means something for a decoder of `config`.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] names the key.
    pub fn validate(&self, config: &DecoderConfig) -> Result<()> {
        self.resolve(Source::OPTIONS, config).map(|_| ())
    }

    /// How many numbers the adapter of a decoder of `config` holds.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn parameter_count(&self, config: &DecoderConfig) -> Result<u64> {
        let numbers =
            |placed: &Placed| placed.rank as u64 * (placed.inputs + placed.outputs) as u64;
        let placed = self.resolve(Source::OPTIONS, config)?;
        Ok(placed.iter().map(numbers).sum())
    }

    /// The adapters, in the order of the projections; `check` names the configuration in errors.
    pub(super) fn resolve(&self, check: Source<'_>, config: &DecoderConfig) -> Result<Vec<Placed>> {
        let names = check.keys;
        check.rank(names.rank, self.rank)?;
        check.alpha(names.alpha, self.alpha)?;
        for (pattern, &rank) in &self.rank_pattern {
            check.rank(&format!("rank_pattern.{pattern}"), rank)?;
        }
        for (pattern, &alpha) in &self.alpha_pattern {
            check.alpha(&format!("alpha_pattern.{pattern}"), alpha)?;
        }
        let ranks = check.patterns("rank_pattern", &self.rank_pattern)?;
        let alphas = check.patterns("alpha_pattern", &self.alpha_pattern)?;
        let depth = config.num_hidden_layers;
        if let Some(layer) = self.layers.iter().find(|layer| **layer >= depth) {
            return check.refuse(names.layers, layer, &format!("layers of 0..{depth}"));
        }
        let mut chosen = self.targets.chosen(check, &self.layers)?;
        let mut placed = Vec::new();
        for slot in slots(config) {
            let path = slot.path.strip_suffix(".weight");
            let Some(path) = path.filter(|_| slot.role == Role::Projection) else {
                continue;
            };
            if !chosen.chooses(path) {
                continue;
            }
            let rank = check.one("rank_pattern", &ranks, path)?;
            let rank = rank.unwrap_or(self.rank);
            let alpha = check.one("alpha_pattern", &alphas, path)?;
            let alpha = alpha.unwrap_or(self.alpha);
            let divisor = if self.rslora {
                (rank as f64).sqrt()
            } else {
                rank as f64
            };
            placed.push(Placed {
                path: path.to_owned(),
                inputs: slot.shape[1],
                outputs: slot.shape[0],
                rank,
                scale: alpha / divisor,
            });
        }
        if let Some(name) = chosen.unused() {
            let expected = format!(
                "projections of the decoder: {} or paths that end in these",
                PROJECTIONS.join(", ")
            );
            return check.refuse(names.targets, name, &expected);
        }
        if placed.is_empty() {
            let found = format!("{:?} in layers {:?}", self.targets, self.layers);
            return check.refuse(
                names.targets,
                found,
                "at least one projection of the decoder",
            );
        }
        Ok(placed)
    }
}

/// Targets while projections are compared with them.
enum Chosen<'a> {
    All(&'a [usize]),
    /// Each name and whether a projection had it.
    Names(Vec<(&'a str, bool)>, &'a [usize]),
    Pattern(Regex),
}

impl LoraTargets {
    fn chosen<'a>(&'a self, check: Source<'_>, layers: &'a [usize]) -> Result<Chosen<'a>> {
        Ok(match self {
            Self::All => Chosen::All(layers),
            Self::Names(names) => {
                let names = names.iter().map(|name| (name.as_str(), false));
                Chosen::Names(names.collect(), layers)
            }
            Self::Pattern(pattern) => Chosen::Pattern(check.regex(
                check.keys.targets,
                pattern,
                &format!("^(?:{pattern})$"),
            )?),
        })
    }
}

impl Chosen<'_> {
    fn chooses(&mut self, path: &str) -> bool {
        match self {
            Self::All(layers) => in_layers(path, layers),
            Self::Names(names, layers) => {
                let (mut whole, mut end) = (false, false);
                for (name, used) in names {
                    let is_whole = path == *name;
                    let is_end = path
                        .strip_suffix(*name)
                        .is_some_and(|before| before.ends_with('.'));
                    *used |= is_whole || is_end;
                    whole |= is_whole;
                    end |= is_end;
                }
                whole || (end && in_layers(path, layers))
            }
            Self::Pattern(pattern) => pattern.is_match(path),
        }
    }

    /// A name that no projection had.
    fn unused(&self) -> Option<&str> {
        match self {
            Self::Names(names, _) => names.iter().find(|(_, used)| !used).map(|(name, _)| *name),
            Self::All(_) | Self::Pattern(_) => None,
        }
    }
}

fn in_layers(path: &str, layers: &[usize]) -> bool {
    let layer = path.split('.').nth(2).and_then(|part| part.parse().ok());
    layers.is_empty() || layer.is_some_and(|layer| layers.contains(&layer))
}

/// Where a configuration stands, for errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) place: &'a str,
    pub(super) keys: Names,
}

/// What the keys are called there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    pub(super) rank: &'static str,
    pub(super) alpha: &'static str,
    pub(super) targets: &'static str,
    pub(super) layers: &'static str,
}

impl Source<'static> {
    /// A [`LoraConfig`] that no file of PEFT's gave.
    pub(super) const OPTIONS: Self = Self {
        place: "LoraConfig",
        keys: Names {
            rank: "rank",
            alpha: "alpha",
            targets: "targets",
            layers: "layers",
        },
    };
}

impl Source<'_> {
    fn refuse<T>(self, key: &str, found: impl std::fmt::Display, expected: &str) -> Result<T> {
        Err(Error::InvalidKey {
            file: self.place.to_owned(),
            key: key.to_owned(),
            found: found.to_string(),
            expected: expected.to_owned(),
        })
    }

    fn rank(self, key: &str, rank: usize) -> Result<()> {
        if (1..=GREATEST_RANK).contains(&rank) {
            return Ok(());
        }
        self.refuse(key, rank, &format!("1 to {GREATEST_RANK}"))
    }

    fn alpha(self, key: &str, alpha: f64) -> Result<()> {
        if alpha.is_finite() && alpha > 0.0 {
            return Ok(());
        }
        self.refuse(key, alpha, "a number above 0")
    }

    fn regex(self, key: &str, written: &str, whole: &str) -> Result<Regex> {
        Regex::new(whole).or_else(|error| {
            let expected = format!("a regular expression that can be read: {error}");
            self.refuse(key, format!("{written:?}"), &expected)
        })
    }

    fn patterns<T: Copy>(
        self,
        key: &str,
        patterns: &BTreeMap<String, T>,
    ) -> Result<Vec<(Regex, T)>> {
        let read = |(pattern, value): (&String, &T)| {
            let regex = self.regex(key, pattern, &format!(r"^(?:.*\.)?(?:{pattern})$"))?;
            Ok((regex, *value))
        };
        patterns.iter().map(read).collect()
    }

    /// The value of the pattern that matches; PEFT takes the first, and a table here has no order.
    fn one<T: Copy + PartialEq>(
        self,
        key: &str,
        patterns: &[(Regex, T)],
        path: &str,
    ) -> Result<Option<T>> {
        let mut found = None;
        for (_, value) in patterns.iter().filter(|(regex, _)| regex.is_match(path)) {
            if found.is_some_and(|found| found != *value) {
                let problem = format!("ambiguous: two patterns that differ match {path}");
                return self.refuse(key, problem, "one pattern for each projection");
            }
            found = Some(*value);
        }
        Ok(found)
    }
}
