//! What the crate `fuzz` needs of the inside: rules that hold for any octets.
#![allow(clippy::panic, reason = "a broken rule ends a run")]

use crate::mark::Mark;
use crate::names::{FileName, in_cur, stamped};

/// Panics unless a file of this name keeps its base and its flags when it is given a UID and other flags.
#[doc(hidden)]
pub fn file_name(name: &str) {
    let parsed = FileName::parse(name);
    stamped(&parsed.base);
    parsed.breach(name);
    let Ok(mark): Result<Mark, _> = "1766000000-00ff".parse() else { return };
    let info = parsed.info_with(parsed.system(), parsed.letters());
    let renamed = in_cur(&parsed.base, (7, mark), None, 12, &info);
    let again = FileName::parse(&renamed);
    assert_eq!(again.base, parsed.base, "{renamed:?}");
    assert_eq!((again.uid.map(mail_types::Uid::value), again.mark), (Some(7), Some(mark)), "{renamed:?}");
    assert_eq!((again.size, again.hash), (parsed.size, parsed.hash), "{renamed:?}");
    // Where the base doesn't say it, it may be put on.
    let wire = FileName::parse(&parsed.base).wire;
    assert!(again.wire == wire || (wire, again.wire) == (None, Some(12)), "{renamed:?}");
    assert_eq!(again.system(), parsed.system(), "{renamed:?}");
    assert_eq!(again.info_with(again.system(), again.letters()), info, "{renamed:?}");
}
