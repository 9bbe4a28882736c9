//! Agreement with math-verify on the kept corpus, and the laws that verification keeps.

#[path = "answer/agreement.rs"]
mod agreement;
#[path = "answer/hostile.rs"]
mod hostile;
#[path = "answer/laws.rs"]
mod laws;
