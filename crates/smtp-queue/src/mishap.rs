//! What became of a database that was damaged or taken away, as operators are told: a text for each time, in the queue's folder. As long as
//! it is there, no file that may be a message of that time is swept.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::database::Notice;
use crate::queue::private_file;
use crate::{QueueError, QueueId};

/// Messages of which each has a line.
const MAX_LINES: usize = 10_000;
/// As it stands in the names of files: UTC, to the second.
const MOMENT: &str = "%Y%m%dT%H%M%SZ";

/// A message, by what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) id: String,
    /// Empty for `<>`.
    pub(crate) sender: String,
    pub(crate) recipients: Vec<String>,
}

/// What could be read out of a damaged database.
#[derive(Debug, Default)]
pub(crate) struct Salvaged {
    /// Messages that are queued as they were.
    pub(crate) taken: usize,
    /// Those of them of which some recipients may be lost.
    pub(crate) lacking: Vec<Named>,
    /// Those of which only a part is known: queued, and held.
    pub(crate) held: Vec<Named>,
    /// Those of which the text is lost, or who was to get it.
    pub(crate) lost: BTreeMap<String, Named>,
}

/// A database was set aside.
#[derive(Debug)]
pub(crate) struct Mishap<'m> {
    /// See [`moment`].
    pub(crate) moment: &'m str,
    pub(crate) why: &'m str,
    /// Where it lies now; `None` if it was gone.
    pub(crate) aside: Option<&'m Path>,
    pub(crate) salvaged: &'m Salvaged,
    /// Files among the messages that belong to none.
    pub(crate) strays: &'m [String],
}

/// How files of this time are called.
pub(crate) fn moment(now: Timestamp) -> String {
    now.to_zoned(TimeZone::UTC).strftime(MOMENT).to_string()
}

/// Where the text of this moment is.
pub(crate) fn text(folder: &Path, moment: &str) -> PathBuf {
    folder.join(format!("damage-{moment}.txt"))
}

impl Mishap<'_> {
    /// Writes the text, durably. Tells where.
    pub(crate) fn write(&self, folder: &Path) -> Result<PathBuf, QueueError> {
        let path = text(folder, self.moment);
        let mut text = format!("{}\n", self.summary());
        text.push_str(
            "\nAs long as this text is here `mailstead status` tells of it, and no file in messages/ is removed that was there before. Remove it, and \
             the database that was set aside, when you need them no more.\n",
        );
        let held = self.salvaged.held.iter().map(Named::to_string);
        section(
            &mut text,
            "Held, since not all is known of them; look at each by `mailstead queue show ID`, then `mailstead queue release ID` or `remove ID`:",
            held,
        );
        let lacking = self.salvaged.lacking.iter().map(Named::to_string);
        section(&mut text, "Queued for these, but other recipients may be lost:", lacking);
        let lost = self.salvaged.lost.values().map(Named::to_string);
        section(
            &mut text,
            "Lost; their senders should know. `sqlite3 FILE .recover` may find more of them in the database that was set aside:",
            lost,
        );
        section(
            &mut text,
            "Files in messages/ that belong to no message in the queue, some of which may have been sent:",
            self.strays.iter().cloned(),
        );
        let write = || {
            let mut file = private_file().write(true).create(true).truncate(true).open(&path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            File::open(folder)?.sync_all()
        };
        write().map_err(QueueError::io("writing", &path))?;
        Ok(path)
    }

    /// One line.
    pub(crate) fn summary(&self) -> String {
        let Salvaged { taken, lacking, held, lost } = self.salvaged;
        let place = self
            .aside
            .map_or_else(|| "was gone".to_owned(), |path| format!("is set aside as {}", path.display()));
        format!(
            "the queue's database {place} ({}) and was made anew: {taken} messages were taken over ({} of them may lack recipients), {} are held \
             since not all is known of them, {} are lost, {} files in messages/ belong to no message",
            self.why,
            lacking.len(),
            held.len(),
            lost.len(),
            self.strays.len()
        )
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} from <{}> to {}", self.id, self.sender, self.recipients.join(", "))
    }
}

fn section(text: &mut String, heading: &str, lines: impl Iterator<Item = String>) {
    for (number, line) in lines.take(MAX_LINES).enumerate() {
        if number == 0 {
            let _ = write!(text, "\n{heading}\n");
        }
        // What was damaged may hold anything.
        let line: String = line.chars().map(|it| if it.is_control() { '?' } else { it }).collect();
        let _ = writeln!(text, "  {line}");
    }
}

/// The texts that are there, and their times.
fn texts(folder: &Path) -> Result<Vec<(Timestamp, PathBuf)>, QueueError> {
    let failed = || QueueError::io("reading", folder);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(moment) = name.strip_prefix("damage-").and_then(|rest| rest.strip_suffix(".txt")) {
            // Of another time only if somebody renamed it.
            let at =
                jiff::civil::DateTime::strptime(MOMENT, moment).and_then(|it| it.to_zoned(TimeZone::UTC));
            found.push((at.map_or(Timestamp::MAX, |at| at.timestamp()), entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// What operators are told.
pub(crate) fn notices(folder: &Path) -> Result<Vec<Notice>, QueueError> {
    let told = texts(folder)?.into_iter().map(|(since, path)| {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let summary = text.lines().next().unwrap_or_default();
        let text = format!("{summary}; {} says more, remove it when you need it no more", path.display());
        Notice { subject: "damaged queue.sqlite".to_owned(), text, since }
    });
    Ok(told.collect())
}

/// True if a file of this name may be a message that the queue knew before it was damaged the last time.
pub(crate) fn may_be_known(folder: &Path, id: &QueueId) -> Result<bool, QueueError> {
    let last = texts(folder)?.pop().map(|(at, _)| at);
    // The second that its name is of isn't over when it is written.
    Ok(last.is_some_and(|last| id.moment().is_none_or(|moment| moment.as_second() <= last.as_second())))
}
