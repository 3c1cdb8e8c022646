use mail_types::MailboxName;

/// A mailbox has one name in each form, and is found by any.
pub(crate) fn mailbox_name(octets: &[u8]) {
    let octets = octets.strip_suffix(b"\r\n").unwrap_or(octets);
    for name in [MailboxName::from_imap(octets), MailboxName::from_utf8(octets)] {
        let Ok(name) = name else { continue };
        assert_eq!(MailboxName::from_imap(name.to_mutf7().as_bytes()).as_ref(), Ok(&name));
        assert_eq!(MailboxName::from_utf8(name.as_str().as_bytes()).as_ref(), Ok(&name));
        let folder = name.to_maildir();
        assert!(folder.len() <= 255 && !folder.contains('/'), "{folder}");
        if !name.is_inbox() {
            assert_eq!(MailboxName::from_maildir(&folder).as_ref(), Ok(&name), "{folder}");
        }
    }
}

/// The name of a message's file, whoever gave it.
pub(crate) fn file_name(octets: &[u8]) {
    if let Ok(name) = std::str::from_utf8(octets) {
        mail_store::fuzzing::file_name(name);
    }
}
