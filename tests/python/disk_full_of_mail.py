"""Mail never takes the last of the disk: what makes room again, and what became of mail on its way, can be written on one that is full of mail."""
import os
import subprocess

import aiosmtpd.controller

from common import *

more = site["more"]
arrived = []
FAR, STRANGER = "eve@elsewhere.test", "stranger@elsewhere.test"
ALICE, BOB = people["alice"]["address"], people["bob"]["address"]
SIZES = [400_000, 100_000, 10_000, 100]


class Smarthost:
    async def handle_DATA(self, server, session, envelope):
        arrived.append(envelope.rcpt_tos)
        return "250 2.0.0 taken"


def mailstead(*arguments):
    return subprocess.run([more["mailstead"], *arguments, "--config", more["config"]], stdout=subprocess.PIPE, check=True, text=True).stdout


def letter(size, number, sender=STRANGER):
    return message("%d %d" % (size, number), sender=sender, body=("y" * 70 + "\r\n") * max(1, size // 72))


def try_smtp(session, sender, to, octets):
    """The code of what refuses it, or 250."""
    try:
        assert session.sendmail(sender, to, octets) == {}
        return 250
    except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
        assert error.smtp_error.startswith(b"4.3.1 The disk is full"), error
        return error.smtp_code


def free():
    disk = os.statvfs(more["disk"])
    return disk.f_bavail * disk.f_frsize


def notices():
    return [it["subject"] for it in json.loads(mailstead("status", "--json"))["notices"]]


def gauge(name):
    lines = mailstead("status", "--metrics").splitlines()
    return [int(line.split()[-1]) for line in lines if line.startswith(name + "{disk=\"mail\"}")][0]


disk = os.statvfs(more["disk"])
MIN_FREE = disk.f_blocks * disk.f_frsize // 16
waiting = submission("alice")
assert try_smtp(waiting, ALICE, [FAR], message("waits", sender=ALICE)) == 250
for number in range(20):
    assert try_smtp(waiting, ALICE, [FAR], letter(10_000, number, ALICE)) == 250
assert notices().count("full disk") == 0, notices()

# Both ways in, to mailboxes and to the queue, until not even the smallest is taken.
taken = 0
for size in SIZES:
    for session, sender, to in [(mx(), STRANGER, [BOB]), (submission("alice"), ALICE, [FAR])]:
        code = 250
        while code == 250:
            code = try_smtp(session, sender, to, letter(size, taken, sender))
            taken += code == 250
        assert code == 452, (size, code)
        assert session.quit()[0] == 221
assert taken > 40, taken
left = free()
# Journals and logs take a little, mail nothing.
assert MIN_FREE // 2 < left < MIN_FREE + 200_000, (left, MIN_FREE)
wait_until("MAIL is refused", lambda: mx().mail(STRANGER)[0] == 452, lambda: free())
wait_until("the operator is told", lambda: "full disk" in notices(), notices)
assert gauge("mailstead_disk_min_free_octets") == MIN_FREE
assert gauge("mailstead_disk_free_octets") <= MIN_FREE + 200_000

# What is on its way goes on, and what came of it is written down.
aiosmtpd.controller.Controller(Smarthost(), hostname="127.0.0.1", port=more["smarthost"], ready_timeout=SECONDS).start()
mailstead("queue", "retry", "--all")
wait_until("the queue is empty", lambda: json.loads(mailstead("queue", "list", "--json")) == [], lambda: len(arrived))
assert len(arrived) > 10, len(arrived)

# Room that the queue has given back is mail's again.
session = mx()
while try_smtp(session, STRANGER, [BOB], letter(10_000, taken)) == 250:
    taken += 1

# Whoever has never logged in does so now, and gets rid of mail, by IMAP and by POP3.
imap_session = imap("bob")
assert int(ok(imap_session.select("INBOX"))[0]) > 20
typ, data = imap_session.append("INBOX", None, None, letter(400_000, taken))
assert typ == "NO" and data[0].startswith(b"[UNAVAILABLE] The server's disk is full"), (typ, data)
ok(imap_session.fetch("1:*", "(FLAGS RFC822.SIZE BODY.PEEK[HEADER])"))
ok(imap_session.copy("1", "Trash"))
ok(imap_session.store("1:5", "+FLAGS", "\\Deleted"))
ok(imap_session.expunge())
pop3_session = pop3("bob")
count = pop3_session.stat()[0]
pop3_session.dele(1)
assert pop3_session.quit().startswith(b"+OK")
assert int(ok(imap_session.select("INBOX"))[0]) == count - 1
ok(imap_session.select("Trash"))
ok(imap_session.store("1:*", "+FLAGS", "\\Deleted"))
ok(imap_session.expunge())
ok(imap_session.select("INBOX"))

# There is room again.
wait_until("mail is taken", lambda: mx().mail(STRANGER)[0] == 250, free)
assert try_smtp(mx(), STRANGER, [BOB], letter(10_000, taken)) == 250
ok(imap_session.append("INBOX", None, None, letter(10_000, taken)))
assert notices().count("full disk") == 0, notices()
