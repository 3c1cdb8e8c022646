"""What was submitted comes back byte for byte, by IMAP and by POP3, below the fields that the server added."""
from common import *

# poplib refuses the long line that RETR must give.
poplib._MAXLINE = 1 << 20

FIELDS = b"From: <alice@%s>\r\nTo: <bob@%s>\r\nDate: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@e2e.test>\r\n" % (
    domain.encode(), domain.encode())
UTF8 = "Subject: Grüße aus Köln ✉\r\n".encode()
MESSAGES = {
    "dots": FIELDS + b"Subject: dots\r\n\r\n.\r\n..\r\n.dot\r\n..two\r\n. \r\nend\r\n",
    "ends in a dot": FIELDS + b"Subject: dot\r\n\r\ntext\r\n.\r\n",
    "no body": FIELDS + b"Subject: empty\r\n\r\n",
    "header only": FIELDS + b"Subject: header only\r\n",
    "empty lines": FIELDS + b"Subject: lines\r\n\r\n\r\n\r\n\r\n",
    "long line": FIELDS + b"Subject: long\r\n\r\n" + b"x" * 998 + b"\r\n" + b"y" * 100_000 + b"\r\n",
    "eight bits": FIELDS + b"Subject: bits\r\n\r\n" + bytes(b for b in range(1, 256) if b not in b"\r\n") + b"\r\n",
    "utf-8": FIELDS + UTF8 + "\r\nÄÖÜ 漢字 🙂\r\n".encode(),
    "big": FIELDS + b"Subject: big\r\n\r\n" + b".0123456789abcdef\r\n" * 200_000,
}


def send(session, octets, options):
    session.ehlo_or_helo_if_needed()
    assert session.mail(people["alice"]["address"], options)[0] == 250
    assert session.rcpt(people["bob"]["address"])[0] == 250


def send_data(octets, options):
    """By DATA, with dot-stuffing of our own: smtplib's mends line ends."""
    session = submission("alice")
    send(session, octets, options)
    assert session.docmd("DATA")[0] == 354
    stuffed = octets.replace(b"\r\n.", b"\r\n..")
    session.send(stuffed + b".\r\n")
    assert session.getreply()[0] == 250
    session.quit()


def send_chunks(octets, options):
    """By BDAT in uneven pieces, RFC 3030."""
    session = submission("alice", "submissions")
    send(session, octets, options)
    pieces = [octets[start:start + 65_537] for start in range(0, len(octets), 65_537)]
    for number, piece in enumerate(pieces):
        last = " LAST" if number == len(pieces) - 1 else ""
        session.send(b"BDAT %d%s\r\n" % (len(piece), last.encode()) + piece)
        assert session.getreply()[0] == 250
    session.quit()


def check(number, octets, what):
    stored = box.fetch(str(number), "(UID RFC822.SIZE BODY.PEEK[])")[1][0]
    size = int(stored[0].split(b"RFC822.SIZE ")[1].split()[0])
    assert size == len(stored[1]), (what, size, len(stored[1]))
    added = stored[1][:len(stored[1]) - len(octets)]
    assert stored[1].endswith(octets), (what, stored[1][:600])
    fields = added.decode("ascii").replace("\r\n\t", " ").replace("\r\n ", " ").split("\r\n")
    names = [field.split(":")[0] for field in fields if field]
    assert names == ["Return-Path", "Received"], (what, names)
    return stored[1]


box = imap("bob")
before = int(ok(box.select())[0])
box.logout()
sent = []
for send_by in (send_data, send_chunks):
    for what, octets in MESSAGES.items():
        send_by(octets, ["BODY=8BITMIME", "SMTPUTF8"] if what == "utf-8" else ["BODY=8BITMIME"])
        sent.append((send_by.__name__ + ": " + what, octets))

# BDAT alone can end without CRLF; POP3 must then end the line to write its final dot.
unfinished = FIELDS + b"Subject: no final CRLF\r\n\r\nlast line"
send_chunks(unfinished, [])

box = imap("bob")
assert ok(box.select()) == [b"%d" % (before + len(sent) + 1)]
drop = pop3("bob")
for number, (what, octets) in enumerate(sent, before + 1):
    stored = check(number, octets, what)
    assert b"\r\n".join(drop.retr(number)[1]) + b"\r\n" == stored, what

stored = box.fetch(str(before + len(sent) + 1), "(BODY.PEEK[])")[1][0][1]
assert stored.rstrip(b"\r\n").endswith(b"\r\n\r\nlast line"), stored
assert drop.retr(before + len(sent) + 1)[1][-1] == b"last line"
drop.quit()
box.logout()
