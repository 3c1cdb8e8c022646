use std::path::PathBuf;
use std::time::Duration;

use crate::SmtpRole;
use crate::reader::Reader;
use crate::relay::host_and_port;

/// `[[smtp.milter]]`: a filter that is asked about mail by Sendmail's milter protocol, as Postfix has them in `smtpd_milters`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Milter {
    /// As the log has it, and the header of messages that it sends to Junk.
    pub name: String,
    /// Where it listens.
    pub address: MilterAddress,
    /// On which listeners it is asked.
    pub roles: Vec<SmtpRole>,
    /// What happens to mail while it can't be asked.
    pub default: MilterDefault,
    /// How long it may take to be connected and to negotiate.
    pub connect_timeout: Duration,
    /// How long it may think about a command, a header field or a piece of the body.
    pub command_timeout: Duration,
    /// How long it may think about a whole message.
    pub content_timeout: Duration,
    /// Header fields by which it says that a message is junk: name and the beginning of the value, in any case.
    pub junk: Vec<(String, String)>,
}

/// Where a milter listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MilterAddress {
    /// `unix:/path`
    Unix(PathBuf),
    /// `inet:host:port`
    Inet(String, u16),
}

/// What happens to mail while a milter can't be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MilterDefault {
    /// It is refused for now: 451 4.7.1.
    TempFail,
    /// It is taken as if the milter were not there.
    Accept,
    /// It is refused: 550 5.7.1.
    Reject,
}

pub(crate) fn milter(reader: &mut Reader<'_, '_>) -> Option<Milter> {
    if !reader.has("address") {
        reader.missing("address", "say where the milter listens, such as address = \"inet:127.0.0.1:11332\"");
    }
    let expected = "\"inet:host:port\" or \"unix:/path\"";
    let path = |text: &str| text.strip_prefix("unix:").map(PathBuf::from).filter(|path| path.is_absolute());
    let address = reader.parsed("address", expected, |text| match text.strip_prefix("inet:") {
        Some(host) => host_and_port(host).map(|(host, port)| MilterAddress::Inet(host, port)),
        None => path(text).map(MilterAddress::Unix),
    });
    let roles = reader.list("roles", "\"mx\", \"submission\" or \"lmtp\"", |text| match text {
        "mx" => Some(SmtpRole::Mx),
        "submission" => Some(SmtpRole::Submission),
        "lmtp" => Some(SmtpRole::Lmtp),
        _ => None,
    });
    let default = reader.parsed("default", "\"tempfail\", \"accept\" or \"reject\"", |text| match text {
        "tempfail" => Some(MilterDefault::TempFail),
        "accept" => Some(MilterDefault::Accept),
        "reject" => Some(MilterDefault::Reject),
        _ => None,
    });
    let is_name = |text: &str| {
        !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.:".contains(&c))
    };
    let name = reader.parsed("name", "letters, digits, \"-\", \"_\", \".\" and \":\"", |text| {
        is_name(text).then(|| text.to_owned())
    });
    let seconds = Duration::from_secs;
    let milter = |address: MilterAddress, reader: &mut Reader<'_, '_>| Milter {
        name: name.unwrap_or_else(|| usual_name(&address)),
        address,
        roles: roles.unwrap_or_else(|| vec![SmtpRole::Mx, SmtpRole::Submission]),
        default: default.unwrap_or(MilterDefault::TempFail),
        connect_timeout: reader.duration("connect_timeout", seconds(1), seconds(30)),
        command_timeout: reader.duration("command_timeout", seconds(1), seconds(30)),
        content_timeout: reader.duration("content_timeout", seconds(1), seconds(300)),
        junk: reader.list("junk", "a header field such as \"X-Spam: Yes\"", field).unwrap_or_else(usual_junk),
    };
    // The other keys are read in any case, so that their mistakes are told too.
    let is_known = address.is_some();
    let read = milter(address.unwrap_or(MilterAddress::Unix(PathBuf::new())), reader);
    is_known.then_some(read)
}

fn usual_name(address: &MilterAddress) -> String {
    match address {
        MilterAddress::Unix(path) => {
            path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
        }
        MilterAddress::Inet(host, port) => format!("{host}:{port}"),
    }
}

fn field(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once(':')?;
    let is_name = !name.is_empty() && name.bytes().all(|c| c.is_ascii_graphic());
    is_name.then(|| (name.to_owned(), value.trim().to_owned()))
}

/// What Rspamd and SpamAssassin's milters write.
fn usual_junk() -> Vec<(String, String)> {
    ["X-Spam", "X-Spam-Flag", "X-Spam-Status"].map(|name| (name.to_owned(), "Yes".to_owned())).into()
}
