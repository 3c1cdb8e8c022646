//! The choice between the languages that a server speaks. RFC 5255 §3.

use std::fmt;

use mail_types::Language;
use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while_m_n};
use nom::combinator::{map_opt, recognize};
use nom::multi::many0_count;
use nom::sequence::{pair, preceded};

use crate::expected::Noun;
use crate::grammar::{Parsed, astring, expect};

/// `language-range`. RFC 4647 §2.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LanguageRange(String);

impl LanguageRange {
    /// The range written in `text`, if it is one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let is_whole = language_range(text.as_bytes()).is_ok_and(|(rest, _)| rest.is_empty());
        is_whole.then(|| Self(text.to_owned()))
    }

    /// The language of the first range that names one; `default` and `*` name the one that the operator prefers. RFC 5255 §3.2.
    #[must_use]
    pub fn choose(ranges: &[Self], preferred: Language) -> Option<Language> {
        ranges.iter().find_map(|range| range.lookup(preferred))
    }

    /// RFC 4647 §3.4: what is not known is cut off from the end.
    fn lookup(&self, preferred: Language) -> Option<Language> {
        if self.0 == "*" || self.0.eq_ignore_ascii_case("default") {
            return Some(preferred);
        }
        std::iter::successors(Some(self.0.as_str()), |range| shorter(range)).find_map(Language::tagged)
    }
}

/// Without the last subtag.
fn shorter(range: &str) -> Option<&str> {
    Some(range.rsplit_once('-')?.0)
}

impl fmt::Display for LanguageRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `language-range = (1*8ALPHA *("-" 1*8alphanum)) / "*"`
fn language_range(input: &[u8]) -> Parsed<'_, &[u8]> {
    let primary = take_while_m_n(1, 8, |c: u8| c.is_ascii_alphabetic());
    let subtag = take_while_m_n(1, 8, |c: u8| c.is_ascii_alphanumeric());
    recognize(alt((recognize(pair(primary, many0_count(preceded(tag("-"), subtag)))), tag("*")))).parse(input)
}

/// `lang-range-quoted = astring`, or `*` by itself as RFC 4647 writes it.
pub(crate) fn lang_range_quoted(input: &[u8]) -> Parsed<'_, LanguageRange> {
    let quoted = map_opt(astring, |octets| LanguageRange::new(std::str::from_utf8(&octets).ok()?));
    let any = map_opt(tag("*"), |_| LanguageRange::new("*"));
    expect(Noun::LanguageRange, alt((any, quoted))).parse(input)
}

/// `language-data`. RFC 5255 §3.5.
#[must_use]
pub fn language_response(languages: &[Language]) -> String {
    let tags: Vec<&str> = languages.iter().map(|language| language.tag()).collect();
    format!("LANGUAGE ({})", tags.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ranges: &str, expected: Option<Language>) {
        let ranges: Vec<_> = ranges.split(' ').map(|range| LanguageRange::new(range).unwrap()).collect();
        assert_eq!(LanguageRange::choose(&ranges, Language::Spanish), expected, "{ranges:?}");
    }

    #[test]
    fn the_first_range_that_names_a_language_decides() {
        check("pt", Some(Language::Portuguese));
        check("PT", Some(Language::Portuguese));
        check("MUL", None);
        check("I-Default", Some(Language::Unchosen));
        // RFC 5255 §3.2
        check("FR-CA EN-CA", Some(Language::English));
        check("fr es pt", Some(Language::Spanish));
    }

    /// RFC 4647 §3.4
    #[test]
    fn a_range_is_cut_until_it_names_a_language() {
        check("pt-BR", Some(Language::Portuguese));
        check("es-419", Some(Language::Spanish));
        check("en-Latn-GB-boont-r-extended-sequence-x-private", Some(Language::English));
        check("i-default-x", Some(Language::Unchosen));
        check("i", None);
        check("ptx", None);
        check("fr-pt", None);
    }

    #[test]
    fn default_and_any_are_what_the_operator_prefers() {
        check("default", Some(Language::Spanish));
        check("DEFAULT", Some(Language::Spanish));
        check("*", Some(Language::Spanish));
        check("fr *", Some(Language::Spanish));
    }

    /// RFC 4647 §2.1
    #[test]
    fn a_range_has_subtags_of_one_to_eight_characters() {
        for range in ["*", "de", "zh-Hant-CN-x-private1-private2", "abcdefgh-12345678"] {
            assert!(LanguageRange::new(range).is_some(), "{range}");
        }
        for range in ["", "pt_BR", "pt-", "-pt", "419", "abcdefghi", "pt-123456789", "*-CH", "pt BR", "ção"]
        {
            assert!(LanguageRange::new(range).is_none(), "{range}");
        }
    }
}
