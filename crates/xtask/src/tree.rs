use std::fs;
use std::path::Path;

use anyhow::Context;

/// The text files of the workspace, their paths relative to its root.
pub(crate) struct Tree(Vec<TextFile>);

/// One of them.
pub(crate) struct TextFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Tree {
    /// Reads everything below `root` except what `.gitignore` names in full, hidden folders, and files that are no text.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let ignored = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
        let ignored: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('/')).collect();
        let mut files = Vec::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
                let path = entry?.path();
                let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
                let hidden = name.starts_with(".git") || name.starts_with(".jj");
                if hidden || ignored.contains(&name.as_str()) {
                    continue;
                }
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(text) = fs::read_to_string(&path) {
                    files.push(TextFile { path: name, text });
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self(files))
    }

    /// Every file.
    pub(crate) fn files(&self) -> impl Iterator<Item = &TextFile> {
        self.0.iter()
    }

    /// The files in Rust.
    pub(crate) fn rust(&self) -> impl Iterator<Item = &TextFile> {
        self.files().filter(|file| file.path.ends_with(".rs"))
    }

    /// The file at `path`.
    pub(crate) fn file(&self, path: &str) -> Option<&TextFile> {
        self.files().find(|file| file.path == path)
    }

    /// True if a file or a folder is there.
    pub(crate) fn has(&self, path: &str) -> bool {
        let below = format!("{}/", path.trim_end_matches('/'));
        self.files().any(|file| file.path == path || file.path.starts_with(&below))
    }

    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| TextFile { path: (*path).into(), text: (*text).into() };
        Self(files.iter().map(file).collect())
    }
}

impl TextFile {
    /// The lines, numbered from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    /// True for code that runs in a server, as against the tests of it.
    pub(crate) fn is_production(&self) -> bool {
        let is_test = self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        self.path.starts_with("crates/") && self.path.contains("/src/") && !is_test
    }

    /// The name of the crate in whose folder it lies.
    pub(crate) fn crate_name(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")?.split_once('/').map(|(name, _)| name)
    }

    /// The text before the tests at its end.
    pub(crate) fn before_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().take_while(|(_, line)| *line != "#[cfg(test)]")
    }
}
