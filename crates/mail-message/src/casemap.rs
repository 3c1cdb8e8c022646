use std::borrow::Cow;

use unicode_normalization::char::decompose_compatible;

/// Text as `i;unicode-casemap` compares it (RFC 5051 §2): every character in title case, then taken apart as far as its
/// decompositions go, so that `ü`, `Ü` and `U` with a diaeresis behind it are the same, and `ﬁ` is `fi`.
///
/// Equality, substrings and order of what comes out, octet by octet, are those of the collation.
pub fn casemap(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        let is_mapped = !text.bytes().any(|octet| octet.is_ascii_lowercase());
        return if is_mapped { text.into() } else { text.to_ascii_uppercase().into() };
    }
    let mut mapped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c.is_ascii() {
            mapped.push(c.to_ascii_uppercase());
        } else {
            decompose_compatible(title(c), |part| mapped.push(part));
        }
    }
    mapped.into()
}

/// `Simple_Titlecase_Mapping`: that of capitals, but for the letters that have a title case of their own, those whose capital is
/// more than one letter, and Georgian, which has capitals but no title case.
fn title(c: char) -> char {
    match c {
        '\u{1c4}'..='\u{1c6}' => '\u{1c5}',
        '\u{1c7}'..='\u{1c9}' => '\u{1c8}',
        '\u{1ca}'..='\u{1cc}' => '\u{1cb}',
        '\u{1f1}'..='\u{1f3}' => '\u{1f2}',
        '\u{10d0}'..='\u{10ff}' => c,
        '\u{1f80}'..='\u{1faf}' => char::from_u32(u32::from(c) | 8).unwrap_or(c),
        '\u{1fb3}' => '\u{1fbc}',
        '\u{1fc3}' => '\u{1fcc}',
        '\u{1ff3}' => '\u{1ffc}',
        _ => only(c.to_uppercase()).unwrap_or(c),
    }
}

/// The one character that there is.
fn only(mut chars: impl Iterator<Item = char>) -> Option<char> {
    let first = chars.next()?;
    chars.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(casemap(text), expected, "{text}");
    }

    #[test]
    fn letters_come_in_title_case() {
        check("Plain, 1_", "PLAIN, 1_");
        check("\u{3c3}\u{3c2}\u{3a3}", "\u{3a3}\u{3a3}\u{3a3}");
        check("\u{df}", "\u{df}");
        check("\u{1c6}\u{1c4}", "Dz\u{30c}Dz\u{30c}");
        check("\u{10d0}", "\u{10d0}");
        check("\u{1f80}\u{1f88}", "\u{391}\u{313}\u{345}\u{391}\u{313}\u{345}");
        check("\u{131}\u{17f}\u{212a}", "ISK");
    }

    #[test]
    fn characters_are_taken_apart() {
        check("\u{fc} \u{b3}", "U\u{308} 3");
        check("c\u{f4}t\u{e9}", "CO\u{302}TE\u{301}");
        check("\u{1ed9}", "O\u{323}\u{302}");
        check("\u{fb01}", "fi");
        check("\u{d55c}", "\u{1112}\u{1161}\u{11ab}");
        check("\u{ff21}", "A");
    }
}
