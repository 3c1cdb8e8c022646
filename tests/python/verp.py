"""A newsletter to somebody who has left, whose host takes it and sends it back later in another name: by its return address it is known whose it was."""
import subprocess

from common import *

more = site["more"]
NEWS, GONE = people["news"]["address"], "gone@elsewhere.test"


def mailstead(*arguments):
    command = [more["mailstead"], *arguments, "--config", more["config"]]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def known():
    done = mailstead("suppression", "show", GONE, "--json")
    return json.loads(done.stdout) if done.returncode == 0 else None


def until(what, is_so):
    return wait_until(what, is_so, lambda: (known(), mailstead("trace", GONE).stdout))


def send(subject, sender=NEWS):
    session = submission("news")
    try:
        return session.sendmail(sender, [GONE], message(subject, sender=NEWS, to=GONE))
    except smtplib.SMTPRecipientsRefused as refused:
        return refused.recipients
    finally:
        session.close()


def returned():
    session = imap("news")
    ok(session.select("INBOX"))
    found = [ok(session.fetch(number, "(RFC822)"))[0][1].decode() for number in ok(session.search(None, "ALL"))[0].split()]
    session.logout()
    return found


for number in (1, 2):
    assert send("issue %d" % number) == {}
    found = until("bounce %d" % number, lambda: (lambda it: it if it and it["bounces"] == number else None)(known()))
    assert found["suppressed"] == (number == 2), found
# What came back is the sender's to read. It came to an address for the one who has left, which the report itself does not name as its recipient.
bounces = returned()
assert len(bounces) == 2, bounces
for bounce in bounces:
    assert "Final-Recipient: rfc822; x1234@elsewhere.test" in bounce and "news+gone=elsewhere.test=" in bounce, bounce

# The list says so to the next one that goes there, until the operator lifts that.
refused = send("issue 3")[GONE]
assert refused[0] == 550 and refused[1].startswith(b"5.1.1 gone@elsewhere.test is on the suppression list since "), refused
assert b"mail to it came back 2 times" in refused[1] and b"`mailstead suppression remove gone@elsewhere.test` lifts it" in refused[1], refused
total = lambda: json.loads(mailstead("report", "--json").stdout)["total"]
until("the report", lambda: total()["bounced"] == 2 and total()["refused"] == 1)
assert "gone@elsewhere.test  no         bounce  2 " in mailstead("suppression", "list").stdout
assert mailstead("suppression", "remove", GONE).stdout == "gone@elsewhere.test gets mail again\n"
again = mailstead("suppression", "remove", GONE)
assert (again.returncode, again.stdout) == (1, "mailstead: nothing is known of gone@elsewhere.test\n"), again
assert send("issue 4") == {}
until("a new count", lambda: (known() or {}).get("bounces") == 1)
assert mailstead("suppression", "add", GONE, "--why", "he asked by phone").returncode == 0
assert b"he asked by phone" in send("issue 5")[GONE][1]

# A list manager may make return addresses of its own: they are the account's, and what comes back there too.
mailstead("suppression", "remove", GONE)
before = len(returned())
assert send("issue 6", "news+gone=elsewhere.test@relay.test") == {}
until("a bounce", lambda: len(returned()) == before + 1)
assert known() is None, "by an address that anybody could write nobody comes onto the list"
