use bytes::BytesMut;
use line_codec::mail_data::{DataDecoder, DotStuffer};
use smtp_proto::{Command, Reply};

use crate::cut::pieces;

/// What is read can be written, and is read as the same then.
pub(crate) fn commands_and_replies(octets: &[u8]) {
    let line = octets.strip_suffix(b"\r\n").unwrap_or(octets);
    if let Ok(command) = Command::parse(line)
        // What AUTH carries is not shown.
        && !matches!(command, Command::Auth { initial: Some(_), .. })
    {
        let shown = command.to_string();
        assert_eq!(Command::parse(shown.as_bytes()), Ok(command), "{shown}");
    }
    let lines: Vec<&[u8]> =
        line.split(|octet| *octet == b'\n').map(|it| it.strip_suffix(b"\r").unwrap_or(it)).collect();
    if let Ok(reply) = Reply::parse(&lines) {
        let mut shown = String::new();
        reply.encode(&mut shown);
        let lines: Vec<&str> = shown.split_terminator("\r\n").collect();
        assert_eq!(
            lines.iter().position(|line| Reply::is_last_line(line.as_bytes())),
            Some(lines.len() - 1),
            "{shown}"
        );
        assert_eq!(Reply::parse(&lines).as_ref(), Ok(&reply), "{shown}");
    }
}

/// However DATA is cut, the same message ends at the same octet; and what is stuffed comes back.
pub(crate) fn mail_data(octets: &[u8]) {
    let whole = decoded([octets]);
    assert_eq!(decoded(pieces(octets)), whole);
    assert_eq!(decoded(octets.chunks(1)), whole);
    let (mut stuffer, mut stuffed) = (DotStuffer::new(), Vec::new());
    pieces(octets).into_iter().for_each(|piece| stuffer.write(piece, &mut stuffed));
    stuffer.finish(&mut stuffed);
    let has_bare = octets.iter().enumerate().any(|(at, octet)| match octet {
        b'\r' => octets.get(at + 1) != Some(&b'\n'),
        b'\n' => at == 0 || octets.get(at - 1) != Some(&b'\r'),
        _ => false,
    });
    if !has_bare {
        let (message, rest, is_bare) = decoded([stuffed.as_slice()]).expect("the data has an end");
        let expected = if octets.is_empty() || octets.ends_with(b"\r\n") {
            octets.to_vec()
        } else {
            [octets, b"\r\n"].concat()
        };
        assert_eq!((message, rest, is_bare), (expected, 0, false));
    }
}

/// The message, how many octets are behind it, and whether a CR or LF stood alone in it; `None` without an end.
fn decoded<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<(Vec<u8>, usize, bool)> {
    let (mut decoder, mut input, mut output) = (DataDecoder::new(), BytesMut::new(), BytesMut::new());
    let mut is_complete = false;
    for piece in pieces {
        input.extend_from_slice(piece);
        is_complete = decoder.decode(&mut input, &mut output);
    }
    is_complete.then(|| (output.to_vec(), input.len(), decoder.has_bare_cr_or_lf()))
}
