use super::*;

/// What loading `text` says, one mistake a line, without the file's name.
fn mistakes(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mailstead.toml");
    std::fs::write(&file, text).unwrap();
    match Config::load(&file) {
        Ok(_) => String::new(),
        Err(errors) => errors
            .to_string()
            .replace(&format!("{}:", file.display()), "")
            .replace(&folder.path().display().to_string(), "DIR"),
    }
}

#[test]
fn every_mistake_is_reported_at_once_with_line_and_column() {
    let text = "data_dir = 5\nhostnam = \"x\"\n\n[smtp]\nmax_message_size = \"50 parsecs\"\n[[imap.listener]]\nname = \"imaps\"\n  tls = \"implicit\"\naddresses = [\"0.0.0.0:993\", \"everywhere\"]\n[queue]\nretry_min = \"1h\"\nretry_max = \"1m\"\n";
    let found = mistakes(text);
    let lines: Vec<&str> = found.lines().collect();
    assert_eq!(lines.len(), 7, "{found}");
    assert!(lines[0].starts_with("1:12: data_dir = 5: expected a string"), "{found}");
    assert!(lines[1].starts_with("2:1: hostnam: there is no such key; did you mean hostname?"), "{found}");
    assert!(lines[2].starts_with("5:20: smtp.max_message_size = \"50 parsecs\": expected a size"), "{found}");
    assert!(lines[3].starts_with("6:1: [imap.listener]: tls = \"implicit\" needs a certificate"), "{found}");
    assert!(
        lines[4].starts_with("9:29: imap.listener.addresses: \"everywhere\": expected an address"),
        "{found}"
    );
    assert!(lines[5].starts_with("10:1: [queue]: retry_max must not"), "{found}");
    assert!(lines[6].contains("hostname is missing"), "{found}");
}

#[test]
fn a_mistake_in_the_syntax_does_not_hide_the_others() {
    let found = mistakes("hostname = \"mail.example.org\"\nuser = \n[smtp]\nmax_hops = 3\n");
    assert!(found.contains("2:"), "{found}");
    assert!(found.contains("smtp.max_hops = 3: expected a whole number of at least 10"), "{found}");
}

#[test]
fn a_certificate_that_can_not_be_read_is_one_mistake() {
    let listener = "[[imap.listener]]\nname = \"imaps\"\ntls = \"implicit\"\naddresses = [\"127.0.0.1:0\"]\n";
    let found = mistakes(&format!(
        "hostname = \"a.b\"\n[[tls.certificate]]\nkey = \"/none\"\ncertificate = \"/none\"\n{listener}"
    ));
    assert!(found.lines().count() == 2 && found.lines().all(|line| line.contains("/none")), "{found}");
}

#[test]
fn a_missing_file_is_said_with_what_to_do() {
    let error = Config::load(Path::new("/nowhere/mailstead.toml")).unwrap_err().to_string();
    assert!(
        error.contains("/nowhere/mailstead.toml: can't be read") && error.contains("mailstead init"),
        "{error}"
    );
}

#[test]
fn two_listeners_can_not_have_one_name() {
    let listener = "[[pop3.listener]]\nname = \"pop\"\ntls = \"none\"\naddresses = [\"127.0.0.1:1110\"]\n";
    let found = mistakes(&format!("hostname = \"mail.example.org\"\n{listener}{listener}"));
    assert!(found.starts_with("6:1: two listeners are named \"pop\""), "{found}");
}

#[test]
fn two_listeners_can_not_have_one_address() {
    let found = |listener: &str| mistakes(&format!("hostname = \"mail.example.org\"\n{listener}"));
    let taken = found("[[pop3.listener]]\nname = \"pop\"\ntls = \"none\"\naddresses = [\"127.0.0.1:143\"]\n");
    assert_eq!(
        taken,
        " the listeners \"imap\" and \"pop\" can't both have 127.0.0.1:143".replacen(' ', "2:1: ", 1)
    );
    let disabled =
        "[imap]\nenabled = false\n[[pop3.listener]]\nname = \"pop\"\naddresses = [\"127.0.0.1:143\"]\n";
    assert_eq!(found(disabled), "");
    let free = "[[pop3.listener]]\nname = \"pop\"\naddresses = [\"127.0.0.1:0\", \"[::1]:0\"]\n";
    assert_eq!(found(free), "");
}

#[test]
fn a_timeout_below_the_least_of_its_standard_is_refused() {
    let found = mistakes(
        "hostname = \"mail.example.org\"\n[imap]\nidle_timeout = \"29m\"\n[pop3]\nidle_timeout = \"5m\"\n",
    );
    assert!(
        found.contains("imap.idle_timeout = \"29m\": expected a time of at least 30m (RFC 3501 §5.4)"),
        "{found}"
    );
    assert!(
        found.contains("pop3.idle_timeout = \"5m\": expected a time of at least 10m (RFC 1939 §3)"),
        "{found}"
    );
}

#[test]
fn a_file_that_can_not_be_read_is_named_with_the_reason() {
    let found = mistakes(
        "hostname = \"mail.example.org\"\n[[tls.certificate]]\ncertificate = \"none.pem\"\nkey = \"no.key\"\n[relay]\nsmarthost = \"smtp.example.net:587\"\nusername = \"me\"\npassword_file = \"/dev/null\"\n",
    );
    assert!(
        found.contains("3:15: tls.certificate.certificate: can't read DIR/none.pem: No such file"),
        "{found}"
    );
    assert!(found.contains("4:7: tls.certificate.key: can't read DIR/no.key: No such file"), "{found}");
    assert!(found.contains("[relay]: password_file: /dev/null holds no password"), "{found}");
}

#[test]
fn a_key_that_is_missing_is_told_although_a_comment_names_it() {
    assert!(mistakes("# hostname\n").contains("hostname is missing"));
}

/// RFC 5321 §4.2, §4.5.3.1.5: what goes into replies ends none, and leaves room for them.
#[test]
fn a_hint_for_people_is_one_line_of_ascii() {
    let found = |hint: &str| {
        mistakes(&format!("hostname = \"mail.example.org\"\n[smtp.verdicts]\nhelp = \"{hint}\"\n"))
    };
    assert_eq!(found(&"x".repeat(200)), "");
    for hint in [&"x".repeat(201), "a\\r\\n250 OK", "é"] {
        assert!(
            found(hint).contains("expected at most 200 characters of ASCII in one line"),
            "{}",
            found(hint)
        );
    }
}

#[test]
fn only_a_key_that_is_alike_is_suggested() {
    let found = mistakes("hostname = \"mail.example.org\"\n[smtp]\nmax_hop = 20\nbla = 1\n");
    assert!(found.contains("smtp.max_hop: there is no such key; did you mean max_hops?"), "{found}");
    assert!(found.ends_with("smtp.bla: there is no such key"), "{found}");
}

#[test]
fn paths_start_from_the_folder_of_the_config() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mailstead.toml");
    std::fs::write(&file, "hostname = \"mail.example.org\"\ndata_dir = \"data\"\n").unwrap();
    let config = Config::load(&file).unwrap();
    assert_eq!(config.data_dir, folder.path().join("data"));
    std::fs::write(&file, "hostname = \"mail.example.org\"\ndata_dir = \".\"\n").unwrap();
    assert_eq!(Config::load(&file).unwrap().data_dir.as_os_str(), folder.path().as_os_str());
    assert!(
        config.imap.listeners.iter().all(|listener| listener.tls != TlsMode::Implicit),
        "there is no certificate"
    );
}

/// The reference config, every commented-out setting switched on.
fn reference() -> String {
    let text = include_str!("../../../config/mailstead.toml");
    let setting = |line: &str| {
        line.strip_prefix('#').filter(|rest| !rest.starts_with(' ') && !rest.is_empty()).map(str::to_owned)
    };
    text.lines().map(|line| setting(line).unwrap_or_else(|| line.to_owned())).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_reference_config_names_every_key() {
    let text = reference();
    let source = reader::Source::new(Path::new("mailstead.toml"), &text);
    let (table, errors) = toml::de::DeTable::parse_recoverable(&text);
    assert!(errors.is_empty(), "{errors:?}");
    load::read(&source, table.into_inner());
    let unset = source.unset.borrow();
    assert!(unset.is_empty(), "config/mailstead.toml does not name {unset:?}");
}

#[test]
fn the_reference_config_shows_every_default() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mailstead.toml");
    std::fs::write(&file, include_str!("../../../config/mailstead.toml")).unwrap();
    let as_shipped = Config::load(&file).unwrap();
    for name in ["certificate.pem", "key.pem", "ca.pem", "relay-password"] {
        std::fs::write(folder.path().join(name), "content\n").unwrap();
    }
    std::fs::write(&file, reference()).unwrap();
    let switched_on = Config::load(&file).unwrap_or_else(|errors| panic!("{errors}"));
    let standard =
        Config { file, ..Config::new("mail.example.org".parse().unwrap(), "/var/lib/mailstead".into()) };
    let without_implicit = |listeners: &[Listener]| {
        listeners.iter().filter(|listener| listener.tls != TlsMode::Implicit).cloned().collect()
    };
    let smtp = SmtpConfig { listeners: without_implicit(&standard.smtp.listeners), ..standard.smtp.clone() };
    assert_eq!(as_shipped.smtp, smtp);
    let mut without_lists = switched_on.smtp.clone();
    assert_eq!(without_lists.verdicts.lists.drain(..).count(), 1);
    assert_eq!(without_lists.milters.drain(..).collect::<Vec<_>>(), [usual_milter(11_332)]);
    assert_eq!(without_lists.relay_clients.drain(..).count(), 2);
    assert_eq!(without_lists, standard.smtp);
    let undecided = DnsConfig { validates: None, ..switched_on.dns.clone() };
    assert_eq!((undecided, switched_on.dns.validates), (standard.dns, Some(true)));
    assert_eq!(switched_on.data_dir, standard.data_dir);
    let without_masks = ImapConfig { masks: Vec::new(), ..switched_on.imap.clone() };
    assert_eq!((without_masks, switched_on.imap.masks.len()), (standard.imap, 1));
    assert_eq!(switched_on.pop3, standard.pop3);
    assert_eq!((switched_on.queue.rates.len(), switched_on.queue.bulk.len()), (1, 1));
    let (rates, bulk, verp) = (Vec::new(), Vec::new(), Vec::new());
    let without_rates = QueueConfig { rates, bulk, verp, ..switched_on.queue.clone() };
    assert_eq!(without_rates, standard.queue);
    assert_eq!((as_shipped.metrics, switched_on.metrics.listeners.len()), (standard.metrics, 1));
    let limits = LimitsConfig { min_free: MinFree::default(), ..switched_on.limits.clone() };
    assert_eq!((limits, switched_on.limits.min_free), (standard.limits, MinFree::octets(32 << 20)));
    assert_eq!(switched_on.log, standard.log);
    assert!(switched_on.relay.smarthost.is_some() && switched_on.user.is_some());
    assert_eq!(as_shipped.relay, standard.relay);
    let relay = switched_on.relay.clone();
    let security = SecurityConfig { ca_file: None, ..relay.security.clone() };
    let tls_reports = TlsReportsConfig { from: None, organization: None, ..relay.tls_reports.clone() };
    let (smarthost, routes, sources) = (None, Vec::new(), Vec::new());
    let without_hosts = RelayConfig { smarthost, routes, sources, security, tls_reports, ..relay };
    assert_eq!((without_hosts, switched_on.relay.routes.len()), (standard.relay, 1));
    assert_eq!(switched_on.relay.sources.len(), 1);
}

/// Of which only the address is said.
fn usual_milter(port: u16) -> Milter {
    let junk = ["X-Spam", "X-Spam-Flag", "X-Spam-Status"].map(|name| (name.to_owned(), "Yes".to_owned()));
    Milter {
        name: format!("127.0.0.1:{port}"),
        address: MilterAddress::Inet("127.0.0.1".to_owned(), port),
        roles: vec![SmtpRole::Mx, SmtpRole::Submission],
        default: MilterDefault::TempFail,
        connect_timeout: Duration::from_secs(30),
        command_timeout: Duration::from_secs(30),
        content_timeout: Duration::from_secs(300),
        junk: junk.into(),
    }
}

#[test]
fn milters_are_asked_in_the_order_of_the_config() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mailstead.toml");
    let text = "hostname = \"mail.example.org\"\n[[smtp.milter]]\naddress = \"inet:127.0.0.1:8891\"\n\
        [[smtp.milter]]\naddress = \"unix:/run/clamav/milter.sock\"\nroles = [\"mx\"]\ndefault = \"accept\"\n\
        junk = [\"X-Virus: found\"]\n";
    std::fs::write(&file, text).unwrap();
    let milters = Config::load(&file).unwrap().smtp.milters;
    let second = Milter {
        name: "milter".to_owned(),
        address: MilterAddress::Unix("/run/clamav/milter.sock".into()),
        roles: vec![SmtpRole::Mx],
        default: MilterDefault::Accept,
        junk: vec![("X-Virus".to_owned(), "found".to_owned())],
        ..usual_milter(8891)
    };
    assert_eq!(milters, [usual_milter(8891), second]);
}

#[test]
fn a_milter_is_somewhere() {
    let found = |keys: &str| mistakes(&format!("hostname = \"mail.example.org\"\n[[smtp.milter]]\n{keys}\n"));
    assert!(found("default = \"accept\"").contains("smtp.milter.address is missing"), "{}", found(""));
    let wrong = found("address = \"unix:run/milter\"\nroles = [\"imap\"]\njunk = [\"Yes\"]");
    for key in ["address = \"unix:run/milter\"", "roles: \"imap\"", "junk: \"Yes\""] {
        assert!(wrong.contains(key), "{wrong}");
    }
}

#[test]
fn a_listener_may_stand_behind_proxies() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mailstead.toml");
    let listener = |proxies: &str| {
        format!(
            "hostname = \"mail.example.org\"\n[[imap.listener]]\nname = \"imap\"\naddresses = [\"0.0.0.0:143\"]\nproxies = [{proxies}]\n"
        )
    };
    std::fs::write(&file, listener("\"192.0.2.10\", \"2001:db8::/64\"")).unwrap();
    let config = Config::load(&file).unwrap();
    let imap = config.imap.listeners.first().unwrap();
    let is_proxy = |address: &str| imap.is_proxy(address.parse().unwrap());
    assert!(is_proxy("192.0.2.10") && is_proxy("::ffff:192.0.2.10") && is_proxy("2001:db8::7"));
    assert!(!is_proxy("192.0.2.11") && !is_proxy("127.0.0.1"));
    assert!(!config.smtp.listeners.iter().any(|it| it.is_proxy("192.0.2.10".parse().unwrap())));
    let found = mistakes(&listener("\"haproxy\""));
    assert!(found.contains("5:12: imap.listener.proxies: \"haproxy\": expected a network"), "{found}");
}

/// RFC 2033 §5.
#[test]
fn lmtp_stays_off_port_25() {
    let lmtp = |port: u16| {
        mistakes(&format!(
            "hostname = \"mail.example.org\"\n[[smtp.listener]]\nname = \"lmtp\"\nrole = \"lmtp\"\ntls = \"none\"\naddresses = [\"127.0.0.1:{port}\"]\n"
        ))
    };
    assert!(lmtp(25).contains("LMTP must not be spoken on port 25"), "{}", lmtp(25));
    assert_eq!(lmtp(24), "");
}

#[test]
fn a_quota_is_none_unless_it_is_set() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mailstead.toml");
    let load = |text: &str| {
        std::fs::write(&file, format!("hostname = \"mail.example.org\"\n{text}")).unwrap();
        Config::load(&file).unwrap().quota
    };
    assert_eq!(load(""), QuotaConfig { default: Quota::default(), full: FullMailbox::Defer });
    let quota = load("[quota]\nstorage = \"5 GiB\"\nmessages = 100000\nfull = \"reject\"\n");
    assert_eq!(quota.default, Quota { storage: Some(5 << 30), messages: Some(100_000) });
    assert_eq!(quota.full, FullMailbox::Reject);
    let found = mistakes("hostname = \"mail.example.org\"\n[quota]\nstorage = 0\nfull = \"bounce\"\n");
    assert!(found.contains("3:11: quota.storage = 0: expected a size of at least 1"), "{found}");
    assert!(found.contains("expected \"defer\" or \"reject\""), "{found}");
}

#[test]
fn a_mask_is_for_an_account_a_client_or_both() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mailstead.toml");
    let text = "hostname = \"mail.example.org\"\n[[imap.mask]]\naccount = \"Bob@Example.org\"\nhide = [\"xlist\"]\n\
        [[imap.mask]]\nclient = \"Some Mail\"\nhide = [\"IDLE\", \"QRESYNC\"]\n";
    std::fs::write(&file, text).unwrap();
    let masks = Config::load(&file).unwrap().imap.masks;
    let bob: Address = "bob@example.org".parse().unwrap();
    let applying = |account, client| masks.iter().filter(|it| it.applies(account, client)).count();
    assert_eq!(applying(Some(&bob), None), 1);
    assert_eq!(applying(Some(&bob), Some("some mail")), 2);
    assert_eq!((applying(None, Some("Some Mail")), applying(None, None)), (1, 0));
    assert_eq!(masks.first().unwrap().hide, ["XLIST"]);
    let found = mistakes("hostname = \"mail.example.org\"\n[[imap.mask]]\nhide = [\"imap4rev1\"]\n");
    assert!(found.contains("3:9: imap.mask.hide: \"imap4rev1\": expected a capability"), "{found}");
}

#[test]
fn the_preferred_language_is_one_that_people_speak() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mailstead.toml");
    std::fs::write(&file, "hostname = \"mail.example.org\"\n[imap]\nlanguage = \"PT\"\n").unwrap();
    assert_eq!(Config::load(&file).unwrap().imap.language, Language::Portuguese);
    for wrong in ["i-default", "pt-BR", "de", ""] {
        let found = mistakes(&format!("hostname = \"mail.example.org\"\n[imap]\nlanguage = \"{wrong}\"\n"));
        assert!(
            found.contains("3:12: imap.language") && found.contains("\"en\", \"pt\" or \"es\""),
            "{found}"
        );
    }
}

#[test]
fn an_administrator_is_reached_by_a_uri() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mailstead.toml");
    let text = "hostname = \"mail.example.org\"\n[imap]\nadmin = \"tel:+351-21\"\nmax_annotations = 10\n";
    std::fs::write(&file, text).unwrap();
    assert_eq!(Config::load(&file).unwrap().imap.admin.as_deref(), Some("tel:+351-21"));
    for wrong in ["postmaster", "mailto:", ":x", "mail to:x", "mailto:a b"] {
        let found = mistakes(&format!("hostname = \"mail.example.org\"\n[imap]\nadmin = \"{wrong}\"\n"));
        assert!(found.contains("3:9: imap.admin") && found.contains("a URI"), "{found}");
    }
    let found =
        mistakes("hostname = \"mail.example.org\"\n[imap]\nmax_annotation = 1000\nmax_annotations = 9\n");
    assert!(found.contains("at least 1024") && found.contains("at least 10"), "{found}");
}

#[test]
fn routes_lead_domains_to_a_smarthost_or_to_their_mail_hosts() {
    let head = "hostname = \"mail.example.org\"\n[relay]\ndirect = false\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mailstead.toml");
    let routes = "[[relay.route]]\ndomains = [\"Example.NET\", \"example.com\"]\nsmarthost = \"[::1]:2525\"\ntls = \"none\"\n\
                  [[relay.route]]\ndomains = [\"direct.test\"]\nsmarthost = \"mx\"\n";
    std::fs::write(&file, format!("{head}{routes}")).unwrap();
    let relay = Config::load(&file).unwrap().relay;
    assert!(!relay.direct && relay.smarthost.is_none());
    let shown: Vec<_> = relay
        .routes
        .iter()
        .map(|route| {
            (route.domains.len(), route.smarthost.as_ref().map(|host| (host.host.as_str(), host.port)))
        })
        .collect();
    assert_eq!(shown, [(2, Some(("::1", 2525))), (1, None)]);
    let found = mistakes(&format!(
        "{head}[[relay.route]]\nsmarthost = \"nowhere\"\n[[relay.route]]\ndomains = [\"a..b\"]\n"
    ));
    for part in [
        "relay.route.domains is missing",
        "relay.route.smarthost = \"nowhere\"",
        "relay.route.smarthost is missing",
        "\"a..b\"",
    ] {
        assert!(found.contains(part), "{part}: {found}");
    }
}

#[test]
fn routes_are_for_senders_too_and_lead_to_lmtp() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mailstead.toml");
    let text = "hostname = \"mail.example.org\"\n[[relay.route]]\nsenders = [\"@Example.org\", \"Bob@example.net\"]\n\
        smarthost = \"lmtp:unix:/run/dovecot/lmtp\"\n[[relay.route]]\ndomains = [\"a.test\"]\nsmarthost = \"lmtp:[::1]:24\"\n";
    std::fs::write(&file, text).unwrap();
    let relay = Config::load(&file).unwrap().relay;
    let leads_to_mail_hosts = |sender: &str, domain: &str| {
        relay.leads_to_mail_hosts(sender.parse().ok().as_ref(), &domain.parse().unwrap())
    };
    assert!(leads_to_mail_hosts("eve@example.net", "x.test") && leads_to_mail_hosts("", "x.test"));
    assert!(!leads_to_mail_hosts("bob@example.net", "x.test") && !leads_to_mail_hosts("", "a.test"));
    let routes = relay.routes;
    let hosts: Vec<_> = routes.iter().map(|route| route.smarthost.clone().unwrap()).collect();
    assert!(hosts.iter().all(|host| host.lmtp));
    assert_eq!(hosts[0].socket.as_deref(), Some(Path::new("/run/dovecot/lmtp")));
    assert_eq!((hosts[0].tls, hosts[1].tls), (RelayTls::None, RelayTls::Opportunistic));
    assert_eq!((hosts[1].host.as_str(), hosts[1].port, hosts[1].socket.as_ref()), ("::1", 24, None));
    let is_of = |sender: &str| routes[0].is_of(sender.parse().ok().as_ref(), &"x.test".parse().unwrap());
    assert!(is_of("any@example.org") && is_of("bob@example.net") && !is_of("eve@example.net") && !is_of(""));
    let found = mistakes(
        "hostname = \"mail.example.org\"\n[[relay.route]]\nsmarthost = \"lmtp:unix:lmtp\"\n\
         [[relay.route]]\ndomains = [\"a.test\"]\nsmarthost = \"lmtp:unix:/lmtp\"\ntls = \"required\"\n",
    );
    assert!(
        found.contains("relay.route.smarthost = \"lmtp:unix:lmtp\"") && found.contains("leave tls out"),
        "{found}"
    );
}

/// Nobody is to believe that mail hosts must prove something, or get a password, because [relay] says so of a smarthost that isn't there.
#[test]
fn what_is_said_of_a_smarthost_is_said_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    let login = format!("username = \"me\"\npassword_file = \"{}\"\n", password.display());
    let relay = |text: &str| mistakes(&format!("hostname = \"mail.example.org\"\n{text}\n"));
    for table in ["[relay]", "[[relay.route]]\ndomains = [\"a.test\"]\nsmarthost = \"mx\""] {
        for keys in ["tls = \"required\"", "tls = \"none\"", &login] {
            let found = relay(&format!("{table}\n{keys}"));
            assert!(found.contains("for a smarthost, and there is none"), "{table} {keys}: {found}");
        }
        assert_eq!(relay(&format!("{table}\ntls = \"opportunistic\"")), "");
    }
    assert_eq!(
        relay(&format!("[relay]\nsmarthost = \"smtp.example.net:587\"\ntls = \"required\"\n{login}")),
        ""
    );
    let found =
        relay("[relay]\nsmarthost = \"smtp.example.net:587\"\nusername = \"me\"\npassword_file = \"/none\"");
    assert!(found.contains("can't read") && !found.contains("go together"), "{found}");
    assert!(
        relay("[relay]\nsmarthost = \"smtp.example.net:587\"\nusername = \"me\"").contains("go together")
    );
}

#[test]
fn a_source_has_one_address_of_each_family() {
    let source = |addresses: &str| {
        mistakes(&format!("hostname = \"mail.example.org\"\n[[relay.source]]\naddresses = [{addresses}]\n"))
    };
    assert_eq!(source("\"192.0.2.1\", \"2001:db8::1\""), "");
    assert!(source("\"192.0.2.1\", \"192.0.2.2\"").contains("one of each family"));
    assert!(source("").contains("relay.source.addresses is missing"));
    assert!(source("\"eth0\"").contains("\"eth0\": expected an address"));
}

#[test]
fn a_rate_says_how_many_in_what_time_or_at_one_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mailstead.toml");
    let text = "hostname = \"mail.example.org\"\n[[queue.rates]]\ndomain = \"Example.net\"\nmessages = 100\nper = \"10m\"\n\
        [[queue.rates]]\naccount = \"News@example.org\"\nconnections = 5\n";
    std::fs::write(&file, text).unwrap();
    let rates = Config::load(&file).unwrap().queue.rates;
    let fits = |account: &str, domain: &str| {
        rates.iter().map(|it| it.is_of(account, &domain.parse().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(fits("news@example.org", "example.net"), [true, true]);
    assert_eq!(fits("", "example.com"), [false, false]);
    let told: Vec<_> = rates.iter().map(QueueRate::told).collect();
    assert_eq!(
        told,
        [
            "mail to example.net goes out evenly, 100 messages in 10m",
            "mail of news@example.org goes over 5 connections at most"
        ]
    );
    let found = mistakes("hostname = \"mail.example.org\"\n[[queue.rates]]\ndomain = \"example.net\"\n");
    assert!(found.contains("queue.rates.messages is missing"), "{found}");
    let found = mistakes("hostname = \"mail.example.org\"\n[[queue.rates]]\nmessages = 100\n");
    assert!(
        found.starts_with("2:1: queue.rates.domain is missing: say which mail is meant, by domain"),
        "{found}"
    );
}

#[test]
fn nobody_is_to_be_warned_of_what_is_given_up_by_then() {
    let queue = |keys: &str| mistakes(&format!("hostname = \"mail.example.org\"\n[queue]\n{keys}\n"));
    for keys in ["warn_after = \"5d\"", "warn_after = \"2h\"\nexpire_after = \"1h\""] {
        let found = queue(keys);
        assert!(
            found.starts_with("2:1: [queue]: warn_after = \"") && found.contains("shorter than expire_after"),
            "{found}"
        );
    }
    for keys in
        ["expire_after = \"1h\"", "warn_after = \"0s\"", "warn_after = \"59m\"\nexpire_after = \"1h\""]
    {
        assert_eq!(queue(keys), "");
    }
}

#[test]
fn a_warm_up_begins_on_a_day() {
    let source = |keys: &str| {
        format!("hostname = \"mail.example.org\"\n[[relay.source]]\naddresses = [\"192.0.2.1\"]\n{keys}\n")
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mailstead.toml");
    std::fs::write(&file, source("warm_up_since = \"2026-12-01\"\nwarm_up_start = 20")).unwrap();
    let sources = Config::load(&file).unwrap().relay.sources;
    let since = "2026-12-01T00:00:00Z".parse().unwrap();
    assert_eq!(sources[0].warm_up, Some(WarmUp { since, start: 20, growth: 50, most: 100_000 }));
    assert!(mistakes(&source("warm_up_since = \"tomorrow\"")).contains("expected a day"));
    for key in ["warm_up_start", "warm_up_growth", "warm_up_max"] {
        let found = mistakes(&source(&format!("{key} = 20")));
        assert!(
            found.starts_with("2:1: relay.source.warm_up_since is missing: say when the first day is"),
            "{found}"
        );
    }
}

/// Promise 5: never an open relay, and no relay by mistake.
#[test]
fn who_may_relay_is_said_for_certain() {
    #[track_caller]
    fn check(table: &str, expected: &str) {
        let found = mistakes(&format!("hostname = \"a.b\"\n[[smtp.relay_clients]]\n{table}\n"));
        assert!(
            if expected.is_empty() { found.is_empty() } else { found.contains(expected) },
            "{table}: {found}"
        );
    }
    let open = "(a great part of) the internet: anybody could send spam through this server";
    for (network, expected) in [
        ("0.0.0.0/0", open),
        ("::/0", open),
        ("128.0.0.0/1", open),
        ("2000::/3", open),
        ("10.0.0.0/8", ""),
        ("fc00::/7", ""),
        ("192.0.2.0/24", ""),
        ("2001:db8::/32", ""),
        ("2001:db8::1/32", "expected a network or an address"),
    ] {
        check(&format!("name = \"a\"\nnetworks = [\"{network}\"]\nsenders = [\"@a.b\"]"), expected);
    }
    check("networks = [\"10.0.0.0/8\"]\nsenders = [\"@a.b\"]", "name is missing");
    check("name = \"a@b.c\"\naccount = \"a@b.c\"", "expected letters, digits");
    check("name = \"a\"", "networks is missing: say who sends");
    check("name = \"a\"\nnetworks = [\"10.0.0.0/8\"]", "senders is missing");
    check("name = \"a\"\nnetworks = [\"10.0.0.0/8\"]\nsenders = []", "senders is missing");
    check("name = \"a\"\nnetworks = [\"10.0.0.0/8\"]\naccount = \"a@a.b\"\nsenders = [\"@a.b\"]", "not both");
    check("name = \"a\"\naccount = \"a@a.b\"\nsenders = [\"@a.b\"]", "are for networks");
    check(
        "name = \"a\"\naccount = \"a@a.b\"\n[[smtp.relay_clients]]\nname = \"A\"\naccount = \"b@a.b\"",
        "two relay clients",
    );
    check(
        "name = \"a\"\naccount = \"a@a.b\"\n[[smtp.relay_clients]]\nname = \"b\"\naccount = \"A@a.b\"",
        "two relay clients are the account a@a.b",
    );
    check("name = \"a\"\naccount = \"a@a.b\"\nmessages_per_hour = 5\nmax_message_size = \"1 MiB\"", "");
}

/// A proxy that has not said whom it brings is none of the machines in its network.
#[test]
fn a_proxy_is_no_relay_client() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mailstead.toml");
    let text = "hostname = \"a.b\"\n[smtp]\nxclient = [\"10.0.0.5\"]\n[[smtp.relay_clients]]\nname = \"LAN\"\nnetworks = [\"10.0.0.0/8\"]\n\
                senders = [\"@a.b\"]\n[[smtp.relay_clients]]\nname = \"crm\"\naccount = \"CRM@a.b\"\n";
    std::fs::write(&file, text).unwrap();
    let smtp = Config::load(&file).unwrap().smtp;
    let at = |ip: &str| smtp.relay_client_at(ip.parse().unwrap()).map(|it| it.name.as_str());
    assert_eq!(
        [at("10.0.0.4"), at("::ffff:10.0.0.4"), at("10.0.0.5"), at("11.0.0.1")],
        [Some("lan"), Some("lan"), None, None]
    );
    let of = |account: &str| smtp.relay_client_of(&account.parse().unwrap()).map(|it| it.name.as_str());
    assert_eq!([of("crm@a.b"), of("bob@a.b")], [Some("crm"), None]);
}

#[test]
fn return_addresses_for_each_recipient_need_a_delimiter() {
    let text = "hostname = \"a.b\"\n[smtp]\nrecipient_delimiter = \"\"\n[queue]\nverp = [\"news@a.b\"]\n";
    assert!(mistakes(text).contains("queue.verp needs smtp.recipient_delimiter"));
    assert_eq!(mistakes(&text.replace("\"\"", "\"-\"")), "");
}
