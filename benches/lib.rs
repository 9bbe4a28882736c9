//! Times operations beside their plain references: `cargo bench` in this folder.
//!
//! Each operation has a file of its own; there is nothing else here.
#![forbid(unsafe_code)]
