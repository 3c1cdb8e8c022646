//! The keywords that Courier keeps beside a mailbox.

use std::collections::HashMap;
use std::path::Path;

use mail_types::Keyword;

use crate::disk;
use crate::error::{IoContext as _, StoreError};
use crate::names::FileName;

/// The messages' keywords in a folder's `courierimapkeywords`, by the base of the file name.
///
/// `:list` has the names, an empty line, and for each message `<file name>:<position> <position>…`. What changed since stands in
/// a file for each message, `.<number>.<file name>` or `<file name>`, with a name in each line; the last one counts.
pub(super) fn read(folder: &Path) -> Result<HashMap<String, Vec<Keyword>>, StoreError> {
    let folder = folder.join("courierimapkeywords");
    let list = disk::read_optional(&folder.join(":list"))?.unwrap_or_default();
    let mut all = listed(&String::from_utf8_lossy(&list));
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(all),
        entries => entries.context("reading the folder", &folder)?,
    };
    let mut changes = Vec::new();
    for entry in entries {
        let name = entry.context("reading the folder", &folder)?.file_name();
        if let Some(name) = name.to_str().filter(|name| *name != ":list") {
            changes.push((age(name), name.to_owned()));
        }
    }
    changes.sort();
    for ((_, message), name) in changes {
        if let Some(text) = disk::read_optional(&folder.join(name))? {
            let text = String::from_utf8_lossy(&text);
            all.insert(
                FileName::parse(&message).base.into_owned(),
                text.lines().filter_map(|it| it.parse().ok()).collect(),
            );
        }
    }
    Ok(all)
}

fn listed(list: &str) -> HashMap<String, Vec<Keyword>> {
    let mut lines = list.lines();
    let names: Vec<&str> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    let keyword = |position: &str| names.get(position.parse::<usize>().ok()?)?.parse().ok();
    let message = |line: &str| {
        let (name, positions) = line.rsplit_once(':')?;
        Some((FileName::parse(name).base.into_owned(), positions.split(' ').filter_map(keyword).collect()))
    };
    lines.filter_map(message).collect()
}

/// Which change of a message came when, and the name of the message's file. That without a number is the last.
fn age(name: &str) -> (u64, String) {
    let numbered = name.strip_prefix('.').and_then(|rest| rest.split_once('.'));
    match numbered.and_then(|(number, message)| Some((number.parse().ok()?, message))) {
        Some((number, message)) => (number, message.to_owned()),
        None => (u64::MAX, name.to_owned()),
    }
}
