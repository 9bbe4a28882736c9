//! The reader against another implementation's blocks, round trips, and files made to break it.

mod golden;
mod laws;
mod malformed;
mod round_trip;
mod writer;
