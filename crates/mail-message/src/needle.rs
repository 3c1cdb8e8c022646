use memchr::{memchr2_iter, memmem};

use crate::casemap;

/// A text that is looked for in others, as `i;unicode-casemap` compares them (RFC 5255 §4.4): in any case, and with or without
/// what stands above and below its last letter.
#[derive(Debug, Clone)]
pub struct Needle {
    mapped: String,
    /// The octet of an ASCII needle that is met least often, and where in it; `None` for other needles.
    rarest: Option<(usize, u8)>,
}

/// The octets of mail, from those met most often: letters and what stands between them.
const FREQUENT: &[u8] = b" etaoinsrlhdcumpfgywbv.k-,0123456789xjqz";
impl Needle {
    /// The text, in any case.
    pub fn new(text: &str) -> Self {
        let mapped = casemap(text).into_owned();
        let frequency = |byte: u8| FREQUENT.iter().rev().position(|it| *it == byte.to_ascii_lowercase());
        let rarest = mapped.bytes().enumerate().min_by_key(|(_, byte)| frequency(*byte));
        let rarest = if mapped.is_ascii() { rarest } else { None };
        Self { mapped, rarest }
    }

    /// The empty text is in every other.
    pub const fn is_empty(&self) -> bool {
        self.mapped.is_empty()
    }

    /// The text as [`casemap`] gives it: it is in another if this is in what that gives of the other.
    pub fn mapped(&self) -> &str {
        &self.mapped
    }

    /// Whether the text is in `haystack`.
    pub fn is_in(&self, haystack: &str) -> bool {
        match self.rarest {
            _ if self.is_empty() => true,
            Some((at, byte)) => {
                self.is_in_ascii_case(haystack.as_bytes(), at, byte) || self.is_in_other_letters(haystack)
            }
            None => self.is_in_other_letters(haystack),
        }
    }

    /// Looks for an ASCII needle without making a copy: where its rarest octet stands, the others are compared.
    fn is_in_ascii_case(&self, haystack: &[u8], at: usize, rarest: u8) -> bool {
        memchr2_iter(rarest, rarest.to_ascii_lowercase(), haystack).any(|found| {
            let start = found.checked_sub(at);
            let candidate = start.and_then(|start| haystack.get(start..start + self.mapped.len()));
            candidate.is_some_and(|candidate| candidate.eq_ignore_ascii_case(self.mapped.as_bytes()))
        })
    }

    /// Other letters than ASCII's may be taken apart into some of ASCII.
    fn is_in_other_letters(&self, haystack: &str) -> bool {
        !haystack.is_ascii() && memmem::find(casemap(haystack).as_bytes(), self.mapped.as_bytes()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(needle: &str, haystack: &str, expected: bool) {
        assert_eq!(Needle::new(needle).is_in(haystack), expected, "{needle} in {haystack}");
    }

    #[test]
    fn ascii_is_found_in_any_case_anywhere() {
        for needle in ["", "plan", "PLAN b", "b", "the"] {
            check(needle, "The Plan B", true);
        }
        check("planb", "the plan b", false);
        check("plan b and more", "the plan b", false);
        check("aab", "aaaaab", true);
        check("xa", "a", false);
        check("1@2", "1@2", true);
    }

    #[test]
    fn letters_are_the_same_in_any_case_and_composition() {
        check("JÜRGEN", "jürgen", true);
        check("jürgen", "JÜRGEN", true);
        check("ΟΔΥΣΣΕΥΣ", "οδυσσευς", true);
        check("οδυσσευσ", "ΟΔΥΣΣΕΥΣ!", true);
        check("straße", "STRAßE", true);
        check("straße", "STRAẞE", false);
        check("ü", "u", false);
        check("и", "И", true);
        check("ü", "u\u{308}", true);
        check("jurgen", "Jürgen", false);
        check("cafe", "Café", true);
    }

    #[test]
    fn ascii_is_found_beside_and_in_other_letters() {
        check("gruss", "Straße, Gruss", true);
        check("stra", "STRAßE", true);
        check("ss", "ß", false);
        check("fi", "\u{fb01}n", false);
        check("kelvin", "\u{212a}elvin", true);
        check("sum", "\u{17f}um", true);
        check("istanbul", "İstanbul ıstanbul", true);
    }

    proptest::proptest! {
        #[test]
        fn the_quick_way_finds_what_the_collation_finds(needle in "[kKsSiIaA\u{e9}\u{c9}\u{17f} ]{0,3}", haystack in "[kKsSiIaAb\u{e9}\u{c9}\u{17f}\u{212a}\u{131} ]{0,12}") {
            assert_eq!(Needle::new(&needle).is_in(&haystack), casemap(&haystack).contains(&*casemap(&needle)));
        }
    }
}
