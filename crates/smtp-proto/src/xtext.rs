//! Text that goes through as visible ASCII. RFC 3461 §4.

use std::fmt::Write as _;

/// What `xtext` stands for: `*( xchar / hexchar )`, with `hexchar = "+" 2HEXDIG`. `None` if it is none, or stands for what is no UTF-8.
///
/// Deviates: RFC 3461 §4 has the digits in upper case. Those in lower case can't mean anything else, and no mail is refused for them.
pub(crate) fn decode(xtext: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(xtext.len());
    let mut rest = xtext;
    while let Some(first) = rest.chars().next() {
        let (octet, length) = match first {
            '+' => (u8::from_str_radix(rest.get(1..3).filter(|it| is_hexadecimal(it))?, 16).ok()?, 3),
            '=' => return None,
            '!'..='~' => (u8::try_from(first).ok()?, 1),
            _ => return None,
        };
        octets.push(octet);
        rest = rest.get(length..)?;
    }
    String::from_utf8(octets).ok()
}

/// `text` as xtext.
pub(crate) fn encode(text: &str) -> String {
    let mut xtext = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'+' | b'=' | ..b'!' | b'\x7f'.. => {
                // Writing to a String can't fail.
                let _ = write!(xtext, "+{octet:02X}");
            }
            _ => xtext.push(char::from(octet)),
        }
    }
    xtext
}

fn is_hexadecimal(digits: &str) -> bool {
    digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3461 §4
    #[test]
    fn hexadecimal_digits_are_written_in_upper_case_and_read_in_either() {
        assert_eq!(decode("+2b+3d+c3+A9").as_deref(), Some("+=é"));
        assert_eq!(encode("+=é"), "+2B+3D+C3+A9");
    }

    #[test]
    fn xtext_is_visible_ascii_without_plus_and_equals() {
        assert_eq!(decode("a+2Bb+3D+20+C3+a9").as_deref(), Some("a+b= é"));
        assert_eq!(encode("a+b= é~"), "a+2Bb+3D+20+C3+A9~");
        for wrong in ["a=b", "+", "+2", "+2x", "++2", "a b", "é", "+C3", "+é"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_text_comes_back_as_it_was_encoded(text in "\\PC{0,20}[+=\\x00 ]{0,3}") {
            let xtext = encode(&text);
            proptest::prop_assert!(xtext.bytes().all(|octet| octet.is_ascii_graphic()));
            proptest::prop_assert_eq!(decode(&xtext), Some(text));
        }
    }
}
