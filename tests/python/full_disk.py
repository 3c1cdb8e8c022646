"""While a disk is full, mail is refused for now where it would have to be written, in sessions that go on; and what was taken arrives, once."""
import email
import errno
import os
import sqlite3
import subprocess

import aiosmtpd.controller

from common import *

more = site["more"]
arrived = []
FAR = "eve@elsewhere.test"


class Smarthost:
    async def handle_DATA(self, server, session, envelope):
        arrived.append(email.message_from_bytes(envelope.content)["Subject"])
        return "250 2.0.0 taken"


class Disk:
    """Really full."""

    def fill(self):
        with open(more["filling"], "wb", buffering=0) as filling:
            try:
                while True:
                    filling.write(bytes(4096))
            except OSError as error:
                assert error.errno == errno.ENOSPC, error

    def empty(self):
        os.remove(more["filling"])


class Database:
    """Says that it is full, as a key of it can't grow any more."""

    def run(self, script):
        with sqlite3.connect(more["queue"]) as database:
            database.executescript(script)

    def fill(self):
        self.run("CREATE TABLE full (id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO full VALUES (9223372036854775807);"
                 "CREATE TRIGGER full_message BEFORE INSERT ON message BEGIN INSERT INTO full VALUES (NULL); END;")

    def empty(self):
        self.run("DROP TRIGGER full_message; DROP TABLE full;")


def mailstead(*arguments):
    return subprocess.run([more["mailstead"], *arguments, "--config", more["config"]], stdout=subprocess.PIPE, check=True, text=True).stdout


def send(session, sender, to, subject, size):
    """The code of the last reply, and what it says."""
    try:
        refused = session.sendmail(sender, to, message(subject, body="x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * (size // 72), sender=sender, to=to[0]))
        assert refused == {}, refused
        return 250, b""
    except smtplib.SMTPDataError as error:
        return error.smtp_code, error.smtp_error


def delivered():
    found = []
    for folder in ("new", "cur"):
        path = os.path.join(people["bob"]["maildir"], folder)
        for name in os.listdir(path):
            with open(os.path.join(path, name), "rb") as file:
                found.append(email.message_from_binary_file(file)["Subject"])
    return found


aiosmtpd.controller.Controller(Smarthost(), hostname="127.0.0.1", port=more["smarthost"], ready_timeout=SECONDS).start()
disk = Disk() if "filling" in more else Database()
STRANGER, ALICE, BOB, ALIAS = "stranger@elsewhere.test", people["alice"]["address"], people["bob"]["address"], "away@full.test"
# From whom, to whom; of these only what goes on is written into the queue.
WAYS = [("in, away", mx(), STRANGER, ALIAS), ("out", submission("alice"), ALICE, FAR)]
if "filling" in more:
    WAYS += [("in, here", mx(), STRANGER, BOB), ("out, here", submission("alice"), ALICE, BOB)]
# What lies in the database, in a file of its own, and in a file before it is known where it goes.
SIZES = [100, 100_000, 400_000]
here, far = [], []


def taken(way, session, sender, to, size, when):
    subject = "%s %d %s" % (way, size, when)
    code, said = send(session, sender, [to], subject, size)
    assert code == 250, (subject, code, said)
    (here if to == BOB else far).append(subject)


for way in WAYS:
    for size in SIZES:
        taken(*way, size, "before")
wait_until("the queue is empty", lambda: json.loads(mailstead("queue", "list", "--json")) == [], lambda: arrived)

disk.fill()
for way, session, sender, to in WAYS:
    # Large ones of the stand-in have a file, which there is room for.
    for size in SIZES:
        code, said = send(session, sender, [to], "%s %d refused" % (way, size), size)
        assert code == 452 and said.startswith(b"4.3.1 The disk is full"), (way, size, code, said)
        assert session.noop()[0] == 250, way
if "filling" in more:
    # Where another program has taken what mail leaves free, nobody logs in who hasn't before, but is told why.
    for login, expected in [(imap, "[UNAVAILABLE] The server's disk is full"), (pop3, "[SYS/TEMP] the server's disk is full")]:
        try:
            login("bob")
            raise AssertionError("logged in")
        except (imaplib.IMAP4.error, poplib.error_proto) as error:
            assert expected in str(error.args[0]), error
# Who comes now is served as well, as far as there is no mail to be written.
late = submission("alice")
assert send(late, ALICE, [FAR], "late refused", 100)[0] == 452
assert late.rset()[0] == 250

disk.empty()
for way in WAYS:
    for size in SIZES:
        taken(*way, size, "after")
taken("late", late, ALICE, FAR, 100, "after")
for _, session, _, _ in WAYS:
    assert session.quit()[0] == 221
wait_until("all has arrived", lambda: len(arrived) >= len(far) and len(delivered()) >= len(here), lambda: (arrived, delivered()))
wait_until("the queue is empty", lambda: json.loads(mailstead("queue", "list", "--json")) == [], lambda: arrived)
assert sorted(arrived) == sorted(far), (arrived, far)
assert sorted(delivered()) == sorted(here), (delivered(), here)
