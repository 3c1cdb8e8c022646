//! A message's texts as the full-text index takes them.

use std::collections::HashSet;
use std::ops::ControlFlow;

use mail_message::casemap;
use mail_message::fuzzy::for_each_word;
use mail_message::search::{SearchedMessage, Within};

/// Stands behind each text twice, so that none of its last characters lacks a trigram that begins with it, and no trigrams
/// lead from one text into the next.
const BORDER: char = '\u{1f}';
/// A message with more text than this, in octets, is left to the scan.
const MOST: usize = 2 * 1024 * 1024;

/// A message's texts as the collation compares them: those that only TEXT looks through, and those of BODY.
#[derive(Debug, Default)]
pub(super) struct Texts {
    pub(super) header: String,
    pub(super) body: String,
    /// The words of each, once, with spaces between them.
    pub(super) header_words: String,
    pub(super) body_words: String,
}

/// The words that a message has so far.
#[derive(Default)]
struct Seen {
    header: HashSet<String>,
    body: HashSet<String>,
}

impl Texts {
    /// `None` if they are too long.
    pub(super) fn of(message: &SearchedMessage) -> Option<Self> {
        let (mut texts, mut seen) = (Self::default(), Seen::default());
        let all = message.texts(Within::Text, &mut |within, text| {
            for_each_word(text, &mut |word| texts.add_word(within, word, &mut seen));
            texts.add(within, text)
        });
        all.is_continue().then_some(texts)
    }

    fn add(&mut self, within: Within, text: &str) -> ControlFlow<()> {
        if self.header.len() + self.body.len() + text.len() > MOST {
            return ControlFlow::Break(());
        }
        let column = match within {
            Within::Text => &mut self.header,
            Within::Body => &mut self.body,
        };
        // FTS5 passes over NUL.
        column.extend(casemap(text).split('\0').flat_map(|piece| [piece, "\u{1f}\u{1f}"]));
        ControlFlow::Continue(())
    }

    fn add_word(&mut self, within: Within, word: &str, seen: &mut Seen) {
        let (seen, column) = match within {
            Within::Text => (&mut seen.header, &mut self.header_words),
            Within::Body => (&mut seen.body, &mut self.body_words),
        };
        if !seen.contains(word) {
            seen.insert(word.to_owned());
            column.extend([word, " "]);
        }
    }
}

/// True if the index can't tell the needle from others: it holds what stands for a border, or what FTS5 takes for U+FFFD.
pub(super) fn is_beyond(needle: &str) -> bool {
    needle.contains([BORDER, '\0', '\u{fffd}', '\u{fffe}', '\u{ffff}'])
}
