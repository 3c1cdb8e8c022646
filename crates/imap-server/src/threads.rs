//! How messages are put together to threads. RFC 5256 §3. Nothing here recurses: a thread may be as deep as a mailbox is long.

mod ancestry;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use mail_message::MessageIdHash;

use ancestry::Ancestry;

/// What the algorithms look at in a message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Member {
    /// Its own id.
    pub(crate) id: Option<MessageIdHash>,
    /// The ids that it refers to, the oldest first.
    pub(crate) references: Box<[MessageIdHash]>,
    /// Its base subject, as it is compared.
    pub(crate) subject: String,
    /// Its subject had the mark of a reply or a forward.
    pub(crate) is_reply: bool,
    /// The date that it is sorted by.
    pub(crate) date: i64,
}

/// A thread by its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Root {
    Message(usize),
    /// A message that is not there, of which these are the children.
    Dummy(Vec<usize>),
}

/// Threads. Messages are named by their position, which is their order in the mailbox.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Threads {
    pub(crate) roots: Vec<Root>,
    /// Of each message.
    pub(crate) children: Vec<Vec<usize>>,
}

impl Threads {
    /// `ORDEREDSUBJECT`
    pub(crate) fn by_subject(members: &[Member]) -> Self {
        let mut sorted: Vec<usize> = (0..members.len()).collect();
        let key = |at: &usize| members.get(*at).map(|it| (&it.subject, it.date));
        sorted.sort_by(|a, b| key(a).cmp(&key(b)));
        let mut children = vec![Vec::new(); members.len()];
        let mut first: Vec<usize> = Vec::new();
        let subject = |at: usize| members.get(at).map(|it| &it.subject);
        for thread in sorted.chunk_by(|a, b| subject(*a) == subject(*b)) {
            let Some((root, rest)) = thread.split_first() else { continue };
            first.push(*root);
            if let Some(children) = children.get_mut(*root) {
                rest.clone_into(children);
            }
        }
        sort_by_date(&mut first, members);
        Self { roots: first.into_iter().map(Root::Message).collect(), children }
    }

    /// `REFERENCES`
    pub(crate) fn by_references(members: &[Member]) -> Self {
        let mut threads = Ancestry::of(members).threads();
        threads.sort_roots(members);
        threads.merge_by_subject(members);
        threads.sort_siblings(members);
        threads.sort_roots(members);
        threads
    }

    /// `REFS`
    pub(crate) fn by_references_alone(members: &[Member]) -> Self {
        let mut threads = Ancestry::of(members).threads();
        threads.sort_siblings(members);
        threads.sort_roots(members);
        let mut roots = std::mem::take(&mut threads.roots);
        roots.sort_by_cached_key(|root| threads.newest(root, members));
        threads.roots = roots;
        threads
    }

    /// The date of the newest message in a thread.
    fn newest(&self, root: &Root, members: &[Member]) -> Option<i64> {
        let mut open = root.messages().to_vec();
        let mut newest = None;
        while let Some(at) = open.pop() {
            newest = newest.max(members.get(at).map(|it| it.date));
            open.extend(self.children.get(at).into_iter().flatten());
        }
        newest
    }

    /// Steps (4) and (6) at the top: a dummy counts as the first of its children.
    fn sort_roots(&mut self, members: &[Member]) {
        for root in &mut self.roots {
            if let Root::Dummy(children) = root {
                sort_by_date(children, members);
            }
        }
        self.roots.sort_by_key(|root| root.messages().first().map(|at| (date(members, *at), *at)));
    }

    fn sort_siblings(&mut self, members: &[Member]) {
        self.children.iter_mut().for_each(|children| sort_by_date(children, members));
    }

    /// Step (5).
    fn merge_by_subject(&mut self, members: &[Member]) {
        let subject = |root: &Root| -> Option<&str> {
            let first = members.get(*root.messages().first()?)?;
            Some(first.subject.as_str()).filter(|it| !it.is_empty())
        };
        let is_reply = |root: &Root| match root {
            Root::Message(at) => members.get(*at).is_some_and(|it| it.is_reply),
            Root::Dummy(_) => false,
        };
        let mut table: HashMap<&str, usize> = HashMap::new();
        for (at, root) in self.roots.iter().enumerate() {
            let Some(subject) = subject(root) else { continue };
            match table.entry(subject) {
                Entry::Vacant(entry) => drop(entry.insert(at)),
                Entry::Occupied(mut entry) => {
                    let first = self.roots.get(*entry.get());
                    let is_better = first.is_some_and(|first| match (first, root) {
                        (Root::Dummy(_), _) => false,
                        (Root::Message(_), Root::Dummy(_)) => true,
                        (Root::Message(_), Root::Message(_)) => is_reply(first) && !is_reply(root),
                    });
                    if is_better {
                        entry.insert(at);
                    }
                }
            }
        }
        let mut roots: Vec<Option<Root>> = std::mem::take(&mut self.roots).into_iter().map(Some).collect();
        for at in 0..roots.len() {
            let subject = roots.get(at).and_then(Option::as_ref).and_then(subject);
            let Some(into) = subject.and_then(|subject| table.get(subject).copied()) else { continue };
            if into == at {
                continue;
            }
            let root = roots.get_mut(at).and_then(Option::take);
            let Some((root, first)) = root.zip(roots.get_mut(into).and_then(Option::as_mut)) else {
                continue;
            };
            self.merge(first, root, &is_reply);
        }
        self.roots = roots.into_iter().flatten().collect();
    }

    fn merge(&mut self, first: &mut Root, root: Root, is_reply: &impl Fn(&Root) -> bool) {
        match (&mut *first, root) {
            (Root::Dummy(children), root) => children.extend(root.messages()),
            (Root::Message(parent), root @ Root::Message(child))
                if is_reply(&root) && !is_reply(&Root::Message(*parent)) =>
            {
                if let Some(children) = self.children.get_mut(*parent) {
                    children.push(child);
                }
            }
            (Root::Message(other), root) => {
                let mut both = vec![*other];
                both.extend(root.messages());
                *first = Root::Dummy(both);
            }
        }
    }

    /// Writes the threads as THREAD answers them, `write` each message: `(2)(3 6 (4 23)(44 7 96))`.
    pub(crate) fn write(&self, out: &mut Vec<u8>, mut write: impl FnMut(&mut Vec<u8>, usize)) {
        for root in &self.roots {
            match root {
                Root::Message(at) => self.write_thread(*at, out, &mut write),
                Root::Dummy(children) => {
                    out.push(b'(');
                    children.iter().for_each(|at| self.write_thread(*at, out, &mut write));
                    out.push(b')');
                }
            }
        }
    }

    fn write_thread(&self, first: usize, out: &mut Vec<u8>, write: &mut impl FnMut(&mut Vec<u8>, usize)) {
        /// What is still to be written.
        enum Rest {
            Thread(usize),
            End,
        }
        let mut rest = vec![Rest::Thread(first)];
        while let Some(step) = rest.pop() {
            let Rest::Thread(mut at) = step else {
                out.push(b')');
                continue;
            };
            out.push(b'(');
            rest.push(Rest::End);
            loop {
                write(out, at);
                let children = self.children.get(at).map(Vec::as_slice).unwrap_or_default();
                if !children.is_empty() {
                    out.push(b' ');
                }
                let [only] = children else {
                    rest.extend(children.iter().rev().map(|child| Rest::Thread(*child)));
                    break;
                };
                at = *only;
            }
        }
    }
}

impl Root {
    /// The message, or the children of the dummy.
    fn messages(&self) -> &[usize] {
        match self {
            Self::Message(at) => std::slice::from_ref(at),
            Self::Dummy(children) => children,
        }
    }
}

fn date(members: &[Member], at: usize) -> i64 {
    members.get(at).map_or(0, |it| it.date)
}

/// RFC 5256 §2.2: of the same date the first in the mailbox comes first.
fn sort_by_date(messages: &mut [usize], members: &[Member]) {
    messages.sort_unstable_by_key(|at| (date(members, *at), *at));
}

#[cfg(test)]
mod tests;
