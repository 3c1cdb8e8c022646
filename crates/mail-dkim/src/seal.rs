//! ARC sets on what others have written and addresses of ours send on. RFC 8617 §5.1.

use std::io::{self, BufRead};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use mail_auth::common::crypto::{HashContext as _, HashImpl as _, Sha256, SigningKey};
use mail_auth::dkim::Canonicalization;
use mail_auth::dkim::canonicalize::BodyHasher;
use mail_types::Domain;

use crate::signer::{SEALED, SEALED_IF_THERE, SIGNED};

/// Sets that a message may have. RFC 8617 §4.2.1.
const MAX_SETS: usize = 50;
/// The fields of a set, in the order in which they are sealed. RFC 8617 §5.1.1.
const NAMES: [&str; 3] = ["ARC-Authentication-Results", "ARC-Message-Signature", "ARC-Seal"];
const SEAL: &str = "ARC-Seal";
/// What a signature covers besides what DKIM's do. RFC 8617 §4.1.2.
const DKIM: &[&str] = &["DKIM-Signature"];
/// Octets of a line in a field that is written here.
const MAX_LINE: usize = 76;

/// A field of a header: its name, and all behind the colon with the line end.
type Field<'h> = (&'h [u8], &'h [u8]);

/// A message of others that an address of ours sends on.
#[derive(Debug)]
pub(crate) struct Passed<'h> {
    fields: Vec<Field<'h>>,
    /// That of the address.
    pub(crate) domain: Domain,
    /// What was found out about it when it came, as its Authentication-Results field has it.
    results: &'h str,
    chain: Chain<'h>,
}

/// What a new set continues.
#[derive(Debug)]
struct Chain<'h> {
    /// The number of the new set.
    instance: usize,
    /// What became of the sets before it.
    validation: &'static str,
    /// These, the oldest first, where they are sealed again.
    sets: Vec<Field<'h>>,
}

/// What a set is made with.
#[derive(Debug)]
pub(crate) struct Sealer<'k, K> {
    pub(crate) key: &'k K,
    pub(crate) domain: &'k str,
    pub(crate) selector: String,
    /// Now, in seconds since 1970.
    pub(crate) at: i64,
}

impl<'h> Passed<'h> {
    /// What a header says of its message; `None` if no address of ours sends it on, if nothing was found out about it under the name of
    /// `authserv_id`, or if a set would be of no use. Above the first Received field all is of this host.
    pub(crate) fn of(header: &'h [u8], authserv_id: &str) -> Option<Self> {
        let fields = fields(header);
        let own = || fields.iter().copied().take_while(|field| !is_named(*field, "Received"));
        let via = own().next().filter(|field| is_named(*field, "Delivered-To"))?;
        let (_, domain) = str::from_utf8(via.1).ok()?.trim().rsplit_once('@')?;
        let results = own().find(|field| is_named(*field, "Authentication-Results"))?;
        let results = str::from_utf8(results.1).ok()?.trim_start();
        results.strip_prefix(authserv_id)?.strip_prefix(';')?;
        let chain = Chain::of(&fields, arc_result(results))?;
        Some(Self { domain: domain.parse().ok()?, results, chain, fields })
    }

    /// The fields that are signed, by their names. From, and what else people see, may not be added: it is named once more.
    fn covered(&self) -> (Vec<&'static str>, Vec<Field<'h>>) {
        let (mut names, mut covered) = (Vec::new(), Vec::new());
        for name in SEALED.iter().chain(SEALED_IF_THERE).chain(SIGNED).chain(DKIM) {
            // RFC 6376 §5.4.2: the last one comes first.
            for field in self.fields.iter().rev().filter(|field| is_named(**field, name)) {
                names.push(*name);
                covered.push(*field);
            }
        }
        names.extend(SEALED);
        (names, covered)
    }
}

impl<'h> Chain<'h> {
    /// What a message's fields and what was found out about them lead to; `None` if no set is to be added.
    fn of(fields: &[Field<'h>], result: Option<&str>) -> Option<Self> {
        let is_arc = |field: &Field<'h>| NAMES.iter().any(|name| is_named(*field, name));
        let known: Vec<Field<'h>> = fields.iter().copied().filter(is_arc).collect();
        if known.is_empty() {
            return Some(Self { instance: 1, validation: "none", sets: Vec::new() });
        }
        let last = known.iter().filter_map(|field| instance(*field)).max().unwrap_or_default();
        let has_failed = |field: &Field<'h>| {
            is_named(*field, SEAL)
                && instance(*field) == Some(last)
                && tag(*field, "cv").is_some_and(|cv| cv.eq_ignore_ascii_case("fail"))
        };
        // RFC 8617 §5.1 (2). What the DNS did not answer may be answered to the next one.
        if last >= MAX_SETS || known.iter().any(has_failed) || result == Some("temperror") {
            return None;
        }
        let sets = (1..=last).flat_map(|number| NAMES.map(|name| only(&known, name, number)));
        let sets: Option<Vec<Field<'h>>> = sets.collect();
        let whole = sets.filter(|sets| result == Some("pass") && sets.len() == known.len());
        let validation = if whole.is_some() { "pass" } else { "fail" };
        // RFC 8617 §5.1.2: behind a chain that fails only the new set is sealed.
        Some(Self { instance: last + 1, validation, sets: whole.unwrap_or_default() })
    }
}

impl<K: SigningKey<Hasher = Sha256>> Sealer<'_, K> {
    /// The fields of a set, each line ended by CRLF. `body` is the hash of the message's body, in its relaxed form.
    pub(crate) fn set(&self, passed: &Passed<'_>, body: &[u8]) -> mail_auth::Result<String> {
        let Self { domain, selector, at, .. } = self;
        let (instance, validation) = (passed.chain.instance, passed.chain.validation);
        let algorithm = self.key.algorithm().name();
        let results = format!("ARC-Authentication-Results: i={instance}; {}", passed.results);

        let (names, covered) = passed.covered();
        let (names, hash) = (folded(names.join(":").split_inclusive(':')), BASE64_STANDARD.encode(body));
        let signature = format!(
            "ARC-Message-Signature: i={instance}; a={algorithm}; c=relaxed/relaxed;\r\n\td={domain}; s={selector};\r\n\tt={at}; h={names};\r\n\tbh={hash};\r\n\tb="
        );
        let signature = self.signed(canonical(covered), signature)?;

        let seal = format!(
            "ARC-Seal: i={instance}; a={algorithm}; cv={validation};\r\n\td={domain}; s={selector};\r\n\tt={at}; b="
        );
        let new = [results.as_str(), signature.as_str()].map(split);
        let sealed = passed.chain.sets.iter().copied().chain(new);
        let seal = self.signed(canonical(sealed), seal)?;
        Ok(seal + &signature + &results)
    }

    /// A field that ends in `b=`, with the signature on it and on what stands before it in its canonical form.
    fn signed(&self, mut before: Vec<u8>, mut field: String) -> mail_auth::Result<String> {
        before.extend(canonical([split(&field)]));
        let signature = BASE64_STANDARD.encode(self.key.sign(before.as_slice())?);
        field.push_str(&folded(signature.split_inclusive(|_| true)));
        field.push_str("\r\n");
        Ok(field)
    }
}

/// The hash of a body that is read to its end, in its relaxed form.
pub(crate) fn body_hash(mut body: impl BufRead) -> io::Result<Vec<u8>> {
    let mut hasher = BodyHasher::new(Sha256::hasher(), Canonicalization::Relaxed, 0);
    loop {
        let block = body.fill_buf()?;
        if block.is_empty() {
            return Ok(hasher.finish().0.complete().as_ref().to_vec());
        }
        hasher.write(block);
        let length = block.len();
        body.consume(length);
    }
}

/// The relaxed form. RFC 6376 §3.4.2.
fn canonical<'f>(fields: impl IntoIterator<Item = Field<'f>>) -> Vec<u8> {
    let mut form = Vec::new();
    Canonicalization::Relaxed.canonicalize_headers(fields.into_iter(), &mut form);
    form
}

/// The fields of a header, in their order.
fn fields(header: &[u8]) -> Vec<Field<'_>> {
    let (mut fields, mut rest) = (Vec::new(), header);
    while !rest.is_empty() {
        let starts = |position: &usize| !matches!(rest.get(*position), Some(b' ' | b'\t'));
        let end = memchr::memchr_iter(b'\n', rest).map(|position| position + 1).find(starts);
        let (field, behind) = rest.split_at_checked(end.unwrap_or(rest.len())).unwrap_or((rest, &[]));
        if let Some(colon) = memchr::memchr(b':', field) {
            let (name, value) = field.split_at_checked(colon).unwrap_or_default();
            fields.push((name, value.get(1..).unwrap_or_default()));
        }
        rest = behind;
    }
    fields
}

/// A field that is written here.
fn split(field: &str) -> Field<'_> {
    let (name, value) = field.split_once(':').unwrap_or_default();
    (name.as_bytes(), value.as_bytes())
}

fn is_named(field: Field<'_>, name: &str) -> bool {
    field.0.trim_ascii_end().eq_ignore_ascii_case(name.as_bytes())
}

/// The value of a tag. RFC 6376 §3.2.
fn tag<'f>(field: Field<'f>, name: &str) -> Option<&'f str> {
    let tags = str::from_utf8(field.1).ok()?.split(';').filter_map(|tag| tag.split_once('='));
    let mut named = tags.filter(|(found, _)| found.trim() == name);
    named.next().map(|(_, value)| value.trim())
}

/// The number of the set to which a field belongs.
fn instance(field: Field<'_>) -> Option<usize> {
    tag(field, "i")?.parse().ok().filter(|number| (1..=MAX_SETS).contains(number))
}

/// The field of this name in the set of this number, if there is one and no other.
fn only<'h>(fields: &[Field<'h>], name: &str, number: usize) -> Option<Field<'h>> {
    let mut found =
        fields.iter().copied().filter(|field| is_named(*field, name) && instance(*field) == Some(number));
    found.next().filter(|_| found.next().is_none())
}

/// What was found out about the sets, in results that were written here: each stands in a line of its own, which nothing that others say ends.
fn arc_result(results: &str) -> Option<&str> {
    let value = results.split("\r\n\t").find_map(|line| line.strip_prefix("arc="))?;
    value.split([' ', ';', '\r']).next()
}

/// The pieces, in lines that are not too long.
fn folded<'t>(pieces: impl Iterator<Item = &'t str>) -> String {
    let (mut text, mut length) = (String::new(), MAX_LINE / 2);
    for piece in pieces {
        if length + piece.len() > MAX_LINE {
            text.push_str("\r\n\t ");
            length = 2;
        }
        text.push_str(piece);
        length += piece.len();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULTS: &str = "Authentication-Results: mx.test;\r\n\tspf=pass smtp.mailfrom=a@b.test;\r\n\tarc=pass (i=1);\r\n\tdmarc=none\r\n";
    const SET: &str = "ARC-Seal: i=1; cv=none; b=x\r\nARC-Message-Signature: a=rsa-sha256; i = 1; b=y\r\nARC-Authentication-Results: i=1; a.test;\r\n\tarc=fail\r\n";

    fn header(results: &str, rest: &str) -> String {
        format!(
            "Delivered-To: all@example.org\r\nList-Id: <all.example.org>\r\n{results}X: y\r\nReceived: from x\r\n\tby mx.test\r\n{rest}From: a@b.test\r\n\r\n"
        )
    }

    fn next(header: &str) -> Option<(usize, &'static str, usize)> {
        let passed = Passed::of(header.as_bytes(), "mx.test")?;
        assert_eq!(passed.domain.as_str(), "example.org");
        Some((passed.chain.instance, passed.chain.validation, passed.chain.sets.len()))
    }

    #[test]
    fn only_what_an_address_of_ours_sends_on_with_results_of_ours_is_sealed() {
        assert_eq!(next(&header(RESULTS, "")), Some((1, "none", 0)));
        assert_eq!(next(&header("", RESULTS)), None, "what others say below the first Received field");
        assert_eq!(next(&header(&RESULTS.replace("mx.test", "mx.test.other"), "")), None);
        assert_eq!(next(&format!("Subject: x\r\n{}", header(RESULTS, ""))), None);
        assert_eq!(next("Delivered-To: nobody\r\n\r\n"), None);
        assert_eq!(next(""), None);
    }

    #[test]
    fn a_chain_goes_on_as_the_results_say_of_it() {
        assert_eq!(next(&header(RESULTS, SET)), Some((2, "pass", 3)));
        let found = |result: &str| next(&header(&RESULTS.replace("arc=pass", result), SET));
        assert_eq!([found("arc=fail"), found("arc=neutral"), found("x=pass")], [Some((2, "fail", 0)); 3]);
        // RFC 8617 §5.1 (2); and what may be known to the next one.
        assert_eq!(next(&header(RESULTS, &SET.replace("cv=none", "cv=Fail"))), None);
        assert_eq!(found("arc=temperror"), None);
        assert_eq!(next(&header(RESULTS, &SET.replace('1', "50"))), None);
        assert_eq!(next(&header(RESULTS, &SET.replace('1', "51"))), Some((1, "fail", 0)));
        assert_eq!(next(&header(RESULTS, &format!("{SET}ARC-Seal: x\r\n"))), Some((2, "fail", 0)));
    }

    /// RFC 8617 §4.1.2, RFC 6376 §5.4.2.
    #[test]
    fn a_signature_covers_those_of_others_from_the_last_one_on_and_no_results() {
        let rest =
            "DKIM-Signature: one\r\nTo: b@b.test\r\nDKIM-Signature: two\r\nAuthentication-Results: x\r\n";
        let header = header(RESULTS, rest);
        let (names, covered) = Passed::of(header.as_bytes(), "mx.test").unwrap().covered();
        let values: Vec<_> = covered.iter().map(|(_, value)| str::from_utf8(value).unwrap().trim()).collect();
        assert_eq!(values, ["a@b.test", "b@b.test", "<all.example.org>", "two", "one"]);
        let expected = "From:To:List-Id:DKIM-Signature:DKIM-Signature:From:Subject:Date:To:Message-ID";
        assert_eq!(names.join(":"), expected);
    }

    #[test]
    fn long_values_are_folded() {
        let text = folded("x".repeat(300).split_inclusive(|_| true));
        assert!(text.split("\r\n\t ").all(|line| line.len() <= MAX_LINE - 2), "{text}");
        assert_eq!(text.replace("\r\n\t ", ""), "x".repeat(300));
    }
}
