//! The hash of a message's content, by which silent corruption of the disk is found.

use std::fmt;
use std::str::FromStr;

/// 128 bits: enough against chance, and what a file name has room for.
const OCTETS: usize = 16;

/// The first half of the BLAKE3 hash of a message's file: what `b3sum --length 16` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentHash([u8; OCTETS]);

impl ContentHash {
    pub(crate) const fn octets(&self) -> &[u8; OCTETS] {
        &self.0
    }

    pub(crate) fn from_octets(octets: &[u8]) -> Option<Self> {
        octets.try_into().ok().map(Self)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// Not a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoHash;

impl FromStr for ContentHash {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        let mut octets = [0; OCTETS];
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != OCTETS || !rest.is_empty() {
            return Err(NoHash);
        }
        for (octet, [high, low]) in octets.iter_mut().zip(pairs) {
            *octet = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(octets))
    }
}

const fn digit(letter: u8) -> Result<u8, NoHash> {
    match letter {
        b'0'..=b'9' => Ok(letter - b'0'),
        b'a'..=b'f' => Ok(letter - b'a' + 10),
        _ => Err(NoHash),
    }
}

/// Hashes what goes by.
#[derive(Debug, Default)]
pub(crate) struct Hasher(Box<blake3::Hasher>);

impl Hasher {
    pub(crate) fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    pub(crate) fn finish(&self) -> ContentHash {
        let mut octets = [0; OCTETS];
        self.0.finalize_xof().fill(&mut octets);
        ContentHash(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_what_b3sum_prints_and_comes_back_from_its_text() {
        // The test vector of BLAKE3's specification for no input.
        let empty = Hasher::default().finish();
        assert_eq!(empty.to_string(), "af1349b9f5f9a1a6a0404dea36dcc949");
        assert_eq!(empty.to_string().parse(), Ok(empty));
        for refused in ["", "af13", "AF1349B9F5F9A1A6A0404DEA36DCC949", "af1349b9f5f9a1a6a0404dea36dcc9499"] {
            assert_eq!(refused.parse::<ContentHash>(), Err(NoHash), "{refused}");
        }
    }

    #[test]
    fn the_pieces_in_which_a_message_comes_change_nothing() {
        let (mut whole, mut pieces) = (Hasher::default(), Hasher::default());
        let text = vec![b'x'; 100_000];
        whole.update(&text);
        text.chunks(777).for_each(|piece| pieces.update(piece));
        assert_eq!(whole.finish(), pieces.finish());
    }
}
