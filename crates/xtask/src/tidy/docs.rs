//! What is written for people.

use super::Complaint;
use crate::tree::{TextFile, Tree};

/// Folders of one machine. Split, so that this file names none.
const MACHINE_PATHS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

/// A transcript begins with the section that it proves.
pub(super) fn transcripts_cite_a_standard(tree: &Tree) -> Vec<Complaint> {
    let transcripts =
        tree.files().filter(|file| file.path.contains("/transcripts/") && file.path.ends_with(".txt"));
    let silent = transcripts.filter(|file| !file.text.lines().next().is_some_and(cites));
    silent
        .map(|file| {
            Complaint::new(file, 1, "begin with the rule that this proves, as `# RFC 5321 §4.1.4: …`")
        })
        .collect()
}

fn cites(line: &str) -> bool {
    line.starts_with("# RFC ") && line.contains('§') && line.contains(": ")
}

/// A relative link in a text leads to a file or folder of the tree.
pub(super) fn links_lead_somewhere(tree: &Tree) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for file in tree.files().filter(|file| file.path.ends_with(".md")) {
        for (number, line) in file.lines() {
            for target in links(line).filter(|target| !tree.has(&resolve(file, target))) {
                complaints.push(Complaint::new(file, number, format!("there is no {target}")));
            }
        }
    }
    complaints
}

/// The relative targets of `[text](target)`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    targets.filter(|target| {
        !target.contains("://") && !target.starts_with('#') && !target.starts_with("mailto:")
    })
}

fn resolve(file: &TextFile, target: &str) -> String {
    let mut parts: Vec<&str> = file.path.split('/').collect();
    parts.pop();
    let target = target.split_once('#').map_or(target, |(path, _)| path);
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Nothing here may need the machine on which it was written.
pub(super) fn no_path_of_one_machine(tree: &Tree) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for file in tree.files() {
        for (number, line) in file.lines() {
            let found = MACHINE_PATHS.iter().find(|path| line.contains(**path));
            complaints.extend(
                found.map(|path| Complaint::new(file, number, format!("{path} is a path of one machine"))),
            );
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_without_its_standard_is_told() {
        let silent = |text| {
            transcripts_cite_a_standard(&Tree::of(&[("crates/a/tests/transcripts/x.txt", text)])).len()
        };
        assert_eq!(silent("# RFC 5321 §4.1.4: commands out of order\nC: DATA\n"), 0);
        assert_eq!(silent("# commands out of order\nC: DATA\n"), 1);
        assert_eq!(silent("C: DATA\n"), 1);
    }

    #[test]
    fn a_link_to_nowhere_is_told() {
        let told = |link: &str| {
            let text = format!("See [it]({link}).");
            links_lead_somewhere(&Tree::of(&[("docs/a.md", &text), ("config/x.toml", "")])).len()
        };
        assert_eq!(
            [told("../config/x.toml"), told("../config/"), told("https://example.org/"), told("a.md#b")],
            [0; 4]
        );
        assert_eq!([told("config/x.toml"), told("../config/y.toml")], [1; 2]);
    }

    #[test]
    fn a_path_of_one_machine_is_told() {
        assert_eq!(no_path_of_one_machine(&Tree::of(&[("a.md", concat!("see /ho", "me/me/x"))])).len(), 1);
        assert_eq!(no_path_of_one_machine(&Tree::of(&[("a.md", "see /etc/mailstead")])).len(), 0);
    }
}
