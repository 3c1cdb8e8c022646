use mail_auth::AuthenticatedMessage;
use mail_auth::common::crypto::{HashAlgorithm, HashContext, HashImpl, Sha256};
use mail_auth::dkim::Canonicalization;
use mail_auth::dkim::canonicalize::BodyHasher;

/// Octets of a header at most.
pub(crate) const MAX_HEADER: usize = 256 * 1024;
/// Signatures of one message that are looked at.
const MAX_SIGNATURES: usize = 10;

/// A message as it came, before anything of it is changed: its header, and what signatures say of its body. The body is hashed as
/// it passes by, so that a message of any length costs the memory of its header.
pub(crate) struct Original {
    header: Vec<u8>,
    is_complete: bool,
    hashes: Vec<BodyHash>,
}

/// The hash of the body in one canonical form; signatures have only two to choose from. RFC 6376 §3.4.
struct BodyHash {
    form: Canonicalization,
    hasher: BodyHasher<<Sha256 as HashImpl>::Context>,
}

/// All that is to be known of a message for its signatures to be verified.
#[derive(Debug)]
pub(crate) struct Digest {
    header: Vec<u8>,
    bodies: Vec<(Canonicalization, Vec<u8>)>,
}

impl std::fmt::Debug for Original {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Original").field("header", &self.header.len()).finish_non_exhaustive()
    }
}

impl Original {
    pub(crate) const fn new() -> Self {
        Self { header: Vec::new(), is_complete: false, hashes: Vec::new() }
    }

    /// Takes the next octets; false if the header is too long to be one.
    pub(crate) fn add(&mut self, piece: &[u8]) -> bool {
        let body = if self.is_complete { piece } else { self.add_to_header(piece) };
        self.hashes.iter_mut().for_each(|hash| hash.hasher.write(body));
        self.is_complete || self.header.len() <= MAX_HEADER
    }

    /// What the header says of it, as soon as it is there.
    pub(crate) fn header(&self) -> Option<&[u8]> {
        self.is_complete.then_some(&self.header)
    }

    /// Takes octets up to the empty line, and gives the rest.
    fn add_to_header<'p>(&mut self, piece: &'p [u8]) -> &'p [u8] {
        let before = self.header.len();
        // The empty line may have begun already.
        let from = before.saturating_sub(3);
        let room = (MAX_HEADER + 1).saturating_sub(before);
        self.header.extend_from_slice(piece.get(..room).unwrap_or(piece));
        let Some(end) = end_of_header(&self.header, from) else { return &[] };
        self.header.truncate(end);
        self.begin_body();
        piece.get(end.saturating_sub(before)..).unwrap_or_default()
    }

    fn begin_body(&mut self) {
        self.is_complete = true;
        let mut forms: Vec<Canonicalization> = Vec::new();
        for (form, hash, _, _) in parse(&self.header).map(|it| it.body_hashes).unwrap_or_default() {
            if hash == HashAlgorithm::Sha256 && !forms.contains(&form) {
                forms.push(form);
            }
        }
        let begin = |form| BodyHash { form, hasher: BodyHasher::new(Sha256::hasher(), form, 0) };
        self.hashes = forms.into_iter().map(begin).collect();
    }

    /// The message is over.
    pub(crate) fn finish(mut self) -> Digest {
        if !self.is_complete {
            // A header without a body has no empty line, which is no part of what is signed.
            self.header.extend_from_slice(b"\r\n");
            self.begin_body();
        }
        let bodies = self.hashes.into_iter().map(|hash| {
            let (context, _) = hash.hasher.finish();
            (hash.form, context.complete().as_ref().to_vec())
        });
        Digest { header: self.header, bodies: bodies.collect() }
    }
}

impl Digest {
    /// Of a header alone.
    pub(crate) fn of_header(header: &[u8]) -> Self {
        Self { header: header.to_vec(), bodies: Vec::new() }
    }

    /// The message for the library that verifies it: its header, with the hashes of the body that it hasn't got. `None` if it has no
    /// field at all.
    pub(crate) fn message(&self) -> Option<AuthenticatedMessage<'_>> {
        let mut message = parse(&self.header)?;
        for (form, hash, _, value) in &mut message.body_hashes {
            let known = self.bodies.iter().find(|(known, _)| *hash == HashAlgorithm::Sha256 && known == form);
            *value = known.map(|(_, value)| value.clone()).unwrap_or_default();
        }
        Some(message)
    }
}

/// Only the first signatures count: each costs a look-up.
fn parse(header: &[u8]) -> Option<AuthenticatedMessage<'_>> {
    let mut message = AuthenticatedMessage::parse(header)?;
    message.dkim_headers.truncate(MAX_SIGNATURES);
    Some(message)
}

/// Where the empty line ends, which `from` on may hold.
fn end_of_header(header: &[u8], from: usize) -> Option<usize> {
    if header.starts_with(b"\r\n") {
        return Some(2);
    }
    let rest = header.get(from..)?;
    memchr::memmem::find(rest, b"\r\n\r\n").map(|position| from + position + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNED: &str = "DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d=a.test; s=s; h=from; bh=AAAA; b=AAAA\r\n\
        DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=a.test; s=s; h=from; bh=AAAA; b=AAAA\r\nFrom: x@a.test\r\n\r\n";

    fn digest(message: &[u8], size: usize) -> Digest {
        let mut original = Original::new();
        assert!(message.chunks(size).all(|piece| original.add(piece)));
        original.finish()
    }

    #[test]
    fn the_body_hashes_in_any_pieces_as_it_does_whole() {
        let body = " a  b \t\r\n\r\nc\r\n \r\n\r\n\r\n";
        let message = format!("{SIGNED}{body}");
        let whole = AuthenticatedMessage::parse(message.as_bytes()).unwrap();
        assert_eq!(whole.body_hashes.len(), 2);
        for size in [1, 2, 3, 5, 7, 64, message.len()] {
            let digest = digest(message.as_bytes(), size);
            assert_eq!(digest.message().unwrap().body_hashes, whole.body_hashes, "in pieces of {size}");
        }
    }

    #[test]
    fn a_message_without_a_body_has_the_hash_of_an_empty_one() {
        let header = SIGNED.strip_suffix("\r\n").unwrap();
        let whole = AuthenticatedMessage::parse(SIGNED.as_bytes()).unwrap();
        assert_eq!(digest(header.as_bytes(), 9).message().unwrap().body_hashes, whole.body_hashes);
    }

    #[test]
    fn a_header_without_end_is_told_and_not_kept() {
        let mut original = Original::new();
        let piece = vec![b'x'; MAX_HEADER];
        assert!(original.add(&piece));
        assert!(!original.add(&piece) && !original.add(&piece));
        assert!(original.header.len() <= MAX_HEADER + 1);
    }

    #[test]
    fn only_the_first_signatures_count() {
        let signature = SIGNED.split_once("\r\n").unwrap().0;
        let message = format!("{}From: x@a.test\r\n\r\nbody\r\n", format!("{signature}\r\n").repeat(100));
        assert_eq!(digest(message.as_bytes(), 100).message().unwrap().dkim_headers.len(), MAX_SIGNATURES);
    }
}
