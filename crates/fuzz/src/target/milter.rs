use bytes::{Bytes, BytesMut};
use milter_proto::{Reply, next_packet};

use crate::cut::pieces;

/// What a milter sends is the same packets however it is cut, and no packet does more than it may.
pub(crate) fn packets(octets: &[u8]) {
    let (whole, cut) = (frame([octets]), frame(pieces(octets)));
    assert_eq!(whole, cut);
    for packet in whole.iter().chain([&Bytes::copy_from_slice(octets)]) {
        match Reply::parse(packet) {
            Ok(Reply::ReplyCode(reply)) => {
                let mut written = String::new();
                reply.encode(&mut written);
                let lines: Vec<&str> = written.split_terminator("\r\n").collect();
                assert!(reply.is_negative() && written.is_ascii(), "{written:?}");
                assert!(!lines.iter().any(|line| line.contains(['\r', '\n'])), "{written:?}");
                assert_eq!(smtp_proto::Reply::parse(&lines).as_ref(), Ok(&reply), "{written:?}");
            }
            Ok(Reply::Negotiated(offer)) => {
                let mut written = BytesMut::new();
                offer.encode(&mut written);
                let again = next_packet(&mut written).expect("a packet").expect("a whole one");
                assert_eq!(Reply::parse(&again), Ok(Reply::Negotiated(offer)));
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// The packets, up to what is none.
fn frame<'o>(pieces: impl IntoIterator<Item = &'o [u8]>) -> Vec<Bytes> {
    let (mut input, mut packets) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match next_packet(&mut input) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(_) => return packets,
            }
        }
    }
    packets
}
