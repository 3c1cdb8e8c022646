use memchr::{memchr2_iter, memmem};

/// A text that is looked for in others, in any case.
#[derive(Debug, Clone)]
pub struct Needle {
    folded: String,
    /// The octet of an ASCII needle that is met least often, and where in it; `None` for other needles.
    rarest: Option<(usize, u8)>,
}

/// The octets of mail, from those met most often: letters and what stands between them.
const FREQUENT: &[u8] = b" etaoinsrlhdcumpfgywbv.k-,0123456789xjqz";
/// What folds to an ASCII letter without being one: the Kelvin sign, the long s and the dotless i.
const FOLDING_TO_ASCII: [&str; 3] = ["\u{212a}", "\u{17f}", "\u{131}"];

impl Needle {
    /// The text, in any case.
    pub fn new(text: &str) -> Self {
        let folded = fold(text);
        let frequency = |byte: u8| FREQUENT.iter().rev().position(|it| *it == byte);
        let rarest = folded.bytes().enumerate().min_by_key(|(_, byte)| frequency(*byte));
        let rarest = if folded.is_ascii() { rarest } else { None };
        Self { folded, rarest }
    }

    /// The empty text is in every other.
    pub const fn is_empty(&self) -> bool {
        self.folded.is_empty()
    }

    /// The text as [`fold`] gives it: it is in another if this is in that one folded.
    pub fn folded(&self) -> &str {
        &self.folded
    }

    /// Whether the text is in `haystack`.
    pub fn is_in(&self, haystack: &str) -> bool {
        match self.rarest {
            _ if self.is_empty() => true,
            Some((at, byte)) => {
                self.is_in_ascii_case(haystack.as_bytes(), at, byte) || self.is_in_odd_letters(haystack)
            }
            None => !haystack.is_ascii() && self.is_in_folded(haystack),
        }
    }

    /// Looks for an ASCII needle without folding a copy: where its rarest octet stands, the others are compared.
    fn is_in_ascii_case(&self, haystack: &[u8], at: usize, rarest: u8) -> bool {
        memchr2_iter(rarest, rarest.to_ascii_uppercase(), haystack).any(|found| {
            let start = found.checked_sub(at);
            let candidate = start.and_then(|start| haystack.get(start..start + self.folded.len()));
            candidate.is_some_and(|candidate| candidate.eq_ignore_ascii_case(self.folded.as_bytes()))
        })
    }

    /// An ASCII needle may still stand there in letters that only fold to ASCII.
    fn is_in_odd_letters(&self, haystack: &str) -> bool {
        let holds = |letter: &&str| memmem::find(haystack.as_bytes(), letter.as_bytes()).is_some();
        let may_stand = self.folded.contains(['k', 's', 'i']) && !haystack.is_ascii();
        may_stand && FOLDING_TO_ASCII.iter().any(holds) && self.is_in_folded(haystack)
    }

    fn is_in_folded(&self, haystack: &str) -> bool {
        memmem::find(fold(haystack).as_bytes(), self.folded.as_bytes()).is_some()
    }
}

/// Simple case folding (Unicode §5.18): one character stays one, so `ß` is not `ss`.
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().map(|c| if c.is_ascii() { c.to_ascii_lowercase() } else { fold_char(c) }).collect()
}

/// By way of the capital, so that both forms of sigma are one letter.
fn fold_char(c: char) -> char {
    let capital = only(c.to_uppercase()).unwrap_or(c);
    only(capital.to_lowercase()).unwrap_or(c)
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
    fn letters_are_folded_one_by_one() {
        check("JÜRGEN", "jürgen", true);
        check("jürgen", "JÜRGEN", true);
        check("ΟΔΥΣΣΕΥΣ", "οδυσσευς", true);
        check("οδυσσευσ", "ΟΔΥΣΣΕΥΣ!", true);
        check("straße", "STRAẞE", true);
        check("ü", "u", false);
        check("и", "И", true);
    }

    #[test]
    fn ascii_is_found_beside_and_in_other_letters() {
        check("gruss", "Straße, Gruss", true);
        check("stra", "STRAßE", true);
        check("ss", "ß", false);
        check("kelvin", "\u{212a}elvin", true);
        check("sum", "\u{17f}um", true);
        check("istanbul", "İstanbul ıstanbul", true);
    }

    proptest::proptest! {
        #[test]
        fn the_quick_ways_find_what_folding_finds(needle in "[kKsSiIaA\u{e9}\u{c9}\u{17f} ]{0,3}", haystack in "[kKsSiIaAb\u{e9}\u{c9}\u{17f}\u{212a}\u{131} ]{0,12}") {
            assert_eq!(Needle::new(&needle).is_in(&haystack), fold(&haystack).contains(&fold(&needle)));
        }
    }
}
