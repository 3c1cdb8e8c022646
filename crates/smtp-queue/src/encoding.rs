//! Header fields in ASCII. RFC 2047.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// A header field's text in encoded-words where it is not ASCII, the lines folded. RFC 2047 §2.
pub(crate) fn encoded_words(text: &str) -> String {
    /// Octets of text in one word, of which base64 makes 56 characters.
    const MAX: usize = 42;
    if text.is_ascii() {
        return text.to_owned();
    }
    let (mut words, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let (word, behind) = rest.split_at(rest.floor_char_boundary(MAX));
        words.push(format!("=?utf-8?B?{}?=", BASE64_STANDARD.encode(word)));
        rest = behind;
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_that_is_not_ascii_is_written_in_encoded_words() {
        assert_eq!(encoded_words("plain"), "plain");
        assert_eq!(encoded_words("não"), "=?utf-8?B?bsOjbw==?=");
        assert!(encoded_words(&"ção ".repeat(40)).split(' ').all(|word| word.len() <= 75));
    }
}
