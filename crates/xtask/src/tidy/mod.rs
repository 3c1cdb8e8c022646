//! The house rules that clippy can't hold, each a function from the tree to its complaints.

mod docs;
mod layers;
mod sources;

use std::fmt;

use crate::tree::{TextFile, Tree};

/// Where a rule is broken, and what to do.
#[derive(Debug)]
pub(crate) struct Complaint {
    path: String,
    line: usize,
    message: String,
}

impl Complaint {
    fn new(file: &TextFile, line: usize, message: impl Into<String>) -> Self {
        Self { path: file.path.clone(), line, message: message.into() }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Everything that is not as the house has it.
pub(crate) fn check(tree: &Tree) -> Vec<Complaint> {
    let rules: &[fn(&Tree) -> Vec<Complaint>] = &[
        layers::dependencies_go_downward,
        layers::grammars_live_in_their_layer,
        layers::databases_have_one_owner,
        layers::every_crate_has_the_lints,
        sources::files_are_short,
        sources::nothing_is_left_over,
        sources::sql_stays_with_its_database,
        sources::files_of_users_stay_with_the_store,
        docs::transcripts_cite_a_standard,
        docs::links_lead_somewhere,
        docs::no_path_of_one_machine,
    ];
    rules.iter().flat_map(|rule| rule(tree)).collect()
}
