//! The plain way to fuzz, on a stable compiler: seeds from `corpus`, changed at random, for a while.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use crate::Target;

/// Longest input.
const MAX_INPUT: usize = 64 << 10;
/// Changes to a seed, at most.
const MAX_CHANGES: u32 = 8;

/// Feeds a target for `time`; returns the number of inputs.
///
/// # Errors
/// The file to which the input was written that the target could not take.
pub fn run(target: Target, seed: u64, time: Duration) -> Result<u64, PathBuf> {
    let mut random = StdRng::seed_from_u64(seed);
    let seeds = corpus(target.name);
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < time {
        // Each seed is tried as it is before it is changed.
        let input = match seeds.get(count as usize) {
            Some(seed) => seed.clone(),
            None => changed(&seeds, &mut random),
        };
        if catch_unwind(|| (target.run)(&input)).is_err() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts");
            let path = folder.join(format!("{}-{seed}-{count}", target.name));
            let _ = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, &input));
            return Err(path);
        }
        count += 1;
    }
    Ok(count)
}

/// The files of the target's folder, sorted, and an empty input.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut paths: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let files = paths.into_iter().filter_map(|path| fs::read(path).ok());
    files.chain([Vec::new()]).collect()
}

/// A seed after some changes.
fn changed(seeds: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let any = |random: &mut StdRng| seeds[random.random_range(0..seeds.len())].clone();
    let mut input = any(random);
    for _ in 0..random.random_range(1..=MAX_CHANGES) {
        let at = random.random_range(0..=input.len());
        let end = random.random_range(at..=input.len().min(at + 64));
        match random.random_range(0..7) {
            0 => input.insert(at, random.random()),
            1 => drop(input.drain(at..end)),
            2 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
            3 if at < input.len() => {
                input[at] = *b"\0\xff\n\r\"',:=[]{}#\\%.-".get(random.random_range(0..18)).unwrap_or(&0)
            }
            4 => {
                let part = input[at..end].to_vec();
                let times = random.random_range(1..200);
                input.splice(at..at, part.repeat(times));
            }
            5 => {
                let other = any(random);
                let from = random.random_range(0..=other.len());
                input.splice(at..end, other[from..].iter().copied());
            }
            _ => {
                let mut noise = vec![0; random.random_range(0..32)];
                random.fill_bytes(&mut noise);
                input.splice(at..end, noise);
            }
        }
        input.truncate(MAX_INPUT);
    }
    input
}
