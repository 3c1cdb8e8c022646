//! The hash of a message's content goes with it.

use super::*;

/// The hashes in the names of a folder's files.
fn hashes(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let hash = |name: String| name.split(',').find_map(|field| field.strip_prefix("H=")).unwrap().to_owned();
    std::fs::read_dir(folder).unwrap().map(name).map(hash).collect()
}

#[test]
fn a_message_gets_its_hash_at_delivery_and_append_and_keeps_it_when_copied_or_moved() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let text = b"Subject: a\r\n\r\none\r\n";
    let alice: Address = "alice@example.org".parse().unwrap();
    let mut delivery = store.deliver(&[bob().into(), alice.into()]).unwrap();
    text.chunks(3).for_each(|piece| delivery.write_all(piece).unwrap());
    delivery.commit().into_iter().for_each(|result| result.unwrap());
    let of = |path: &str| hashes(&dir.path().join("example.org").join(path));
    let delivered = of("bob/Maildir/new");
    assert_eq!((delivered.len(), of("alice/Maildir/new")), (1, delivered.clone()));

    let account = store.account(&bob()).unwrap();
    let (inbox, trash) = (inbox(&store), account.open(&"Trash".parse().unwrap()).unwrap());
    let mut append = inbox.append(flags(&[]), None).unwrap();
    append.write_all(text).unwrap();
    let appended = append.commit().unwrap();
    inbox.copy(&[Uid::MIN], &trash).unwrap();
    inbox.move_to(&[appended], &trash).unwrap();
    let same = [delivered[0].clone(), delivered[0].clone()];
    assert_eq!((of("bob/Maildir/cur"), of("bob/Maildir/.Trash/cur")), (delivered, same.to_vec()));
}

/// RFC 3030 §3
#[test]
fn a_binary_message_is_shown_octet_by_octet_copied_and_with_a_new_index_too() {
    let dir = tempfile::tempdir().unwrap();
    let binary = b"Subject: a\r\n\r\n\n\0\r\n\r\n\n";
    let shown = |store: &Arc<Store>, mailbox: &str| {
        let mailbox = store.account(&bob()).unwrap().open(&mailbox.parse().unwrap()).unwrap();
        let message = mailbox.snapshot().get(0).unwrap();
        (message.size, mailbox.open_message(message.uid).unwrap().read().unwrap())
    };
    let expected = (binary.len() as u64, binary.to_vec());
    let store = Store::open(dir.path()).unwrap();
    let mut delivery = store.deliver(&[bob().into()]).unwrap();
    delivery.keep_octets();
    binary.chunks(3).for_each(|piece| delivery.write_all(piece).unwrap());
    delivery.commit().into_iter().for_each(|result| result.unwrap());
    assert_eq!(shown(&store, "INBOX"), expected);
    let trash = store.account(&bob()).unwrap().open(&"Trash".parse().unwrap()).unwrap();
    inbox(&store).copy(&[Uid::MIN], &trash).unwrap();
    drop((trash, store));
    std::fs::remove_file(dir.path().join("example.org/bob/index.sqlite")).unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!([shown(&store, "INBOX"), shown(&store, "Trash")], [expected.clone(), expected]);
    let found = store.check(&bob(), true, &mut |_| ()).unwrap();
    assert!(found.is_empty(), "{found:?}");
}
