//! A session: in which state it is, and what each command does in it. It never touches the socket; it may call the store,
//! so it runs off the async threads.

use std::fmt;
use std::sync::Arc;

use imap_proto::{AppendRequest, Command, Request, SearchKey, Tag, quoted};
use mail_store::{Account, StoreError};
use mail_types::{MailboxName, ModSeq};
use tracing::error;

use crate::access::namespaces;
use crate::annotations::Annotations;
use crate::answer::{Failure, Output, Status};
use crate::command::fetch::FetchJob;
use crate::command::fetch::Request as FetchRequest;
use crate::command::quota::Owner;
use crate::command::select::Wanted;
use crate::command::{
    acl, copy, esearch, expunge, fetch, list, mailbox, metadata, notify, quota, search, select, sort, store,
    thread,
};
use crate::filters;
use crate::mod_seqs::{Enabled, asks_for_mod_seqs};
use crate::notify::{Notify, SelectedEvents};
use crate::selected::SelectedMailbox;
use crate::text::{RespText, Text};

/// RFC 3501 §3.
#[derive(Debug)]
pub(crate) enum State {
    NotAuthenticated,
    Authenticated(Arc<Account>),
    Selected(Arc<Account>, Box<SelectedMailbox>),
}

/// Said when the selected mailbox was deleted or renamed by somebody else; the client's view of it means nothing any more.
pub(crate) const LOST: Text = Text::MailboxLost;

/// In which states a command is legal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AllowedIn {
    Any,
    NotAuthenticated,
    Authenticated,
    Selected,
}

impl AllowedIn {
    /// RFC 3501 §6. IDLE before SELECT is legal too (RFC 2177 §3).
    pub(crate) const fn of(command: &Command) -> Self {
        match command {
            Command::Capability | Command::Noop | Command::Logout | Command::Id(_) | Command::Language(_) => {
                Self::Any
            }
            Command::StartTls | Command::Authenticate { .. } | Command::Login { .. } => {
                Self::NotAuthenticated
            }
            Command::Enable(_)
            | Command::Select(..)
            | Command::Examine(..)
            | Command::Create(..)
            | Command::Delete(_)
            | Command::Rename(..)
            | Command::Subscribe(_)
            | Command::Unsubscribe(_)
            | Command::List(_)
            | Command::Lsub(..)
            | Command::XList(..)
            | Command::Unauthenticate
            | Command::Namespace
            | Command::Notify(_)
            | Command::Status(..)
            | Command::GetQuota(_)
            | Command::GetQuotaRoot(_)
            | Command::SetQuota(..)
            | Command::GetMetadata(..)
            | Command::SetMetadata(..)
            | Command::SetAcl(..)
            | Command::DeleteAcl(..)
            | Command::GetAcl(_)
            | Command::ListRights(..)
            | Command::MyRights(_)
            | Command::Esearch(..)
            | Command::Append(AppendRequest { replaces: None, .. })
            | Command::Compress
            | Command::Idle => Self::Authenticated,
            Command::Append(AppendRequest { replaces: Some(_), .. })
            | Command::Check
            | Command::Close
            | Command::Unselect
            | Command::Expunge
            | Command::UidExpunge(_)
            | Command::Search(_)
            | Command::CancelUpdate(_)
            | Command::Sort(..)
            | Command::Thread(..)
            | Command::Fetch(..)
            | Command::Store { .. }
            | Command::Copy(..)
            | Command::Move(..) => Self::Selected,
        }
    }

    const fn holds(self, state: &State) -> bool {
        match self {
            Self::Any => true,
            Self::NotAuthenticated => matches!(state, State::NotAuthenticated),
            Self::Authenticated => !matches!(state, State::NotAuthenticated),
            Self::Selected => matches!(state, State::Selected(..)),
        }
    }
}

/// How far a command came.
#[derive(Debug)]
pub(crate) enum Progress {
    /// It is answered.
    Done,
    /// It is answered BAD.
    Bad,
    /// Send what there is, then call [`Session::go_on`].
    Fetching(Box<FetchJob>),
    /// It is answered, and so is that the selected mailbox is no more: close the connection.
    Lost,
}

/// What a command comes to that goes well.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It is done; this stands in the tagged answer.
    Whole(RespText),
    /// Messages are to be told of first.
    Fetching(Box<FetchJob>),
}

/// One client's session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) state: State,
    /// Whose it is, after login.
    pub(crate) owner: Option<Arc<Owner>>,
    pub(crate) enabled: Enabled,
    /// What it was told of annotations, if it wants that.
    pub(crate) annotations: Option<Box<Annotations>>,
    /// What it hears of the mailbox that it selects.
    pub(crate) events: SelectedEvents,
    /// What it hears of others.
    pub(crate) notify: Option<Box<Notify>>,
    /// New messages that it is being told of without having asked.
    pub(crate) arriving: Option<Box<FetchJob>>,
}

impl Session {
    pub(crate) fn new() -> Self {
        Self {
            state: State::NotAuthenticated,
            owner: None,
            enabled: Enabled::new(),
            annotations: None,
            events: SelectedEvents::standard(),
            notify: None,
            arriving: None,
        }
    }

    /// The account, after login.
    pub(crate) fn account(&self) -> Result<&Arc<Account>, Failure> {
        match &self.state {
            State::NotAuthenticated => Err(Failure::bad(Text::LogInFirst)),
            State::Authenticated(account) | State::Selected(account, _) => Ok(account),
        }
    }

    /// The selected mailbox.
    pub(crate) fn selected(&mut self) -> Result<&mut SelectedMailbox, Failure> {
        match &mut self.state {
            State::Selected(_, selected) => Ok(selected),
            State::NotAuthenticated | State::Authenticated(_) => Err(Failure::bad(Text::SelectFirst)),
        }
    }

    /// Leaves the selected mailbox; true if there was one.
    pub(crate) fn unselect(&mut self) -> bool {
        let State::Selected(account, selected) = &self.state else { return false };
        if let Some(notify) = &mut self.notify {
            notify.left(selected.name(), selected.mailbox().uid_validity(), selected.now());
        }
        self.state = State::Authenticated(Arc::clone(account));
        true
    }

    /// A mailbox's name as the client reads it, in quotes.
    pub(crate) fn shown(&self, name: &MailboxName) -> String {
        quoted(&self.wire_name(name))
    }

    /// The same without the quotes.
    pub(crate) fn wire_name(&self, name: &MailboxName) -> String {
        if self.enabled.utf8 { name.as_str().to_owned() } else { name.to_mutf7() }
    }

    /// True if `command` is legal now.
    pub(crate) fn allows(&self, command: &Command) -> bool {
        AllowedIn::of(command).holds(&self.state)
    }

    /// Performs a command that needs the store, and answers it. `now` is in seconds since 1970. Blocks.
    pub(crate) fn handle(&mut self, request: Request, now: i64, out: &mut Output) -> Progress {
        let Request { tag, mut command } = request;
        if let State::Selected(_, selected) = &mut self.state
            && let Err(StoreError::NoSuchMailbox(_)) = selected.look_at_others_rights(out)
        {
            out.say(Status::Bye, LOST);
            return Progress::Lost;
        }
        if let Err(failure) = filters::put_in(self, &mut command) {
            return self.finish(&tag, Err(failure), self.enabled.uid_only, out);
        }
        let allow_expunge = self.enabled.uid_only || may_expunge(&command);
        if asks_for_mod_seqs(&command) {
            self.enabled.condstore = true;
            self.tell_enabled(out);
        }
        match self.begin(&tag, command, now, out) {
            Ok(Answer::Fetching(job)) => self.go_on(*job, out),
            Ok(Answer::Whole(text)) => self.finish(&tag, Ok(text), allow_expunge, out),
            Err(failure) => self.finish(&tag, Err(failure), allow_expunge, out),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "all other commands are placed in `perform`")]
    fn begin(&mut self, tag: &Tag, command: Command, now: i64, out: &mut Output) -> Result<Answer, Failure> {
        match command {
            Command::Fetch(set, items, modifiers) => {
                let request = FetchRequest { set, items, modifiers };
                let job = FetchJob::start(tag.clone(), self.selected()?, request, out)?;
                Ok(Answer::Fetching(Box::new(job)))
            }
            Command::Select(name, params) => {
                select::select(self, tag, &Wanted { name: &name, params: &params, read_only: false }, out)
            }
            Command::Examine(name, params) => {
                select::select(self, tag, &Wanted { name: &name, params: &params, read_only: true }, out)
            }
            command => self.perform(tag, command, now, out).map(Answer::Whole),
        }
    }

    /// The selected mailbox learns what the client understands now.
    fn tell_enabled(&mut self, out: &mut Output) {
        if let State::Selected(_, selected) = &mut self.state {
            selected.enable(self.enabled, out);
        }
    }

    /// RFC 5161 §3.1.
    fn enable(&mut self, names: &[String], out: &mut Output) -> RespText {
        let enabled = self.enabled.enable(names);
        out.text(format_args!("* ENABLED"));
        enabled.iter().for_each(|name| out.text(format_args!(" {name}")));
        out.octets(b"\r\n");
        self.tell_enabled(out);
        self.attend_to_metadata();
        Text::Done.into()
    }

    /// The next part of a FETCH. Blocks.
    pub(crate) fn go_on(&mut self, mut job: FetchJob, out: &mut Output) -> Progress {
        let result = match self.selected().map(|selected| fetch::step(&mut job, selected, out)) {
            Ok(false) => return Progress::Fetching(Box::new(job)),
            Ok(true) => job.result(),
            Err(failure) => Err(failure),
        };
        match job.take_tag() {
            Some(tag) => self.finish(&tag, result, job.by_uid(), out),
            None => Progress::Done,
        }
    }

    /// Tells what changed meanwhile, then ends the command. What the command did is done, whatever comes of the telling.
    pub(crate) fn finish(
        &mut self,
        tag: &impl fmt::Display,
        result: Result<RespText, Failure>,
        allow_expunge: bool,
        out: &mut Output,
    ) -> Progress {
        let told = self.tell_changes(allow_expunge, out);
        let mod_seq = self.tell_mod_seq(out);
        if let State::Selected(_, selected) = &mut self.state {
            selected.answered();
        }
        let with_mod_seq = |text: RespText| match mod_seq {
            Some(mod_seq) => text.or_coded(|| format!("HIGHESTMODSEQ {mod_seq}")),
            None => text,
        };
        let result = result.map(with_mod_seq);
        out.complete(tag, &result);
        match told {
            Ok(()) if matches!(result, Err(Failure::Bad(_))) => Progress::Bad,
            Ok(()) => Progress::Done,
            Err(StoreError::NoSuchMailbox(_)) => {
                out.say(Status::Bye, LOST);
                Progress::Lost
            }
            Err(error) => {
                error!(%error, "changes in the selected mailbox can't be told");
                Progress::Done
            }
        }
    }

    /// Looks for changes in the selected mailbox and tells them. Blocks.
    pub(crate) fn tell_changes(&mut self, allow_expunge: bool, out: &mut Output) -> Result<(), StoreError> {
        self.tell_metadata(out);
        match &mut self.state {
            State::Selected(_, selected) => selected.sync(allow_expunge, out),
            State::NotAuthenticated | State::Authenticated(_) => Ok(()),
        }
    }

    /// A command ends: sees to it that the client reckons with the right mod-sequence. What belongs into the tagged answer comes
    /// back.
    pub(crate) fn tell_mod_seq(&mut self, out: &mut Output) -> Option<ModSeq> {
        match &mut self.state {
            State::Selected(_, selected) => selected.complete_mod_seq(out),
            State::NotAuthenticated | State::Authenticated(_) => None,
        }
    }

    fn perform(
        &mut self,
        tag: &Tag,
        mut command: Command,
        now: i64,
        out: &mut Output,
    ) -> Result<RespText, Failure> {
        for name in command.mailboxes_mut() {
            *name = mailbox::resolved(self, name)?;
        }
        match command {
            Command::Noop | Command::Check => Ok(Text::Done.into()),
            Command::Enable(names) => Ok(self.enable(&names, out)),
            Command::Close => select::close(self),
            Command::Unselect => {
                self.unselect();
                Ok(Text::MailboxUnselected.into())
            }
            Command::Create(name, uses) => mailbox::create(self, name, &uses, out),
            Command::Delete(name) => mailbox::delete(self, &name, out),
            Command::Rename(from, to) => mailbox::rename(self, &from, &to, out),
            Command::Subscribe(name) => mailbox::subscribe(self, &name, true),
            Command::Unsubscribe(name) => mailbox::subscribe(self, &name, false),
            Command::List(request) => list::list(self, &request, out),
            Command::Lsub(reference, pattern) => list::lsub(self, &reference, &pattern, out),
            Command::XList(reference, pattern) => list::xlist(self, &reference, &pattern, out),
            Command::Notify(request) => notify::notify(self, request, out),
            Command::Namespace => {
                out.line(namespaces(out.language()));
                Ok(Text::Done.into())
            }
            Command::Status(name, items) => mailbox::status(self, &name, &items, out),
            Command::GetQuota(root) => quota::get_quota(self, &root, out),
            Command::GetQuotaRoot(name) => quota::get_quota_root(self, &name, out),
            Command::SetQuota(..) => quota::set_quota(),
            Command::GetMetadata(of, options, entries) => {
                metadata::get_metadata(self, of.as_ref(), options, &entries, out)
            }
            Command::SetMetadata(of, changes) => metadata::set_metadata(self, of.as_ref(), &changes),
            Command::SetAcl(name, identifier, change) => acl::set_acl(self, &name, &identifier, change),
            Command::DeleteAcl(name, identifier) => acl::delete_acl(self, &name, &identifier),
            Command::GetAcl(name) => acl::get_acl(self, &name, out),
            Command::ListRights(name, identifier) => acl::list_rights(self, &name, &identifier, out),
            Command::MyRights(name) => acl::my_rights(self, &name, out),
            Command::Expunge => expunge::expunge(self, None),
            Command::UidExpunge(set) => expunge::expunge(self, Some(&set)),
            Command::Search(request) => search::search(self, tag, &request, now, out),
            Command::Esearch(sources, request) => esearch::esearch(self, tag, &sources, request, now, out),
            Command::CancelUpdate(tags) => {
                self.selected()?.contexts_mut().cancel(&tags);
                Ok(Text::NoFurtherUpdates.into())
            }
            Command::Sort(criteria, request) => sort::sort(self, tag, &criteria, &request, now, out),
            Command::Thread(algorithm, request) => thread::thread(self, algorithm, &request, now, out),
            Command::Store { set, unchanged_since, mode, silent, flags } => {
                let change = store::change(mode, flags);
                store::store(self, &set, &store::Wanted { change, unchanged_since, silent }, out)
            }
            Command::Copy(set, target) => copy::copy(self, &set, &target, out),
            Command::Move(set, target) => copy::move_to(self, &set, &target, out),
            Command::Capability
            | Command::Logout
            | Command::Id(_)
            | Command::Language(_)
            | Command::StartTls
            | Command::Authenticate { .. }
            | Command::Login { .. }
            | Command::Append(_)
            | Command::Idle
            | Command::Compress
            | Command::Unauthenticate
            | Command::Select(..)
            | Command::Examine(..)
            | Command::Fetch(..) => Err(Failure::bad(Text::NotNow)),
        }
    }
}

/// RFC 3501 §7.4.1: FETCH, STORE and SEARCH by sequence number must not see them move, nor UID SEARCH with such in its keys
/// (RFC 7162 §3.2.10.2).
#[expect(clippy::wildcard_enum_match_arm, reason = "the standard names the exceptions")]
fn may_expunge(command: &Command) -> bool {
    match command {
        Command::Fetch(set, ..) | Command::Store { set, .. } => set.is_uid(),
        Command::Search(request) | Command::Sort(_, request) | Command::Thread(_, request) => {
            request.uid && !request.key.any(&|key| matches!(key, SearchKey::Seq(_)))
        }
        _ => true,
    }
}
