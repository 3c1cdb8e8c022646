//! How near a text comes to what is looked for: words in any order, with typing errors and in other forms. RFC 6203 §3.

use std::collections::HashMap;

use unicode_normalization::char::is_combining_mark;

use crate::casemap;
use crate::needle::Needle;

/// Longer words are cut, in characters.
const LONGEST: usize = 32;
/// More words are not looked for.
const MOST_WORDS: usize = 16;
/// What two words must have in common at least, in percent.
const LEAST: u8 = 51;
/// A word that begins with the one that is looked for, and one that holds it.
const BEGINS: u8 = 90;
const HOLDS: u8 = 80;
/// Shorter words are looked for as they are.
const SHORTEST: usize = 3;

/// Shows every word of a text: letters and digits, in any case, without what stands above and below them.
pub fn for_each_word(text: &str, see: &mut dyn FnMut(&str)) {
    let mapped = casemap(text);
    let mut word = String::new();
    let mut length = 0;
    for c in mapped.chars().filter(|c| !is_combining_mark(*c)).chain([' ']) {
        if c.is_alphanumeric() {
            length += 1;
            if length <= LONGEST {
                word.push(c.to_ascii_lowercase());
            }
        } else if length > 0 {
            see(&word);
            word.clear();
            length = 0;
        }
    }
}

/// A text that is looked for with what is like it.
#[derive(Debug, Clone)]
pub struct FuzzyNeedle {
    exact: Needle,
    words: Vec<FuzzyWord>,
}

impl FuzzyNeedle {
    /// The text, of which the first 16 words are looked for.
    pub fn new(text: &str) -> Self {
        let mut words: Vec<FuzzyWord> = Vec::new();
        for_each_word(text, &mut |word| {
            if words.len() < MOST_WORDS && !words.iter().any(|it| it.text == word) {
                words.push(FuzzyWord::new(word));
            }
        });
        Self { exact: Needle::new(text), words }
    }

    /// The text as it stands.
    pub const fn exact(&self) -> &Needle {
        &self.exact
    }

    /// Its words, each once.
    pub fn words(&self) -> &[FuzzyWord] {
        &self.words
    }

    /// How relevant a text is that has words as near as this to each of [`Self::words`], in percent: from 1 to 99, since 100 is
    /// for the text as it stands; `None` unless all are near.
    pub fn score(nearest: &[u8]) -> Option<u8> {
        if nearest.is_empty() || nearest.iter().any(|it| *it < LEAST) {
            return None;
        }
        let sum: usize = nearest.iter().map(|it| usize::from(it - LEAST)).sum();
        let most = nearest.len() * usize::from(100 - LEAST);
        u8::try_from(1 + sum * 98 / most).ok()
    }
}

/// One word that is looked for.
#[derive(Debug, Clone)]
pub struct FuzzyWord {
    text: String,
    letters: Vec<char>,
    trigrams: Vec<[char; 3]>,
}

impl FuzzyWord {
    fn new(word: &str) -> Self {
        let letters: Vec<char> = word.chars().collect();
        let mut trigrams = Vec::new();
        trigrams_of(&letters, &mut trigrams);
        Self { text: word.to_owned(), letters, trigrams }
    }

    /// How near another word is, as [`for_each_word`] shows it, in percent: 100 for the same, 0 for one that is not like it.
    ///
    /// What counts is the greatest of: the trigrams that both have, their borders included; the letters that are to be changed;
    /// that the one begins with the other, or holds it.
    pub fn similarity(&self, word: &str) -> u8 {
        if word == self.text {
            return 100;
        }
        if self.letters.len() < SHORTEST {
            return 0;
        }
        if word.starts_with(&self.text) {
            return BEGINS;
        }
        if word.contains(&self.text) {
            return HOLDS;
        }
        let letters: Vec<char> = word.chars().collect();
        let (short, long) = (letters.len().min(self.letters.len()), letters.len().max(self.letters.len()));
        // With so different lengths less than half of the trigrams are the same.
        if short < SHORTEST - 1 || long > 3 * short + 2 {
            return 0;
        }
        let similarity = self.common_trigrams(&letters).max(self.few_changes(&letters));
        if similarity < LEAST { 0 } else { similarity }
    }

    /// The trigrams in both words, as a share of those in either.
    fn common_trigrams(&self, letters: &[char]) -> u8 {
        let mut trigrams = Vec::with_capacity(letters.len() + 2);
        trigrams_of(letters, &mut trigrams);
        let both = trigrams.iter().filter(|it| self.trigrams.binary_search(it).is_ok()).count();
        share(2 * both, trigrams.len() + self.trigrams.len())
    }

    /// What is left unchanged by one typing error, or by two in a long word.
    fn few_changes(&self, letters: &[char]) -> u8 {
        let most = match self.letters.len() {
            0..=3 => 0,
            4..=7 => 1,
            _ => 2,
        };
        let longest = letters.len().max(self.letters.len());
        if longest - letters.len().min(self.letters.len()) > most {
            return 0;
        }
        let changes = changes(&self.letters, letters);
        if changes > most { 0 } else { share(longest - changes, longest) }
    }
}

fn share(part: usize, whole: usize) -> u8 {
    u8::try_from(part * 100 / whole.max(1)).unwrap_or(100)
}

/// The trigrams of a word with two borders before it and one behind it, in order, each once.
fn trigrams_of(letters: &[char], trigrams: &mut Vec<[char; 3]>) {
    let (mut first, mut second) = (' ', ' ');
    for third in letters.iter().copied().chain([' ']) {
        trigrams.push([first, second, third]);
        (first, second) = (second, third);
    }
    trigrams.sort_unstable();
    trigrams.dedup();
}

/// Letters that are to be inserted, left out, changed, or swapped with the next one, to make the one of the other.
fn changes(one: &[char], other: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    let mut before = None;
    for (row, letter) in one.iter().enumerate() {
        let mut now = Vec::with_capacity(last.len());
        now.push(row + 1);
        let mut beside = None;
        for (column, (theirs, pair)) in other.iter().zip(last.windows(2)).enumerate() {
            let &[diagonal, above] = pair else { continue };
            let left = now.last().copied().unwrap_or_default();
            let mut least = (diagonal + usize::from(letter != theirs)).min(above + 1).min(left + 1);
            let is_swapped = before == Some(theirs) && beside == Some(letter);
            if let Some(swapped) =
                column.checked_sub(1).and_then(|it| before_last.get(it)).filter(|_| is_swapped)
            {
                least = least.min(swapped + 1);
            }
            now.push(least);
            beside = Some(theirs);
        }
        before = Some(letter);
        before_last = std::mem::replace(&mut last, now);
    }
    last.last().copied().unwrap_or_default()
}

/// What was seen of a message's texts.
#[derive(Debug)]
pub struct Nearness<'a> {
    needle: &'a FuzzyNeedle,
    is_exact: bool,
    nearest: Vec<u8>,
    /// Of words seen before.
    seen: &'a mut SeenWords,
}

/// How near words are that were met before: most are met in many messages.
#[derive(Debug, Default)]
pub struct SeenWords {
    words: HashMap<String, Vec<u8>>,
}

/// Words that are remembered.
const MOST_SEEN: usize = 100_000;

impl<'a> Nearness<'a> {
    /// Nothing was seen yet. `seen` is for this needle alone.
    pub fn new(needle: &'a FuzzyNeedle, seen: &'a mut SeenWords) -> Self {
        Self { needle, is_exact: needle.exact.is_empty(), nearest: vec![0; needle.words.len()], seen }
    }

    /// One of the texts.
    pub fn see(&mut self, text: &str) {
        if self.is_exact {
            return;
        }
        self.is_exact = self.needle.exact.is_in(text);
        if self.is_exact || self.needle.words.is_empty() {
            return;
        }
        let (needle, nearest, seen) = (self.needle, &mut self.nearest, &mut self.seen.words);
        for_each_word(text, &mut |word| {
            if seen.len() >= MOST_SEEN {
                seen.clear();
            }
            if !seen.contains_key(word) {
                let of = needle.words.iter().map(|wanted| wanted.similarity(word)).collect();
                seen.insert(word.to_owned(), of);
            }
            let Some(similar) = seen.get(word) else { return };
            nearest
                .iter_mut()
                .zip(similar)
                .for_each(|(nearest, similar)| *nearest = (*nearest).max(*similar));
        });
    }

    /// How relevant the message is, from 1 to 100; `None` if it is not.
    pub fn score(&self) -> Option<u8> {
        if self.is_exact { Some(100) } else { FuzzyNeedle::score(&self.nearest) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn score(needle: &str, text: &str) -> Option<u8> {
        let (needle, mut seen) = (FuzzyNeedle::new(needle), SeenWords::default());
        let mut nearness = Nearness::new(&needle, &mut seen);
        nearness.see(text);
        nearness.score()
    }

    #[track_caller]
    fn near(needle: &str, texts: &[&str]) {
        for text in texts {
            assert!(
                score(needle, text).is_some_and(|it| it < 100),
                "{needle} in {text}: {:?}",
                score(needle, text)
            );
        }
    }

    #[track_caller]
    fn far(needle: &str, texts: &[&str]) {
        texts.iter().for_each(|text| assert_eq!(score(needle, text), None, "{needle} in {text}"));
    }

    #[test]
    fn the_text_as_it_stands_scores_highest() {
        for (needle, text) in [
            ("imap break", "An IMAP breakfast"),
            ("", ""),
            ("!?", "what!?"),
            ("ß", "Straße"),
            ("日本", "日本語"),
        ] {
            assert_eq!(score(needle, text), Some(100), "{needle} in {text}");
        }
    }

    /// RFC 6203 §3, §4.
    #[test]
    fn the_standards_examples_are_near() {
        near("Helo", &["hello", "help", "say hello, please"]);
        near("IMAP break", &["breaking IMAP", "IMAP: a break", "breakfast by imap"]);
    }

    #[test]
    fn words_may_come_in_any_order_with_errors_and_in_other_forms() {
        near("order of invoices", &["Invoice of your order", "of invoices: the order"]);
        near("receive", &["recieve", "receiving", "recive"]);
        near("form", &["from", "to the farm"]);
        near("cafe resume", &["résumé, café", "RESUME of the Cafés"]);
        near("Müller", &["Mueller", "Muller", "mullers"]);
        near("privet", &["privat"]);
        near("привет", &["ПРЕВЕТ", "прывет"]);
    }

    #[test]
    fn other_words_are_not_near() {
        far("hello", &["world", "yellow submarine at sea", "", "he"]);
        far("invoice order", &["invoice", "order"]);
        far("ab", &["ba", "a b"]);
        far("cat", &["car", "act"]);
        far("!?", &["what", "!"]);
    }

    #[test]
    fn what_is_nearer_scores_higher() {
        let scores = ["invoice order", "order: invoice", "orders: invoices", "odrer: invoce"]
            .map(|text| score("invoice order", text).unwrap());
        assert!(scores.is_sorted_by(|a, b| a > b), "{scores:?}");
        assert_eq!((FuzzyNeedle::score(&[51]), FuzzyNeedle::score(&[100, 100])), (Some(1), Some(99)));
        assert_eq!((FuzzyNeedle::score(&[50, 100]), FuzzyNeedle::score(&[])), (None, None));
    }

    #[test]
    fn changes_are_counted() {
        let of = |one: &str, other: &str| {
            changes(&one.chars().collect::<Vec<_>>(), &other.chars().collect::<Vec<_>>())
        };
        for (one, other, expected) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("abc", "ab", 1),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!((of(one, other), of(other, one)), (expected, expected), "{one} {other}");
        }
    }

    #[test]
    fn words_are_letters_and_digits_folded_and_cut() {
        let words = |text: &str| {
            let mut words = Vec::new();
            for_each_word(text, &mut |word| words.push(word.to_owned()));
            words
        };
        assert_eq!(words("Ça, c'est 2 fois—l'été!\u{0}x"), ["ca", "c", "est", "2", "fois", "l", "ete", "x"]);
        assert_eq!(words(&"é".repeat(100)), ["e".repeat(32)]);
        assert_eq!(words(" ,;"), [""; 0]);
    }

    proptest! {
        #[test]
        fn what_holds_the_text_scores_100_and_nothing_is_out_of_range(needle in "[a-cA-Cé ,]{0,8}", text in "[a-cA-Cé ,]{0,16}") {
            let score = score(&needle, &text);
            prop_assert_eq!(score == Some(100), Needle::new(&needle).is_in(&text));
            prop_assert!(score.is_none_or(|it| (1..=100).contains(&it)));
        }

        #[test]
        fn likeness_goes_both_ways(one in "[a-d]{4,9}", other in "[a-d]{4,9}") {
            let (a, b) = (FuzzyWord::new(&one), FuzzyWord::new(&other));
            prop_assert_eq!(a.similarity(&one), 100);
            prop_assert_eq!(a.common_trigrams(&b.letters), b.common_trigrams(&a.letters));
            prop_assert_eq!(changes(&a.letters, &b.letters), changes(&b.letters, &a.letters));
        }
    }
}
