//! Every operation against its plain reference, and every reference against finite differences.
mod adamw;
mod decoding;
mod differences;
mod families;
mod linear_kl;
mod linear_log_prob;
mod quantised;
mod references;
mod sample;
mod support;
