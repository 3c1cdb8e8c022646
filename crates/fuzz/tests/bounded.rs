//! Every rule holds for inputs made from the seeds and the dictionary: always the same ones.
#![allow(missing_docs, clippy::panic)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use fuzz::{Mutator, Target};

/// Tries so many inputs beside the seeds.
fn hold(name: &str, inputs: usize) -> anyhow::Result<()> {
    let target = Target::named(name)?;
    let mut mutator = Mutator::new(&target, 1)?;
    for seed in mutator.seeds().to_vec() {
        check(&target, &seed);
    }
    for _ in 0..inputs {
        check(&target, &mutator.next_input());
    }
    Ok(())
}

fn check(target: &Target, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err() {
        panic!("{} does not hold for b\"{}\"", target.name, input.escape_ascii());
    }
}

macro_rules! bounded {
    ($($name:ident $inputs:literal)*) => {
        $(#[test]
        fn $name() -> anyhow::Result<()> {
            hold(stringify!($name), $inputs)
        })*

        #[test]
        fn no_target_is_left_out() {
            let here = [$(stringify!($name)),*];
            assert!(fuzz::TARGETS.iter().all(|target| here.contains(&target.name)));
        }
    };
}

bounded! {
    imap_framer 10_000
    imap_command 20_000
    imap_client 20_000
    imap_response 5_000
    mailbox_name 20_000
    smtp 20_000
    pop3 20_000
    milter 20_000
    mail_data 10_000
    message 5_000
    file_name 20_000
    deflate 1_000
}
