//! What the files themselves say of messages new to the index.

use std::os::unix::fs::MetadataExt as _;
use std::sync::mpsc::sync_channel;

use super::listing::Seen;
use crate::error::{IoContext as _, StoreError};
use crate::message_file::bare_lfs;
use crate::names::{self, FileName};

/// From so many files on they are looked at beside the work on the index, by so many threads, so many files at a time.
const MANY: usize = 1024;
const THREADS: usize = 4;
const CHUNK: usize = 256;
/// How many of these a thread may be ahead.
const AHEAD: usize = 4;

/// Date in seconds since the epoch, and octets on the wire.
pub(super) type Measure = (i64, u64);

/// Measures files and hands them on in their order, with what they were found by; without a measure those that are gone.
pub(super) fn each<C: Copy + Sync>(
    files: &[(C, Seen)],
    mut take: impl FnMut(C, &Seen, Option<Measure>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    if files.len() < MANY {
        return files.iter().try_for_each(|(claim, file)| take(*claim, file, measure(file)?));
    }
    std::thread::scope(|scope| {
        let begin = |number| {
            let (measured, receiver) = sync_channel(AHEAD);
            scope.spawn(move || {
                for chunk in files.chunks(CHUNK).skip(number).step_by(THREADS) {
                    let all: Vec<_> = chunk.iter().map(|(_, file)| measure(file)).collect();
                    if measured.send(all).is_err() {
                        break; // the work was given up
                    }
                }
            });
            receiver
        };
        let receivers: Vec<_> = (0..THREADS).map(begin).collect();
        for (chunk, receiver) in files.chunks(CHUNK).zip(receivers.iter().cycle()) {
            let Ok(all) = receiver.recv() else { break }; // the thread panicked, and so will the scope
            for ((claim, file), measured) in chunk.iter().zip(all) {
                take(*claim, file, measured?)?;
            }
        }
        Ok(())
    })
}

/// Date and octets on the wire; `None` if the file is gone.
fn measure(file: &Seen) -> Result<Option<Measure>, StoreError> {
    let path = file.path();
    let data = match std::fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        result => result.context("looking at", &path)?,
    };
    let name = FileName::parse(&file.name);
    if data.len() == 0 {
        tracing::warn!(path = %path.display(), "a message is empty: its content was lost or never written");
    }
    // S= and W= are trusted only together with the true size, and without W= only we vouch for CRLF.
    let wire = match name.size {
        Some(size) if size == data.len() && (name.wire.is_some() || names::is_ours(&name.base)) => {
            name.wire.unwrap_or(size)
        }
        _ => match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Ok(content) => content.len() as u64 + bare_lfs(&content, 0),
            Err(error) => {
                // It hides no other mail: it is shown, and whoever fetches it is told that it can't be read.
                tracing::error!(path = %path.display(), %error, "a message can't be read");
                data.len()
            }
        },
    };
    Ok(Some((data.mtime(), wire)))
}
