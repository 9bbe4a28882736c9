//! How the world's texts become tokens: one token a character, one a tag.
//!
//! Owns the tokenizer and the prompt format. Knows no arithmetic and no model.

use std::path::Path;

use didact::data::{PromptFormat, Tokenizer};
use serde_json::{Value, json};

use crate::Result;
use crate::world::World;

/// Ends a turn and the sequence.
const END: &str = "<|end|>";

/// A chat without system messages: each turn begins with its role and ends with [`END`].
const CHAT_TEMPLATE: &str = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>\
                             {% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";

/// The prompt format of the world.
///
/// # Errors
/// None: the file is a part of the program.
pub fn format() -> Result<PromptFormat> {
    Ok(PromptFormat::from_toml(
        "format.toml",
        include_str!("format.toml"),
    )?)
}

/// Writes the files of a world's tokenizer to `folder` and reads them back: the only way in is the files' own.
///
/// # Errors
/// A file that cannot be written.
pub fn tokenizer(world: &World, folder: &Path) -> Result<Tokenizer> {
    fs_err::create_dir_all(folder)?;
    let config = json!({
        "eos_token": END,
        "chat_template": CHAT_TEMPLATE,
        "tokenizer_class": "PreTrainedTokenizerFast",
    });
    for (name, content) in [
        ("tokenizer.json", description(world)?),
        ("tokenizer_config.json", config),
    ] {
        fs_err::write(folder.join(name), serde_json::to_string_pretty(&content)?)?;
    }
    Ok(Tokenizer::from_folder(folder)?)
}

/// A byte-level BPE tokenizer in the format of Hugging Face's `tokenizers`, without merges but for those of a world's
/// operations.
///
/// Tags are tokens of their own, but text: an answer is decoded with them.
fn description(world: &World) -> Result<Value> {
    let format = format()?;
    let (solution, thought) = (&format.solution, &format.student.thought);
    let explanation = &format.teacher.explanation;
    let control = [END, "<|user|>", "<|assistant|>"].map(|token| (token, true));
    let tags = [solution, thought, explanation]
        .into_iter()
        .flat_map(|tags| [(tags.start.as_str(), false), (tags.end.as_str(), false)]);
    let added: Vec<Value> = control
        .into_iter()
        .chain(tags)
        .enumerate()
        .map(|(id, (content, special))| {
            json!({
                "id": id, "content": content, "special": special, "normalized": false,
                "single_word": false, "lstrip": false, "rstrip": false,
            })
        })
        .collect();
    let mut vocabulary = serde_json::Map::new();
    for token in &added {
        if let Some(content) = token["content"].as_str() {
            vocabulary.insert(content.to_owned(), token["id"].clone());
        }
    }
    for character in world.alphabet().chars() {
        // Byte-level vocabularies write the space as Ġ.
        let token = if character == ' ' { 'Ġ' } else { character };
        vocabulary.insert(token.to_string(), json!(vocabulary.len()));
    }
    let mut merges = Vec::new();
    if world.joined_operations {
        for (operator, digit) in world.signs() {
            vocabulary.insert(format!("{operator}{digit}"), json!(vocabulary.len()));
            merges.push(format!("{operator} {digit}"));
        }
    }
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false,
    });
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocabulary, "merges": merges,
        },
    }))
}

#[cfg(test)]
mod tests {
    use didact::core::TokenBytes;

    use super::*;
    use crate::chain::Chain;
    use crate::draws::Draws;
    use crate::world::Habits;

    fn loaded() -> (Tokenizer, PromptFormat) {
        let folder = tempfile::tempdir().unwrap();
        (
            tokenizer(&World::SMALL, folder.path()).unwrap(),
            format().unwrap(),
        )
    }

    #[test]
    fn one_token_a_character_and_one_a_tag() {
        let (tokenizer, format) = loaded();
        let alphabet = World::SMALL.alphabet();
        let encoding = tokenizer.encode(&alphabet).unwrap();
        assert_eq!(encoding.ids.len(), alphabet.chars().count());
        assert_eq!(tokenizer.decode(&encoding.ids, true).unwrap(), alphabet);
        for tags in [
            &format.solution,
            &format.student.thought,
            &format.teacher.explanation,
        ] {
            for tag in [&tags.start, &tags.end] {
                let ids = tokenizer.encode(tag).unwrap().ids;
                assert_eq!(ids.len(), 1, "{tag}");
                assert!(!tokenizer.is_special(ids[0]), "{tag}");
            }
        }
        assert_eq!(
            tokenizer.encode(END).unwrap().ids,
            [tokenizer.eos().unwrap()]
        );
    }

    #[test]
    fn joined_operations_are_one_token_each() {
        let folder = tempfile::tempdir().unwrap();
        let world = World {
            joined_operations: true,
            ..World::SMALL
        };
        let tokenizer = tokenizer(&world, folder.path()).unwrap();
        let text = "71A+6=32;32B*3=96;";
        let ids = tokenizer.encode(text).unwrap().ids;
        assert_eq!(ids.len(), text.len() - 2);
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
        for (operator, digit) in world.signs() {
            let sign = format!("{operator}{digit}");
            assert_eq!(tokenizer.encode(&sign).unwrap().ids.len(), 1, "{sign}");
        }
    }

    #[test]
    fn teacher_and_student_read_the_same_explanation() {
        let (tokenizer, format) = loaded();
        let mut draws = Draws::new(1, 0, 0);
        let chain = Chain::draw(World::SMALL, 3, &mut draws);
        let trace = chain.trace(Habits::NONE, &mut draws);
        let problem = chain.problem("p".to_owned(), trace.clone());
        let teacher = format
            .teacher_example(&tokenizer, &problem, &trace)
            .unwrap();
        let student = format
            .student_example(&tokenizer, &problem, &trace)
            .unwrap();
        let (question, solution) = (chain.question(), chain.solution());
        assert_eq!(
            teacher.text,
            format!(
                "<|user|>{question}<|end|><|assistant|><solution>{solution}</solution>\
                 <explanation>{trace}</explanation><|end|>"
            )
        );
        assert_eq!(
            student.text,
            format!(
                "<|user|>{question}<|end|><|assistant|><think>{trace}</think>\
                 <solution>{solution}</solution><|end|>"
            )
        );
        let supervised = tokenizer.bytes_of(&teacher.ids[teacher.supervised.range()]);
        assert_eq!(
            String::from_utf8(supervised).unwrap(),
            format!("{trace}</explanation><|end|>")
        );
        assert_eq!(student.ids.len(), student.supervised.end);
    }
}
