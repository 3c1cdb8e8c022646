"""Puts a message, a flag and a mailbox into Bob's account, or finds them there as they were left."""
from common import *

if site["more"] == "fill":
    deliver("bob", message("kept"))
    box = imap("bob")
    ok(box.create("Projects"))
    ok(box.select())
    ok(box.store("2", "+FLAGS", r"(\Flagged $Label1)"))
    ok(box.copy("2", "Projects"))
    box.logout()
else:
    box = imap("bob")
    assert ok(box.select()) == [b"2"], "the welcome message comes but once"
    assert ok(box.search(None, "FLAGGED KEYWORD $Label1 SUBJECT kept")) == [b"2"]
    assert ok(box.select("Projects")) == [b"1"]
    box.logout()
