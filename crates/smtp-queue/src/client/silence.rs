//! Whether the network lets connections to mail hosts out: many providers block the port. Pure.

use std::collections::HashSet;

use mail_types::Domain;

/// Domains of which no host may answer, with none of another's between, before it is more than their fault.
const DOMAINS: usize = 3;

/// What is known of the port of mail hosts.
#[derive(Debug)]
pub(super) struct Silence {
    port: u16,
    /// Domains of which hosts did not answer since one did; no more than it takes.
    domains: HashSet<Domain>,
}

impl Silence {
    /// Nothing is known yet.
    pub(super) fn at(port: u16) -> Self {
        Self { port, domains: HashSet::new() }
    }

    /// A host of `domain` did not answer. True if by that it is known that none does.
    pub(super) fn timed_out(&mut self, domain: &Domain) -> bool {
        self.domains.len() < DOMAINS && self.domains.insert(domain.clone()) && self.domains.len() == DOMAINS
    }

    /// A host took a connection. True if it was thought that none does.
    pub(super) fn answered(&mut self) -> bool {
        let was_total = self.domains.len() >= DOMAINS;
        self.domains.clear();
        was_total
    }

    /// What it means that nothing answers, if that is so, and what to do.
    pub(super) fn advice(&self) -> Option<String> {
        let port = self.port;
        (self.domains.len() >= DOMAINS).then(|| {
            format!(
                "no mail host of any domain answers on port {port}: the network's provider may block outgoing port {port}; \
                 have it opened, or set [relay] smarthost"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_blocked_once_hosts_of_three_domains_and_of_none_between_are_silent() {
        let domain = |name: &str| name.parse::<Domain>().unwrap();
        let mut silence = Silence::at(25);
        let timed_out = |silence: &mut Silence, name: &str| silence.timed_out(&domain(name));
        assert!(!["a.test", "a.test", "b.test"].iter().any(|name| timed_out(&mut silence, name)));
        assert!(!silence.answered() && silence.advice().is_none());
        assert!(!["a.test", "b.test", "b.test"].iter().any(|name| timed_out(&mut silence, name)));
        assert!(timed_out(&mut silence, "c.test") && !timed_out(&mut silence, "d.test"), "it is told once");
        assert!(silence.advice().unwrap().contains("port 25"));
        assert!(silence.answered() && silence.advice().is_none());
    }
}
