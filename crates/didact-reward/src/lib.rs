//! Teacher rewards as data: which scores a reward needs, and how they become an outcome. Numbers and spans only.
#![forbid(unsafe_code)]
