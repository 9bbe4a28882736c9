//! Agreement with math-verify on the kept corpus, and the laws that verification keeps.

#[path = "answer/agreement.rs"]
mod agreement;
#[path = "answer/countdown.rs"]
mod countdown;
#[path = "answer/extraction.rs"]
mod extraction;
#[path = "answer/hostile.rs"]
mod hostile;
#[path = "answer/laws.rs"]
mod laws;
#[path = "answer/readings.rs"]
mod readings;
#[path = "answer/rules.rs"]
mod rules;
