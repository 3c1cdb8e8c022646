//! What milters are told of a connection: the macros, as Postfix has them in its MILTER_README.

use std::net::SocketAddr;

use mail_types::Address;
use milter_proto::{Offer, Stage};
use smtp_proto::{Reply, ReversePath};

/// What milters may want to know.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// Our own name.
    pub(crate) hostname: String,
    /// The name of the listener.
    pub(crate) listener: String,
    /// Our end of the connection.
    pub(crate) local: SocketAddr,
    /// The client's.
    pub(crate) peer: SocketAddr,
    /// The client's, if it leads back to its address.
    pub(crate) name: Option<String>,
    /// How the client calls itself.
    pub(crate) helo: String,
    pub(crate) tls: Option<Tls>,
    /// Who has logged in, and by which mechanism.
    pub(crate) login: Option<(Address, &'static str)>,
    /// The message's name here.
    pub(crate) id: String,
    pub(crate) sender: ReversePath,
    /// ESMTP parameters of MAIL.
    pub(crate) parameters: Vec<String>,
}

/// What was negotiated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tls {
    /// `TLSv1.3`
    pub(crate) version: String,
    /// As IANA names it.
    pub(crate) cipher: String,
    /// Of its key.
    pub(crate) bits: u32,
}

/// A recipient that milters are asked about.
#[derive(Debug, Clone)]
pub(crate) struct RecipientFacts {
    pub(crate) address: Address,
    /// It is of this host.
    pub(crate) is_here: bool,
    /// Why it is refused, if it is so already.
    pub(crate) refusal: Option<Reply>,
    /// ESMTP parameters of RCPT.
    pub(crate) parameters: Vec<String>,
}

impl Facts {
    /// The client's name, or what Postfix says where it has none.
    pub(crate) fn client_name(&self) -> &str {
        self.name.as_deref().unwrap_or("unknown")
    }

    /// The macros that a milter has asked for at a stage, or the usual ones, as far as they are worth something.
    pub(crate) fn macros(
        &self,
        offer: &Offer,
        stage: Stage,
        recipient: Option<&RecipientFacts>,
    ) -> Vec<(String, String)> {
        let wanted = offer.macros.iter().find(|(of, _)| *of == stage);
        let names: Vec<&str> = match wanted {
            Some((_, names)) => names.iter().map(String::as_str).collect(),
            None => usual(stage).to_vec(),
        };
        let worth = |name: &str| Some((name.to_owned(), self.value(name, recipient)?));
        names.into_iter().filter_map(worth).collect()
    }

    fn value(&self, name: &str, recipient: Option<&RecipientFacts>) -> Option<String> {
        let tls = self.tls.as_ref();
        let address = |peer: SocketAddr| peer.ip().to_canonical().to_string();
        match name.trim_matches(['{', '}']) {
            "j" => Some(self.hostname.clone()),
            "i" => Some(self.id.clone()).filter(|id| !id.is_empty()),
            "v" => Some(format!("Mailstead {}", env!("CARGO_PKG_VERSION"))),
            "_" => Some(format!("{} [{}]", self.client_name(), address(self.peer))),
            "daemon_name" => Some(self.listener.clone()),
            "daemon_addr" | "if_addr" => Some(address(self.local)),
            "daemon_port" => Some(self.local.port().to_string()),
            "if_name" => Some(self.hostname.clone()),
            "client_addr" => Some(address(self.peer)),
            "client_port" => Some(self.peer.port().to_string()),
            "client_name" | "client_ptr" => Some(self.client_name().to_owned()),
            "s" => Some(self.helo.clone()),
            "tls_version" => tls.map(|tls| tls.version.clone()),
            "cipher" => tls.map(|tls| tls.cipher.clone()),
            "cipher_bits" => tls.map(|tls| tls.bits.to_string()),
            "auth_authen" => self.login.as_ref().map(|(account, _)| account.to_string()),
            "auth_type" => self.login.as_ref().map(|(_, mechanism)| (*mechanism).to_owned()),
            "mail_addr" => Some(self.sender.as_ref().map(ToString::to_string).unwrap_or_default()),
            "mail_host" => self.sender.as_ref().map(|sender| sender.domain().to_ascii()),
            "mail_mailer" => Some("smtp".to_owned()),
            "rcpt_addr" => recipient.map(RecipientFacts::macro_address),
            "rcpt_host" => recipient.map(RecipientFacts::macro_host),
            "rcpt_mailer" => recipient.map(|it| it.macro_mailer().to_owned()),
            _ => None,
        }
    }
}

/// Where a recipient is refused, Sendmail and Postfix name `error` as what would deliver, and say by which reply.
impl RecipientFacts {
    fn macro_address(&self) -> String {
        self.refusal.as_ref().map_or_else(|| self.address.to_string(), |refusal| refusal.text().join(" "))
    }

    fn macro_host(&self) -> String {
        match &self.refusal {
            Some(refusal) => refusal.status().map(|status| status.to_string()).unwrap_or_default(),
            None => self.address.domain().to_ascii(),
        }
    }

    const fn macro_mailer(&self) -> &'static str {
        match (&self.refusal, self.is_here) {
            (Some(_), _) => "error",
            (None, true) => "local",
            (None, false) => "smtp",
        }
    }
}

/// What a milter is told that has not said what it wants.
const fn usual(stage: Stage) -> &'static [&'static str] {
    match stage {
        Stage::Connect => &[
            "j",
            "_",
            "v",
            "{daemon_name}",
            "{daemon_addr}",
            "{daemon_port}",
            "{client_addr}",
            "{client_name}",
            "{client_port}",
            "{client_ptr}",
        ],
        Stage::Helo => &["{tls_version}", "{cipher}", "{cipher_bits}"],
        Stage::Mail => &["i", "{auth_type}", "{auth_authen}", "{mail_addr}", "{mail_host}", "{mail_mailer}"],
        Stage::Rcpt => &["i", "{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}"],
        Stage::Data | Stage::EndOfHeader | Stage::EndOfMessage => &["i"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            hostname: "mail.example.org".to_owned(),
            listener: "submission".to_owned(),
            local: "192.0.2.1:587".parse().unwrap(),
            peer: "[::ffff:192.0.2.7]:4711".parse().unwrap(),
            name: None,
            helo: "laptop".to_owned(),
            tls: Some(Tls { version: "TLSv1.3".to_owned(), cipher: "TLS_X".to_owned(), bits: 256 }),
            login: Some(("alice@example.org".parse().unwrap(), "PLAIN")),
            id: "1.2.3".to_owned(),
            sender: None,
            parameters: Vec::new(),
        }
    }

    #[track_caller]
    fn check(offer: &Offer, stage: Stage, expected: &[(&str, &str)]) {
        let macros = facts().macros(offer, stage, None);
        let macros: Vec<(&str, &str)> =
            macros.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(macros, expected);
    }

    #[test]
    fn a_milter_is_told_what_postfix_tells_it() {
        let offer = Offer::ours();
        check(
            &offer,
            Stage::Helo,
            &[("{tls_version}", "TLSv1.3"), ("{cipher}", "TLS_X"), ("{cipher_bits}", "256")],
        );
        check(
            &offer,
            Stage::Mail,
            &[
                ("i", "1.2.3"),
                ("{auth_type}", "PLAIN"),
                ("{auth_authen}", "alice@example.org"),
                ("{mail_addr}", ""),
                ("{mail_mailer}", "smtp"),
            ],
        );
    }

    #[test]
    fn a_milter_that_asks_for_macros_gets_those_that_there_are() {
        let wanted = ["j", "_", "{client_addr}", "{cert_issuer}"].map(ToOwned::to_owned).to_vec();
        let offer = Offer { macros: vec![(Stage::Connect, wanted)], ..Offer::ours() };
        check(
            &offer,
            Stage::Connect,
            &[("j", "mail.example.org"), ("_", "unknown [192.0.2.7]"), ("{client_addr}", "192.0.2.7")],
        );
    }
}
