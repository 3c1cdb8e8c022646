//! RFC 6376 and RFC 8463: their examples, and mail that dkimpy and OpenDKIM have signed.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Lab, client, crlf, milter};
use crate::policy::message::DkimFinding;

/// The keys of RFC 6376 Appendix C and of RFC 8463 Appendix A.2.
pub(super) const KEYS: &str = r#"
brisbane._domainkey.example.com. TXT "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od" "+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"
brisbane._domainkey.football.example.com. TXT "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
test._domainkey.football.example.com. TXT "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWR" "iGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC" "DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3" "Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
revoked._domainkey.football.example.com. TXT "v=DKIM1; p="
"#;

/// The secret key of RFC 8463 Appendix A.1.
const RSA: &str = "-----BEGIN RSA PRIVATE KEY-----
MIICXQIBAAKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQi
Y/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqM
KrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB
AoGAH0cxOhFZDgzXWhDhnAJDw5s4roOXN4OhjiXa8W7Y3rhX3FJqmJSPuC8N9vQm
6SVbaLAE4SG5mLMueHlh4KXffEpuLEiNp9Ss3O4YfLiQpbRqE7Tm5SxKjvvQoZZe
zHorimOaChRL2it47iuWxzxSiRMv4c+j70GiWdxXnxe4UoECQQDzJB/0U58W7RZy
6enGVj2kWF732CoWFZWzi1FicudrBFoy63QwcowpoCazKtvZGMNlPWnC7x/6o8Gc
uSe0ga2xAkEA8C7PipPm1/1fTRQvj1o/dDmZp243044ZNyxjg+/OPN0oWCbXIGxy
WvmZbXriOWoSALJTjExEgraHEgnXssuk7QJBALl5ICsYMu6hMxO73gnfNayNgPxd
WFV6Z7ULnKyV7HSVYF0hgYOHjeYe9gaMtiJYoo0zGN+L3AAtNP9huqkWlzECQE1a
licIeVlo1e+qJ6Mgqr0Q7Aa7falZ448ccbSFYEPD6oFxiOl9Y9se9iYHZKKfIcst
o7DUw1/hz2Ck4N5JrgUCQQCyKveNvjzkkd8HjYs0SwM0fPjK16//5qDZ2UiDGnOe
uEzxBDAr518Z8VFbR41in3W4Y3yCDgQlLlcETrS+zYcL
-----END RSA PRIVATE KEY-----
";
const ED25519: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";

const MESSAGE: &str = "From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
";

/// RFC 6376 §A.2, with the blanks that its page has lost.
const OF_RFC_6376: &str = "DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
";

/// RFC 8463 §A.3.
const OF_RFC_8463: &str = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
";

/// What comes of each signature.
async fn results(lab: &Lab, message: &str) -> Vec<&'static str> {
    lab.message(&crlf(message)).await.dkim.iter().map(|it| it.result).collect()
}

#[tokio::test]
async fn the_examples_of_rfc_6376_and_rfc_8463_pass() {
    let lab = Lab::new(KEYS);
    let simple = format!("{OF_RFC_6376}{}", MESSAGE.replace("  Are", " Are"));
    assert_eq!(results(&lab, &simple).await, ["pass"]);
    let both = lab.message(&crlf(&format!("{OF_RFC_8463}{MESSAGE}"))).await.dkim;
    let expected = |selector: &str, algorithm, signature: &str| DkimFinding {
        result: "pass",
        comment: None,
        domain: Some("football.example.com".to_owned()),
        selector: selector.to_owned(),
        algorithm,
        signature: signature.to_owned(),
    };
    assert_eq!(
        both,
        [expected("brisbane", "ed25519-sha256", "/gCrinpc"), expected("test", "rsa-sha256", "F45dVWDf")]
    );
}

#[tokio::test]
async fn a_message_that_was_changed_does_not_pass() {
    let lab = Lab::new(KEYS);
    let signed = format!("{OF_RFC_8463}{MESSAGE}");
    assert_eq!(results(&lab, &signed.replace("lost", "won")).await, ["fail", "fail"]);
    assert_eq!(results(&lab, &signed.replace("ready?", "ready!")).await, ["fail", "fail"]);
    // RFC 6376 §5.4: h= names From and Subject once more, so that none can be added.
    assert_eq!(results(&lab, &format!("Subject: another\n{signed}")).await, ["fail", "fail"]);
    // Blanks are folded by the relaxed form.
    assert_eq!(results(&lab, &signed.replace("Hi.", "Hi. \t")).await, ["pass", "pass"]);
    assert_eq!(
        results(&lab, &signed.replace("d=football.example.com", "d=football.example.net")).await,
        ["permerror"; 2]
    );
    assert_eq!(results(&lab, MESSAGE).await, [""; 0]);
}

#[tokio::test]
async fn what_must_not_be_accepted_is_not() {
    let lab = Lab::new(KEYS);
    let signed = format!("{OF_RFC_8463}{MESSAGE}");
    // RFC 8301 §3.1.
    assert_eq!(results(&lab, &signed.replace("rsa-sha256", "rsa-sha1")).await, ["pass", "policy"]);
    // RFC 6376 §8.2: a signature of a part of the body says nothing of the rest.
    assert_eq!(results(&lab, &signed.replace("s=test;", "s=test; l=5;")).await[0], "policy");
    assert_eq!(results(&lab, &signed.replace("s=test;", "s=revoked;")).await[1], "permerror");
    assert_eq!(
        results(&lab, &signed.replace("d=football.example.com", "d=anything.broken")).await,
        ["temperror"; 2]
    );
}

/// RFC 5321 §6.2: whoever signs as himself may name another in MAIL, who is to hear nothing of it.
#[tokio::test]
async fn a_signature_proves_the_sender_of_its_own_domain_only() {
    let policy = "_dmarc.football.example.com. TXT \"v=DMARC1; p=reject\"\n";
    let lab = Lab::new(&format!("{KEYS}{policy}"));
    let signed = crlf(&format!("{OF_RFC_8463}{MESSAGE}"));
    for (sender, is_proven) in [
        (Some("joe@football.example.com"), true),
        (Some("joe@list.Football.example.com"), true),
        (Some("victim@elsewhere.test"), false),
        (Some("victim@example.com"), false),
        (Some("victim@[192.0.2.9]"), false),
        (None, true),
    ] {
        let verdict = lab.verdict(&client("192.0.2.1", "client.test", sender), &signed).await;
        assert!(verdict.fields.contains("\tdmarc=pass"), "{}", verdict.fields);
        assert_eq!(verdict.is_sender_proven, is_proven, "{sender:?}");
    }
}

#[tokio::test]
async fn what_dkimpy_has_signed_passes() {
    let (lab, folder) = (Lab::new(KEYS), tempfile::tempdir().unwrap());
    let (rsa, ed25519) = (folder.path().join("rsa"), folder.path().join("ed25519"));
    std::fs::write(&rsa, RSA).unwrap();
    std::fs::write(&ed25519, ED25519).unwrap();
    for form in ["simple", "relaxed"] {
        let forms = ["--hcanon", form, "--bcanon", form];
        let signed = dkimsign(&rsa, &forms, &crlf(MESSAGE), "test");
        assert_eq!(results(&lab, &signed).await, ["pass"], "{form}");
        let algorithm = ["--signalg", "ed25519-sha256"];
        let signed = dkimsign(&ed25519, &[forms.as_slice(), &algorithm].concat(), &signed, "brisbane");
        assert_eq!(results(&lab, &signed).await, ["pass", "pass"], "{form}");
    }
}

#[tokio::test]
async fn what_opendkim_has_signed_passes() {
    let (lab, folder) = (Lab::new(KEYS), tempfile::tempdir().unwrap());
    let key = folder.path().join("rsa");
    std::fs::write(&key, RSA).unwrap();
    for forms in ["simple/simple", "relaxed/relaxed", "relaxed/simple"] {
        let signed = milter::signed_by_opendkim(folder.path(), &key, forms, &crlf(MESSAGE));
        assert_eq!(results(&lab, &signed).await, ["pass"], "{forms}\n{signed}");
    }
}

fn dkimsign(key: &Path, options: &[&str], message: &str, selector: &str) -> String {
    let mut command = Command::new("/usr/bin/dkimsign");
    command.args(options).args([selector, "football.example.com"]).arg(key);
    run(command, message)
}

/// What a program makes of a message.
pub(super) fn run(mut command: Command, message: &str) -> String {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
