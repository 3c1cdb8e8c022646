use bytes::BytesMut;
use line_codec::deflate::{Deflater, Inflater};

use crate::cut::pieces;

/// More than any input becomes by honest means.
const MOST: usize = 1 << 22;

/// What one side of COMPRESS does comes back on the other; and any octets are inflated or refused, the same however they are cut.
pub(crate) fn deflate(octets: &[u8]) {
    let (mut sender, mut receiver) = (Deflater::default(), Inflater::new(BytesMut::new()));
    let mut restored = Vec::new();
    for (number, piece) in pieces(octets).into_iter().enumerate() {
        sender.deflate(piece).expect("compressing does not fail");
        sender.flush().expect("nor does flushing");
        for piece in pieces(sender.ready()) {
            restored.extend(inflated(&mut receiver, piece).expect("what was compressed"));
            if number % 3 == 0 {
                receiver.shrink();
            }
        }
        sender.sent();
        if number % 5 == 0 {
            sender.shrink();
        }
    }
    assert_eq!(restored, octets);
    let whole = refused_or_inflated([octets]);
    assert_eq!(refused_or_inflated(pieces(octets)), whole);
}

/// All that comes out, and whether it ended with a refusal.
fn refused_or_inflated<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, bool) {
    let (mut receiver, mut plain) = (Inflater::new(BytesMut::new()), Vec::new());
    for piece in pieces {
        receiver.received().extend_from_slice(piece);
        loop {
            let mut some = BytesMut::new();
            let has_more = receiver.inflate(&mut some, 1000);
            plain.extend_from_slice(&some);
            match has_more {
                Ok(true) if plain.len() < MOST => {}
                Ok(_) => break,
                Err(_) => return (plain, true),
            }
        }
    }
    (plain, false)
}

fn inflated(receiver: &mut Inflater, octets: &[u8]) -> std::io::Result<Vec<u8>> {
    receiver.received().extend_from_slice(octets);
    let mut plain = BytesMut::new();
    while receiver.inflate(&mut plain, 1000)? {}
    Ok(plain.to_vec())
}
