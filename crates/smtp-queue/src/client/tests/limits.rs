//! Hosts that say what they take: RFC 9422.

use super::*;

/// A connection to a host with these limits, which carries these transactions.
fn connection(limits: &str, transactions: &[&[&str]]) -> Vec<String> {
    let offered = format!("> 250-mx\r\n250 LIMITS {limits}");
    let mut whole = script(&["> 220 mx", "< EHLO us.example.org", &offered]);
    whole.extend(transactions.iter().flat_map(|recipients| transaction(recipients)));
    whole
}

fn transaction(recipients: &[&str]) -> Vec<String> {
    let mut whole = script(&["< MAIL FROM:<alice@example.org>", "> 250 ok"]);
    for recipient in recipients {
        whole.extend([format!("< RCPT TO:<{recipient}>"), "> 250 ok".to_owned()]);
    }
    whole.extend(script(&["< DATA", "> 354 go"]));
    whole.extend([format!("= {STUFFED}"), format!("> 250 {}", recipients.join(" "))]);
    whole
}

fn with_farewell(mut whole: Vec<String>) -> Vec<String> {
    whole.extend(script(&["< QUIT", "> 221 bye"]));
    whole
}

/// What the host at the other end of these connections has said to each recipient of messages one after the other.
async fn outcomes(scripts: Vec<Vec<String>>, messages: &[&[&str]]) -> Vec<Vec<String>> {
    let server = Server::start(None, scripts).await;
    let relay = relay(smarthost(server.port, RelayTls::None));
    let mut outcomes = Vec::new();
    for recipients in messages {
        outcomes.push(send(&relay, recipients).await);
    }
    relay.close_idle(true).await;
    server.end().await;
    outcomes
}

/// RFC 9422 §4.2
#[tokio::test]
async fn a_transaction_has_no_more_recipients_than_rcptmax() {
    let whole = connection("RCPTMAX=2", &[&["a@x", "b@x"], &["c@y", "d@x"], &["e@x"]]);
    let found = outcomes(vec![with_farewell(whole)], &[&["a@x", "b@x", "c@y", "d@x", "e@x"]]).await;
    assert_eq!(found, [["+ 250 a@x b@x", "+ 250 a@x b@x", "+ 250 c@y d@x", "+ 250 c@y d@x", "+ 250 e@x"]]);
}

/// RFC 9422 §4.1: another message, or part of one, waits for another connection.
#[tokio::test]
async fn a_connection_carries_no_more_transactions_than_mailmax() {
    let limits = "MAILMAX=2 RCPTMAX=1";
    let scripts = vec![
        with_farewell(connection(limits, &[&["a@x"], &["b@x"]])),
        with_farewell(connection(limits, &[&["c@x"], &["d@x"]])),
    ];
    let found = outcomes(scripts, &[&["a@x", "b@x", "c@x"], &["d@x"]]).await;
    assert_eq!(found, [&["+ 250 a@x", "+ 250 b@x", "+ 250 c@x"][..], &["+ 250 d@x"]]);
}

/// RFC 9422 §4.1: MAIL counts also where it is refused.
#[tokio::test]
async fn a_refused_transaction_counts_for_mailmax() {
    let offered = "> 250-mx\r\n250 LIMITS MAILMAX=1";
    let refused =
        ["> 220 mx", "< EHLO us.example.org", offered, "< MAIL FROM:<alice@example.org>", "> 550 no"];
    let scripts = vec![with_farewell(script(&refused)), with_farewell(connection("MAILMAX=1", &[&["b@x"]]))];
    let found = outcomes(scripts, &[&["a@x"], &["b@x"]]).await;
    assert_eq!(found, [["- 5.0.0 550 no"], ["+ 250 b@x"]]);
}

/// RFC 9422 §4.3: the domains of a connection, whatever transaction they are in. One that has reached the limit still takes mail for its own.
#[tokio::test]
async fn the_recipients_of_a_connection_have_no_more_domains_than_rcptdomainmax() {
    let limits = "RCPTDOMAINMAX=1";
    let mut of_x = connection(limits, &[&["a@x.org", "c@x.org"]]);
    of_x.extend(transaction(&["d@x.org"]));
    let of_y = connection(limits, &[&["b@y.org"]]);
    let (port, scripts) = at_once(vec![with_farewell(of_x), with_farewell(of_y)]).await;
    let relay = relay(smarthost(port, RelayTls::None));
    let found = send(&relay, &["a@x.org", "b@y.org", "c@X.org"]).await;
    assert_eq!(found, ["+ 250 a@x.org c@x.org", "+ 250 b@y.org", "+ 250 a@x.org c@x.org"]);
    assert_eq!(send(&relay, &["d@x.org"]).await, ["+ 250 d@x.org"]);
    relay.close_idle(true).await;
    scripts.await.unwrap();
}

/// Plays the scripts on connections that are open together.
async fn at_once(scripts: Vec<Vec<String>>) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let scripts = tokio::spawn(async move {
        let mut played = Vec::new();
        for script in scripts {
            let (stream, _) = listener.accept().await.unwrap();
            played.push(tokio::spawn(async move { play(Box::new(stream), None, &script).await }));
        }
        for one in played {
            one.await.unwrap();
        }
    });
    (port, scripts)
}

/// RFC 9422 §3.4: a server may have enough before its limits are reached. What it did not take goes over another connection, once.
#[tokio::test]
async fn a_host_that_has_enough_before_its_limits_is_connected_with_again() {
    let mut early = connection("RCPTMAX=1", &[&["a@x"]]);
    early.extend(script(&["< MAIL FROM:<alice@example.org>", "> 421 4.7.0 enough"]));
    let scripts = vec![early, with_farewell(connection("RCPTMAX=1", &[&["b@x"]]))];
    assert_eq!(outcomes(scripts, &[&["a@x", "b@x"]]).await, [["+ 250 a@x", "+ 250 b@x"]]);
}

/// Who was deferred is not asked for again at the same host, and who was not asked for is told why.
#[tokio::test]
async fn what_was_not_sent_any_more_has_the_reason_for_which_the_connection_ended() {
    let offered = "> 250-mx\r\n250 LIMITS RCPTMAX=1";
    let lost = script(&[
        "> 220 mx",
        "< EHLO us.example.org",
        offered,
        "< MAIL FROM:<alice@example.org>",
        "> 250 ok",
        "< RCPT TO:<a@x>",
        "> 421 4.3.2 closing",
    ]);
    let found = outcomes(vec![lost], &[&["a@x", "b@x"]]).await;
    assert_eq!(found, [["~ 4.3.2 421 4.3.2 closing", "~ 4.3.2 421 4.3.2 closing"]]);
}

/// RFC 9422 §3.6: what was told before TLS is forgotten, also where nothing is told behind it.
#[tokio::test]
async fn the_limits_of_the_last_greeting_count() {
    let (acceptor, _) = certificate();
    let mut whole = script(&[
        "> 220 mx",
        "< EHLO us.example.org",
        "> 250-mx\r\n250-LIMITS RCPTMAX=1\r\n250 STARTTLS",
        "< STARTTLS",
        "> 220 go",
        "TLS",
        "< EHLO us.example.org",
        "> 250 mx",
    ]);
    whole.extend(transaction(&["a@x", "b@x"]));
    let server = Server::start(Some(acceptor), vec![whole]).await;
    let relay = relay(smarthost(server.port, RelayTls::Opportunistic));
    assert_eq!(send(&relay, &["a@x", "b@x"]).await, ["+ 250 a@x b@x", "+ 250 a@x b@x"]);
    server.end().await;
}
