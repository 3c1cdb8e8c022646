//! A whole message goes to the milters, and comes back as they want it.

use mail_types::Address;
use milter_proto::{Change, Command, MAX_BODY, Reply as Answer, Stage, Steps};
use smtp_proto::{Reply, ReversePath};
use tracing::{info, warn};

use super::body::{NewBody, Position};
use super::{Facts, Filter, Mail, MilterError, Milters, Said, Standing, Step, settle};

/// Changes of one milter that are noted before they are made.
const MAX_CHANGES: usize = 10_000;

/// What milters have made of a message, apart from its text.
#[derive(Debug, Default)]
pub(crate) struct Ruled {
    /// Why it is refused.
    pub(crate) refusal: Option<Reply>,
    /// Said to be taken, and thrown away.
    pub(crate) is_discarded: bool,
    /// Which milter says that it is junk.
    pub(crate) junk: Option<String>,
    /// Which milter wants it to be put aside, and why.
    pub(crate) quarantine: Option<(String, String)>,
    /// Another reverse path.
    pub(crate) from: Option<ReversePath>,
    pub(crate) added: Vec<Address>,
    pub(crate) deleted: Vec<Address>,
    /// The text has been changed.
    pub(crate) is_changed: bool,
}

impl Ruled {
    /// Sender or recipients are others.
    pub(crate) const fn changes_transaction(&self) -> bool {
        self.from.is_some() || !self.added.is_empty() || !self.deleted.is_empty()
    }
}

impl Milters {
    /// Shows them the message, one after the other.
    pub(crate) async fn message(&mut self, mail: &mut Mail, facts: &Facts) -> Ruled {
        let mut ruled = Ruled::default();
        let (folder, max_size) = (self.folder.clone(), self.max_size);
        for filter in self.filters.iter_mut().filter(|filter| filter.standing == Standing::Asked) {
            if self.discards {
                break;
            }
            let mut changes = Changes { list: Vec::new(), body: None };
            let new_body = || NewBody::new(&folder);
            let asked = filter.content(mail, facts, &mut changes, new_body, max_size).await;
            let is_final = matches!(asked, Ok(Said::GoOn | Said::Accept));
            ruled.refusal = settle(&mut self.discards, filter, asked);
            if ruled.refusal.is_some() {
                return ruled;
            }
            if is_final && !changes.make(filter, mail, &mut ruled) {
                ruled.refusal = filter.fail(&MilterError::TooBig);
            }
        }
        ruled.is_discarded = self.discards;
        ruled
    }
}

/// What a milter wants to change. It is done once the milter has said its last word.
#[derive(Debug)]
struct Changes {
    list: Vec<Change>,
    body: Option<NewBody>,
}

impl Changes {
    /// False if the header would get too long.
    fn make(self, filter: &Filter, mail: &mut Mail, ruled: &mut Ruled) -> bool {
        let has_space = filter.has_space();
        ruled.is_changed |= !self.list.is_empty() || self.body.is_some();
        if let Some(body) = self.body {
            mail.replace_body(body.finish());
        }
        for change in &self.list {
            match change {
                Change::AddHeader { name, value }
                | Change::InsertHeader { name, value, .. }
                | Change::ChangeHeader { name, value, .. } => {
                    if filter.says_junk(name, value) {
                        ruled.junk = Some(filter.config.name.clone());
                    }
                    if !mail.change(change, has_space) {
                        return false;
                    }
                }
                Change::AddRecipient(text) => ruled.added.extend(path(text).flatten()),
                Change::DeleteRecipient(text) => ruled.deleted.extend(path(text).flatten()),
                Change::ChangeFrom(text) => ruled.from = path(text).or(ruled.from.take()),
                Change::Quarantine(reason) => {
                    info!(milter = filter.config.name, reason, "a milter has the message put aside");
                    ruled.quarantine = Some((filter.config.name.clone(), reason.clone()));
                }
                Change::Body(_) => {}
            }
        }
        true
    }
}

/// `<a@b.c>`, `a@b.c` or `<>`.
fn path(text: &[u8]) -> Option<ReversePath> {
    let text = String::from_utf8_lossy(text);
    let inner = text.trim();
    let inner = inner.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(inner);
    if inner.is_empty() {
        return Some(None);
    }
    let parsed =
        inner.parse().inspect_err(|error| warn!(address = inner, %error, "a milter gives no address"));
    parsed.ok().map(Some)
}

impl Filter {
    /// Sends the message, and takes what comes back.
    async fn content(
        &mut self,
        mail: &Mail,
        facts: &Facts,
        changes: &mut Changes,
        new_body: impl Fn() -> NewBody,
        max_size: u64,
    ) -> Result<Said, MilterError> {
        let said = self.send_header(mail, facts).await?;
        if said != Said::GoOn {
            return Ok(said);
        }
        let said = self.send_body(mail).await?;
        if !matches!(said, Said::GoOn | Said::Skip) {
            return Ok(said);
        }
        let patience = self.config.content_timeout;
        let link = self.link.as_mut().ok_or(MilterError::Lost)?;
        let values = facts.macros(&link.offer, Stage::EndOfMessage, None);
        link.say(Command::Macros { stage: Stage::EndOfMessage, values: &values }).await?;
        link.say(Command::EndOfMessage).await?;
        loop {
            match link.reply(patience).await? {
                Answer::Progress => {}
                Answer::Change(Change::Body(piece)) => {
                    let body = changes.body.take().unwrap_or_else(&new_body).add(&piece).await?;
                    if body.size() > max_size {
                        return Err(MilterError::TooBig);
                    }
                    changes.body = Some(body);
                }
                Answer::Change(change) => {
                    changes.list.push(change);
                    if changes.list.len() > MAX_CHANGES {
                        return Err(MilterError::TooBig);
                    }
                }
                last @ (Answer::Continue
                | Answer::Accept
                | Answer::Discard
                | Answer::Reject
                | Answer::TempFail
                | Answer::ReplyCode(_)
                | Answer::Shutdown
                | Answer::ConnectionFailed
                | Answer::Skip
                | Answer::Negotiated(_)) => {
                    // It has heard the end of it.
                    self.standing = Standing::Idle;
                    return Said::of(last);
                }
            }
        }
    }

    async fn send_header(&mut self, mail: &Mail, facts: &Facts) -> Result<Said, MilterError> {
        let has_space = self.has_space();
        let link = self.link.as_mut().ok_or(MilterError::Lost)?;
        let steps = link.offer.steps;
        if !steps.contains(Steps::NO_HEADERS) {
            for (name, value) in mail.fields(has_space) {
                let header = Command::Header { name, value: &value };
                let said = Said::of(link.ask(header, steps.contains(Steps::SILENT_HEADER)).await?)?;
                if said != Said::GoOn {
                    return Ok(said);
                }
            }
        }
        let step = Step::new(Stage::EndOfHeader, Steps::NO_EOH, Steps::SILENT_EOH);
        self.step(facts, None, step, Command::EndOfHeader).await
    }

    async fn send_body(&mut self, mail: &Mail) -> Result<Said, MilterError> {
        let link = self.link.as_mut().ok_or(MilterError::Lost)?;
        let steps = link.offer.steps;
        if steps.contains(Steps::NO_BODY) {
            return Ok(Said::GoOn);
        }
        let mut position = Position::Start;
        while let Some((block, next)) = mail.body.next(position).await? {
            for piece in block.chunks(MAX_BODY) {
                let answer = link.ask(Command::Body(piece), steps.contains(Steps::SILENT_BODY)).await?;
                let said = Said::of(answer)?;
                if said != Said::GoOn {
                    return Ok(said);
                }
            }
            position = next;
        }
        Ok(Said::GoOn)
    }

    fn has_space(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.offer.steps.contains(Steps::LEADING_SPACE))
    }

    /// True if this header field says that the message is junk.
    fn says_junk(&self, name: &[u8], value: &[u8]) -> bool {
        let value = value.trim_ascii();
        self.config.junk.iter().any(|(known, begins)| {
            let start = value.get(..begins.len()).unwrap_or_default();
            known.as_bytes().eq_ignore_ascii_case(name) && begins.as_bytes().eq_ignore_ascii_case(start)
        })
    }
}
