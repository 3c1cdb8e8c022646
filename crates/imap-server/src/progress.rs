//! How far a command has come that takes long. RFC 9585.

use std::io;
use std::sync::Arc;

use mail_store::Meter;
use tokio::time::timeout;

use crate::answer::{Output, Status};
use crate::connection::Client;
use crate::session::Session;
use crate::text::{RespText, Text};

/// How far the command is.
fn in_progress(tag: &str, (done, goal): (u32, u32)) -> RespText {
    // RFC 3501 §9, `resp-text-code`: what holds a bracket may be misread as its end.
    if tag.contains([']', '"', '\\']) {
        return Text::StillAtWork.coded("INPROGRESS");
    }
    if goal == 0 {
        return Text::StillAtWork.coded_as(format!("INPROGRESS (\"{tag}\" NIL NIL)"));
    }
    // RFC 9585 §4: less than the goal as long as the command runs.
    let done = done.min(goal.saturating_sub(1));
    let percent = u64::from(done) * 100 / u64::from(goal);
    Text::WorkDone { percent }.coded_as(format!("INPROGRESS (\"{tag}\" {done} {goal})"))
}

impl Client {
    /// Does a command's work with the session off the async threads, and tells now and then how far it is.
    pub(crate) async fn command<T: Send + 'static>(
        &mut self,
        tag: &str,
        work: impl FnOnce(&mut Session, &mut Output) -> T + Send + 'static,
    ) -> io::Result<(T, Output)> {
        let (every, is_told) = (self.shared.config.imap.progress_interval, !self.is_hidden("INPROGRESS"));
        let meter = Arc::new(Meter::default());
        let counted = Arc::clone(&meter);
        let mut work = self.begin_work(Output::new(self.language), move |session, out| {
            counted.during(|| work(session, out))
        })?;
        loop {
            match timeout(every, &mut work).await {
                Ok(done) => return self.end_work(done),
                Err(_) if is_told => self.say("*", Status::Ok, in_progress(tag, meter.reading())).await?,
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use imap_proto::Language;

    use super::in_progress;

    #[test]
    fn progress_is_told_as_far_as_it_is_known() {
        for (tag, reading, expected) in [
            ("A1", (0, 0), "[INPROGRESS (\"A1\" NIL NIL)] Still at work"),
            ("A1", (454, 1000), "[INPROGRESS (\"A1\" 454 1000)] 45 % done"),
            ("A1", (1000, 1000), "[INPROGRESS (\"A1\" 999 1000)] 99 % done"),
            ("A1", (7, 1), "[INPROGRESS (\"A1\" 0 1)] 0 % done"),
            ("A]1", (454, 1000), "[INPROGRESS] Still at work"),
        ] {
            assert_eq!(in_progress(tag, reading).within(Language::Unchosen).to_string(), expected);
        }
    }
}
