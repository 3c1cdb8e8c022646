"""Printers, a monitor and a CRM send through this server, by address or by account, each as far as its limits go: what a client hears then, and what the
operator reads of each."""
import email
import os
import subprocess

import aiosmtpd.controller

from common import *

more = site["more"]
arrived = []


class Smarthost:
    async def handle_DATA(self, server, session, envelope):
        arrived.append({"from": envelope.mail_from, "to": envelope.rcpt_tos, "message": email.message_from_bytes(envelope.content)})
        return "250 2.0.0 taken"


aiosmtpd.controller.Controller(Smarthost(), hostname="127.0.0.1", port=more["smarthost"], ready_timeout=SECONDS).start()
PRINTER, CRM = "printer@relay.test", people["crm"]["address"]


def mailstead(*arguments):
    command = [more["mailstead"], *arguments, "--config", more["config"]]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def at(address, listener="smtp"):
    """A session from another address of this machine."""
    return smtplib.SMTP("127.0.0.1", ports[listener], timeout=SECONDS, source_address=(address, 0))


def run(command, text):
    """What a client's program says, and whether it succeeded."""
    done = subprocess.run(command, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS,
                          env={**os.environ, "HOME": "/nonexistent"})
    return done.returncode == 0, done.stdout


# A printer as they are: HELO, no TLS, no login, addresses without angle brackets, no Date, no Message-ID.
session = at("127.0.0.2")
for line, expected in [("HELO printer", 250), ("MAIL FROM:" + PRINTER, 250), ("RCPT TO:eve@elsewhere.test", 250), ("DATA", 354)]:
    assert session.docmd(line)[0] == expected, line
session.send(b"Subject: scan\r\n\r\nA page.\r\n.\r\n")
assert session.getreply()[0] == 250
# From somebody else it gets nowhere, and of each limit it hears which, and of whom.
assert session.docmd("MAIL FROM:<alice@relay.test>") == (
    553, b"5.7.1 What comes from your network (printers) may not be from this sender address")
session.ehlo("printer")
assert session.esmtp_features["size"] == "65536"
assert session.docmd("MAIL FROM:<%s> SIZE=70000" % PRINTER)[0] == 552
refused = session.sendmail(PRINTER, ["eve@elsewhere.test", "bob@elsewhere.test", "carol@elsewhere.test"], message("three", sender=PRINTER, to="eve@elsewhere.test"))
assert refused == {"carol@elsewhere.test": (452, b"4.5.3 Too many recipients; send the message again for the others")}, refused
session.sendmail(PRINTER, ["carol@elsewhere.test"], message("the third", sender=PRINTER, to="eve@elsewhere.test"))
TOO_MUCH = "450 4.7.1 Too much mail from %s in an hour; try again later"
done, said = run(["msmtp", "--file=/dev/null", "--host=127.0.0.1", "--port=%d" % ports["smtp"], "--tls=off", "--auth=off", "--source-ip=127.0.0.2",
                  "--from=" + PRINTER, "eve@elsewhere.test"], "Subject: fifth\n\nx\n")
assert not done and TOO_MUCH % "printers" in said, said
session.quit()

# A monitor at another address has limits of its own, in messages.
swaks = ["swaks", "--server", "127.0.0.1", "--port", str(ports["submission"]), "--local-interface", "127.0.0.3", "--from", "disk@alerts.test"]
for number in range(3):
    done, said = run([*swaks, "--to", "a@elsewhere.test,b@elsewhere.test"], "")
    assert done, said
done, said = run([*swaks, "--to", "a@elsewhere.test"], "")
assert not done and TOO_MUCH % "monitor" in said, said

# So have those who log in: the CRM its own, everybody else that of all.
for name, limit in [("crm", 3), ("alice", 2)]:
    session, sender = submission(name), people[name]["address"]
    refused = session.sendmail(sender, ["%d@elsewhere.test" % number for number in range(limit + 1)], message(name, sender=sender, to="eve@elsewhere.test"))
    code, said = refused.pop("%d@elsewhere.test" % limit)
    assert "%d %s" % (code, said.decode()) == TOO_MUCH % sender and not refused, (code, said)
    session.quit()

# Who is none of these is a stranger.
session = at("127.0.0.4")
session.ehlo("printer")
session.docmd("MAIL FROM:<%s>" % PRINTER)
code, said = session.docmd("RCPT TO:<eve@elsewhere.test>")
assert code == 550 and said.startswith(b"5.7.1 Relaying denied"), said

# All of it went on, complete and signed.
until = time.monotonic() + SECONDS
while sum(len(it["to"]) for it in arrived) < 15:
    assert time.monotonic() < until, arrived
    time.sleep(0.05)
for it in arrived:
    assert it["message"]["Date"] and it["message"]["Message-ID"], it
    signed = "d=relay.test" in (it["message"]["DKIM-Signature"] or "")
    assert signed == it["from"].endswith("@relay.test"), it

# Each has its own line; what was refused counts too.
def lines():
    return {it["name"]: {key: it[key] for key in ("received", "sent", "refused")} for it in mailstead("report", "--by", "client", "--json")["lines"]}


EXPECTED = {
    "printers": {"received": 4, "sent": 4, "refused": 4},
    "monitor": {"received": 6, "sent": 6, "refused": 1},
    CRM: {"received": 3, "sent": 3, "refused": 1},
    people["alice"]["address"]: {"received": 2, "sent": 2, "refused": 1},
    "127.0.0.4": {"received": 0, "sent": 0, "refused": 1},
}
until = time.monotonic() + SECONDS
while lines() != EXPECTED:
    assert time.monotonic() < until, lines()
    time.sleep(0.1)
only = mailstead("report", "--by", "domain", "--client", "printers", "--json")
assert (only["total"]["sent"], [it["name"] for it in only["lines"]]) == (4, ["elsewhere.test", None]), only
