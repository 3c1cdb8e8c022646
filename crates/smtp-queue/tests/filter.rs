//! Which of the queue an operator means.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use jiff::Timestamp;
use smtp_queue::{
    Body, Diagnosis, Filter, Handling, QueueId, QueuedMessage, QueuedRecipient, RcptParameters,
    RecipientState, SenderFilter, Status, WaitState,
};

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn recipient(address: &str, attempts: u32, state: RecipientState) -> QueuedRecipient {
    let text = "450 4.2.0 Greylisted, come back".to_owned();
    let diagnosis =
        Diagnosis { status: Status::new(4, 2, 0), host: Some("mx.test".to_owned()), tried: None, text };
    QueuedRecipient {
        address: address.parse().unwrap(),
        state,
        attempts,
        last_attempt: None,
        next_attempt: None,
        diagnosis: (attempts > 0).then_some(diagnosis),
        parameters: RcptParameters::default(),
        warned: false,
        next_hop: None,
    }
}

/// An hour old, to one who was tried, one who was not, and one who has it.
fn message() -> QueuedMessage {
    QueuedMessage {
        origin: String::new(),
        id: QueueId("M".to_owned()),
        sender: Some("Alice@example.org".parse().unwrap()),
        checksum: None,
        size: 1000,
        arrived: now() - jiff::SignedDuration::from_hours(1),
        held: false,
        smtputf8: false,
        body: Body::SevenBit,
        ret: None,
        envelope_id: None,
        handling: Handling::default(),
        recipients: vec![
            recipient("Bob@example.net", 2, RecipientState::Pending),
            recipient("eve@example.com", 0, RecipientState::Pending),
            recipient("carol@example.net", 1, RecipientState::Delivered),
        ],
    }
}

#[track_caller]
fn check(filter: &Filter, expected: &[usize]) {
    assert_eq!(filter.meant(&message(), now()), expected, "{filter:?}");
}

#[test]
fn a_filter_means_the_recipients_that_wait_and_fit_all_of_it() {
    let all = Filter::default;
    check(&all(), &[0, 1]);
    let somebody = |text: &str| Some(SenderFilter::Somebody(text.parse().unwrap()));
    check(&Filter { sender: somebody("alice@EXAMPLE.org"), ..all() }, &[0, 1]);
    check(&Filter { sender: somebody("@example.org"), ..all() }, &[0, 1]);
    check(&Filter { sender: somebody("@sub.example.org"), ..all() }, &[]);
    check(&Filter { sender: Some(SenderFilter::Nobody), ..all() }, &[]);
    check(&Filter { recipient: "bob@example.net".parse().ok(), ..all() }, &[0]);
    check(&Filter { recipient: "carol@example.net".parse().ok(), ..all() }, &[]);
    check(&Filter { domain: "Example.com".parse().ok(), ..all() }, &[1]);
    let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
    check(&Filter { older_than: hours(1), ..all() }, &[0, 1]);
    check(&Filter { older_than: hours(2), ..all() }, &[]);
    check(&Filter { newer_than: hours(2), ..all() }, &[0, 1]);
    check(&Filter { min_size: Some(1001), ..all() }, &[]);
    check(&Filter { max_size: Some(1000), domain: "example.net".parse().ok(), ..all() }, &[0]);
    let priority = |least: &str, most: &str| Some((least.parse().unwrap(), most.parse().unwrap()));
    check(&Filter { priority: priority("-1", "0"), ..all() }, &[0, 1]);
    check(&Filter { priority: priority("1", "9"), ..all() }, &[]);
}

#[test]
fn a_reason_is_a_status_its_beginning_or_words_of_what_was_said() {
    for (reason, is_meant) in [
        ("4.2.0", true),
        ("4.2", true),
        ("4", true),
        ("4.20", false),
        ("5", false),
        ("greylisted", true),
        ("MX.test", true),
        ("450", true),
        ("full", false),
    ] {
        let expected: &[usize] = if is_meant { &[0] } else { &[] };
        check(&Filter { reason: Some(reason.to_owned()), ..Filter::default() }, expected);
    }
}

#[test]
fn a_recipient_is_new_deferred_scheduled_or_held() {
    let of = |state| Filter { state: Some(state), ..Filter::default() };
    check(&of(WaitState::Deferred), &[0]);
    check(&of(WaitState::New), &[1]);
    let later = now() + jiff::SignedDuration::from_hours(1);
    let scheduled =
        QueuedMessage { handling: Handling { release: Some(later), ..Handling::default() }, ..message() };
    assert_eq!(of(WaitState::Scheduled).meant(&scheduled, now()), [0, 1]);
    let held = QueuedMessage { held: true, ..scheduled };
    assert_eq!(of(WaitState::Held).meant(&held, now()), [0, 1]);
    assert!(of(WaitState::Scheduled).meant(&held, now()).is_empty());
}
