//! What the sources may hold.

use super::Complaint;
use crate::tree::{TextFile, Tree};

/// A file holds one noun; beyond this it holds more.
const MAX_LINES: usize = 600;
/// Marks of what was left for later. Split, so that this file has none.
const LEFTOVERS: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:"), concat!("HA", "CK:")];
/// The files, by stem or folder, that own a database.
const DATABASE_MODULES: [&str; 3] = ["database", "index", "expendable"];
/// Who reads and writes files by a right of its own: the store; the directory, the queue, the event log, the policies of others and the config, which have
/// nothing of the users' mail; sockets and certificates; the executable; development.
const FILE_OWNERS: [&str; 16] = [
    "whole-file",
    "disk-room",
    "mail-store",
    "mail-directory",
    "mail-dkim",
    "mail-events",
    "mail-reports",
    "mail-trust",
    "smtp-queue",
    "mail-config",
    "server-core",
    "mailstead",
    "testkit",
    "fuzz",
    "bench",
    "xtask",
];
/// A file beside the mail that keeps a maildrop to one session: RFC 1939 §4.
const LOCK_FILE: &str = "crates/pop3-server/src/lock.rs";

pub(super) fn files_are_short(tree: &Tree) -> Vec<Complaint> {
    let long = tree.rust().filter(|file| file.text.lines().count() > MAX_LINES);
    long.map(|file| {
        let lines = file.text.lines().count();
        Complaint::new(
            file,
            MAX_LINES,
            format!("{lines} lines: more than {MAX_LINES}; find the second noun in it"),
        )
    })
    .collect()
}

pub(super) fn nothing_is_left_over(tree: &Tree) -> Vec<Complaint> {
    let marked = |line: &str| LEFTOVERS.iter().find(|mark| line.contains(**mark)).copied();
    each_line(tree.files(), |_, line| marked(line).map(|mark| format!("{mark}: do it, or file an issue")))
}

/// No SQL outside the module that owns the database. An error may carry what the database said.
pub(super) fn sql_stays_with_its_database(tree: &Tree) -> Vec<Complaint> {
    let foreign = tree.rust().filter(|file| file.is_production() && !owns_a_database(file));
    each_line(foreign, |_, line| {
        let used = line.replace("rusqlite::Error", "").contains(concat!("rusqlite", "::"));
        used.then(|| "SQL stays in the module that owns the database".to_owned())
    })
}

fn owns_a_database(file: &TextFile) -> bool {
    let stem = |part: &str| part.strip_suffix(".rs").unwrap_or(part).to_owned();
    file.path.split('/').any(|part| DATABASE_MODULES.contains(&stem(part).as_str()))
}

/// Users' mail is touched by the store only: the servers get open files from it, and no grammar or session opens any.
pub(super) fn files_of_users_stay_with_the_store(tree: &Tree) -> Vec<Complaint> {
    let may_not = |file: &&TextFile| {
        let owner = file.crate_name().is_some_and(|name| FILE_OWNERS.contains(&name));
        file.is_production() && !owner && file.path != LOCK_FILE
    };
    each_line(tree.rust().filter(may_not), |_, line| {
        // To hold a file that somebody else opened is no opening.
        let opens = line.replace("fs::File", "").contains("fs::");
        (opens || line.contains("File::open") || line.contains("File::create"))
            .then(|| "files of users are opened by mail-store, which hands them out".to_owned())
    })
}

fn each_line<'t>(
    files: impl Iterator<Item = &'t TextFile>,
    rule: impl Fn(&TextFile, &str) -> Option<String>,
) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for file in files {
        for (number, line) in file.before_tests() {
            complaints.extend(rule(file, line).map(|message| Complaint::new(file, number, message)));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: fn(&Tree) -> Vec<Complaint>, path: &str, text: &str, complaints: usize) {
        let found = rule(&Tree::of(&[(path, text)]));
        assert_eq!(found.len(), complaints, "{found:?}");
    }

    #[test]
    fn a_file_that_is_too_long_is_told() {
        check(files_are_short, "crates/a/src/lib.rs", &"\n".repeat(MAX_LINES), 0);
        check(files_are_short, "crates/a/src/lib.rs", &"\n".repeat(MAX_LINES + 1), 1);
    }

    #[test]
    fn a_mark_of_what_was_left_for_later_is_told() {
        check(nothing_is_left_over, "README.md", "Nothing to do.\n", 0);
        check(nothing_is_left_over, "README.md", concat!("a\n# TO", "DO: b\n"), 1);
    }

    #[test]
    fn sql_outside_its_module_is_told() {
        let sql = "use rusqlite::Connection;\n";
        check(sql_stays_with_its_database, "crates/mail-store/src/index/schema.rs", sql, 0);
        check(sql_stays_with_its_database, "crates/mail-directory/src/database.rs", sql, 0);
        check(
            sql_stays_with_its_database,
            "crates/mail-directory/src/lib.rs",
            "source: rusqlite::Error,\n",
            0,
        );
        check(sql_stays_with_its_database, "crates/mail-directory/src/lib.rs", sql, 1);
    }

    #[test]
    fn a_server_that_opens_a_file_is_told() {
        let opens = "let file = std::fs::read(path)?;\n";
        check(files_of_users_stay_with_the_store, "crates/mail-store/src/disk.rs", opens, 0);
        check(
            files_of_users_stay_with_the_store,
            "crates/imap-server/src/answer.rs",
            "use std::fs::File;\n",
            0,
        );
        check(files_of_users_stay_with_the_store, "crates/imap-server/src/answer.rs", opens, 1);
        check(
            files_of_users_stay_with_the_store,
            "crates/imap-server/src/answer.rs",
            "File::open(path)?;\n",
            1,
        );
        let in_tests = format!("#[cfg(test)]\n{opens}");
        check(files_of_users_stay_with_the_store, "crates/imap-server/src/answer.rs", &in_tests, 0);
    }
}
