use imap_codec::ResponseCodec;
use imap_codec::decode::Decoder as _;
use imap_codec::imap_types::fetch::MessageDataItem;
use imap_codec::imap_types::response::{Data, Response};
use mail_message::{BodyStructure, Content, Envelope};

/// Deeper structures are more than the other implementation reads.
const MAX_DEPTH: usize = 6;

/// What we say of any message is read by another implementation, and says the same to it.
pub(crate) fn response(octets: &[u8]) {
    let (envelope, structure) = (Envelope::parse(octets), BodyStructure::parse(octets));
    if depth(&structure) > MAX_DEPTH {
        return;
    }
    let mut line = b"* 1 FETCH (ENVELOPE ".to_vec();
    imap_proto::envelope(&mut line, &envelope);
    line.extend_from_slice(b" BODY ");
    imap_proto::body(&mut line, &structure, false);
    line.extend_from_slice(b" BODYSTRUCTURE ");
    imap_proto::body(&mut line, &structure, true);
    line.extend_from_slice(b")\r\n");
    let shown = line.escape_ascii();
    let (rest, response) = match ResponseCodec::default().decode(&line) {
        Ok(read) => read,
        Err(error) => panic!("{error:?} of {shown}"),
    };
    assert!(rest.is_empty(), "{shown}");
    let Response::Data(Data::Fetch { items, .. }) = response else { panic!("{response:?} of {shown}") };
    let [MessageDataItem::Envelope(read), _, MessageDataItem::BodyStructure(_)] = items.as_ref() else {
        panic!("{items:?} of {shown}")
    };
    let subject = read.subject.0.as_ref().map(AsRef::<[u8]>::as_ref);
    assert_eq!(subject, envelope.subject.as_deref(), "{shown}");
    let message_id = read.message_id.0.as_ref().map(AsRef::<[u8]>::as_ref);
    assert_eq!(message_id, envelope.message_id.as_deref(), "{shown}");
}

fn depth(structure: &BodyStructure) -> usize {
    match &structure.content {
        Content::Basic | Content::Text { .. } => 1,
        Content::Multipart { parts } => 1 + parts.iter().map(depth).max().unwrap_or_default(),
        Content::Message { structure, .. } => 1 + depth(structure),
    }
}
