//! FUZZY: texts that come near are found too, and how near they come is told. RFC 6203.
//!
//! Texts are compared word by word ([`mail_message::fuzzy`]); all other keys, and what stands behind NOT, hold or don't hold as
//! they do without FUZZY. A message's relevancy is the mean of those of its fuzzy texts.

use std::cell::{OnceCell, RefCell};

use imap_proto::SearchKey;
use mail_message::DigestText;
use mail_message::fuzzy::{FuzzyNeedle, Nearness, SeenWords};
use mail_message::search::Within;
use mail_store::{FuzzyAnswer, StoreError};

use super::{Candidate, Cost, Search, cost};
use crate::summaries::is_field;

/// A text that is looked for with what is like it, and what the full-text index knows of that.
pub(super) struct WantedFuzzy {
    needle: FuzzyNeedle,
    seen: RefCell<SeenWords>,
    in_body: OnceCell<FuzzyAnswer>,
    in_text: OnceCell<FuzzyAnswer>,
}

impl WantedFuzzy {
    pub(super) fn new(text: &str) -> Self {
        Self {
            needle: FuzzyNeedle::new(text),
            seen: RefCell::default(),
            in_body: OnceCell::new(),
            in_text: OnceCell::new(),
        }
    }

    /// How relevant the texts are that `show` shows.
    fn score(&self, show: impl FnOnce(&mut Nearness<'_>)) -> Option<u8> {
        let mut seen = self.seen.borrow_mut();
        let mut nearness = Nearness::new(&self.needle, &mut seen);
        show(&mut nearness);
        nearness.score()
    }
}

/// True if a FUZZY key is given.
pub(crate) fn is_fuzzy(key: &SearchKey) -> bool {
    key.any(&|key| matches!(key, SearchKey::Fuzzy(_)))
}

/// What fuzzy texts say of a message that is found.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rating {
    sum: u32,
    texts: u32,
}

impl Rating {
    fn of(score: u8) -> Self {
        Self { sum: score.into(), texts: 1 }
    }

    const fn and(self, other: Self) -> Self {
        Self { sum: self.sum + other.sum, texts: self.texts + other.texts }
    }

    /// From 1 to 100, which is for what holds exactly.
    fn relevancy(self) -> u8 {
        self.sum.checked_div(self.texts).and_then(|mean| u8::try_from(mean).ok()).unwrap_or(100)
    }
}

impl Search<'_> {
    /// How relevant a message is; `None` if it is not found.
    pub(super) fn relevancy(
        &self,
        key: &SearchKey,
        candidate: &Candidate<'_>,
    ) -> Result<Option<u8>, StoreError> {
        if self.fuzzy.is_empty() {
            return Ok(self.holds(key, candidate)?.then_some(100));
        }
        Ok(self.rate(key, candidate, false)?.map(Rating::relevancy))
    }

    /// As [`Self::holds`], with what the fuzzy texts say; `within_fuzzy` below a FUZZY key.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other keys hold or don't hold")]
    pub(super) fn rate(
        &self,
        key: &SearchKey,
        candidate: &Candidate<'_>,
        within_fuzzy: bool,
    ) -> Result<Option<Rating>, StoreError> {
        let score = match key {
            SearchKey::Fuzzy(key) => return self.rate(key, candidate, true),
            SearchKey::And(keys) => return self.rate_all(keys, candidate, within_fuzzy),
            SearchKey::Or(left, right) => {
                let left = self.rate(left, candidate, within_fuzzy)?;
                let right = self.rate(right, candidate, within_fuzzy)?;
                return Ok(left.into_iter().chain(right).max_by_key(|rating| rating.relevancy()));
            }
            SearchKey::Address(header, text) if within_fuzzy => {
                self.header_nears(header.name(), text, candidate)?
            }
            SearchKey::Header(name, text) if within_fuzzy => self.header_nears(name, text, candidate)?,
            SearchKey::Body(text) if within_fuzzy => self.nears(text, Within::Body, candidate)?,
            SearchKey::Text(text) if within_fuzzy => self.nears(text, Within::Text, candidate)?,
            other => return Ok(self.holds(other, candidate)?.then(Rating::default)),
        };
        Ok(score.map(Rating::of))
    }

    /// The cheap keys come first.
    fn rate_all(
        &self,
        keys: &[SearchKey],
        candidate: &Candidate<'_>,
        within_fuzzy: bool,
    ) -> Result<Option<Rating>, StoreError> {
        let mut rating = Rating::default();
        for wanted in Cost::ALL {
            for key in keys.iter().filter(|key| cost(key) == wanted) {
                let Some(of_key) = self.rate(key, candidate, within_fuzzy)? else { return Ok(None) };
                rating = rating.and(of_key);
            }
        }
        Ok(Some(rating))
    }

    fn header_nears(
        &self,
        name: &str,
        text: &[u8],
        candidate: &Candidate<'_>,
    ) -> Result<Option<u8>, StoreError> {
        let Some(wanted) = self.fuzzy.get(text) else { return Ok(None) };
        if wanted.needle.exact().is_empty() {
            return Ok(self.header_holds(name, text, candidate)?.then_some(100));
        }
        if let Some(kind) = DigestText::of_field(name)
            && let Some(digest) = candidate.kept_digest()
            && let Some(texts) = digest.texts(kind)
        {
            return Ok(wanted.score(|nearness| texts.for_each(|text| nearness.see(text))));
        }
        // What is nowhere in the message is in none of its fields.
        if !is_field(name) && self.known_near(wanted, Within::Text, candidate) == Some(None) {
            return Ok(None);
        }
        let fields = candidate.fields(name)?;
        Ok(wanted.score(|nearness| fields.header_nears(name, nearness)))
    }

    /// How near the message comes to the text. It is read only if the full-text index doesn't know.
    fn nears(
        &self,
        text: &[u8],
        within: Within,
        candidate: &Candidate<'_>,
    ) -> Result<Option<u8>, StoreError> {
        let Some(wanted) = self.fuzzy.get(text) else { return Ok(None) };
        if let Some(score) = self.known_near(wanted, within, candidate) {
            return Ok(score);
        }
        let message = candidate.whole()?;
        Ok(wanted.score(|nearness| message.nears(within, nearness)))
    }

    /// What the full-text index knows of a message, once it is worth asking.
    fn known_near(
        &self,
        wanted: &WantedFuzzy,
        within: Within,
        candidate: &Candidate<'_>,
    ) -> Option<Option<u8>> {
        if self.is_sooner_read() {
            return None;
        }
        let cell = match within {
            Within::Body => &wanted.in_body,
            Within::Text => &wanted.in_text,
        };
        let answer = cell.get_or_init(|| self.selected.mailbox().find_fuzzy(&wanted.needle, within));
        answer.score(candidate.message.uid)
    }
}
