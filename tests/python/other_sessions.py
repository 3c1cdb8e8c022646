"""Two sessions on one mailbox: each sees what the other does, and neither is told of an EXPUNGE where numbers must stay."""
from common import *

for number in range(1, 5):
    deliver("alice", message("number %d" % number))
one, other = imap("alice"), imap("alice", "imap")
assert ok(one.select()) == [b"5"] and ok(other.select()) == [b"5"]

ok(other.store("3", "+FLAGS", r"(\Deleted)"))
ok(other.expunge())

# RFC 3501 §7.4.1: no EXPUNGE during FETCH, STORE or SEARCH; the numbers stay as this session knows them.
one.untagged_responses.pop("EXPUNGE", None)
ok(one.search(None, "ALL"))
assert "EXPUNGE" not in one.untagged_responses
subject = ok(one.fetch("5", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))
assert b"number 4" in subject[0][1], subject
assert "EXPUNGE" not in one.untagged_responses
ok(one.noop())
assert one.response("EXPUNGE")[1] == [b"3"], "NOOP tells it"
subject = ok(one.fetch("4", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))
assert b"number 4" in subject[0][1], subject

# Flags go to the other session with its next command.
ok(one.store("1", "+FLAGS", r"(\Flagged)"))
ok(other.noop())
assert rb"\Flagged" in b"".join(other.response("FETCH")[1]), "the other session is told"

# New mail is there with NOOP, without a reselect.
deliver("alice", message("late"))
ok(other.noop())
assert other.response("EXISTS")[1][-1] == b"5"
one.logout()
other.logout()
