use std::collections::BTreeMap;

use mail_types::MailboxName;
use serde_json::{Value, json};

/// What an import did, or would do.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(super) imported: BTreeMap<MailboxName, u64>,
    pub(super) octets: u64,
    pub(super) already_there: u64,
    pub(super) failed: u64,
    pub(super) passed_over: u64,
}

impl Report {
    pub(crate) fn has_failures(&self) -> bool {
        self.failed > 0
    }

    fn messages(&self) -> u64 {
        self.imported.values().sum()
    }

    pub(crate) fn to_json(&self, is_dry_run: bool) -> Value {
        let mailboxes = self.imported.iter().map(|(name, count)| (name.to_string(), json!(count)));
        json!({
            "dry_run": is_dry_run,
            "imported": self.messages(),
            "octets": self.octets,
            "already_there": self.already_there,
            "failed": self.failed,
            "files_without_mail": self.passed_over,
            "mailboxes": mailboxes.collect::<serde_json::Map<_, _>>(),
        })
    }

    pub(crate) fn to_text(&self, is_dry_run: bool) -> String {
        let verb = if is_dry_run { "would import" } else { "imported" };
        let mut text = String::new();
        for (name, count) in &self.imported {
            text += &format!("{name}: {verb} {}\n", messages(*count));
        }
        text += &format!("{verb} {} ({} octets)", messages(self.messages()), self.octets);
        for (count, what) in [
            (self.already_there, "there already"),
            (self.failed, "could not be imported: see above"),
            (self.passed_over, "files that hold no mail, passed over"),
        ] {
            if count > 0 {
                text += &format!("; {count} {what}");
            }
        }
        text
    }
}

fn messages(count: u64) -> String {
    if count == 1 { "1 message".to_owned() } else { format!("{count} messages") }
}
