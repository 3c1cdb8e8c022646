use std::ops::Range;

use mail_message::search::{Needle, SearchedMessage};
use mail_message::{
    BaseSubject, BodyStructure, Content, Digest, DigestText, Envelope, binary, header, preview, transport,
};

/// Whatever is read of any octets lies in them and is bounded.
pub(crate) fn message(octets: &[u8]) {
    let end = header::header_end(octets);
    let head = octets.get(..end).expect("the header lies in the message");
    let fields: Vec<Range<usize>> = header::fields(octets).map(|field| field.range).collect();
    assert!(fields.is_sorted_by_key(|range| range.start) && fields.iter().all(|range| range.end <= end));
    assert!(
        head.ends_with(&header::select(octets, |_| false)) && header::select(octets, |_| true).len() <= end
    );
    Envelope::parse(octets);
    let structure = BodyStructure::parse(octets);
    check(&structure, 0..octets.len());
    assert_eq!(structure.header, 0..end);
    every_part(&structure, octets);
    if let Some(encoded) = binary::without_nuls(octets) {
        assert!(!encoded.contains(&0));
    }
    if let Some(encoded) = transport::seven_bit(octets) {
        assert!(transport::is_lines_of_ascii(&encoded));
    }
    assert!(preview(octets, &structure).chars().count() <= 256);
    let digest = Digest::write(head, false);
    let digest = Digest::new(&digest);
    let subject = digest.text(DigestText::Subject).unwrap_or_default();
    BaseSubject::of(subject);
    let searched = SearchedMessage::new(octets.to_vec());
    for needle in ["plan", "gr\u{fc}n"].map(Needle::new) {
        let is_in_body = searched.body_holds(&needle);
        assert!(!is_in_body || searched.text_holds(&needle));
    }
}

/// The ranges of a part, and of those in it.
fn check(part: &BodyStructure, within: Range<usize>) {
    let is_in = |range: &Range<usize>| {
        within.start <= range.start && range.start <= range.end && range.end <= within.end
    };
    assert!(
        is_in(&part.header) && is_in(&part.body) && part.header.end <= part.body.start,
        "{part:?} in {within:?}"
    );
    assert!(!part.media_type.is_empty() && !part.subtype.is_empty() && !part.encoding.is_empty(), "{part:?}");
    match &part.content {
        Content::Basic | Content::Text { .. } => {}
        Content::Multipart { parts } => {
            assert!(!parts.is_empty(), "{part:?}");
            parts.iter().for_each(|inner| check(inner, part.body.clone()));
            assert!(parts.is_sorted_by(|one, next| one.body.end <= next.header.start), "{parts:?}");
        }
        Content::Message { structure, .. } => check(structure, part.body.clone()),
    }
}

/// Every part is found by its number, and decoded or not.
fn every_part(structure: &BodyStructure, octets: &[u8]) {
    let mut numbers = vec![Vec::new()];
    while let Some(number) = numbers.pop() {
        let Some(part) = structure.part(&number) else { continue };
        drop(binary::decoded(octets, part));
        let below = match &part.content {
            Content::Multipart { parts } => parts.len(),
            Content::Message { .. } => 1,
            Content::Basic | Content::Text { .. } => usize::from(number.is_empty()),
        };
        if number.len() < 4 {
            let below = u32::try_from(below.min(50)).unwrap_or_default();
            numbers.extend((1..=below).map(|next| [number.as_slice(), &[next]].concat()));
        }
    }
}
