"""Alice writes to people at Postfix, at Exim and at another Mailstead. Each gets what it can get, once and whole; what a host says against it, or tells
of it, reaches her."""
import email
import os
import quopri
import subprocess

from common import *

more = site["more"]
ALICE = people["alice"]["address"]
# What the host of each domain calls itself.
HOSTS = {"postfix.test": "mx.postfix.test", "exim.test": "exim.test", "other.test": "mx.other.test"}


def mailstead(*arguments):
    command = [more["mailstead"], *arguments, "--config", more["config"]]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode()


def queued():
    listed = [recipient for it in json.loads(mailstead("queue", "list", "--json")) for recipient in it["recipients"]]
    return {recipient["address"]: recipient for recipient in listed if recipient["state"] == "pending"}


def until(what, is_so):
    return wait_until(what, is_so, lambda: (reports, queued()))


def send(subject, to, body="text", options=(), wishes=()):
    octets = message(subject, body, sender=ALICE, to="list@farm.test")
    session = submission("alice")
    assert session.sendmail(ALICE, [to], octets, list(options), list(wishes)) == {}
    session.quit()
    return octets


def stored(address):
    """The messages of somebody elsewhere, as they lie there."""
    found = []
    for folder in ("new", "cur"):
        path = os.path.join(more["maildirs"][address], folder)
        for name in os.listdir(path) if os.path.isdir(path) else []:
            with open(os.path.join(path, name), "rb") as file:
                found.append(file.read())
    return found


def having(address, subject):
    line = b"Subject: %s\n" % subject.encode()
    return [octets for octets in (it.replace(b"\r\n", b"\n") for it in stored(address)) if line in octets]


reports = []


def subject_of(part):
    """That of the message that a report returns, whole or by its header."""
    text = part.get_payload()[0].as_string() if part.is_multipart() else part.get_payload(decode=True).decode()
    return email.message_from_string(text)["Subject"]


def groups_of(status):
    """RFC 3464 §2.1, and RFC 6533 §3, of which Python's email knows nothing."""
    text = status.as_bytes().replace(b"\r\n", b"\n").split(b"\n\n", 1)[1]
    if status["Content-Transfer-Encoding"] == "quoted-printable":
        text = quopri.decodestring(text)
    return [email.message_from_string(group) for group in text.decode().strip().split("\n\n")]


def read_reports():
    """What Alice was told, by whom, of which message: of each recipient the action, the status and what the host said."""
    session = imap("alice")
    ok(session.select("INBOX"))
    reports.clear()
    for number in ok(session.search(None, "ALL"))[0].split():
        report = email.message_from_bytes(ok(session.fetch(number, "(RFC822)"))[0][1])
        assert report.get_content_type() == "multipart/report", report.as_string()
        _, status, returned = report.get_payload()
        head, *groups = groups_of(status)
        for group in groups:
            reports.append({
                "by": head["Reporting-MTA"].split(";")[1].strip(), "envelope": head["Original-Envelope-Id"], "subject": subject_of(returned),
                "recipient": group["Final-Recipient"].split(";")[1].strip(), "action": group["Action"], "status": group["Status"],
                "said": " ".join((group["Diagnostic-Code"] or "").split()),
            })
    session.logout()
    return reports


def told(subject):
    return until(subject, lambda: [it for it in read_reports() if it["subject"] == subject])


# Whole, once, and over TLS.
BODY = "\r\n".join(".%d Grüße, From here" % number for number in range(5000))
for name in HOSTS:
    subject = "whole for %s" % name
    sent = send(subject, "eve@%s" % name, BODY, ["BODY=8BITMIME"])
    there, = until(subject, lambda: having("eve@%s" % name, subject))
    assert there.rstrip().endswith(sent.replace(b"\r\n", b"\n").split(b"\n\n", 1)[1].rstrip()), (name, there[-200:])
    assert b"esmtps" in there.lower(), there[:2000]

# Exim at an address where it knows nothing newer than TLS 1.1, which is none: without TLS then, as where none is offered.
send("old", "eve@old.test")
until("old", lambda: having("eve@exim.test", "old"))

# Greylisting: it is taken at a later attempt, once, and nobody is told.
send("grey", "grey@exim.test")
until("grey", lambda: having("grey@exim.test", "grey"))

# Who is deferred waits, and the operator reads why.
for address, said in [("later@postfix.test", "450 4.2.1"), ("full@postfix.test", "552 5.2.2")]:
    send("for %s" % address, address)
    found = until(address, lambda: (queued().get(address) or {}).get("diagnosis"))
    assert said in str(found) and "mx.postfix.test" in str(found), found
mailstead("queue", "remove", "--domain", "postfix.test")

# What is refused for good comes back at once, with what the host said; RFC 5321 §4.2.5, RFC 1870 §6.1.
REFUSED = {
    "nobody@postfix.test": ("5.1.1", "User unknown in virtual mailbox table"),
    "nobody@exim.test": ("5.0.0", "Unrouteable address"),
    "nobody@other.test": ("5.1.1", "550 5.1.1 No such user here"),
    "full@exim.test": ("5.2.2", "552 5.2.2 The mailbox is full"),
}
for address, (status, said) in REFUSED.items():
    send("for %s" % address, address)
    report, = told("for %s" % address)
    assert (report["recipient"], report["action"], report["status"]) == (address, "failed", status), report
    assert said in report["said"], report
for name in ("postfix.test", "exim.test"):
    subject = "too big for %s" % name
    send(subject, "eve@%s" % name, "x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * (more["max_size"] // 70))
    report, = told(subject)
    assert (report["action"], report["status"]) == ("failed", "5.3.4"), report
    assert not having("eve@%s" % name, subject)

# NOTIFY=SUCCESS goes on to who can report (RFC 3461 §5.2.2): one report, of the last host. The envelope's id is told back.
for name in HOSTS:
    subject = "tell me of %s" % name
    send(subject, "eve@%s" % name, "text", ["RET=HDRS", "ENVID=id-%s" % name], ["NOTIFY=SUCCESS,FAILURE"])
    report, = told(subject)
    assert (report["by"], report["action"], report["envelope"]) == (HOSTS[name], "delivered", "id-%s" % name), report

# SMTPUTF8 (RFC 6531) goes where it is taken; elsewhere it comes back.
for name in ("postfix.test", "other.test"):
    subject = "utf8 for %s" % name
    send(subject, "jürgen@%s" % name, "text", ["SMTPUTF8", "BODY=8BITMIME"])
    until(subject, lambda: having("jürgen@%s" % name, subject))
send("utf8 for exim.test", "jürgen@exim.test", "text", ["SMTPUTF8", "BODY=8BITMIME"])
report, = told("utf8 for exim.test")
assert (report["action"], report["status"]) == ("failed", "5.6.7"), report

# Nothing is left here, each got each message once, and nothing else was told.
until("empty", lambda: not queued())
for address in more["maildirs"]:
    subjects = [octets.split(b"Subject: ")[1].split(b"\n")[0] for octets in stored(address)]
    assert len(subjects) == len(set(subjects)), (address, subjects)
subjects = sorted(report["subject"] for report in read_reports())
expected = ["for %s" % address for address in REFUSED] + ["too big for postfix.test", "too big for exim.test", "utf8 for exim.test"]
assert subjects == sorted(expected + ["tell me of %s" % name for name in HOSTS]), subjects

# The operator's figures have the reasons, whatever words and codes a host uses.
counted = {it["name"]: it["bounced"] for it in json.loads(mailstead("report", "--by", "reason", "--json"))["lines"] if it["bounced"]}
assert counted == {"5.1.1 no such mailbox": 2, "5.2.2 mailbox is full": 1, "5.3.4 message too large": 2, "5.6.7 address needs SMTPUTF8": 1,
                   "550 mailbox unavailable": 1}, counted
