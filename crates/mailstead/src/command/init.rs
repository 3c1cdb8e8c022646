use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use jiff::Zoned;
use mail_config::Config;
use mail_directory::{Directory, Srs};
use mail_dkim::Keys;
use mail_types::Domain;
use nix::unistd::{User, geteuid};
use server_core::become_user;
use server_core::program::DEFAULT_CONFIG;

use super::{dkim, publish};
use crate::certificate::TestCertificate;
use crate::cli::InitArguments;
use crate::owner::other_owner;
use crate::{data_dir, output};

/// The user that the servers become where the operator names none and there is such a user.
const USUAL_USER: &str = "mailstead";

/// `mailstead init`: everything that a new domain needs on disk, and what to do next.
pub(super) fn run(arguments: &InitArguments, config: Option<PathBuf>) -> anyhow::Result<()> {
    let domain = &arguments.domain;
    if domain.is_literal() {
        bail!("{domain} is an address, not a domain");
    }
    let hostname = match &arguments.hostname {
        Some(hostname) => hostname.clone(),
        None => format!("mail.{domain}").parse().context("the domain is too long for a host in it")?,
    };
    let folder = std::path::absolute(&arguments.data_dir)?;
    let file = match config {
        Some(config) => std::path::absolute(config)?,
        None => folder.join("mailstead.toml"),
    };
    if file.exists() {
        bail!("{} exists already; nothing is changed", file.display());
    }
    let user = user(arguments)?;
    if user.is_none() && geteuid().is_root() {
        output::warn(
            "there is no user mailstead: the servers will run as root, unless you make one and name it as `user`",
        );
    }
    let signing = write_files(&folder, &file, domain, &hostname, user.as_deref())?;
    let records = dns_records(domain, &hostname).into_iter().chain(signing).collect::<Vec<_>>();
    output::line(&next_steps(&file, &folder, domain, &hostname, &records))?;
    Ok(())
}

fn user(arguments: &InitArguments) -> anyhow::Result<Option<String>> {
    if arguments.user.is_some() || !geteuid().is_root() {
        return Ok(arguments.user.clone());
    }
    let usual = User::from_name(USUAL_USER).context("can't look up users")?;
    Ok(usual.map(|user| user.name))
}

/// Where the config stands, everything it names is there. Returns the DNS records of the keys that sign.
fn write_files(
    folder: &Path,
    file: &Path,
    domain: &Domain,
    hostname: &Domain,
    user: Option<&str>,
) -> anyhow::Result<Vec<Vec<String>>> {
    let owner = other_owner(user)?;
    data_dir::make(folder, owner.as_ref())?;
    let tls = folder.join("tls");
    data_dir::make(&tls, owner.as_ref())?;
    let certificate = TestCertificate::new(&tls);
    certificate.ensure(&[&hostname.to_ascii(), "localhost", "127.0.0.1", "::1"])?;
    for path in certificate.files() {
        data_dir::give_to(&path, owner.as_ref())?;
    }
    if let Some(parent) = file.parent().filter(|parent| !parent.exists()) {
        std::fs::create_dir_all(parent).with_context(|| format!("can't make {}", parent.display()))?;
        std::fs::set_permissions(parent, PermissionsExt::from_mode(0o755))?;
    }
    data_dir::write_whole(file, config(folder, &certificate, hostname, user).as_bytes(), 0o640)?;
    data_dir::show_to(file, owner.as_ref())?;
    // Whoever calls `init` again is to find nothing in the way.
    add_domain(file, domain).inspect_err(|_| drop(std::fs::remove_file(file)))
}

/// As the user that the servers become, so that the directory and the keys are theirs.
fn add_domain(file: &Path, domain: &Domain) -> anyhow::Result<Vec<Vec<String>>> {
    let config = Config::load(file)?;
    data_dir::prepare(&config)?;
    if let Some(user) = &config.user {
        become_user(user).map_err(|error| anyhow!(error))?;
    }
    Directory::open(&config.directory_file())?.add_domain(domain)?;
    config.smtp.srs.map(|expire| Srs::open(&config.srs_file(), expire)).transpose()?;
    let keys = Keys::new(config.dkim_dir());
    let generation = match keys.generations(domain)?.into_iter().find(|it| it.is_in_use) {
        Some(known) => known,
        None => dkim::generate(&keys, domain)?,
    };
    dkim::records(&keys, domain, &generation.name)
}

fn config(folder: &Path, certificate: &TestCertificate, hostname: &Domain, user: Option<&str>) -> String {
    let user =
        user.map_or_else(|| "# user = \"mailstead\"".to_owned(), |user| format!("user = {}", quoted(user)));
    format!(
        "# Mailstead's configuration. Every other key has a default; `config/mailstead.toml` in the sources names them all.\n\
         # Check a change with `mailstead config check`, then put it into force with SIGHUP.\n\
         \n\
         # This host's own name. Its address must have a PTR record that says the same.\n\
         hostname = {hostname}\n\
         \n\
         # Mail, accounts and the queue.\n\
         data_dir = {folder}\n\
         \n\
         # The user that the servers become when started as root.\n\
         {user}\n\
         \n\
         # Made by `mailstead init`, for testing. Put the files of a real certificate here (the chain with the server's own\n\
         # certificate first); they are picked up again whenever they change.\n\
         [[tls.certificate]]\n\
         certificate = {certificate}\n\
         key = {key}\n\
         \n\
         # Mail for other domains goes straight to their mail hosts; where the provider blocks port 25, by this one:\n\
         # [relay]\n\
         # smarthost = \"smtp.example.net:587\"\n",
        hostname = quoted(&hostname.to_ascii()),
        folder = quoted_path(folder),
        certificate = quoted_path(&certificate.certificate()),
        key = quoted_path(&certificate.key()),
    )
}

/// A TOML basic string, which escapes as JSON does.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn quoted_path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// What must stand in the DNS: RFC 5321 §5.1, RFC 7208, RFC 7489, RFC 8460, RFC 6186 with RFC 8314 §5.1.
fn dns_records(of: &Domain, hostname: &Domain) -> Vec<Vec<String>> {
    let (domain, host) = (of.to_ascii(), hostname.to_ascii());
    let service = |name: &str, priority: u8, port: u16| {
        vec![format!("{name}._tcp.{domain}."), "SRV".to_owned(), format!("{priority} 1 {port} {host}.")]
    };
    let record =
        |name: &str, kind: &str, value: &str| vec![format!("{name}."), kind.to_owned(), value.to_owned()];
    vec![
        record(&domain, "MX", &format!("10 {host}.")),
        record(&host, "A", "<this machine's IPv4 address>"),
        record(&host, "AAAA", "<this machine's IPv6 address, if it has one>"),
        record(&domain, "TXT", "\"v=spf1 mx -all\""),
        record(
            &format!("_dmarc.{domain}"),
            "TXT",
            &format!("\"v=DMARC1; p=none; rua=mailto:postmaster@{domain}\""),
        ),
        publish::tls_reports(of),
        service("_submissions", 0, 465),
        service("_submission", 10, 587),
        service("_imaps", 0, 993),
        service("_imap", 10, 143),
        service("_pop3s", 20, 995),
        service("_pop3", 30, 110),
    ]
}

fn next_steps(
    file: &Path,
    folder: &Path,
    domain: &Domain,
    hostname: &Domain,
    records: &[Vec<String>],
) -> String {
    let records = output::columns(records).replace('\n', "\n  ");
    let command = if file == Path::new(DEFAULT_CONFIG) {
        "mailstead".to_owned()
    } else {
        format!("mailstead --config {}", shell_word(file))
    };
    let authority: PathBuf = TestCertificate::new(&folder.join("tls")).authority();
    format!(
        "Wrote {file}.\n\
         \n\
         Publish these DNS records, and have {hostname} as the PTR record of this machine's address:\n\n  \
         {records}\n\
         \n\
         {mta_sts}\n\
         \n\
         Next:\n  \
         {command} account add alice@{domain}\n  \
         {command} alias add postmaster@{domain} alice@{domain}\n  \
         {command} config check\n  \
         {command} serve\n\
         \n\
         The certificate is for testing: clients trust it once they know {authority}.\n\
         For use in earnest, name the files of a real one in the config.",
        file = file.display(),
        mta_sts = publish::mta_sts(domain, hostname, &Zoned::now()),
        authority = authority.display(),
    )
}

/// As the shell must read it.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=@%,:".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_records_name_the_host_absolutely() {
        let records = dns_records(&"example.org".parse().unwrap(), &"mx.example.net".parse().unwrap());
        let text = output::columns(&records);
        assert!(text.contains("example.org.") && text.contains("10 mx.example.net."), "{text}");
        assert!(
            text.contains("_imaps._tcp.example.org.") && text.contains("0 1 993 mx.example.net."),
            "{text}"
        );
    }

    #[test]
    fn a_path_with_a_blank_is_quoted_for_the_shell() {
        assert_eq!(shell_word(Path::new("/srv/my mail")), "'/srv/my mail'");
    }
}
