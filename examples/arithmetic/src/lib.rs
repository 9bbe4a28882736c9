//! A tiny world of worked arithmetic, in which several examples teach.
//!
//! Problems are short chains of operations; decoders of a tenth of a million parameters learn to work them off within
//! seconds, with the bad habits that a teacher then has to lose.
//!
//! | module | what it owns |
//! |---|---|
//! | [`world`] | what problems, traces and solutions are like |
//! | [`chain`] | one problem and its traces |
//! | [`grade`], [`grades`] | what an explanation does, and how many do what |
//! | [`language`] | how texts become tokens, and the prompt format |
//! | [`schooling`] | from random weights to worked arithmetic |
//! | [`widening`] | a decoder of twice the width that computes the same |
//! | [`draws`] | draws taken one after the other from a random stream |
#![forbid(unsafe_code)]

pub mod chain;
pub mod draws;
pub mod grade;
pub mod grades;
pub mod language;
pub mod schooling;
pub mod widening;
pub mod world;

/// What the tokenizer, the prompt format or the trainer refuses.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
