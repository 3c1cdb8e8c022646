//! From the greeting to where mail may be sent: EHLO, STARTTLS, AUTH. Pure.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use mail_config::RelayTls;
use mail_trust::Demand;
use mail_types::Secret;
use smtp_proto::Reply;

use super::extensions::Extensions;
use crate::{Diagnosis, Status};

/// What a host that takes no mail at all greets with, and what that means. RFC 7504 §3, RFC 3463 §3.4.
const NO_MAIL: u16 = 521;
const TAKES_NO_MAIL: Status = Status::new(5, 3, 2);

/// TLS is required and not to be had. RFC 5248: encryption needed.
pub(crate) const NO_TLS: Status = Status::new(4, 7, 10);

/// The longest command line, its end included. RFC 5321 §4.5.3.1.4.
const MAX_COMMAND: usize = 512;

/// What the connection must do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send this line, read a reply, call [`Session::replied`].
    Send(Secret<String>),
    /// Start TLS, then call [`Session::secured`].
    StartTls,
    /// Mail may be sent.
    Ready(Extensions),
    /// This server won't do: for now (4yz), which is never a reason to bounce, since it is the operator's to mend, or at all (5yz).
    GiveUp(Diagnosis),
}

/// How we present ourselves and what we ask of the server.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// Our name.
    pub(crate) hostname: String,
    /// The server's, for diagnoses.
    pub(crate) host: String,
    /// The server's without a port, for TLS.
    pub(crate) server_name: String,
    pub(crate) tls: RelayTls,
    /// What the server must prove besides.
    pub(crate) demand: Demand,
    /// LMTP is spoken. RFC 2033
    pub(crate) lmtp: bool,
    pub(crate) credentials: Option<(String, Secret<String>)>,
    /// A password may go in the clear, since it does not leave the machine.
    pub(crate) loopback: bool,
    /// The DNS has named it: nobody else has said that it takes mail.
    pub(crate) is_mail_host: bool,
}

impl Policy {
    /// True if no mail is sent before the server has proved its name, which is as the operator has it, not found in the DNS.
    pub(crate) const fn is_verified(&self) -> bool {
        matches!(self.tls, RelayTls::Required | RelayTls::Implicit) && matches!(self.demand, Demand::Nothing)
    }

    /// Who does not let mail go without TLS.
    const fn security_source(&self) -> &'static str {
        if self.demand.is_enforced() { self.demand.source() } else { "[relay]" }
    }
}

#[derive(Debug)]
enum State {
    Connected,
    Greeted,
    GreetedPlainly,
    StartingTls(Extensions),
    PlainMessage(Extensions),
    LoginUsername(Extensions),
    LoginPassword(Extensions),
    Authenticating(Extensions),
    /// The exchange is being cancelled, for this reason.
    Cancelling(Diagnosis),
    Ready,
}

#[derive(Debug)]
pub(crate) struct Session {
    policy: Policy,
    state: State,
    secure: bool,
}

impl Session {
    /// `secure` under implicit TLS. First the greeting is awaited.
    pub(crate) const fn new(policy: Policy, secure: bool) -> Self {
        Self { policy, state: State::Connected, secure }
    }

    /// Advances by one reply.
    pub(crate) fn replied(&mut self, reply: &Reply) -> Step {
        match (std::mem::replace(&mut self.state, State::Ready), reply.class()) {
            (State::Connected, 2) => self.greet(),
            (State::Greeted, 2) => {
                self.greeted(Extensions { lmtp: self.policy.lmtp, ..Extensions::parse(reply) })
            }
            // RFC 5321 §3.2: a server that does not know EHLO may know HELO.
            (State::Greeted, 5) if !self.must_secure() && !self.policy.lmtp => {
                self.state = State::GreetedPlainly;
                send(format!("HELO {}", self.policy.hostname))
            }
            (State::GreetedPlainly, 2) => self.authenticate(Extensions::default()),
            (State::StartingTls(_), 2) => Step::StartTls,
            (State::StartingTls(extensions), _) if !self.must_secure() && reply.code() != 421 => {
                self.authenticate(extensions)
            }
            (State::PlainMessage(_) | State::LoginUsername(_) | State::LoginPassword(_), 3)
                if !is_challenge(reply) =>
            {
                self.cancel(reply)
            }
            (State::Authenticating(_), 3) => self.cancel(reply),
            (State::Cancelling(why), _) => Step::GiveUp(why),
            (State::PlainMessage(extensions), 3) => {
                self.state = State::Authenticating(extensions);
                self.send_credential(plain_message)
            }
            (State::LoginUsername(extensions), 3) => {
                self.state = State::LoginPassword(extensions);
                self.send_credential(|(username, _)| username.clone())
            }
            (State::LoginPassword(extensions), 3) => {
                self.state = State::Authenticating(extensions);
                self.send_credential(|(_, password)| password.reveal().clone())
            }
            (State::Authenticating(extensions), 2) => {
                Step::Ready(Extensions { authenticated: true, ..extensions })
            }
            (State::Connected, 5) if reply.code() == NO_MAIL && self.policy.is_mail_host => {
                Step::GiveUp(self.takes_no_mail(reply))
            }
            (_, _) => Step::GiveUp(self.refused(reply)),
        }
    }

    /// The TLS handshake is done. What was learned before it is forgotten: RFC 3207 §4.2.
    pub(crate) fn secured(&mut self) -> Step {
        self.secure = true;
        self.greet()
    }

    fn greet(&mut self) -> Step {
        self.state = State::Greeted;
        // RFC 2033 §4.1
        let verb = if self.policy.lmtp { "LHLO" } else { "EHLO" };
        send(format!("{verb} {}", self.policy.hostname))
    }

    fn greeted(&mut self, extensions: Extensions) -> Step {
        let wanted = match self.policy.tls {
            RelayTls::None | RelayTls::Implicit => false,
            RelayTls::Opportunistic | RelayTls::Required => !self.secure,
        };
        if wanted && extensions.starttls {
            self.state = State::StartingTls(extensions);
            return send("STARTTLS".to_owned());
        }
        if self.must_secure() {
            let source = self.policy.security_source();
            let text = format!("the server does not offer STARTTLS, which {source} requires");
            return self.give_up(NO_TLS, &text);
        }
        self.authenticate(extensions)
    }

    fn must_secure(&self) -> bool {
        self.policy.tls == RelayTls::Required && !self.secure
    }

    fn authenticate(&mut self, extensions: Extensions) -> Step {
        let Some(credentials) = &self.policy.credentials else {
            return Step::Ready(extensions);
        };
        if !self.secure && !self.policy.loopback {
            return self.give_up(
                Status::new(4, 7, 11),
                "the password in [relay] is not sent to a server without TLS",
            );
        }
        if extensions.auth_plain {
            let command = format!("AUTH PLAIN {}", BASE64_STANDARD.encode(plain_message(credentials)));
            // RFC 4954 §4: what is too long for a command waits to be asked for.
            if command.len() + "\r\n".len() > MAX_COMMAND {
                self.state = State::PlainMessage(extensions);
                return send("AUTH PLAIN".to_owned());
            }
            self.state = State::Authenticating(extensions);
            return send(command);
        }
        if extensions.auth_login {
            self.state = State::LoginUsername(extensions);
            return send("AUTH LOGIN".to_owned());
        }
        self.give_up(
            Status::new(4, 7, 0),
            "the server offers neither AUTH PLAIN nor AUTH LOGIN, but [relay] has a password",
        )
    }

    /// RFC 4954 §4: what can't be understood is answered with an asterisk, and so is what asks for more than the mechanism has.
    fn cancel(&mut self, reply: &Reply) -> Step {
        self.state = State::Cancelling(self.refused(reply));
        send("*".to_owned())
    }

    fn send_credential(&self, choose: impl Fn(&(String, Secret<String>)) -> String) -> Step {
        send(
            self.policy
                .credentials
                .as_ref()
                .map(choose)
                .map(|it| BASE64_STANDARD.encode(it))
                .unwrap_or_default(),
        )
    }

    /// What a server says before a transaction concerns no message: for the sender it is temporary, but for [`NO_MAIL`].
    fn refused(&self, reply: &Reply) -> Diagnosis {
        let diagnosis = Diagnosis::said(&self.policy.host, reply);
        Diagnosis { status: diagnosis.status.with_class(4), ..diagnosis }
    }

    fn takes_no_mail(&self, reply: &Reply) -> Diagnosis {
        let status = reply.status().unwrap_or(TAKES_NO_MAIL);
        Diagnosis { status, ..Diagnosis::said(&self.policy.host, reply) }
    }

    fn give_up(&self, status: Status, text: &str) -> Step {
        let host = &self.policy.host;
        Step::GiveUp(Diagnosis::ours(status, format!("{host}: {text}")).at(host))
    }
}

/// RFC 4954 §4: base64, or nothing. Padding that lacks is forgiven.
fn is_challenge(reply: &Reply) -> bool {
    let text = reply.text().concat();
    let bare = text.trim_end_matches('=');
    reply.code() == 334 && BASE64_STANDARD_NO_PAD.decode(bare).is_ok()
}

/// RFC 4616 §2
fn plain_message((username, password): &(String, Secret<String>)) -> String {
    format!("\0{username}\0{}", password.reveal())
}

fn send(line: String) -> Step {
    Step::Send(Secret::new(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Reply {
        Reply::parse(&text.split('|').collect::<Vec<_>>()).unwrap()
    }

    fn session(tls: RelayTls, password: bool, loopback: bool) -> Session {
        let credentials = password.then(|| ("bob".to_owned(), Secret::new("hunter2".to_owned())));
        let policy = Policy {
            hostname: "us".to_owned(),
            host: "mx".to_owned(),
            server_name: "mx".to_owned(),
            tls,
            demand: Demand::Nothing,
            lmtp: false,
            credentials,
            loopback,
            is_mail_host: false,
        };
        Session::new(policy, tls == RelayTls::Implicit)
    }

    /// Plays a dialogue, `TLS` standing for a handshake, and tells how it ends: `ready`, or why not.
    #[track_caller]
    fn check(mut session: Session, dialogue: &[(&str, &str)], end: &str) {
        let mut step = session.replied(&reply("220 mx"));
        for (expected, answer) in dialogue {
            step = match step {
                Step::Send(line) => {
                    assert_eq!(line.reveal(), expected);
                    session.replied(&reply(answer))
                }
                Step::StartTls => {
                    assert_eq!(*expected, "TLS");
                    session.secured()
                }
                Step::Ready(_) | Step::GiveUp(_) => panic!("{step:?} before {expected}"),
            };
        }
        match step {
            Step::Ready(_) => assert_eq!(end, "ready"),
            Step::GiveUp(diagnosis) => assert_eq!(diagnosis.to_string(), end),
            Step::Send(_) | Step::StartTls => panic!("{step:?}"),
        }
    }

    #[test]
    fn starttls_and_auth_come_before_mail() {
        check(
            session(RelayTls::Required, true, false),
            &[
                ("EHLO us", "250-mx|250-AUTH LOGIN|250 STARTTLS"),
                ("STARTTLS", "220 go"),
                ("TLS", ""),
                ("EHLO us", "250-mx|250-STARTTLS|250 AUTH PLAIN LOGIN"),
                ("AUTH PLAIN AGJvYgBodW50ZXIy", "235 ok"),
            ],
            "ready",
        );
    }

    #[test]
    fn auth_login_is_spoken_where_plain_is_not() {
        check(
            session(RelayTls::Implicit, true, false),
            &[
                ("EHLO us", "250-mx|250 AUTH LOGIN"),
                ("AUTH LOGIN", "334 VXNlcm5hbWU6"),
                ("Ym9i", "334 UGFzc3dvcmQ6"),
                ("aHVudGVyMg==", "235 ok"),
            ],
            "ready",
        );
    }

    /// RFC 4954 §4
    #[test]
    fn a_password_too_long_for_a_command_waits_for_the_challenge() {
        let mut long = session(RelayTls::Implicit, true, false);
        let password = "x".repeat(400);
        long.policy.credentials = Some(("bob".to_owned(), Secret::new(password.clone())));
        let message = BASE64_STANDARD.encode(format!("\0bob\0{password}"));
        let dialogue =
            [("EHLO us", "250-mx|250 AUTH PLAIN"), ("AUTH PLAIN", "334 "), (message.as_str(), "235 ok")];
        check(long, &dialogue, "ready");
    }

    /// RFC 4954 §4
    #[test]
    fn an_exchange_that_makes_no_sense_is_cancelled() {
        let logs_in = || session(RelayTls::Implicit, true, false);
        let login = ("EHLO us", "250-mx|250 AUTH LOGIN");
        for wrong in ["334 Username:", "334 VXNl cm5hbWU6", "334 =VXNl", "354 VXNlcm5hbWU6", "334-VXNl|334 !"]
        {
            let dialogue = [login, ("AUTH LOGIN", wrong), ("*", "501 5.7.0 cancelled")];
            check(
                logs_in(),
                &dialogue,
                &format!("mx said: {}", wrong.replace("|334", "").replacen('-', " ", 1)),
            );
        }
        let second = [login, ("AUTH LOGIN", "334 "), ("Ym9i", "334 ?"), ("*", "501 5.7.0 cancelled")];
        check(logs_in(), &second, "mx said: 334 ?");
        let plain = [
            ("EHLO us", "250-mx|250 AUTH PLAIN"),
            ("AUTH PLAIN AGJvYgBodW50ZXIy", "334 bW9yZQ=="),
            ("*", "235 ok"),
        ];
        check(logs_in(), &plain, "mx said: 334 bW9yZQ==");
        let unpadded =
            [login, ("AUTH LOGIN", "334 VXNlcg"), ("Ym9i", "334 UGFzcw=="), ("aHVudGVyMg==", "235 ok")];
        check(logs_in(), &unpadded, "ready");
    }

    #[test]
    fn an_old_server_is_greeted_with_helo() {
        let plain = || session(RelayTls::Opportunistic, false, false);
        check(plain(), &[("EHLO us", "502 what?"), ("HELO us", "250 mx")], "ready");
        let required = session(RelayTls::Required, false, false);
        check(required, &[("EHLO us", "502 what?")], "mx said: 502 what?");
    }

    /// RFC 2033 §4.1
    #[test]
    fn lmtp_begins_with_lhlo_and_knows_no_helo() {
        let lmtp = || {
            let Session { policy, state, secure } = session(RelayTls::None, false, true);
            Session { policy: Policy { lmtp: true, ..policy }, state, secure }
        };
        check(lmtp(), &[("LHLO us", "250-mx|250 PIPELINING")], "ready");
        check(lmtp(), &[("LHLO us", "500 what?")], "mx said: 500 what?");
    }

    #[test]
    fn no_required_tls_no_mail() {
        let required = || session(RelayTls::Required, false, false);
        check(
            required(),
            &[("EHLO us", "250 mx")],
            "4.7.10 mx: the server does not offer STARTTLS, which [relay] requires",
        );
        let refused = [("EHLO us", "250-mx|250 STARTTLS"), ("STARTTLS", "454 4.7.0 no")];
        check(required(), &refused, "mx said: 454 4.7.0 no");
        check(session(RelayTls::Opportunistic, false, false), &refused, "ready");
    }

    #[test]
    fn a_password_never_goes_in_the_clear_but_on_loopback() {
        let offered = ("EHLO us", "250-mx|250 AUTH PLAIN");
        check(
            session(RelayTls::None, true, false),
            &[offered],
            "4.7.11 mx: the password in [relay] is not sent to a server without TLS",
        );
        let login = ("AUTH PLAIN AGJvYgBodW50ZXIy", "235 ok");
        check(session(RelayTls::None, true, true), &[offered, login], "ready");
    }

    #[test]
    fn a_server_that_refuses_us_is_tried_again() {
        let refusal = Step::GiveUp(Diagnosis {
            status: Status::new(4, 7, 1),
            host: Some("mx".to_owned()),
            tried: None,
            text: "554 5.7.1 go away".to_owned(),
        });
        assert_eq!(session(RelayTls::None, false, false).replied(&reply("554 5.7.1 go away")), refusal);
        check(
            session(RelayTls::Implicit, true, false),
            &[("EHLO us", "250-mx|250 AUTH PLAIN"), ("AUTH PLAIN AGJvYgBodW50ZXIy", "535 5.7.8 wrong")],
            "mx said: 535 5.7.8 wrong",
        );
    }

    #[test]
    fn steps_print_no_password() {
        let step = send("AUTH PLAIN AGJvYgBodW50ZXIy".to_owned());
        assert!(!format!("{step:?}").contains("AGJ"));
    }
}
