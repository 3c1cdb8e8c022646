//! What may happen, and how it is drawn.

use proptest::prelude::*;

use crate::view::{Flags, Kind};

/// Some messages of those that a client counts: each number is taken modulo their count.
pub(crate) type Which = Vec<u8>;

pub(crate) const FLAGS: [&str; 6] = ["\\Seen", "\\Flagged", "\\Deleted", "\\Answered", "$Work", "$Later"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Add,
    Remove,
    Replace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    None,
    /// Unchanged since the client was told of the first of the messages.
    SinceTold,
    Zero,
}

#[derive(Debug, Clone)]
pub(crate) enum Command {
    Noop,
    Append(Flags),
    Store {
        which: Which,
        by_uid: bool,
        change: Change,
        flags: Flags,
        silent: bool,
        condition: Condition,
    },
    Expunge,
    UidExpunge(Which),
    Copy {
        which: Which,
        by_uid: bool,
    },
    /// To another mailbox, or to the same.
    Move {
        which: Which,
        by_uid: bool,
        away: bool,
    },
    Fetch {
        which: Which,
        by_uid: bool,
    },
    /// Sets `\Seen`.
    Read {
        which: Which,
        by_uid: bool,
    },
    /// What changed, and went, since a mod-sequence some steps back.
    Changed {
        back: u8,
    },
    Search {
        back: u8,
    },
}

/// What a client says of what it knows when it comes back.
#[derive(Debug, Clone)]
pub(crate) struct Return {
    pub(crate) kind: Kind,
    pub(crate) server: u8,
    /// On the same connection, or after CLOSE; on a new one when `None`.
    pub(crate) close: Option<bool>,
    /// The connection is lost when so many lines of an answer were read.
    pub(crate) cut: Option<u8>,
    pub(crate) names_known: bool,
    pub(crate) sample: Which,
    /// What others do while it is away.
    pub(crate) meanwhile: Vec<Command>,
    pub(crate) index_lost: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Foreign {
    Deliver,
    Place(Flags),
    Flag(u8, Flags),
    Remove(u8),
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Do(u8, Command),
    /// At once.
    Together(Vec<Command>),
    /// While one idles.
    Idle(u8, Vec<Command>),
    Return(u8, Return),
    Foreign(Foreign),
    LoseIndex,
}

pub(crate) fn which() -> impl Strategy<Value = Which> {
    prop::collection::vec(any::<u8>(), 1..5)
}

fn flags() -> impl Strategy<Value = Flags> {
    prop::sample::subsequence(FLAGS.to_vec(), 0..4).prop_map(|it| it.into_iter().map(str::to_owned).collect())
}

fn store() -> impl Strategy<Value = Command> {
    let change = prop_oneof![3 => Just(Change::Add), 2 => Just(Change::Remove), 1 => Just(Change::Replace)];
    let condition =
        prop_oneof![3 => Just(Condition::None), 2 => Just(Condition::SinceTold), 1 => Just(Condition::Zero)];
    (which(), any::<bool>(), change, flags(), any::<bool>(), condition).prop_map(
        |(which, by_uid, change, flags, silent, condition)| Command::Store {
            which,
            by_uid,
            change,
            flags,
            silent,
            condition,
        },
    )
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    let named = || (which(), any::<bool>());
    prop_oneof![
        2 => Just(Command::Noop),
        4 => flags().prop_map(Command::Append),
        8 => store(),
        2 => Just(Command::Expunge),
        1 => which().prop_map(Command::UidExpunge),
        1 => named().prop_map(|(which, by_uid)| Command::Copy { which, by_uid }),
        1 => (named(), any::<bool>()).prop_map(|((which, by_uid), away)| Command::Move { which, by_uid, away }),
        2 => named().prop_map(|(which, by_uid)| Command::Fetch { which, by_uid }),
        1 => named().prop_map(|(which, by_uid)| Command::Read { which, by_uid }),
        1 => any::<u8>().prop_map(|back| Command::Changed { back }),
        1 => any::<u8>().prop_map(|back| Command::Search { back }),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![1 => Just(Kind::Plain), 2 => Just(Kind::Condstore), 4 => Just(Kind::Qresync)]
}

fn come_back() -> impl Strategy<Value = Return> {
    let close = prop_oneof![2 => Just(None), 1 => any::<bool>().prop_map(Some)];
    let cut = prop_oneof![1 => Just(None), 1 => (0..5_u8).prop_map(Some)];
    let sample = prop::collection::vec(any::<u8>(), 0..4);
    let meanwhile = (prop::collection::vec(command(), 0..5), prop::bool::weighted(0.3));
    (kind(), any::<u8>(), close, cut, any::<bool>(), sample, meanwhile).prop_map(
        |(kind, server, close, cut, names_known, sample, (meanwhile, index_lost))| Return {
            kind,
            server,
            close,
            cut,
            names_known,
            sample,
            meanwhile,
            index_lost,
        },
    )
}

fn foreign() -> impl Strategy<Value = Foreign> {
    prop_oneof![
        Just(Foreign::Deliver),
        flags().prop_map(Foreign::Place),
        (any::<u8>(), flags()).prop_map(|(at, flags)| Foreign::Flag(at, flags)),
        any::<u8>().prop_map(Foreign::Remove),
    ]
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let several = || prop::collection::vec(command(), 1..4);
    prop_oneof![
        24 => (any::<u8>(), command()).prop_map(|(who, command)| Step::Do(who, command)),
        3 => several().prop_map(Step::Together),
        2 => (any::<u8>(), several()).prop_map(|(who, commands)| Step::Idle(who, commands)),
        5 => (any::<u8>(), come_back()).prop_map(|(who, how)| Step::Return(who, how)),
        2 => foreign().prop_map(Step::Foreign),
        1 => Just(Step::LoseIndex),
    ]
}
