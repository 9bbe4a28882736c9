//! Row 7: explanations of the teacher before RL in buckets by reward, and a student of each.
//!
//! Every bucket explains the same problems: the first holds the worst explanation of each, the last the best.

use crate::Result;
use crate::lab::Lab;
use crate::plan::{CHOICE, SizeName};
use experiments::Dataset;
use experiments::Record;
use experiments::statistics::{pearson, spearman};

pub(crate) fn run(lab: &Lab, record: &mut Record) -> Result<()> {
    let size = SizeName::S;
    let teacher = lab.warmed(size)?;
    let records = lab.explanations("C", &teacher, &lab.train, CHOICE)?;
    let mut pairs = Vec::new();
    let buckets = Dataset::by_rank(&records, CHOICE, lab.setting.keeps_unclosed());
    for (bucket, data) in buckets.iter().enumerate() {
        let Some(reward) = data.mean_reward() else {
            return Err("no problem has enough explanations to fill the buckets".into());
        };
        let subject = format!("bucket {}", bucket + 1);
        let name = format!("bucket_{}", bucket + 1);
        let accuracy = lab.taught_accuracy(&name, size, data, &lab.held_out)?;
        record.put(&subject, "", "explanations", data.len() as f64);
        record.put(&subject, "", "mean reward", reward);
        let good = lab.grades(data).good;
        record.put(&subject, "", "every step right", good);
        record.put(&subject, size.name(), "accuracy", accuracy);
        pairs.push((reward, accuracy));
    }
    let all = "all buckets";
    record.put(all, size.name(), "Pearson's correlation", pearson(&pairs));
    record.put(all, size.name(), "Spearman's correlation", spearman(&pairs));
    Ok(())
}
