//! Who is whose parent: steps (1) to (3) of REFERENCES. RFC 5256 §3.

use std::collections::HashMap;

use mail_message::MessageIdHash;

use super::{Member, Root, Threads};

/// No node.
const NONE: u32 = u32::MAX;

/// The messages, by their position, and behind them the dummies: messages that others refer to and that are not there.
pub(super) struct Ancestry {
    messages: usize,
    /// Of each node, or [`NONE`].
    parents: Vec<u32>,
    /// Sets of nodes, no smaller than the trees are, each node with another of its set: so that most links are known to
    /// close no circle without a walk.
    sets: Vec<u32>,
}

impl Ancestry {
    pub(super) fn of(members: &[Member]) -> Self {
        let messages = members.len();
        let mut nodes: HashMap<MessageIdHash, u32> = HashMap::with_capacity(messages);
        for (node, member) in (0..).zip(members) {
            if let Some(id) = member.id {
                nodes.entry(id).or_insert(node);
            }
        }
        let all = u32::try_from(messages).unwrap_or(NONE);
        let mut ancestry = Self { messages, parents: vec![NONE; messages], sets: (0..all).collect() };
        for (node, member) in (0..).zip(members) {
            let mut last = NONE;
            for id in &member.references {
                let reference = *nodes.entry(*id).or_insert_with(|| ancestry.dummy());
                // (A): links that there are stay.
                if last != NONE && ancestry.parent(reference) == NONE {
                    ancestry.link(last, reference);
                }
                last = reference;
            }
            // (B): what the message itself says of its parent counts more than what others say.
            ancestry.unlink(node);
            if last != NONE {
                ancestry.link(last, node);
            }
        }
        ancestry
    }

    fn dummy(&mut self) -> u32 {
        let node = u32::try_from(self.parents.len()).unwrap_or(NONE);
        self.parents.push(NONE);
        self.sets.push(node);
        node
    }

    fn parent(&self, node: u32) -> u32 {
        self.parents.get(node as usize).copied().unwrap_or(NONE)
    }

    fn unlink(&mut self, node: u32) {
        if let Some(parent) = self.parents.get_mut(node as usize) {
            *parent = NONE;
        }
    }

    /// Makes one node, which has no parent, the child of another, unless that closes a circle.
    fn link(&mut self, parent: u32, child: u32) {
        let (of_parent, of_child) = (self.set(parent), self.set(child));
        if of_parent == of_child && self.descends(parent, child) {
            return;
        }
        if let Some(slot) = self.parents.get_mut(child as usize) {
            *slot = parent;
        }
        if let Some(set) = self.sets.get_mut(of_child as usize) {
            *set = of_parent;
        }
    }

    /// The node that stands for a node's set; the way there is made shorter for the next time.
    fn set(&mut self, mut node: u32) -> u32 {
        loop {
            let next = self.sets.get(node as usize).copied().unwrap_or(node);
            let after = self.sets.get(next as usize).copied().unwrap_or(next);
            if next == after {
                return next;
            }
            if let Some(set) = self.sets.get_mut(node as usize) {
                *set = after;
            }
            node = after;
        }
    }

    fn descends(&self, mut node: u32, from: u32) -> bool {
        while node != NONE {
            if node == from {
                return true;
            }
            node = self.parent(node);
        }
        false
    }

    /// Steps (2) and (3): without dummies but at the top, and there only where they hold more than one message together.
    pub(super) fn threads(&self) -> Threads {
        let mut children = vec![Vec::new(); self.messages];
        let mut tops: Vec<u32> = Vec::new();
        let mut below: HashMap<u32, Vec<usize>> = HashMap::new();
        let mut above = Above { ancestry: self, found: vec![NONE; self.parents.len()] };
        for at in 0..self.messages {
            let node = u32::try_from(at).unwrap_or(NONE);
            let parent = match self.parent(node) {
                NONE => node,
                parent => above.message_or_top(parent),
            };
            match children.get_mut(parent as usize).filter(|_| parent != node) {
                Some(children) => children.push(at),
                None => {
                    let messages = below.entry(parent).or_default();
                    if messages.is_empty() {
                        tops.push(parent);
                    }
                    messages.push(at);
                }
            }
        }
        let root = |messages: Vec<usize>| match messages.as_slice() {
            [only] => Root::Message(*only),
            _ => Root::Dummy(messages),
        };
        let roots = tops.iter().filter_map(|top| below.remove(top)).map(root).collect();
        Threads { roots, children }
    }
}

/// What is found on the way up, remembered for each dummy passed.
struct Above<'a> {
    ancestry: &'a Ancestry,
    found: Vec<u32>,
}

impl Above<'_> {
    /// The first message from a node on upwards or, if there is none, the topmost dummy.
    fn message_or_top(&mut self, start: u32) -> u32 {
        let mut passed = Vec::new();
        let mut node = start;
        let found = loop {
            if (node as usize) < self.ancestry.messages {
                break node;
            }
            match self.found.get(node as usize).copied().unwrap_or(NONE) {
                NONE => {}
                found => break found,
            }
            passed.push(node);
            match self.ancestry.parent(node) {
                NONE => break node,
                parent => node = parent,
            }
        };
        for node in passed {
            if let Some(slot) = self.found.get_mut(node as usize) {
                *slot = found;
            }
        }
        found
    }
}
