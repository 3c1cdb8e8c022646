"""IMAPClient: what scripts and importers do with a mailbox."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "packages"))
from common import *
from datetime import datetime, timezone
from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientError

bob = people["bob"]


def connect():
    client = IMAPClient(host, port=ports["imaps"], ssl_context=tls, timeout=SECONDS)
    client.login(bob["address"], bob["password"])
    return client


client, other = connect(), connect()
assert b"name" in client.id_({"name": "e2e"})[0], "ID is answered"
personal = client.namespace().personal[0]
assert personal[0] == "" and personal[1], personal
special = {flag: name for flags, _, name in client.list_folders() for flag in flags}
for flag, name in ((b"\\Sent", "Sent"), (b"\\Drafts", "Drafts"), (b"\\Junk", "Junk"), (b"\\Trash", "Trash"), (b"\\Archive", "Archive")):
    assert special[flag] == name, special

# Names beyond ASCII, below another, renamed with what lies below.
client.create_folder("Käse/日本")
client.rename_folder("Käse", "Brot & Butter")
names = [name for _, _, name in client.list_folders("", "Brot & Butter*")]
assert sorted(names) == ["Brot & Butter", "Brot & Butter/日本"], names
client.subscribe_folder("Brot & Butter/日本")
assert "Brot & Butter/日本" in [name for _, _, name in client.list_sub_folders()]

# APPEND of several, with flags and date; FETCH of what a client shows.
when = datetime(2026, 11, 1, 10, 0, tzinfo=timezone.utc)
client.append("Brot & Butter/日本", message("one"), (b"\\Seen", b"$Label1"), when)
client.append("Brot & Butter/日本", message("two", body="Suchwort Grüße"))
status = client.folder_status("Brot & Butter/日本", ["MESSAGES", "UNSEEN", "UIDNEXT", "UIDVALIDITY", "HIGHESTMODSEQ"])
assert status[b"MESSAGES"] == 2 and status[b"UNSEEN"] == 1 and status[b"HIGHESTMODSEQ"] > 0, status
selected = client.select_folder("Brot & Butter/日本")
assert selected[b"EXISTS"] == 2 and selected[b"UIDVALIDITY"] == status[b"UIDVALIDITY"], selected
first, second = client.search()
assert client.search(["TEXT", "Grüße"], charset="UTF-8") == [second]
assert client.search(["UNSEEN", "SUBJECT", "two"]) == [second]
assert client.search(["NOT", ["OR", "SEEN", "FLAGGED"]]) == [second]
fetched = client.fetch([first, second], ["ENVELOPE", "FLAGS", "INTERNALDATE", "RFC822.SIZE", "BODYSTRUCTURE", "BODY.PEEK[]", "MODSEQ"])
assert fetched[first][b"ENVELOPE"].subject == b"one"
assert set(fetched[first][b"FLAGS"]) >= {b"\\Seen", b"$Label1"}
assert fetched[second][b"BODY[]"] == message("two", body="Suchwort Grüße")
assert fetched[second][b"RFC822.SIZE"] == len(fetched[second][b"BODY[]"])
assert client.sort(["REVERSE", "SUBJECT"]) == [second, first]
assert client.thread() == ((first,), (second,))

# CONDSTORE: what changed since, and a STORE that has come too late.
mod_seq = max(item[b"MODSEQ"][0] for item in fetched.values())
other.select_folder("Brot & Butter/日本")
other.add_flags(first, b"\\Flagged")
changed = client.fetch("1:*", ["FLAGS"], modifiers=["CHANGEDSINCE %d" % mod_seq])
assert list(changed) == [first] and b"\\Flagged" in changed[first][b"FLAGS"], changed

# IDLE is told of new mail and of a removal.
client.idle()
other.append("Brot & Butter/日本", message("three"))
seen = []
while (3, b"EXISTS") not in seen:
    seen += client.idle_check(SECONDS)
    assert seen
other.delete_messages(second)
other.uid_expunge([second])
while (2, b"EXPUNGE") not in seen:
    news = client.idle_check(SECONDS)
    assert news
    seen += news
client.idle_done()

# COPY and MOVE, and a folder that must not be lost by mistake.
client.copy([first], "Archive")
client.move([first], "Trash")
assert client.folder_status("Archive", ["MESSAGES"])[b"MESSAGES"] == 1
assert client.folder_status("Trash", ["MESSAGES"])[b"MESSAGES"] == 1
for wrong in (lambda: client.create_folder("Archive"), lambda: client.delete_folder("INBOX"), lambda: client.select_folder("none such")):
    try:
        wrong()
    except IMAPClientError:
        continue
    raise AssertionError("it was accepted")
client.select_folder("INBOX")
client.unselect_folder()
quota = client.get_quota_root("INBOX")
assert quota, quota

# A shared mailbox: its owner lets somebody in, who finds it, reads it with read marks of his own, and loses it again.
alice = people["alice"]
owner = IMAPClient(host, port=ports["imaps"], ssl_context=tls, timeout=SECONDS)
owner.login(alice["address"], alice["password"])
owner.create_folder("Team")
owner.append("Team", message("for all"))
owner.setacl("Team", bob["address"], "lrsw")
assert (bob["address"].encode(), b"lrsw") in owner.getacl("Team"), owner.getacl("Team")
prefix = client.namespace().other[0][0]
shared = "%s%s/Team" % (prefix, alice["address"])
assert shared in [name for _, _, name in client.list_folders(prefix, "*")]
assert client.select_folder(shared)[b"EXISTS"] == 1
assert client.search("UNSEEN") == [1]
assert client.fetch(1, ["BODY[]"])[1][b"BODY[]"] == message("for all")
assert client.search("UNSEEN") == []
assert client.folder_status(shared, ["UNSEEN"])[b"UNSEEN"] == 0
assert owner.folder_status("Team", ["UNSEEN"])[b"UNSEEN"] == 1
for refused in (lambda: client.append(shared, message("no")), lambda: client.expunge(), lambda: client.getacl(shared)):
    try:
        refused()
        assert False, "done without the right to it"
    except IMAPClientError as error:
        assert "NOPERM" in str(error), error
client.copy([1], "Archive")
client.unselect_folder()
owner.setacl("Team", bob["address"], '""')
assert shared not in [name for _, _, name in client.list_folders(prefix, "*")]
try:
    client.select_folder(shared)
    assert False, "selected without a right"
except IMAPClientError as error:
    assert "NONEXISTENT" in str(error), error
owner.logout()
client.logout()
other.logout()
