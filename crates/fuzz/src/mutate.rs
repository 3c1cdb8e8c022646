use anyhow::Result;
use fastrand::Rng;

use crate::dictionary::words;
use crate::{Target, seeds};

/// No input is longer.
const MOST: usize = 4096;

/// Makes inputs out of a target's seeds and dictionary; the same ones for the same start.
#[derive(Debug)]
pub struct Mutator {
    rng: Rng,
    seeds: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
}

impl Mutator {
    /// Begins with the random number `start`.
    ///
    /// # Errors
    /// The seeds can't be read.
    pub fn new(target: &Target, start: u64) -> Result<Self> {
        Ok(Self { rng: Rng::with_seed(start), seeds: seeds(target)?, words: words(target.dictionary) })
    }

    /// What is to be tried first, unchanged.
    #[must_use]
    pub fn seeds(&self) -> &[Vec<u8>] {
        &self.seeds
    }

    /// The next input.
    pub fn next_input(&mut self) -> Vec<u8> {
        let mut input = self.rng.choice(&self.seeds).cloned().unwrap_or_default();
        for _ in 0..=self.rng.usize(0..6) {
            self.change(&mut input);
            input.truncate(MOST);
        }
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.rng.usize(0..=input.len());
        let end = (at + self.rng.usize(0..=8)).min(input.len());
        match self.rng.u8(0..9) {
            0 | 1 => drop(input.splice(at..at, self.word())),
            2 => drop(input.splice(at..end, self.word())),
            3 => drop(input.drain(at..end)),
            4 => input.truncate(at),
            5 => drop(input.splice(at..end, self.octets())),
            6 => {
                let again = input.get(at..end).unwrap_or_default().repeat(1 + self.rng.usize(0..20));
                drop(input.splice(end..end, again));
            }
            7 => {
                let other = self.rng.choice(&self.seeds).cloned().unwrap_or_default();
                let from = self.rng.usize(0..=other.len());
                input.truncate(at);
                input.extend_from_slice(other.get(from..).unwrap_or_default());
            }
            _ => {
                if let Some(octet) = input.get_mut(at) {
                    *octet ^= 1 << self.rng.u8(0..8);
                }
            }
        }
    }

    fn word(&mut self) -> Vec<u8> {
        self.rng.choice(&self.words).cloned().unwrap_or_default()
    }

    fn octets(&mut self) -> Vec<u8> {
        let count = self.rng.usize(0..8);
        std::iter::repeat_with(|| self.rng.u8(..)).take(count).collect()
    }
}
