//! Teach.
fn main() {}
