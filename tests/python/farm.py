"""A farm of mail hosts that greylist, defer, drop, stall, lie, spoil TLS, show wrong certificates and fill up. Alice writes to a domain of each:
what comes of it is what its hosts deserve, and she and the operator can read why."""
import asyncio
import collections
import email
import os
import subprocess
import tempfile
import threading

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, syntax

from common import *

more = site["more"]


class Willing:
    """Takes everything. `arrived` counts messages by their Message-ID, and has with each how it came."""

    def __init__(self):
        self.arrived = collections.Counter()
        self.ways = []

    async def handle_DATA(self, server, session, envelope):
        self.arrived[email.message_from_bytes(envelope.content)["Message-ID"]] += 1
        self.ways.append("TLS" if session.ssl else "clear")
        return "250 2.0.0 taken"


class Greylists(Willing):
    """Whom it has not seen comes back later."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    async def handle_RCPT(self, server, session, envelope, address, options):
        triple = (session.peer[0], envelope.mail_from, address)
        if triple not in self.seen:
            self.seen.add(triple)
            return "451 4.7.1 Greylisting in action, please come back later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"


class Defers(Willing):
    async def handle_RCPT(self, server, session, envelope, address, options):
        return "450 4.2.1 The mailbox is busy"


class Refuses(Willing):
    async def handle_RCPT(self, server, session, envelope, address, options):
        return "550 5.1.1 No such user here"


class RefusesText(Willing):
    async def handle_DATA(self, server, session, envelope):
        return "554 5.7.1 Looks like spam to us"


class Fills(Willing):
    """The first recipient has room, then the disk has none, then the mailbox is full for good."""

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("full"):
            return "552-5.2.2 The mailbox is full\r\n552 5.2.2 and nobody reads it"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server, session, envelope):
        if self.arrived:
            return "452 4.3.1 Insufficient system storage"
        return await super().handle_DATA(server, session, envelope)


class Drops(Willing):
    """Closes the connection without a word on the first message that it got whole: RFC 1047."""

    async def handle_DATA(self, server, session, envelope):
        answer = await super().handle_DATA(server, session, envelope)
        if len(self.ways) == 1:
            server.transport.abort()
        return answer


class Stalls(Willing):
    async def handle_RCPT(self, server, session, envelope, address, options):
        await asyncio.sleep(3600)


class Lies(SMTP):
    """Says that it can do what it can't, and takes DATA for the end of it."""

    @syntax("DATA")
    async def smtp_DATA(self, argument):
        await self.push("250 2.0.0 thank you, but where is it?")


class LacksTls(SMTP):
    """Offers TLS, and refuses it."""

    @syntax("STARTTLS")
    async def smtp_STARTTLS(self, argument):
        await self.push("454 4.7.0 TLS is not available")


class SpoilsTls(SMTP):
    """Offers TLS, and closes instead; without it all goes well."""

    @syntax("STARTTLS")
    async def smtp_STARTTLS(self, argument):
        await self.push("220 2.0.0 go ahead")
        self.transport.close()


def wrong_certificate():
    """One for another name, of an unknown authority, that is over."""
    folder = tempfile.mkdtemp()
    key, certificate = os.path.join(folder, "key"), os.path.join(folder, "certificate")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=wrong.test",
                    "-keyout", key, "-out", certificate], check=True, stderr=subprocess.DEVNULL)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    for path in (key, certificate):
        os.remove(path)
    os.rmdir(folder)
    return context


class Host(Controller):
    """A mail host at an address of its own."""

    def __init__(self, handler, address, kind=SMTP, context=None):
        self.kind, self.context = kind, context
        super().__init__(handler, hostname=address, port=more["port"], ready_timeout=SECONDS)

    def factory(self):
        return self.kind(self.handler, hostname="farm.test", tls_context=self.context)


def mailstead(*arguments):
    command = [more["mailstead"], *arguments, "--config", more["config"]]
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(answer.stdout)


context = wrong_certificate()
# Of each domain: what its host does, what kind of server it is, and whether it offers TLS.
FARM = {
    "willing": (Willing, SMTP, None),
    "greylists": (Greylists, SMTP, None),
    "defers": (Defers, SMTP, None),
    "refuses": (Refuses, SMTP, None),
    "spam": (RefusesText, SMTP, None),
    "fills": (Fills, SMTP, None),
    "drops": (Drops, SMTP, None),
    "stalls": (Stalls, SMTP, None),
    "lies": (Willing, Lies, None),
    "lackstls": (Willing, LacksTls, context),
    "spoilstls": (Willing, SpoilsTls, context),
    "wrongcert": (Willing, SMTP, context),
}
farm = {}
for (name, (handler, kind, tls_context)), address in zip(FARM.items(), more["addresses"]):
    farm[name] = handler()
    Host(farm[name], address, kind, tls_context).start()


def send(*recipients):
    """Returns the Message-ID."""
    sender, name = people["alice"]["address"], recipients[0].replace("@", "-at-")
    octets = message(name, sender=sender, to=recipients[0])
    assert submission("alice").sendmail(sender, list(recipients), octets) == {}
    return "<%s@e2e.test>" % name


sent = {name: send("x@%s.test" % name) for name in FARM}
deadline = time.monotonic() + 3 * SECONDS


def until(what, is_so):
    return wait_until(what, is_so, lambda: mailstead("queue", "list", "--json"), deadline)


# What can be delivered is, once; twice only where nobody can know: RFC 1047.
for name in ("willing", "greylists", "drops", "lackstls", "spoilstls", "wrongcert", "fills"):
    until(name, lambda: farm[name].arrived[sent[name]])
until("the second time", lambda: farm["drops"].arrived[sent["drops"]] == 2)
for name, way in [("lackstls", "clear"), ("spoilstls", "clear"), ("wrongcert", "TLS"), ("willing", "clear")]:
    assert farm[name].ways == [way], (name, farm[name].ways)
send("y@fills.test")
send("full@fills.test")


def reports():
    """What Alice was told of each recipient: action, status, and what the host said."""
    session, told = imap("alice"), {}
    ok(session.select("INBOX"))
    for number in ok(session.search(None, "ALL"))[0].split():
        report = email.message_from_bytes(ok(session.fetch(number, "(RFC822)"))[0][1])
        assert report.get_content_type() == "multipart/report", report.as_string()
        for group in report.get_payload()[1].get_payload()[1:]:
            recipient = group["Final-Recipient"].split(";")[1].strip()
            told.setdefault(recipient, []).append((group["Action"], group["Status"], group["Diagnostic-Code"] or ""))
    session.logout()
    return told


# What is refused comes back at once, what is deferred when its time is over, and both say what the host said.
EXPECTED = {
    "x@refuses.test": ("failed", "5.1.1", "550 5.1.1 No such user here"),
    "x@spam.test": ("failed", "5.7.1", "554 5.7.1 Looks like spam to us"),
    "full@fills.test": ("failed", "4.2.2", "552 5.2.2 The mailbox is full"),
    "y@fills.test": ("failed", "5.4.7", "452 4.3.1 Insufficient system storage"),
    "x@defers.test": ("failed", "5.4.7", "450 4.2.1 The mailbox is busy"),
    "x@lies.test": ("failed", "5.4.7", "250 2.0.0 thank you, but where is it?"),
}


def queued():
    listed = [recipient for it in mailstead("queue", "list", "--json") for recipient in it["recipients"]]
    return {recipient["address"]: recipient for recipient in listed if recipient["state"] == "pending"}


# Until then the operator sees why they wait.
for recipient in ("x@defers.test", "y@fills.test", "x@lies.test"):
    found = until(recipient, lambda: (queued().get(recipient) or {}).get("diagnosis"))
    assert EXPECTED[recipient][2] in str(found), (recipient, found)
for recipient, (action, status, said) in EXPECTED.items():
    if recipient.startswith("full"):
        # RFC 5321 §4.5.3.1.10: 552 to RCPT may mean that there are too many, and is for now.
        status = "5.4.7"
    told = until(recipient, lambda: [it for it in reports().get(recipient, []) if it[0] == action])
    assert told == [(action, status, told[0][2])] and said in told[0][2].replace("\r\n", "").replace("  ", " "), (recipient, told)
assert set(reports()) == set(EXPECTED), reports()

# Only the host that stalls keeps its mail waiting, and nobody else's.
left = until("the rest", lambda: (lambda all: all if set(all) == {"x@stalls.test"} else None)(queued()))
assert left["x@stalls.test"]["attempts"] == 0, left
for name in ("willing", "greylists", "lackstls", "spoilstls", "wrongcert"):
    assert farm[name].arrived[sent[name]] == 1, (name, farm[name].arrived)

# The events say it too: the whole way of a message, and the counts of a domain.
kinds = [event["event"] for event in mailstead("trace", "x@greylists.test", "--json")["messages"][0]]
assert kinds.count("attempt") >= 2, kinds
for name, column in [("refuses", "bounced"), ("willing", "sent"), ("defers", "bounced")]:
    counted = mailstead("report", "--by", "domain", "--domain", "%s.test" % name, "--json")["total"]
    assert counted[column] == 1, (name, counted)
