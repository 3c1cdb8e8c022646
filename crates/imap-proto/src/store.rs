//! STORE. RFC 3501 §6.4.6, RFC 7162 §3.1.3.

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case};
use nom::character::complete::char;
use nom::combinator::{map, opt, value};
use nom::sequence::{preceded, terminated};

use crate::Command;
use crate::command::message_set;
use crate::condstore::store_modifiers;
use crate::grammar::{Parsed, sp, store_flags};

/// How STORE changes flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreMode {
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
    /// `FLAGS`
    Replace,
}

/// `"STORE" SP sequence-set [SP store-modifiers] SP store-att-flags`
pub(crate) fn store(uid: bool, input: &[u8]) -> Parsed<'_, Command> {
    let mode = alt((
        value(StoreMode::Add, char('+')),
        value(StoreMode::Remove, char('-')),
        value(StoreMode::Replace, tag("")),
    ));
    let silent = map(opt(tag_no_case(".SILENT")), |silent| silent.is_some());
    let change = (mode, preceded(tag_no_case("FLAGS"), silent), preceded(sp, store_flags));
    let set = move |input| message_set(uid, input);
    map(
        (terminated(set, sp), opt(terminated(store_modifiers, sp)), change),
        |(set, unchanged_since, (mode, silent, flags))| Command::Store {
            set,
            unchanged_since,
            mode,
            silent,
            flags,
        },
    )
    .parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::tests::{parsed, refused};

    #[test]
    fn store_takes_flags_with_or_without_parentheses() {
        let Command::Store { mode, silent, flags, .. } =
            parsed("a STORE 2:4 +flags.silent \\Deleted $Forwarded")
        else {
            panic!("STORE")
        };
        assert_eq!(
            (mode, silent, flags.to_string().as_str()),
            (StoreMode::Add, true, "\\Deleted $Forwarded")
        );
        parsed("a UID STORE 1 FLAGS ()");
        refused("a STORE 1 FLAGS (\\Nonsense)");
        refused("a STORE 1 +FLAGS \\Recent");
    }
}
