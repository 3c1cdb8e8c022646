//! Who may depend on whom.

use std::collections::HashMap;

use super::Complaint;
use crate::tree::{TextFile, Tree};

/// The map of the code: its table says in which layer a crate is.
const MAP: &str = "crates/ARCHITECTURE.md";
/// The layer of the crates that have a grammar.
const GRAMMARS: u8 = 1;
/// Who owns a database.
const DATABASE_OWNERS: [&str; 8] = [
    "whole-file",
    "mail-reports",
    "mail-store",
    "mail-directory",
    "mail-trust",
    "smtp-queue",
    "server-core",
    "smtp-server",
];

/// A crate depends on its own layer and on lower ones only, and stands in the map.
pub(super) fn dependencies_go_downward(tree: &Tree) -> Vec<Complaint> {
    let layers = layers(tree);
    let mut complaints = Vec::new();
    for (file, name) in manifests(tree) {
        let Some(layer) = layers.get(name) else {
            complaints.push(Complaint::new(file, 1, format!("{name} is missing in the table of {MAP}")));
            continue;
        };
        for (line, dependency) in dependencies(file) {
            if layers.get(dependency.as_str()).is_some_and(|below| below > layer) {
                let message = format!("{name} depends on {dependency}, which is of a higher layer in {MAP}");
                complaints.push(Complaint::new(file, line, message));
            }
        }
    }
    complaints
}

/// `nom` serves the grammars of the protocols and nothing else.
pub(super) fn grammars_live_in_their_layer(tree: &Tree) -> Vec<Complaint> {
    let layers = layers(tree);
    let misplaced = |name: &str| layers.get(name) != Some(&GRAMMARS);
    who_may_not(tree, "nom", misplaced, "grammars live in the L1 crates of the protocols")
}

/// `rusqlite` serves those that own a database.
pub(super) fn databases_have_one_owner(tree: &Tree) -> Vec<Complaint> {
    let misplaced = |name: &str| !DATABASE_OWNERS.contains(&name);
    who_may_not(tree, "rusqlite", misplaced, "SQL lives in the crates that own a database")
}

/// A crate that does not ask for them escapes the workspace's lints.
pub(super) fn every_crate_has_the_lints(tree: &Tree) -> Vec<Complaint> {
    let without = manifests(tree).filter(|(file, _)| !file.text.contains("[lints]\nworkspace = true"));
    without.map(|(file, _)| Complaint::new(file, 1, "add [lints] workspace = true")).collect()
}

fn who_may_not(
    tree: &Tree,
    dependency: &str,
    misplaced: impl Fn(&str) -> bool,
    rule: &str,
) -> Vec<Complaint> {
    let wrong = manifests(tree).filter(|(_, name)| misplaced(name));
    let uses = wrong.flat_map(|(file, _)| {
        dependencies(file)
            .into_iter()
            .filter(|(_, used)| used == dependency)
            .map(move |(line, _)| (file, line))
    });
    uses.map(|(file, line)| Complaint::new(file, line, format!("{dependency} has no place here: {rule}")))
        .collect()
}

/// The manifest of each crate of ours, with its name.
fn manifests(tree: &Tree) -> impl Iterator<Item = (&TextFile, &str)> {
    let of_a_crate = |file: &&TextFile| file.path.ends_with("/Cargo.toml");
    tree.files().filter(of_a_crate).filter_map(|file| Some((file, file.crate_name()?)))
}

/// What the crate itself is built from; its tests may use anything.
fn dependencies(manifest: &TextFile) -> Vec<(usize, String)> {
    let Ok(table) = manifest.text.parse::<toml::Table>() else { return Vec::new() };
    let Some(dependencies) = table.get("dependencies").and_then(toml::Value::as_table) else {
        return Vec::new();
    };
    let line_of = |name: &str| {
        let starts =
            |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', ' ', '=']));
        manifest.lines().find(|(_, line)| starts(line)).map_or(1, |(number, _)| number)
    };
    dependencies.keys().map(|name| (line_of(name), name.clone())).collect()
}

/// The layer of each crate in the map. Those for development (`–`) stand above all.
fn layers(tree: &Tree) -> HashMap<&str, u8> {
    let Some(map) = tree.file(MAP) else { return HashMap::new() };
    let rows = map.text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        Some((layer(cells.next()?)?, cells.next()?))
    });
    rows.flat_map(|(layer, crates)| in_code(crates).map(move |name| (name, layer))).collect()
}

fn layer(cell: &str) -> Option<u8> {
    if cell == "–" { Some(u8::MAX) } else { cell.strip_prefix('L')?.parse().ok() }
}

/// What stands between backquotes.
fn in_code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "| layer | crate | holds |\n|---|---|---|\n| L0 | `low` | a |\n| L1 | `a-proto`, `b-proto` | b |\n| – | `kit`, `tests/` | c |\n";

    fn complaints(rule: fn(&Tree) -> Vec<Complaint>, name: &str, dependency: &str) -> Vec<String> {
        let path = format!("crates/{name}/Cargo.toml");
        let manifest =
            format!("[package]\nname = \"{name}\"\n[dependencies]\n{dependency}.workspace = true\n");
        let tree = Tree::of(&[(MAP, TABLE), (&path, &manifest)]);
        rule(&tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_dependency_on_a_higher_layer_is_told() {
        assert_eq!(complaints(dependencies_go_downward, "a-proto", "low"), [""; 0]);
        assert_eq!(complaints(dependencies_go_downward, "a-proto", "b-proto"), [""; 0]);
        assert_eq!(complaints(dependencies_go_downward, "kit", "low"), [""; 0]);
        let upward = complaints(dependencies_go_downward, "low", "a-proto");
        assert!(upward[0].starts_with("crates/low/Cargo.toml:4: low depends on a-proto"), "{upward:?}");
        assert!(complaints(dependencies_go_downward, "low", "kit")[0].contains("higher layer"));
        assert!(complaints(dependencies_go_downward, "new", "low")[0].contains("missing in the table"));
    }

    #[test]
    fn a_crate_without_the_lints_is_told() {
        assert_eq!(complaints(every_crate_has_the_lints, "low", "log").len(), 1);
        let linted = Tree::of(&[("crates/low/Cargo.toml", "[lints]\nworkspace = true\n")]);
        assert!(every_crate_has_the_lints(&linted).is_empty());
    }

    #[test]
    fn nom_and_rusqlite_have_their_places() {
        assert_eq!(complaints(grammars_live_in_their_layer, "a-proto", "nom"), [""; 0]);
        assert_eq!(complaints(grammars_live_in_their_layer, "low", "nom").len(), 1);
        assert_eq!(complaints(databases_have_one_owner, "mail-store", "rusqlite"), [""; 0]);
        assert_eq!(complaints(databases_have_one_owner, "a-proto", "rusqlite").len(), 1);
    }
}
