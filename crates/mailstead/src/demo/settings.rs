use std::path::{Path, PathBuf};

use mail_config::{Config, SmtpRole, TlsMode};
use serde::Serialize;

use super::accounts::{Account, Accounts};
use super::{DOMAIN, HOST};
use crate::certificate::TestCertificate;
use crate::output;
use crate::server::Server;
use crate::supervisor::Sockets;

/// What a mail client must know: the object that `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Settings {
    domain: &'static str,
    /// Relative to the folder that the demo was started in.
    ca_file: PathBuf,
    accounts: Vec<Account>,
    services: Vec<Service>,
}

/// One port.
#[derive(Debug, Serialize)]
struct Service {
    protocol: &'static str,
    role: &'static str,
    tls: &'static str,
    host: &'static str,
    port: u16,
}

impl Settings {
    /// `folder` as it was given.
    pub(super) fn new(
        folder: &Path,
        accounts: &Accounts,
        config: &Config,
        sockets: &Sockets,
    ) -> anyhow::Result<Self> {
        let mut services = Vec::new();
        for server in Server::enabled(config) {
            for bound in sockets.of(server, config) {
                services.push(Service {
                    protocol: server.name(),
                    role: role(server, bound.listener.role),
                    tls: tls(bound.listener.tls),
                    host: HOST,
                    port: bound.socket.local_addr()?.port(),
                });
            }
        }
        let ca_file = TestCertificate::new(&folder.join("tls")).authority();
        Ok(Self { domain: DOMAIN, ca_file, accounts: accounts.0.clone(), services })
    }

    /// The settings as a person types them into a mail client.
    pub(super) fn for_people(&self, folder: &Path) -> String {
        let indented = |rows: &[Vec<String>]| output::columns(rows).replace('\n', "\n  ");
        let accounts: Vec<_> = self.accounts.iter().map(account_row).collect();
        let heading = ["", "server", "port", "connection security", "user name", "authentication"];
        let heading = heading.map(ToOwned::to_owned).to_vec();
        let services = self.services.iter().filter(|service| service.role != "mx").map(service_row);
        let services: Vec<_> = std::iter::once(heading).chain(services).collect();
        let mx = self.services.iter().find(|service| service.role == "mx");
        let mx = mx.map_or_else(String::new, |mx| {
            format!("Mail from elsewhere comes in by SMTP at {}:{}, without a password.\n", mx.host, mx.port)
        });
        format!(
            "\nThe domain {domain} runs on this machine, in {folder}. It has two accounts:\n\
             \n  {accounts}\n\
             \nType into Thunderbird, Outlook or another mail client one line for incoming and one for outgoing mail:\n\
             \n  {services}\n\
             \nThe certificate is signed by an authority that only this demo knows:\n  \
             {ca}\n\
             Thunderbird: confirm the exception when it asks, or import the file under Settings, Privacy & Security,\n\
             Manage Certificates, Authorities. Outlook: certutil -user -addstore Root ca.pem\n\
             \n{mx}\
             Ctrl-C stops everything; the next start goes on with the same mail.\n",
            domain = self.domain,
            folder = folder.display(),
            accounts = indented(&accounts),
            services = indented(&services),
            ca = std::path::absolute(&self.ca_file).unwrap_or_else(|_| self.ca_file.clone()).display(),
        )
    }
}

fn account_row(account: &Account) -> Vec<String> {
    vec![account.address.clone(), format!("password {}", account.password)]
}

/// In the words of Thunderbird, which are also Outlook's.
fn service_row(service: &Service) -> Vec<String> {
    let what = match service.protocol {
        "smtp" => "outgoing, SMTP",
        "imap" => "incoming, IMAP",
        _ => "incoming, POP3",
    };
    let security = match service.tls {
        "implicit" => "SSL/TLS",
        "starttls" => "STARTTLS",
        _ => "None",
    };
    [what, service.host, &service.port.to_string(), security, "the whole address", "normal password"]
        .map(ToOwned::to_owned)
        .to_vec()
}

const fn role(server: Server, role: SmtpRole) -> &'static str {
    match (server, role) {
        (Server::Smtp, SmtpRole::Mx) => "mx",
        (Server::Smtp, SmtpRole::Submission) => "submission",
        (Server::Smtp, SmtpRole::Lmtp) => "lmtp",
        (Server::Queue | Server::Imap | Server::Pop3 | Server::Metrics, _) => "access",
    }
}

const fn tls(mode: TlsMode) -> &'static str {
    match mode {
        TlsMode::None => "none",
        TlsMode::StartTls => "starttls",
        TlsMode::Implicit => "implicit",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The settings with the ports of a demo whose defaults are free.
    fn settings() -> Settings {
        let service = |protocol, tls, port| Service { protocol, role: "access", tls, host: HOST, port };
        let services = vec![
            service("smtp", "starttls", 2587),
            service("smtp", "implicit", 2465),
            service("imap", "starttls", 2143),
            service("imap", "implicit", 2993),
            service("pop3", "starttls", 2110),
            service("pop3", "implicit", 2995),
        ];
        let ca_file = "mailstead-demo/tls/ca.pem".into();
        Settings { domain: DOMAIN, ca_file, accounts: Vec::new(), services }
    }

    #[test]
    fn the_readme_shows_what_the_demo_prints() {
        let readme = include_str!("../../../../README.md");
        let config = include_str!("mailstead.toml");
        let printed = settings().for_people(Path::new("mailstead-demo"));
        let table: Vec<&str> = printed.lines().filter(|line| line.contains(HOST)).collect();
        assert_eq!(table.len(), 6);
        for row in table {
            assert!(readme.contains(row), "{row:?} is not in README.md");
            let port = row.split_whitespace().find(|word| word.parse::<u16>().is_ok()).unwrap();
            assert!(config.contains(&format!(":{port}\"")), "{port} is not in the demo's config");
        }
    }
}
