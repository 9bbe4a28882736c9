//! What a run was made with: `environment.json`.
//!
//! Owns one entry a process that wrote into the directory. Starts no program: the revision is read from git's own
//! files.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The process that made a run, or went on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// The version of these crates.
    pub didact: String,
    /// The operating system and the processor's architecture.
    pub platform: String,
    /// Threads that computed.
    pub threads: usize,
    /// The program with its arguments.
    pub command: Vec<String>,
    /// The commit that is checked out around the working directory, where git's files tell it. Changes that were
    /// not committed are not seen.
    pub revision: Option<String>,
}

impl Environment {
    /// That of this process.
    #[must_use]
    pub fn here() -> Self {
        let arguments = std::env::args_os();
        Self {
            didact: env!("CARGO_PKG_VERSION").to_owned(),
            platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
            threads: rayon::current_num_threads(),
            command: arguments
                .map(|argument| argument.to_string_lossy().into_owned())
                .collect(),
            revision: std::env::current_dir().ok().and_then(|d| revision(&d)),
        }
    }
}

/// The commit that is checked out at `folder` or above it.
fn revision(folder: &Path) -> Option<String> {
    let git = folder.ancestors().map(|f| f.join(".git"));
    let git = git.into_iter().find(|git| git.exists())?;
    let git = if git.is_file() {
        // A linked work tree names its folder.
        let text = fs::read_to_string(&git).ok()?;
        let named = PathBuf::from(text.trim().strip_prefix("gitdir: ")?);
        git.parent()?.join(named)
    } else {
        git
    };
    let head = fs::read_to_string(git.join("HEAD")).ok()?;
    let Some(name) = head.trim().strip_prefix("ref: ") else {
        return commit(&head);
    };
    // A linked work tree keeps branches in the folder of the first.
    let common = fs::read_to_string(git.join("commondir"));
    let common = common.map_or_else(|_| git.clone(), |text| git.join(text.trim()));
    if let Ok(text) = fs::read_to_string(common.join(name)) {
        return commit(&text);
    }
    let packed = fs::read_to_string(common.join("packed-refs")).ok()?;
    let line = packed
        .lines()
        .find(|line| line.ends_with(&format!(" {name}")))?;
    commit(line.split(' ').next()?)
}

fn commit(text: &str) -> Option<String> {
    let text = text.trim();
    let is_hash = text.len() >= 40 && text.bytes().all(|b| b.is_ascii_hexdigit());
    is_hash.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_is_read_from_gits_files() {
        let folder = tempfile::tempdir().unwrap();
        let [git, below] = [".git", "a/b"].map(|name| folder.path().join(name));
        let hash = "0123456789abcdef0123456789abcdef01234567";
        fs::create_dir_all(git.join("refs/heads")).unwrap();
        fs::create_dir_all(&below).unwrap();
        let set = |name: &str, text: &str| fs::write(git.join(name), text).unwrap();
        set("HEAD", "ref: refs/heads/main\n");
        assert_eq!(revision(&below), None);
        set(
            "packed-refs",
            &format!("# pack-refs\n{hash} refs/heads/main\n"),
        );
        assert_eq!(revision(&below).as_deref(), Some(hash));
        let other = hash.replace('0', "f");
        set("refs/heads/main", &format!("{other}\n"));
        assert_eq!(revision(&below), Some(other));
        set("HEAD", &format!("{hash}\n"));
        assert_eq!(revision(&below).as_deref(), Some(hash));
        set("HEAD", "nonsense");
        assert_eq!(revision(&below), None);

        let linked = git.join("worktrees/linked");
        fs::create_dir_all(&linked).unwrap();
        fs::write(
            below.join(".git"),
            format!("gitdir: {}\n", linked.display()),
        )
        .unwrap();
        fs::write(linked.join("HEAD"), "ref: refs/heads/main").unwrap();
        fs::write(linked.join("commondir"), "../..\n").unwrap();
        assert!(revision(&below).is_some());
    }

    #[test]
    fn this_process_is_described() {
        let here = Environment::here();
        assert!(here.threads > 0 && !here.command.is_empty());
    }
}
