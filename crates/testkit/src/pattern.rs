use std::collections::HashMap;

/// What the `$name`s of a transcript stand for.
pub(crate) type Bindings = HashMap<String, String>;

enum Piece {
    Text(String),
    Variable(String),
}

/// Splits a line at its `$name`s: a lower-case letter, then letters, digits and underscores.
fn pieces(line: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = line;
    while let Some(dollar) = rest.find('$') {
        let (before, after) = rest.split_at(dollar);
        let after = after.strip_prefix('$').unwrap_or_default();
        text.push_str(before);
        let length = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        let (name, tail) = after.split_at(length);
        if name.starts_with(|c: char| c.is_ascii_lowercase()) {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
            pieces.push(Piece::Variable(name.to_owned()));
        } else {
            text.push('$');
            text.push_str(name);
        }
        rest = tail;
    }
    text.push_str(rest);
    pieces.push(Piece::Text(text));
    pieces
}

/// A line to send, its variables filled in; one that is not bound stays as it is.
pub(crate) fn fill(line: &str, bindings: &Bindings) -> String {
    let show = |piece| match piece {
        Piece::Text(text) => text,
        Piece::Variable(name) => bindings.get(&name).cloned().unwrap_or_else(|| format!("${name}")),
    };
    pieces(line).into_iter().map(show).collect()
}

/// True if `line` is what `expected` says; variables seen for the first time are bound then.
pub(crate) fn matches(expected: &str, line: &str, bindings: &mut Bindings) -> bool {
    let (expected, is_prefix) = match expected.strip_suffix("...") {
        Some(expected) => (expected, true),
        None => (expected, false),
    };
    let mut bound = bindings.clone();
    let mut rest = line;
    let pieces = pieces(expected);
    for (position, piece) in pieces.iter().enumerate() {
        let text = match piece {
            Piece::Text(text) => text.clone(),
            Piece::Variable(name) => match bound.get(name) {
                Some(value) => value.clone(),
                None => {
                    let value = value_of(rest, pieces.get(position + 1));
                    bound.insert(name.clone(), value.clone());
                    value
                }
            },
        };
        let Some(tail) = rest.strip_prefix(text.as_str()) else { return false };
        rest = tail;
    }
    let matches = is_prefix || rest.is_empty();
    if matches {
        *bindings = bound;
    }
    matches
}

/// What an unbound variable takes: up to the text behind it, and no blank.
fn value_of(rest: &str, next: Option<&Piece>) -> String {
    let stop = match next {
        Some(Piece::Text(text)) => text.chars().next(),
        _ => None,
    };
    rest.chars().take_while(|c| !c.is_whitespace() && Some(*c) != stop).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_binds_at_first_sight() {
        let mut bindings = Bindings::new();
        assert!(matches("1 $a ($b)", "1 x1 (y)", &mut bindings));
        assert!(matches("$b $a", "y x1", &mut bindings));
        assert!(!matches("$a", "y", &mut bindings));
        assert_eq!(fill("UID $a $Junk", &bindings), "UID x1 $Junk");
    }

    #[test]
    fn three_dots_end_a_prefix() {
        assert!(matches("+OK...", "+OK ready", &mut Bindings::new()));
        assert!(!matches("+OK", "+OK ready", &mut Bindings::new()));
    }
}
