//! SASL mechanisms as pure state machines: SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 7677), PLAIN (RFC 4616) and LOGIN (draft-murchison-sasl-login).
//!
//! Base64, the cancelling `*` and the wording of replies are the protocols'; [`decode`] and [`encode`] help with the first.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use mail_types::{Address, ChannelBindings, Secret};

pub use crate::scram::Unbound;
use crate::scram::{Binding, Challenged, ClientFirst, Ended, ScramClaim};

/// Base64 as clients send it: some leave out the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A mechanism that we offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 7677: the password stays with the client, which also proves that it sees the same TLS connection.
    ScramSha256Plus,
    /// RFC 7677: the password stays with the client.
    ScramSha256,
    /// RFC 4616.
    Plain,
    /// What Outlook speaks on submission.
    Login,
}

impl Mechanism {
    /// All, the better ones first.
    const ALL: [Self; 4] = [Self::ScramSha256Plus, Self::ScramSha256, Self::Plain, Self::Login];

    /// Those that are offered on a connection, the better ones first; `can_bind` if it has [`ChannelBindings`].
    pub fn offered(can_bind: bool) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |mechanism| can_bind || *mechanism != Self::ScramSha256Plus)
    }

    /// The mechanism called `name`, in any case, if it is offered.
    #[must_use]
    pub fn named(name: &str, can_bind: bool) -> Option<Self> {
        Self::offered(can_bind).find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }

    /// Its registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }
}

/// What comes next in an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SaslStep {
    /// Send this (in base64) and call [`Exchange::respond`] with the answer.
    Challenge(Cow<'static, str>),
    /// The client has said who it is: ask the directory.
    Credentials {
        /// What it calls itself.
        username: String,
        /// What it knows.
        password: Secret<String>,
    },
    /// Call [`Directory::scram_claim`](crate::Directory::scram_claim) for this name, then [`Exchange::claimed`] with the answer.
    LookUp(String),
    /// The client has proven to be this account.
    Proven(Address),
    /// It has not: answer as to a wrong password.
    Wrong,
    /// Answer as to a wrong password, but for this reason: who stands between client and server is found out.
    Refused(Unbound),
    /// Not what the mechanism prescribes.
    Malformed,
}

impl From<Ended> for SaslStep {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Malformed => Self::Malformed,
            Ended::Wrong => Self::Wrong,
            Ended::Refused(reason) => Self::Refused(reason),
        }
    }
}

/// One authentication in progress.
#[derive(Debug)]
pub struct Exchange {
    state: State,
}

#[derive(Debug)]
enum State {
    Scram(Binding),
    ScramBegun(ClientFirst),
    ScramChallenged(Challenged),
    ScramProven(Address),
    Over,
    Plain,
    LoginUsername,
    LoginPassword { username: String },
}

impl Exchange {
    /// Begins, with the initial response if the client sent one. `bindings` is what the connection can be bound to: with
    /// `None` SCRAM-SHA-256-PLUS must not have been offered, otherwise it must.
    #[must_use]
    pub fn start(
        mechanism: Mechanism,
        bindings: Option<ChannelBindings>,
        initial: Option<&[u8]>,
    ) -> (Self, SaslStep) {
        let (state, challenge) = match (mechanism, bindings) {
            (Mechanism::ScramSha256Plus, Some(bindings)) => (State::Scram(Binding::Required(bindings)), ""),
            (Mechanism::ScramSha256Plus, None) => return (Self { state: State::Over }, SaslStep::Malformed),
            (Mechanism::ScramSha256, Some(_)) => (State::Scram(Binding::Possible), ""),
            (Mechanism::ScramSha256, None) => (State::Scram(Binding::Impossible), ""),
            (Mechanism::Plain, _) => (State::Plain, ""),
            (Mechanism::Login, _) => (State::LoginUsername, "Username:"),
        };
        let mut exchange = Self { state };
        let step = match initial {
            Some(response) => exchange.respond(response),
            None => SaslStep::Challenge(challenge.into()),
        };
        (exchange, step)
    }

    /// Goes on with the client's answer to the last challenge.
    pub fn respond(&mut self, response: &[u8]) -> SaslStep {
        let Ok(response) = std::str::from_utf8(response) else { return SaslStep::Malformed };
        match std::mem::replace(&mut self.state, State::Over) {
            State::Plain => plain(response),
            State::LoginUsername => {
                self.state = State::LoginPassword { username: response.trim_end_matches('\0').to_owned() };
                SaslStep::Challenge("Password:".into())
            }
            State::LoginPassword { username } => {
                let password = response.trim_end_matches('\0').to_owned();
                SaslStep::Credentials { username, password: Secret::new(password) }
            }
            State::Scram(binding) => match ClientFirst::parse(response, binding) {
                Ok(first) => {
                    let username = first.username.clone();
                    self.state = State::ScramBegun(first);
                    SaslStep::LookUp(username)
                }
                Err(ended) => ended.into(),
            },
            State::ScramChallenged(challenged) => match challenged.verify(response) {
                Ok((account, proof)) => {
                    self.state = State::ScramProven(account);
                    SaslStep::Challenge(proof.into())
                }
                Err(ended) => ended.into(),
            },
            // The client agrees to our proof by an empty response.
            State::ScramProven(account) if response.is_empty() => SaslStep::Proven(account),
            State::ScramProven(_) | State::ScramBegun(_) | State::Over => SaslStep::Malformed,
        }
    }

    /// Goes on with what the directory knows, after [`SaslStep::LookUp`].
    pub fn claimed(&mut self, claim: ScramClaim) -> SaslStep {
        match std::mem::replace(&mut self.state, State::Over) {
            State::ScramBegun(first) => {
                let mut nonce = [0; 18];
                if getrandom::fill(&mut nonce).is_err() {
                    return SaslStep::Wrong;
                }
                let (challenged, challenge) = first.challenge(claim, &BASE64.encode(nonce));
                self.state = State::ScramChallenged(challenged);
                SaslStep::Challenge(challenge.into())
            }
            State::Plain
            | State::LoginUsername
            | State::LoginPassword { .. }
            | State::Scram(_)
            | State::ScramChallenged(_)
            | State::ScramProven(_)
            | State::Over => SaslStep::Malformed,
        }
    }
}

/// `message = [authzid] UTF8NUL authcid UTF8NUL passwd`. RFC 4616 §2.
///
/// Nobody may act for somebody else, so an authorization identity must be the authentication identity.
fn plain(response: &str) -> SaslStep {
    let mut parts = response.split('\0');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(authorize), Some(username), Some(password), None)
            if !username.is_empty()
                && !password.is_empty()
                && (authorize.is_empty() || authorize.eq_ignore_ascii_case(username)) =>
        {
            SaslStep::Credentials {
                username: username.to_owned(),
                password: Secret::new(password.to_owned()),
            }
        }
        _ => SaslStep::Malformed,
    }
}

/// Decodes an initial response, which is `=` where it is empty: RFC 4954 §4, RFC 4959 §3, RFC 5034 §4. `None` if it is no base64.
#[must_use]
pub fn decode_initial(response: &[u8]) -> Option<Vec<u8>> {
    if response == b"=" { Some(Vec::new()) } else { decode(response) }
}

/// Decodes the response to a challenge. `None` if it is no base64.
#[must_use]
pub fn decode(response: &[u8]) -> Option<Vec<u8>> {
    BASE64.decode(response).ok()
}

/// Encodes a challenge.
#[must_use]
pub fn encode(challenge: &str) -> String {
    BASE64.encode(challenge)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(username: &str, password: &str) -> SaslStep {
        SaslStep::Credentials { username: username.to_owned(), password: Secret::new(password.to_owned()) }
    }

    #[test]
    fn plain_takes_its_message_at_once_or_after_an_empty_challenge() {
        assert_eq!(
            Exchange::start(Mechanism::Plain, None, Some(b"\0tim\0tanstaaftanstaaf")).1,
            credentials("tim", "tanstaaftanstaaf")
        );
        let (mut exchange, step) = Exchange::start(Mechanism::Plain, None, None);
        assert_eq!(step, SaslStep::Challenge("".into()));
        assert_eq!(exchange.respond(b"tim\0tim\0secret"), credentials("tim", "secret"));
    }

    #[test]
    fn plain_lets_nobody_act_for_another() {
        for malformed in ["kurt\0tim\0secret", "tim\0secret", "\0\0secret", "\0tim\0", "\0tim\0sec\0ret", ""]
        {
            assert_eq!(
                Exchange::start(Mechanism::Plain, None, Some(malformed.as_bytes())).1,
                SaslStep::Malformed,
                "{malformed:?}"
            );
        }
    }

    #[test]
    fn login_asks_with_the_words_that_outlook_waits_for() {
        let (mut exchange, step) = Exchange::start(Mechanism::Login, None, None);
        assert_eq!(step, SaslStep::Challenge("Username:".into()));
        assert_eq!(encode("Username:"), "VXNlcm5hbWU6");
        assert_eq!(exchange.respond(b"tim"), SaslStep::Challenge("Password:".into()));
        assert_eq!(encode("Password:"), "UGFzc3dvcmQ6");
        assert_eq!(exchange.respond(b"secret"), credentials("tim", "secret"));
        assert_eq!(
            Exchange::start(Mechanism::Login, None, Some(b"tim")).1,
            SaslStep::Challenge("Password:".into())
        );
    }

    #[test]
    fn base64_may_lack_its_padding_but_must_be_base64() {
        assert_eq!(decode(b"dGlt").as_deref(), Some(&b"tim"[..]));
        assert_eq!(decode(b"dGlteQ").as_deref(), Some(&b"timy"[..]));
        assert_eq!(decode_initial(b"=").as_deref(), Some(&b""[..]));
        assert_eq!(decode_initial(b"dGlt").as_deref(), Some(&b"tim"[..]));
        assert_eq!(decode(b"="), None);
        assert_eq!(decode(b"d*"), None);
    }

    #[test]
    fn plus_is_offered_and_known_only_where_it_can_be_bound() {
        let names =
            |can_bind| Mechanism::offered(can_bind).map(Mechanism::name).collect::<Vec<_>>().join(" ");
        assert_eq!(names(true), "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN");
        assert_eq!(names(false), "SCRAM-SHA-256 PLAIN LOGIN");
        assert_eq!(Mechanism::named("scram-sha-256-plus", true), Some(Mechanism::ScramSha256Plus));
        assert_eq!(Mechanism::named("SCRAM-SHA-256-PLUS", false), None);
    }
}
