//! Fuzzy searches: words like those that are looked for, and in which messages they are.

use std::collections::HashMap;

use mail_message::fuzzy::{FuzzyNeedle, FuzzyWord};
use mail_message::search::Within;
use mail_types::Uid;

use super::Look;
use super::database::Database;
use crate::error::StoreError;

/// Of more words that are like one only so many, the nearest ones, count: an attacker may send any number of them (RFC 6203 §8).
const MOST_ALIKE: usize = 20_000;

/// What the index knows of one fuzzy search in one mailbox.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FuzzyAnswer {
    /// Ascending, each with how relevant the message is, from 1 to 100, if it is.
    known: Vec<(Uid, Option<u8>)>,
}

impl FuzzyAnswer {
    /// How relevant the message is, if it is; `None` if it must be read to know that.
    #[must_use]
    pub fn score(&self, uid: Uid) -> Option<Option<u8>> {
        let at = self.known.binary_search_by_key(&uid, |(uid, _)| *uid).ok()?;
        self.known.get(at).map(|(_, score)| *score)
    }
}

/// What is known of the messages that were looked at for the text as it stands.
pub(super) fn answer(
    database: &Database,
    look: &Look,
    needle: &FuzzyNeedle,
    within: Within,
) -> Result<FuzzyAnswer, StoreError> {
    let scores = scores(database, needle.words(), within)?;
    let known = look.messages().filter_map(|(uid, id, is_found)| match is_found {
        true => look.is_certain.then_some((uid, Some(100))),
        false => Some((uid, scores.get(&id).copied())),
    });
    Ok(FuzzyAnswer { known: known.collect() })
}

/// How relevant each message is that has words like all of these, by its id.
fn scores(database: &Database, words: &[FuzzyWord], within: Within) -> Result<HashMap<i64, u8>, StoreError> {
    let mut nearest: HashMap<i64, Vec<u8>> = HashMap::new();
    for (place, alike) in alike(database, words)?.into_iter().enumerate() {
        // The nearest words come first, and what has no word like those before is out.
        let mut here: HashMap<i64, u8> = HashMap::new();
        for (similarity, word) in alike {
            database.find_words(&quoted(&word, within), |id| {
                if place == 0 || nearest.contains_key(&id) {
                    here.entry(id).or_insert(similarity);
                }
            })?;
        }
        nearest = here
            .into_iter()
            .map(|(id, similarity)| {
                let mut all = nearest.remove(&id).unwrap_or_default();
                all.push(similarity);
                (id, all)
            })
            .collect();
    }
    Ok(nearest.into_iter().filter_map(|(id, all)| Some((id, FuzzyNeedle::score(&all)?))).collect())
}

/// For each word those like it, the nearest first.
fn alike(database: &Database, words: &[FuzzyWord]) -> Result<Vec<Vec<(u8, String)>>, StoreError> {
    let mut alike: Vec<Vec<(u8, String)>> = vec![Vec::new(); words.len()];
    database.for_each_word(|known| {
        for (wanted, alike) in words.iter().zip(&mut alike) {
            let similarity = wanted.similarity(known);
            if similarity > 0 {
                alike.push((similarity, known.to_owned()));
            }
        }
    })?;
    for alike in &mut alike {
        alike.sort_unstable_by(|one, other| other.cmp(one));
        alike.truncate(MOST_ALIKE);
    }
    Ok(alike)
}

fn quoted(word: &str, within: Within) -> String {
    match within {
        Within::Body => format!("body : \"{word}\""),
        Within::Text => format!("\"{word}\""),
    }
}
