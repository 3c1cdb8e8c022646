"""What a mail client does in IMAP, from login to logout, on both ports."""
import re

from common import *


def login_in_every_way(name):
    """LOGIN, and AUTHENTICATE PLAIN and LOGIN as SASL has them (RFC 3501 §6.2, RFC 4616)."""
    person = people[name]
    user, password = person["address"].encode(), person["password"].encode()
    words = {b"": None}
    for listener in ("imap", "imaps"):
        imap(name, listener).logout()
        for mechanism in ("PLAIN", "LOGIN"):
            if listener == "imaps":
                session = imaplib.IMAP4_SSL(host, ports[listener], ssl_context=tls, timeout=SECONDS)
            else:
                session = imaplib.IMAP4(host, ports[listener], timeout=SECONDS)
                session.starttls(tls)
            assert "AUTH=" + mechanism in session.capabilities, session.capabilities
            answers = iter([b"\0" + user + b"\0" + password] if mechanism == "PLAIN" else [user, password])
            ok(session.authenticate(mechanism, lambda challenge: next(answers)))
            session.logout()


def refuse(session, *words):
    try:
        answer = session.login(*words)
    except imaplib.IMAP4.error as error:
        assert "AUTHENTICATIONFAILED" in str(error), error
    else:
        raise AssertionError(answer)


def fetch(items, messages="1:*"):
    """The answers as one text each, literals put in place."""
    answers, text = [], b""
    for part in ok(box.fetch(messages, items)):
        if isinstance(part, tuple):
            text += b"".join(part)
        else:
            answers.append(text + part)
            text = b""
    return answers


def uids():
    return [int(re.search(rb"UID (\d+)", answer)[1]) for answer in fetch("(UID)")]


login_in_every_way("alice")
session = imaplib.IMAP4_SSL(host, ports["imaps"], ssl_context=tls, timeout=SECONDS)
refuse(session, people["alice"]["address"], "guess")
refuse(session, "nobody@" + domain, "guess")
session.logout()

box = imap("bob")
offered = ok(box.capability())[0].decode().upper().split()
for wanted in ("IMAP4REV1", "IDLE", "MOVE", "UIDPLUS", "NAMESPACE", "UNSELECT", "CHILDREN", "SPECIAL-USE", "ENABLE", "ID", "LITERAL+"):
    assert wanted in offered, (wanted, offered)

# LANGUAGE (RFC 5255 §3): what is refused is said in the user's language, and the namespaces have names in it.
imaplib.Commands["LANGUAGE"] = ("NONAUTH", "AUTH", "SELECTED")
assert "LANGUAGE" in offered, offered


def speak(*ranges):
    """Chooses a language; the tag of the one that is spoken then."""
    ok(box._simple_command("LANGUAGE", *ranges))
    return box.untagged_responses.pop("LANGUAGE")[-1]


assert {b"en", b"pt", b"es"} <= set(speak().strip(b"()").split())
refusals = {box.select("Nowhere")[1][0]}
for tag, spoken, others in (("pt-BR", b"(pt)", b"Outras contas"), ("es", b"(es)", b"Otros usuarios"), ("default", b"(en)", b"Other Users")):
    assert speak(tag) == spoken, tag
    refused = box.select("Nowhere")
    assert refused[0] == "NO" and b"[NONEXISTENT]" in refused[1][0], refused
    refusals.add(refused[1][0])
    assert others in ok(box.namespace())[-1], tag
assert len(refusals) == 3, refusals
assert box._simple_command("LANGUAGE", "tlh")[0] == "NO"

# The mailboxes of a new account, with their uses (RFC 6154), all subscribed.
listed = b"\n".join(ok(box.list()))
for use in (b"Drafts", b"Sent", b"Junk", b"Trash", b"Archive"):
    assert re.search(rb"\(.*\\" + use + rb".*\) \"/\" \"?" + use + b"\"?", listed), listed
    assert use in b"\n".join(ok(box.lsub())), use
assert ok(box.namespace())[0].startswith(b'(("" "/"))'), ok(box.namespace())

# CREATE, RENAME with children, SUBSCRIBE, DELETE, names beyond ASCII in modified UTF-7.
for name in ("Work", "Work/2026", '"B&APw-cher"'):
    ok(box.create(name))
ok(box.subscribe("Work/2026"))
ok(box.rename("Work", "Job"))
listed = b"\n".join(ok(box.list()))
assert b"Job/2026" in listed and b"Work" not in listed and b"B&APw-cher" in listed, listed
assert box.create("Job")[0] == "NO", "ALREADYEXISTS"
ok(box.delete("Job/2026"))
assert box.select("Job/2026")[0] == "NO"

# APPEND with flags and a date; UIDPLUS tells the UID (RFC 4315).
date = '"17-Jul-1996 02:44:25 -0700"'
for subject in ("one", "two", "three", "four"):
    answer = ok(box.append("Job", r"(\Seen $Todo)" if subject == "one" else None, date, message(subject, subject * 3)))
    assert b"APPENDUID" in answer[0], answer
assert box.append("Nowhere", None, None, message("x"))[0] == "NO"
assert b"MESSAGES 4" in ok(box.status("Job", "(MESSAGES UNSEEN UIDNEXT UIDVALIDITY)"))[0]
assert b"UNSEEN 3" in ok(box.status("Job", "(MESSAGES UNSEEN)"))[0]

# FETCH in every form.
assert ok(box.select("Job")) == [b"4"]
assert rb"\*" in box.response("PERMANENTFLAGS")[1][0]
first = fetch("(UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)", "1")[0]
assert b"17-Jul-1996 02:44:25 -0700" in first and b"\\Seen" in first and b"$Todo" in first, first
assert b"RFC822.SIZE %d" % len(message("one", "oneoneone")) in first, first
assert b'("Sun, 22 Nov 2026 12:00:00 +0000" "one" ((NIL NIL "stranger" "elsewhere.test"))' in first, first
assert b'"TEXT" "PLAIN"' in first.upper(), first
assert message("one", "oneoneone") in fetch("(BODY.PEEK[])", "1")[0]
assert b"twotwotwo" in fetch("(BODY.PEEK[TEXT])", "2")[0]
assert b"Subject: two\r\n\r\n" in fetch("(BODY.PEEK[HEADER.FIELDS (SUBJECT)])", "2")[0]
assert b"BODY[]<6>" in fetch("(BODY.PEEK[]<6.9>)", "2")[0]
assert b"\\Seen" not in fetch("(FLAGS)", "2")[0]
fetch("(BODY[])", "2")
assert b"\\Seen" in fetch("(FLAGS)", "2")[0], "BODY[] without PEEK sets the flag"

# STORE, SEARCH.
ok(box.store("2,3", "+FLAGS", r"(\Flagged $Work)"))
ok(box.store("3", "-FLAGS", r"(\Flagged)"))
ok(box.store("4", "FLAGS", r"(\Answered \Draft)"))
for key, found in [
    ("FLAGGED", b"2"), ("KEYWORD $Work", b"2 3"), ("UNSEEN", b"3 4"), ("ANSWERED", b"4"), ("DRAFT", b"4"),
    ("SUBJECT three", b"3"), ("BODY twotwo", b"2"), ("TEXT onethree", b""), ("FROM stranger NOT SUBJECT one", b"2 3 4"),
    ("OR SUBJECT one SUBJECT four", b"1 4"), ("SINCE 16-Jul-1996 BEFORE 18-Jul-1996", b"1 2 3 4"), ("SENTSINCE 22-Nov-2026", b"1 2 3 4"),
    ("LARGER 1000", b""), ("HEADER Message-ID four", b"4"), ("2:3 SEEN", b"2"), ("UID 1:* UNKEYWORD $Work", b"1 4"),
]:
    assert ok(box.search(None, key)) == [found], (key, ok(box.search(None, key)))
assert ok(box.search("UTF-8", "SUBJECT", '"four"')) == [b"4"]
assert box.search("KLINGON", "ALL")[0] == "NO"

# COPY and MOVE (RFC 6851): UIDs ascend, flags go along.
before = uids()
ok(box.copy("2", "Archive"))
moved = box.uid("MOVE", str(before[2]), "Archive")
assert moved[0] == "OK" and uids() == before[:2] + before[3:], moved
assert box.copy("1", "Nowhere")[0] == "NO"

# EXPUNGE takes what is \Deleted, UID EXPUNGE only what is named (RFC 4315 §2.1).
ok(box.store("1:2", "+FLAGS", r"(\Deleted)"))
ok(box.uid("EXPUNGE", str(before[1])))
assert uids() == [before[0], before[3]], uids()
assert ok(box.expunge()) == [b"3", b"2", b"1"], "what MOVE, UID EXPUNGE and EXPUNGE told"
assert uids() == [before[3]], (uids(), before)
ok(box.unselect())

assert ok(box.select("Archive", readonly=True)) == [b"2"]
flags = fetch("(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
assert b"two" in flags[0] and b"\\Flagged" in flags[0] and b"$Work" in flags[0], flags
assert b"three" in flags[1] and b"$Work" in flags[1], flags
assert b"\\Seen" not in flags[1]
try:
    assert box.store("1", "+FLAGS", r"(\Deleted)")[0] == "NO", "EXAMINE changes nothing"
except imaplib.IMAP4.readonly:
    pass
ok(box.close())

ok(box.delete("Job"))
box.logout()
