"""What the Python programs share: the site as told on standard input, and sessions with its servers."""
import imaplib
import json
import poplib
import smtplib
import ssl
import sys
import time

site = json.load(sys.stdin)
tls = ssl.create_default_context(cafile=site["ca_file"])
host, ports, people, domain = site["host"], site["ports"], site["people"], site["domain"]
SECONDS = 30


def imap(name, listener="imaps"):
    """An IMAP session, logged in."""
    person = people[name]
    if listener == "imaps":
        session = imaplib.IMAP4_SSL(host, ports[listener], ssl_context=tls, timeout=SECONDS)
    else:
        session = imaplib.IMAP4(host, ports[listener], timeout=SECONDS)
        session.starttls(tls)
    session.login(person["address"], person["password"])
    return session


def pop3(name, listener="pop3s"):
    """A POP3 session, logged in."""
    person = people[name]
    if listener == "pop3s":
        session = poplib.POP3_SSL(host, ports[listener], context=tls, timeout=SECONDS)
    else:
        session = poplib.POP3(host, ports[listener], timeout=SECONDS)
        session.stls(context=tls)
    session.user(person["address"])
    session.pass_(person["password"])
    return session


def submission(name, listener="submission"):
    """An SMTP session, logged in."""
    person = people[name]
    if listener == "submissions":
        session = smtplib.SMTP_SSL(host, ports[listener], context=tls, timeout=SECONDS)
    else:
        session = smtplib.SMTP(host, ports[listener], timeout=SECONDS)
        session.starttls(context=tls)
    session.login(person["address"], person["password"])
    return session


def mx():
    """An SMTP session as another server has it."""
    session = smtplib.SMTP(host, ports["smtp"], timeout=SECONDS)
    session.ehlo("peer.e2e.test")
    return session


def message(subject, body="text", sender="stranger@elsewhere.test", to=None):
    """A message with CRLF line ends, as octets."""
    lines = [
        "From: <%s>" % sender,
        "To: <%s>" % (to or people["bob"]["address"]),
        "Subject: %s" % subject,
        "Date: Sun, 22 Nov 2026 12:00:00 +0000",
        "Message-ID: <%s@e2e.test>" % subject.replace(" ", "."),
        "",
        body,
        "",
    ]
    return "\r\n".join(lines).encode()


def deliver(name, octets):
    """Delivers from elsewhere."""
    session = mx()
    assert session.sendmail("stranger@elsewhere.test", [people[name]["address"]], octets) == {}
    session.quit()


def wait_until(what, is_so, seen, deadline=None):
    """What it is once it is so; `seen` is asked what there is instead."""
    deadline = deadline or time.monotonic() + SECONDS
    while True:
        found = is_so()
        if found:
            return found
        assert time.monotonic() < deadline, (what, seen())
        time.sleep(0.05)


def ok(answer):
    """The data of an answer that must be OK."""
    assert answer[0] == "OK", answer
    return answer[1]


class Idle:
    """An IMAP session in IDLE, RFC 2177."""

    def __init__(self, session):
        self.session = session
        self.tag = session._new_tag()
        session.send(self.tag + b" IDLE\r\n")
        self.wait(b"+")

    def wait(self, *parts):
        """The first line that holds all the parts."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            line = self.session.readline()
            assert line, "the connection is closed"
            if all(part in line for part in parts):
                return line
        raise AssertionError("no line with %r" % (parts,))

    def done(self):
        self.session.send(b"DONE\r\n")
        assert b" OK" in self.wait(self.tag)


def mail_data(lines):
    """What comes behind DATA, up to its end; None if the client leaves before."""
    taken = []
    for line in lines:
        if line == b".\r\n":
            return b"".join(taken)
        taken.append(line[1:] if line.startswith(b".") else line)
    return None
