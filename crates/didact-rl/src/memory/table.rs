//! An estimate as a table.

use std::fmt;

use super::{MemoryEstimate, MemoryPhase, MemoryPlace};

impl fmt::Display for MemoryEstimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_table(f, self.place())?;
        if self.host() > 0 {
            writeln!(f, "\non the host")?;
            self.write_table(f, MemoryPlace::Host)?;
        }
        Ok(())
    }
}

impl MemoryEstimate {
    fn write_table(&self, f: &mut fmt::Formatter<'_>, place: MemoryPlace) -> fmt::Result {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        for (phase, title) in [
            (MemoryPhase::Throughout, "always"),
            (MemoryPhase::Sampling, "sampling"),
            (MemoryPhase::Scoring, "scoring"),
            (MemoryPhase::Updating, "updating"),
            (MemoryPhase::Mixing, "mixing the reference"),
        ] {
            let parts = self.parts().iter();
            let parts = parts.filter(|part| (part.phase, part.place) == (phase, place));
            for (index, part) in parts.enumerate() {
                let title = if index == 0 { title } else { "" };
                let mb = megabytes(part.bytes);
                writeln!(f, "{title:21} {:28} {mb:>10.1} MB", part.name)?;
            }
        }
        let peak = megabytes(self.peak_of(place));
        write!(f, "{:21} {:28} {peak:>10.1} MB", "at most", "")
    }
}
