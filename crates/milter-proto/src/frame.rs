use bytes::{Buf as _, Bytes, BytesMut};

/// Octets of a packet that are taken: a milter sends a new body in pieces of 64 KiB, and header fields.
pub const MAX_PACKET: usize = 1 << 20;
/// Octets of the length before each packet.
const LENGTH: usize = 4;

/// What comes is no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a packet of {0} octets")]
pub struct PacketError(u32);

/// Takes the first packet, without its length, if all of it is here.
///
/// # Errors
/// It is empty, or longer than [`MAX_PACKET`].
pub fn next_packet(input: &mut BytesMut) -> Result<Option<Bytes>, PacketError> {
    let Some(length) = input.first_chunk::<LENGTH>().map(|octets| u32::from_be_bytes(*octets)) else {
        return Ok(None);
    };
    let size = usize::try_from(length).unwrap_or(usize::MAX);
    if !(1..=MAX_PACKET).contains(&size) {
        return Err(PacketError(length));
    }
    if input.len() < LENGTH + size {
        return Ok(None);
    }
    input.advance(LENGTH);
    Ok(Some(input.split_to(size).freeze()))
}

/// Appends a packet, whose data `write` appends.
pub(crate) fn packet(output: &mut BytesMut, code: u8, write: impl FnOnce(&mut BytesMut)) {
    let start = output.len();
    output.extend_from_slice(&[0, 0, 0, 0, code]);
    write(output);
    let size = u32::try_from(output.len() - start - LENGTH).unwrap_or(u32::MAX);
    if let Some(length) = output.get_mut(start..start + LENGTH) {
        length.copy_from_slice(&size.to_be_bytes());
    }
}

/// Appends text that a NUL ends; a NUL within would end it early and is left out.
pub(crate) fn text(output: &mut BytesMut, text: &[u8]) {
    output.extend(text.iter().filter(|octet| **octet != 0));
    output.extend_from_slice(&[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_taken_when_all_of_it_is_here() {
        let mut input = BytesMut::from(&b"\0\0\0\x02cx\0\0\0\x01a"[..]);
        let whole = input.clone();
        assert_eq!(next_packet(&mut input), Ok(Some(Bytes::from_static(b"cx"))));
        assert_eq!(next_packet(&mut input), Ok(Some(Bytes::from_static(b"a"))));
        assert_eq!(next_packet(&mut input), Ok(None));
        for size in 0..6 {
            assert_eq!(next_packet(&mut BytesMut::from(&whole[..size])), Ok(None));
        }
    }

    #[test]
    fn lengths_that_no_packet_has_are_refused() {
        assert_eq!(next_packet(&mut BytesMut::from(&[0, 0, 0, 0][..])), Err(PacketError(0)));
        assert_eq!(next_packet(&mut BytesMut::from(&b"HTTP/1.1"[..])), Err(PacketError(0x4854_5450)));
    }
}
