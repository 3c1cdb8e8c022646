//! Real clients and peers against the running program.
#![allow(clippy::unwrap_used, missing_docs)]

use e2e::{Demo, python};

#[test]
fn a_message_goes_the_whole_way_and_comes_back_byte_for_byte() {
    let demo = Demo::start().unwrap();
    python("way_of_a_message.py", &demo.to_json()).unwrap();
    demo.stop().unwrap();
}

#[test]
fn a_demo_started_again_finds_its_data() {
    let first = Demo::start().unwrap();
    let password = first.account(0).password.clone();
    let (folder, _) = first.stop().unwrap();
    let again = Demo::start_in(folder).unwrap();
    assert_eq!(again.account(0).password, password);
    again.stop().unwrap();
}
