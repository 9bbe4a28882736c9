//! Writes every kernel's CUDA C++ source to a folder: `cuda_sources FOLDER`.
//!
//! Prints a line for each: file, units of a cube, bytes of shared memory.
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder: PathBuf = env::args_os()
        .nth(1)
        .ok_or("usage: cuda_sources FOLDER")?
        .into();
    fs::create_dir_all(&folder)?;
    for source in didact_kernels::cuda_sources() {
        let file = folder.join(format!("{}.cu", source.name));
        fs::write(&file, source.code)?;
        println!("{}\t{}\t{}", source.name, source.units, source.shared_bytes);
    }
    Ok(())
}
