//! The base subject, by which subjects are sorted and threads found. RFC 5256 §2.1.

/// What remains of a subject without the marks of replies and forwards.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BaseSubject {
    /// The text, blanks folded, its case as it was.
    pub text: String,
    /// A mark of a reply or a forward was taken away.
    pub is_reply: bool,
}

impl BaseSubject {
    /// That of a subject whose encoded words are decoded.
    pub fn of(subject: &str) -> Self {
        let line = subject.split([' ', '\t', '\r', '\n']).filter(|it| !it.is_empty()).collect::<Vec<_>>();
        let line = line.join(" ");
        let mut is_reply = false;
        let mut rest = line.as_str();
        loop {
            rest = without_trailers(rest, &mut is_reply);
            rest = without_leaders(rest, &mut is_reply);
            let Some(inner) = forwarded(rest) else { break };
            is_reply = true;
            rest = inner;
        }
        Self { text: rest.to_owned(), is_reply }
    }
}

/// Without each `subj-trailer = "(fwd)" / WSP`.
fn without_trailers<'a>(mut text: &'a str, is_reply: &mut bool) -> &'a str {
    loop {
        text = text.trim_end_matches(' ');
        let Some(before) = strip_suffix_no_case(text, "(fwd)") else { return text };
        *is_reply = true;
        text = before;
    }
}

/// Without each `subj-leader = (*subj-blob subj-refwd) / WSP`, and each `subj-blob` before more than nothing.
fn without_leaders<'a>(mut text: &'a str, is_reply: &mut bool) -> &'a str {
    loop {
        let (last, rest) = without_blobs(text.trim_start_matches(' '));
        match without_refwd(rest) {
            Some(rest) => {
                *is_reply = true;
                text = rest;
            }
            None if rest.is_empty() => return last,
            None => return rest,
        }
    }
}

/// What follows `*subj-blob`; and with the last of them, if there is one. Each is looked at once, since there may be a great many.
fn without_blobs(text: &str) -> (&str, &str) {
    let (mut last, mut rest) = (text, text);
    while let Some(next) = without_blob(rest) {
        (last, rest) = (rest, next);
    }
    (last, rest)
}

/// What follows `subj-refwd = ("re" / ("fw" ["d"])) *WSP [subj-blob] ":"`.
fn without_refwd(text: &str) -> Option<&str> {
    let rest = ["re", "fwd", "fw"].iter().find_map(|it| strip_prefix_no_case(text, it))?;
    let rest = rest.trim_start_matches(' ');
    without_blob(rest).unwrap_or(rest).strip_prefix(':')
}

/// What follows `subj-blob = "[" *BLOBCHAR "]" *WSP`.
fn without_blob(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('[')?;
    let end = inside.find(['[', ']'])?;
    Some(inside.get(end..)?.strip_prefix(']')?.trim_start_matches(' '))
}

/// What `subj-fwd = "[fwd:" subject "]"` encloses.
fn forwarded(text: &str) -> Option<&str> {
    strip_prefix_no_case(text, "[fwd:")?.strip_suffix(']')
}

fn strip_prefix_no_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn strip_suffix_no_case<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let (before, end) = text.split_at_checked(text.len().checked_sub(suffix.len())?)?;
    end.eq_ignore_ascii_case(suffix).then_some(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(subject: &str, text: &str, is_reply: bool) {
        assert_eq!(BaseSubject::of(subject), BaseSubject { text: text.to_owned(), is_reply }, "{subject}");
    }

    #[test]
    fn marks_of_replies_and_forwards_are_taken_away() {
        for subject in [
            "Re: Plan",
            "RE : Plan",
            "re[2]: Plan",
            "Fw: Plan",
            "FWD: re: Plan",
            "Re: [list] Plan",
            "[list] Re: Plan",
            "[a][b] Re [c]: Plan",
            "Plan (fwd)",
            "Plan (FWD)  (fwd) ",
            "[Fwd: Plan]",
            "[fwd: Re: [x] Plan (fwd)] (fwd)",
            "Fwd: [Fwd: [Fwd: Plan]]",
        ] {
            check(subject, "Plan", true);
        }
    }

    #[test]
    fn of_very_many_marks_each_is_looked_at_once() {
        let many = 200_000;
        check(&("[a]".repeat(many) + "x"), "x", false);
        check(&"[a]".repeat(many), "[a]", false);
        check(&("Re: ".repeat(many) + &"[a]".repeat(many) + "Fwd: x" + &"(fwd) ".repeat(many)), "x", true);
        check(&("[fwd:".repeat(many) + "x" + &"]".repeat(many)), "x", true);
    }

    #[test]
    fn what_is_no_mark_stays() {
        check("  a \t b\r\n c ", "a b c", false);
        check("[list] Plan", "Plan", false);
        check("[a] [b]", "[b]", false);
        check("[a", "[a", false);
        check("[a[b]] c", "[a[b]] c", false);
        check("Response: x", "Response: x", false);
        check("Re", "Re", false);
        check("Re: ", "", true);
        check("", "", false);
        check("(fwd)", "", true);
        check("(fwd) a", "(fwd) a", false);
        check("[fwd: x] y", "y", false);
        check("Antwort: Re: x", "Antwort: Re: x", false);
        check("\u{fc}[x", "\u{fc}[x", false);
    }
}
