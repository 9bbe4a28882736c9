//! Nothing but dependencies.
//!
//! Cargo gives a dependency the features that the packages of one command ask for, so `-p didact-engine` and
//! `--workspace` would each compile burn anew. Packages that are tested or run by themselves depend on this one
//! (the published ones only for their tests), which asks for everything at once.
#![forbid(unsafe_code)]
