//! XCLIENT, by which a proxy that the config names speaks for its clients: Postfix's `XCLIENT_README`.

use std::io;
use std::net::{IpAddr, SocketAddr};

use mail_directory::DirectoryError;
use mail_types::Address;
use smtp_proto::{Reply, Xclient};
use tokio::time::Instant;
use tracing::info;

use crate::connection::{Dialogue, policy};
use crate::incoming::trouble;
use crate::patience::Patience;
use crate::server::refusal;
use crate::session::Session;

impl Dialogue {
    /// Begins anew, as if the client itself had connected.
    pub(crate) async fn speak_for(&mut self, client: Xclient) -> io::Result<Option<Reply>> {
        let account = match &client.login {
            None => None,
            Some(login) => match self.account(login).await {
                Some(Some(account)) => Some(account),
                Some(None) => return Ok(Some(Reply::new(535, "5.7.8", "LOGIN names no account"))),
                None => return Ok(Some(trouble())),
            },
        };
        self.leave_milters().await;
        if let Some(address) = client.address
            && let Err(why) = self.connection.guard.reassign(address)
        {
            info!(%address, "refused: {why}");
            return self.close(refusal(why)).await.map(|_| None);
        }
        // Where the client is, not where the proxy is.
        let login = match account.as_ref().map(|account| self.connection.guard.login(account)) {
            Some(None) => {
                let reply = Reply::new(421, "4.7.0", "Too many connections of this account");
                return self.close(reply).await.map(|_| None);
            }
            Some(guard) => guard,
            None => None,
        };
        set(&mut self.connection.peer, client.address, client.port);
        set(&mut self.connection.local, client.called, client.called_port);
        info!(peer = %self.connection.peer, login = client.login, "a proxy speaks for its client");
        let speaks_for = self.session.speaks_for(client.helo);
        self.session = Session::new(policy(&self.connection, &self.shared, speaks_for));
        self.login = login;
        self.patience = Patience::new(Instant::now());
        if let Some(account) = account {
            self.log_in(account);
            self.mechanism = Some("XCLIENT");
        }
        Ok(Some(self.first_reply().await))
    }

    /// The account of this name, which is no alias; `None` if the directory could not be asked.
    async fn account(&self, name: &str) -> Option<Option<Address>> {
        let Ok(named) = name.parse::<Address>() else { return Some(None) };
        let named = named.to_lowercase();
        self.ask(move |directory| Ok::<_, DirectoryError>(directory.is_account(&named)?.then_some(named)))
            .await
    }
}

/// Sets what is known.
const fn set(end: &mut SocketAddr, address: Option<IpAddr>, port: Option<u16>) {
    if let Some(address) = address {
        end.set_ip(address);
    }
    if let Some(port) = port {
        end.set_port(port);
    }
}
