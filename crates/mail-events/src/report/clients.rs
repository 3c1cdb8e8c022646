use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use crate::{Event, Message};

/// Messages whose clients are remembered; of those beyond, the client is not known. At 512 MiB, a log holds fewer.
const MAX_MESSAGES: usize = 4_000_000;
/// Clients that are told apart.
const MAX_CLIENTS: usize = 100_000;
/// Forwards of forwards that are followed.
const MAX_STEPS: usize = 20;

/// An account, and the IP address.
pub(super) type Name = Arc<(Option<String>, String)>;

/// Who brought what is in the queue. A message costs some 30 octets: its name is kept as a hash of it.
#[derive(Debug, Default)]
pub(super) struct Clients {
    hasher: RandomState,
    names: Vec<Name>,
    known: HashMap<Name, u32>,
    messages: HashMap<u64, Source>,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    /// At this place of the names.
    Client(u32),
    /// That of another message.
    Parent(u64),
}

impl Clients {
    pub(super) fn learn(&mut self, event: &Event) {
        if self.messages.len() >= MAX_MESSAGES {
            return;
        }
        match event {
            Event::Message(it) if !it.outcome.is_refusal() => self.learn_message(it),
            Event::Queued(it) => {
                let (child, parent) = (self.hash(&it.queue_id), self.hash(&it.parent));
                self.messages.entry(child).or_insert(Source::Parent(parent));
            }
            Event::Message(_)
            | Event::Refusal(_)
            | Event::LoginFailure(_)
            | Event::Omitted(_)
            | Event::Attempt(_)
            | Event::Operator(_) => {}
        }
    }

    fn learn_message(&mut self, message: &Message) {
        let name = Arc::new((message.account.clone(), message.peer.clone()));
        let client = match self.known.get(&name) {
            Some(client) => *client,
            None if self.names.len() >= MAX_CLIENTS => return,
            None => {
                let client = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
                self.names.push(Arc::clone(&name));
                self.known.insert(name, client);
                client
            }
        };
        for name in [Some(&message.id), message.queue_id.as_ref()].into_iter().flatten() {
            let hash = self.hash(name);
            self.messages.insert(hash, Source::Client(client));
        }
    }

    /// Who brought the message, or the one that it comes of.
    pub(super) fn of(&self, queue_id: &str) -> Option<Name> {
        let mut hash = self.hash(queue_id);
        for _ in 0..MAX_STEPS {
            match self.messages.get(&hash)? {
                Source::Client(client) => return self.names.get(usize::try_from(*client).ok()?).cloned(),
                Source::Parent(parent) => hash = *parent,
            }
        }
        None
    }

    fn hash(&self, name: &str) -> u64 {
        self.hasher.hash_one(name)
    }
}
