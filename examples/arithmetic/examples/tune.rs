use arithmetic::{language, schooling::*, world::*};
use didact::Device;
use didact::rl::*;
fn env(n: &str, d: f64) -> f64 { std::env::var(n).ok().map_or(d, |v| v.parse().unwrap()) }
struct Log(Vec<f64>, u64, std::time::Instant);
impl Observer for Log {
    fn on_metrics(&mut self, r: &MetricsRecord) -> Result<()> {
        self.0.push(r.metrics.get("loss").unwrap());
        if r.step % 250 == 0 {
            let l = &self.0[self.0.len().saturating_sub(60)..];
            println!("{} {} {:.3}  {:.0}s", r.stage, r.step, l.iter().sum::<f64>() / l.len() as f64, self.2.elapsed().as_secs_f64());
        }
        Ok(())
    }
}
fn main() {
    let seed = env("SEED", 102.0) as u64;
    let world = World {
        modulus: env("MOD", 1000.0) as u32,
        start: if env("BEFORE", 1.0) > 0.0 { Start::BeforeLabel } else { Start::AfterLabel },
        any_label: env("ANY", 1.0) > 0.0,
        longest: 12,
        solution: if env("WORKED", 1.0) > 0.0 { Solution::Worked } else { Solution::Answer },
        ..World::SMALL
    };
    let dir = std::env::temp_dir().join(format!("tune{seed}-{}", std::process::id()));
    let tokenizer = language::tokenizer(&world, &dir).unwrap();
    let format = language::format().unwrap();
    let size = Size { hidden: 64, mlp: 168, layers: env("LAYERS", 3.0) as usize, heads: env("HEADS", 4.0) as usize, context: 512 };
    let school = School { world, tokenizer: &tokenizer, format: &format, seed };
    let device = Device::flex().autodiff();
    let lesson = |stage, steps: f64, until, from: f64, to: f64, lr: f64| Lesson {
        stage, steps: steps as u64, until, texts: env("TEXTS", 16.0) as usize,
        schedule: Schedule { warmup_steps: 50, ..Schedule::constant(lr) },
        operations: (from as usize, to as usize), habits: Habits::NONE, plain_share: 0.0, plain_operations: (1, 1), teacher_share: env("TEACH", 0.0),
    };
    let lessons = vec![
        lesson("primer", env("PSTEPS", 5000.0), Some(env("GATE", 0.02)), 1.0, env("PTO", 3.0), env("PLR", 5e-3)),
        lesson("longer", env("LSTEPS", 2500.0), Some(0.01), env("LFROM", 1.0), env("LTO", 8.0), env("LLR", 3e-3)),
    ];
    let fresh = size.fresh(&tokenizer, seed, &device).unwrap();
    let mut log = Log(vec![], 0, std::time::Instant::now());
    school.attend(fresh, &lessons, &mut log).unwrap();
}
