//! Explanations that somebody wrote are read as those that were sampled.

use didact_core::TokenBytes;

use super::{problems, task};
use crate::rollout::Sample;

#[test]
fn a_written_explanation_is_what_the_policy_would_have_sampled() {
    let task = task();
    let prepared = task.prepare(&problems(2, 4), 200).unwrap();
    for text in ["a", "add both", "4 and 4, so 8"] {
        let sample = Sample::written(&task, &prepared[1], text).unwrap();
        assert_eq!(sample.explained.text.trim(), text);
        assert!(sample.explained.closed);
        let prompt = prepared[1].prompt.ids.len();
        assert_eq!(sample.explained.teacher.thought.unwrap().start, prompt);
        let bytes = task.tokenizer.bytes_of(&sample.completion.ids);
        let written = String::from_utf8(bytes).unwrap();
        assert!(
            written.starts_with(text) && written.contains(task.end_tag()),
            "{written}"
        );
    }
    assert!(Sample::written(&task, &prepared[0], "").is_err());
    let own = format!("a{}b", task.end_tag());
    assert!(Sample::written(&task, &prepared[0], &own).is_err());
}
