//! Scratch.
use std::io::BufRead;
fn main() {
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let (raw, l) = line.strip_prefix('!').map_or((false, line.as_str()), |l| (true, l));
        let Some((g, f)) = l.split_once(" ~ ") else { continue };
        let f2 = if raw { f.to_owned() } else { format!("\\boxed{{{f}}}") };
        let v = didact_reward::answer::verify(g, &f2);
        println!("{}\t{line}\t{}", if v.equal { "True" } else { "False" }, v.why);
    }
}
