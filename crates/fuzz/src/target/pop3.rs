use pop3_proto::{Command, Response};

/// What is read can be written, and is read as the same then.
pub(crate) fn commands_and_responses(octets: &[u8]) {
    let line = octets.strip_suffix(b"\r\n").unwrap_or(octets);
    if let Ok(command) = Command::parse(line) {
        let written = command.encode();
        let shown = written.escape_ascii();
        let again = Command::parse(written.strip_suffix(b"\r\n").expect("a line"));
        assert_eq!(again.as_ref(), Ok(&command), "{shown}");
    }
    let Ok(line) = std::str::from_utf8(line) else { return };
    if let Some(response) = Response::parse(line).filter(|_| !line.contains(['\r', '\n'])) {
        let written = String::from_utf8(response.encode()).expect("text");
        assert_eq!(Response::parse(written.trim_end_matches("\r\n")).as_ref(), Some(&response), "{written}");
    }
}
