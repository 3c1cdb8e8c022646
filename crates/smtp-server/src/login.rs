//! AUTH (RFC 4954) and STARTTLS (RFC 3207).

use std::io;
use std::sync::Arc;

use line_codec::line::{Line, LineCodec};
use mail_directory::sasl::{self, Exchange, Mechanism, SaslStep};
use mail_events::LoginFailure;
use mail_types::Address;
use server_core::{Connection, Stream};
use smtp_proto::Reply;
use tokio::time::timeout;
use tracing::{error, info};

use crate::connection::{Dialogue, HANDSHAKE_TIMEOUT, MAX_LINE};

impl Dialogue {
    pub(crate) async fn authenticate(
        &mut self,
        mechanism: Mechanism,
        initial: Option<Vec<u8>>,
    ) -> io::Result<Option<Reply>> {
        let initial = match initial.map(|line| sasl::decode_initial(&line)) {
            Some(None) => return Ok(Some(malformed())),
            Some(decoded) => decoded,
            None => None,
        };
        self.mechanism = Some(mechanism.name());
        let bindings = self.connection.stream.channel_bindings();
        let mut claimed = String::new();
        let (mut exchange, mut step) = Exchange::start(mechanism, bindings, initial.as_deref());
        loop {
            let challenge = match step {
                SaslStep::Challenge(challenge) => challenge,
                SaslStep::Credentials { username, password } => {
                    if !self.connection.guard.admits(&username).await {
                        return Ok(Some(self.turned_away(&username)));
                    }
                    let name = username.clone();
                    let found = self.shared.directory.log_in(username, password).await;
                    let found = found.inspect_err(|error| error!(%error, "the directory can't be asked"));
                    return self.judge(&name, found.ok()).await;
                }
                SaslStep::LookUp(username) => {
                    if !self.connection.guard.admits(&username).await {
                        return Ok(Some(self.turned_away(&username)));
                    }
                    claimed.clone_from(&username);
                    let claim = self.shared.directory.scram_claim(username.clone()).await;
                    match claim.inspect_err(|error| error!(%error, "the directory can't be asked")) {
                        Ok(claim) => step = exchange.claimed(claim),
                        Err(_) => return self.judge(&username, None).await,
                    }
                    continue;
                }
                SaslStep::Proven(account) => return self.judge("", Some(Some(account))).await,
                SaslStep::Wrong => return self.judge(&claimed, Some(None)).await,
                SaslStep::Refused(reason) => return self.login_failed(&claimed, reason.text()).await,
                SaslStep::Malformed => return Ok(Some(malformed())),
            };
            self.say(&Reply::new(334, "", sasl::encode(&challenge)));
            step = match self.next_line().await? {
                Ok(Line::Text(line)) if &line[..] == b"*" => {
                    return Ok(Some(Reply::new(501, "5.7.0", "Authentication cancelled")));
                }
                Ok(Line::Text(line)) => {
                    sasl::decode(&line).map_or(SaslStep::Malformed, |answer| exchange.respond(&answer))
                }
                Ok(Line::TooLong) => return Ok(Some(Reply::new(500, "5.5.6", "The line is too long"))),
                Ok(Line::BareCrOrLf) => SaslStep::Malformed,
                Err(end) => return self.end(end).await.map(|_| None),
            };
        }
    }

    async fn judge(&mut self, username: &str, found: Option<Option<Address>>) -> io::Result<Option<Reply>> {
        match found {
            None => Ok(Some(Reply::new(454, "4.7.0", "A temporary failure; try again later"))),
            Some(Some(account)) => {
                let Some(guard) = self.connection.guard.login(&account) else {
                    info!(%account, "refused: too many connections of this account");
                    self.close(Reply::new(421, "4.7.0", "Too many connections of this account")).await?;
                    return Ok(None);
                };
                info!(%account, "logged in");
                self.login = Some(guard);
                Ok(Some(self.log_in(account)))
            }
            Some(None) => self.login_failed(username, "Wrong user name or password").await,
        }
    }

    /// The session is the account's from now on.
    pub(crate) fn log_in(&mut self, account: Address) -> Reply {
        let limits = self.shared.config.smtp.relay_client_of(&account).cloned().map(Arc::new);
        self.session.logged_in(account, limits)
    }

    async fn login_failed(&mut self, username: &str, reason: &str) -> io::Result<Option<Reply>> {
        info!(username, reason, "login failed");
        self.note_login_failure(username, reason);
        self.connection.guard.login_failed(username).await;
        self.login_failures += 1;
        if self.login_failures >= self.shared.config.limits.max_login_failures {
            self.close(Reply::new(421, "4.7.0", "Too many failed logins; goodbye")).await?;
            return Ok(None);
        }
        Ok(Some(Reply::new(535, "5.7.8", reason)))
    }

    /// Who may not even try. RFC 4954 §4.7.6: no client takes this for a wrong password.
    fn turned_away(&self, username: &str) -> Reply {
        info!(username, "login refused after too many that failed");
        self.note_login_failure(username, "not tried after too many that failed");
        let minutes = self.shared.config.limits.ban_time.as_secs().div_ceil(60);
        let unit = if minutes == 1 { "minute" } else { "minutes" };
        let text = format!("Too many failed logins from your address; try again in {minutes} {unit}");
        Reply::new(454, "4.7.0", text)
    }

    fn note_login_failure(&self, username: &str, reason: &str) {
        let Connection { peer, listener, .. } = &self.connection;
        let peer = peer.ip().to_canonical();
        let event = || LoginFailure::event(&listener.name, peer, username, reason);
        self.shared.to.events.note_refusal(&peer.to_string(), event);
    }

    pub(crate) async fn start_tls(&mut self) -> io::Result<()> {
        self.say(&Reply::new(220, "2.0.0", "Ready to start TLS"));
        self.flush().await?;
        // What came before the handshake came in the clear: it is not obeyed. RFC 3207 §4.2.
        self.input.clear();
        self.codec = LineCodec::new(MAX_LINE);
        self.incoming = None;
        Ok(())
    }

    /// The same dialogue under TLS.
    pub(crate) async fn secured(self) -> io::Result<Self> {
        let Connection { stream, peer, local, is_behind_tls, listener, tls, guard, drain } = self.connection;
        let (Stream::Plain(plain), Some(context)) = (stream, &tls) else {
            return Err(io::Error::other("STARTTLS without a certificate"));
        };
        let stream = timeout(HANDSHAKE_TIMEOUT, context.accept(plain)).await??;
        let connection = Connection { stream, peer, local, is_behind_tls, listener, tls, guard, drain };
        let mut session = self.session;
        session.secured(connection.stream.channel_bindings().is_some());
        Ok(Self { connection, session, ..self })
    }
}

fn malformed() -> Reply {
    Reply::new(501, "5.5.2", "Not what the mechanism prescribes")
}
