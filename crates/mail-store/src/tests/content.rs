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
