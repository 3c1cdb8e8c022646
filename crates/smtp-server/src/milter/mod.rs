//! Filters that are asked about mail by Sendmail's milter protocol, in the order of the config, as Postfix asks those in `smtpd_milters`.
//!
//! They are told of a client before it is greeted, and of what it says as it says it: so one can refuse a connection, or a name. They get
//! a message when it is whole, as it will be stored, but without the fields that we put before it; each sees what those before it have
//! changed. One that can't be asked when a client comes is asked anew when a message begins.

mod body;
mod content;
mod dialogue;
mod facts;
mod link;
mod mail;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mail_config::{Config, Milter, MilterDefault, SmtpRole};
use milter_proto::{Command, Family, Reply as Answer, Stage, Steps};
use smtp_proto::Reply;
use tracing::{debug, info, warn};

pub(crate) use body::Body;
pub(crate) use content::Ruled;
pub(crate) use facts::{Facts, RecipientFacts, Tls};
use link::Link;
pub(crate) use link::MilterError;
pub(crate) use mail::Mail;

/// How long the end of a connection may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// The filters of one connection.
#[derive(Debug)]
pub(crate) struct Milters {
    filters: Vec<Filter>,
    /// One of them wants this message to be thrown away.
    pub(crate) discards: bool,
    /// One of them has refused what the client has just said.
    pub(crate) has_refused: bool,
    /// Where bodies lie that they send.
    folder: PathBuf,
    /// Octets of those at most.
    max_size: u64,
}

/// What milters say to a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ruling {
    GoOn,
    Refuse(Reply),
}

/// One of them.
#[derive(Debug)]
struct Filter {
    config: Arc<Milter>,
    /// `None` while it was not asked, and once it can't be.
    link: Option<Link>,
    standing: Standing,
    /// It was told who has connected.
    knows_client: bool,
    /// What it was told of the client's greeting: how that calls itself, and whether under TLS.
    told: Option<(String, bool)>,
}

/// What a filter has to do with the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// There is none.
    Idle,
    /// It is asked.
    Asked,
    /// It has seen enough of it.
    Content,
    /// It wants to hear nothing of this client.
    ContentForGood,
}

/// What becomes of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    GoOn,
    Accept,
    Discard,
    /// It has seen enough of the body.
    Skip,
    Refuse(Reply),
}

impl Milters {
    /// Those of the config for listeners of this role; `None` if there are none.
    pub(crate) fn new(config: &Config, role: SmtpRole) -> Option<Self> {
        let is_meant = |milter: &&Milter| milter.roles.contains(&role);
        let filters: Vec<Filter> = config.smtp.milters.iter().filter(is_meant).map(Filter::new).collect();
        let (folder, max_size) = (config.data_dir.clone(), config.smtp.max_message_size);
        (!filters.is_empty()).then_some(Self {
            filters,
            discards: false,
            has_refused: false,
            folder,
            max_size,
        })
    }

    /// Somebody has connected.
    pub(crate) async fn connect(&mut self, facts: &Facts) -> Ruling {
        for filter in &mut self.filters {
            let said = Box::pin(filter.connect(facts)).await;
            if let Some(refusal) = filter.before_mail(said) {
                return Ruling::Refuse(refusal);
            }
        }
        Ruling::GoOn
    }

    /// The client has said who it is.
    pub(crate) async fn greet(&mut self, facts: &Facts) -> Ruling {
        for filter in self.filters.iter_mut().filter(|filter| filter.hears_of_client()) {
            filter.told = None;
            let said = Box::pin(filter.greet(facts)).await;
            if let Some(refusal) = filter.before_mail(said) {
                return Ruling::Refuse(refusal);
            }
        }
        Ruling::GoOn
    }

    /// The client has sent a line that is no command.
    pub(crate) async fn unknown(&mut self, line: &[u8]) -> Ruling {
        for filter in self.filters.iter_mut().filter(|filter| filter.hears_of_client()) {
            let said = filter.unknown(line).await;
            if let Some(refusal) = filter.before_mail(said) {
                return Ruling::Refuse(refusal);
            }
        }
        Ruling::GoOn
    }

    /// A message begins.
    pub(crate) async fn mail(&mut self, facts: &Facts) -> Ruling {
        self.discards = false;
        for filter in &mut self.filters {
            let said = Box::pin(filter.begin(facts)).await;
            if let Some(refusal) = settle(&mut self.discards, filter, said) {
                return Ruling::Refuse(refusal);
            }
        }
        Ruling::GoOn
    }

    /// Somebody is to get it.
    pub(crate) async fn recipient(&mut self, facts: &Facts, recipient: &RecipientFacts) -> Ruling {
        let mut arguments = vec![format!("<{}>", recipient.address)];
        arguments.extend(recipient.parameters.iter().cloned());
        for filter in self.filters.iter_mut().filter(|filter| filter.standing == Standing::Asked) {
            let step = Step::new(Stage::Rcpt, Steps::NO_RCPT, Steps::SILENT_RCPT);
            let said = filter.step(facts, Some(recipient), step, Command::Rcpt(&arguments)).await;
            if let Some(refusal) = settle(&mut self.discards, filter, said) {
                return Ruling::Refuse(refusal);
            }
        }
        Ruling::GoOn
    }

    /// Somebody does not get it, whatever they say: told to those who want to hear it.
    pub(crate) async fn refused_recipient(&mut self, facts: &Facts, recipient: &RecipientFacts) {
        let arguments = [format!("<{}>", recipient.address)];
        let wants = |filter: &&mut Filter| {
            let link = filter.link.as_ref().filter(|_| filter.standing == Standing::Asked);
            link.is_some_and(|link| link.offer.steps.contains(Steps::REFUSED_RCPT))
        };
        for filter in self.filters.iter_mut().filter(wants) {
            let step = Step::new(Stage::Rcpt, Steps::NO_RCPT, Steps::SILENT_RCPT);
            if let Err(error) = filter.step(facts, Some(recipient), step, Command::Rcpt(&arguments)).await {
                // Where that is a reason to refuse the message, the next step says so.
                debug!(milter = filter.config.name, %error, "a milter can't be told of a refused recipient");
            }
        }
    }

    /// Its data begin.
    pub(crate) async fn data(&mut self, facts: &Facts) -> Ruling {
        for filter in self.filters.iter_mut().filter(|filter| filter.standing == Standing::Asked) {
            let step = Step::new(Stage::Data, Steps::NO_DATA, Steps::SILENT_DATA);
            let said = filter.step(facts, None, step, Command::Data).await;
            if let Some(refusal) = settle(&mut self.discards, filter, said) {
                return Ruling::Refuse(refusal);
            }
        }
        Ruling::GoOn
    }

    /// The transaction is over, however it ended.
    pub(crate) async fn end(&mut self) {
        self.discards = false;
        for filter in &mut self.filters {
            filter.end().await;
        }
    }

    /// The connection is over.
    pub(crate) async fn quit(self) {
        for mut link in self.filters.into_iter().filter_map(|filter| filter.link) {
            if link.say(Command::Quit).await.is_ok() {
                let _ = link.flush(GOODBYE).await;
            }
        }
    }
}

/// Makes of what a filter says what becomes of the message: why it is refused, if it is.
fn settle(discards: &mut bool, filter: &mut Filter, said: Result<Said, MilterError>) -> Option<Reply> {
    match said {
        Ok(Said::GoOn | Said::Skip) => None,
        Ok(Said::Accept) => {
            filter.standing = Standing::Content;
            None
        }
        Ok(Said::Discard) => {
            *discards = true;
            filter.standing = Standing::Content;
            None
        }
        Ok(Said::Refuse(reply)) => {
            info!(milter = filter.config.name, %reply, "a milter refuses");
            Some(reply)
        }
        Err(error) => filter.fail(&error),
    }
}

/// A step of the dialogue that a filter may want to be left out.
#[derive(Debug, Clone, Copy)]
struct Step {
    stage: Stage,
    left_out: Steps,
    silent: Steps,
}

impl Step {
    const fn new(stage: Stage, left_out: Steps, silent: Steps) -> Self {
        Self { stage, left_out, silent }
    }
}

impl Filter {
    fn new(config: &Milter) -> Self {
        let (config, standing) = (Arc::new(config.clone()), Standing::Idle);
        Self { config, link: None, standing, knows_client: false, told: None }
    }

    /// True if it can be told more of the client.
    fn hears_of_client(&self) -> bool {
        self.link.is_some() && self.standing != Standing::ContentForGood
    }

    /// What comes of an answer to what is no part of a message: why the client is refused something. One that fails now may work when
    /// there is a message.
    fn before_mail(&mut self, said: Result<Said, MilterError>) -> Option<Reply> {
        match said {
            Ok(Said::Refuse(reply)) => {
                info!(milter = self.config.name, %reply, "a milter refuses");
                Some(reply)
            }
            Ok(Said::GoOn | Said::Accept | Said::Discard | Said::Skip) => None,
            Err(error) => {
                warn!(milter = self.config.name, %error, "a milter can't be asked");
                self.link = None;
                None
            }
        }
    }

    /// Tells it of the client, if that is news, and of the message. One that has left since the last message is asked anew, once.
    async fn begin(&mut self, facts: &Facts) -> Result<Said, MilterError> {
        if self.standing == Standing::ContentForGood {
            return Ok(Said::GoOn);
        }
        let was_open = self.link.is_some();
        match self.tell(facts).await {
            Err(MilterError::Io(error)) if was_open => {
                debug!(milter = self.config.name, %error, "a milter has left");
                self.link = None;
                self.tell(facts).await
            }
            said => said,
        }
    }

    async fn tell(&mut self, facts: &Facts) -> Result<Said, MilterError> {
        let mut said = self.connect(facts).await?;
        if said == Said::GoOn && self.standing != Standing::ContentForGood {
            said = self.greet(facts).await?;
        }
        if self.standing == Standing::ContentForGood {
            return Ok(Said::GoOn);
        }
        if matches!(said, Said::Refuse(_)) {
            // It knows this client no further: the next message asks again.
            self.link = None;
            return Ok(said);
        }
        self.standing = Standing::Asked;
        let sender = facts.sender.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut arguments = vec![format!("<{sender}>")];
        arguments.extend(facts.parameters.iter().cloned());
        let step = Step::new(Stage::Mail, Steps::NO_MAIL, Steps::SILENT_MAIL);
        self.step(facts, None, step, Command::Mail(&arguments)).await
    }

    /// Tells it who has connected, unless it knows.
    async fn connect(&mut self, facts: &Facts) -> Result<Said, MilterError> {
        if self.link.is_none() {
            self.link = Some(Link::open(&self.config).await?);
            (self.knows_client, self.told) = (false, None);
        }
        if self.knows_client {
            return Ok(Said::GoOn);
        }
        let ip = facts.peer.ip().to_canonical();
        let connect = Command::Connect {
            name: facts.client_name(),
            family: if ip.is_ipv4() { Family::Inet } else { Family::Inet6 },
            port: facts.peer.port(),
            address: &ip.to_string(),
        };
        let step = Step::new(Stage::Connect, Steps::NO_CONNECT, Steps::SILENT_CONNECT);
        let said = self.step(facts, None, step, connect).await?;
        self.knows_client = true;
        Ok(self.of_client(said))
    }

    /// Tells it how the client calls itself, unless it knows.
    async fn greet(&mut self, facts: &Facts) -> Result<Said, MilterError> {
        let about = (facts.helo.clone(), facts.tls.is_some());
        if self.told.as_ref() == Some(&about) {
            return Ok(Said::GoOn);
        }
        let step = Step::new(Stage::Helo, Steps::NO_HELO, Steps::SILENT_HELO);
        let said = self.step(facts, None, step, Command::Helo(&facts.helo)).await?;
        let said = self.of_client(said);
        self.told = (said == Said::GoOn).then_some(about);
        Ok(said)
    }

    /// There is no message to be thrown away; and who is accepted is so for good.
    fn of_client(&mut self, said: Said) -> Said {
        match said {
            Said::Accept => {
                self.standing = Standing::ContentForGood;
                Said::GoOn
            }
            Said::GoOn | Said::Discard | Said::Skip => Said::GoOn,
            Said::Refuse(reply) => Said::Refuse(reply),
        }
    }

    async fn unknown(&mut self, line: &[u8]) -> Result<Said, MilterError> {
        let link = self.link.as_mut().ok_or(MilterError::Lost)?;
        if link.offer.steps.contains(Steps::NO_UNKNOWN) || link.offer.version < 3 {
            return Ok(Said::GoOn);
        }
        let is_silent = link.offer.steps.contains(Steps::SILENT_UNKNOWN);
        Said::of(link.ask(Command::Unknown(line), is_silent).await?)
    }

    /// One step: the macros, the command, the answer.
    async fn step(
        &mut self,
        facts: &Facts,
        recipient: Option<&RecipientFacts>,
        step: Step,
        command: Command<'_>,
    ) -> Result<Said, MilterError> {
        let link = self.link.as_mut().ok_or(MilterError::Lost)?;
        let is_too_old = step.stage == Stage::Data && link.offer.version < 4;
        if link.offer.steps.contains(step.left_out) || is_too_old {
            return Ok(Said::GoOn);
        }
        let values = facts.macros(&link.offer, step.stage, recipient);
        link.say(Command::Macros { stage: step.stage, values: &values }).await?;
        let is_silent = link.offer.steps.contains(step.silent);
        let answer = link.ask(command, is_silent).await?;
        debug!(milter = self.config.name, stage = ?step.stage, ?answer, "asked a milter");
        Said::of(answer)
    }

    /// The message is over: the next thing that it hears of is another one.
    async fn end(&mut self) {
        if matches!(self.standing, Standing::Asked | Standing::Content) {
            self.standing = Standing::Idle;
            let Some(link) = &mut self.link else { return };
            let ended = async {
                link.say(Command::Abort).await?;
                link.flush(self.config.command_timeout).await
            };
            match ended.await {
                Ok(()) => link.rest(),
                Err(error) => {
                    debug!(milter = self.config.name, %error, "a milter has left");
                    self.link = None;
                }
            }
        }
    }

    /// It can't be asked: what becomes of the message then. It is tried again with the next one.
    fn fail(&mut self, error: &MilterError) -> Option<Reply> {
        warn!(milter = self.config.name, %error, default = ?self.config.default, "a milter can't be asked");
        self.link = None;
        self.standing = Standing::Content;
        match self.config.default {
            MilterDefault::Accept => None,
            MilterDefault::TempFail => Some(unavailable()),
            MilterDefault::Reject => {
                Some(Reply::new(550, "5.7.1", "Mail can't be checked here now, and is not taken unchecked"))
            }
        }
    }
}

impl Said {
    /// What an answer says of the step before it.
    fn of(answer: Answer) -> Result<Self, MilterError> {
        Ok(match answer {
            Answer::Continue => Self::GoOn,
            Answer::Accept => Self::Accept,
            Answer::Discard => Self::Discard,
            Answer::Skip => Self::Skip,
            Answer::Reject => Self::Refuse(Reply::new(550, "5.7.1", "Refused by a filter")),
            Answer::TempFail => {
                Self::Refuse(Reply::new(451, "4.7.1", "A filter can't take it now; try again later"))
            }
            Answer::Shutdown => {
                Self::Refuse(Reply::new(421, "4.7.1", "A filter can't take it now; try again later"))
            }
            Answer::ReplyCode(reply) => Self::Refuse(reply.or_status(7, 1)),
            Answer::ConnectionFailed => return Err(MilterError::Lost),
            other @ (Answer::Negotiated(_) | Answer::Progress | Answer::Change(_)) => {
                return Err(MilterError::OutOfPlace(format!("{other:?}")));
            }
        })
    }
}

fn unavailable() -> Reply {
    Reply::new(451, "4.7.1", "Mail can't be checked now; try again later")
}
