"""Fetches the same messages from Dovecot and from our server, and reports every difference that has no reason.

Dovecot's imap process is spoken to through a pipe, logged in already; it needs no port and no service. Files named as
arguments are compared too.
"""

import collections
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from common import host, people, ports
from deliberate import OWN_REASONS, reason
from imap_client import Client
from odd_messages import messages

DOVECOT = "/usr/lib/dovecot/imap"
UNPRIVILEGED = 65534
WHOLE = "ENVELOPE BODY BODYSTRUCTURE RFC822.SIZE"
FIELDS = ["HEADER.FIELDS (SUBJECT From X-None)", "HEADER.FIELDS.NOT (Subject)", "HEADER.FIELDS (X-None)"]
OF_MESSAGE = ["", "HEADER", "TEXT", *FIELDS]
OF_PART = ["", ".MIME", ".HEADER", ".TEXT", f".{FIELDS[0]}", f".{FIELDS[1]}"]
NO_PARTS = ["2000", "1.2000"]
PARTIALS = ["0.7", "5.1000", "900000.1"]


def deliver(maildir, made):
    """Puts the messages into a Maildir, in their order."""
    for folder in ("cur", "new", "tmp"):
        (maildir / folder).mkdir(parents=True, exist_ok=True)
    for number, octets in enumerate(made.values(), 1):
        path = maildir / "cur" / f"{1700000000 + number}.M{number}P1.host:2,S"
        path.write_bytes(octets)
        os.utime(path, (1700000000 + number,) * 2)


def start_dovecot(home):
    """Dovecot's imap process, as somebody who is not root: it refuses to read root's mail."""
    config = home / "dovecot.conf"
    settings = [f"base_dir = {home}/run", f"log_path = {home}/log", "ssl = no", "mail_location = maildir:~/Maildir", "stats_writer_socket_path ="]
    config.write_text("\n".join(settings) + "\n")
    somebody = {}
    if os.getuid() == 0:
        for path in [home, *home.rglob("*")]:
            os.chown(path, UNPRIVILEGED, UNPRIVILEGED)
        somebody = {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []}
    environment = {"USER": "somebody", "HOME": str(home), "PATH": "/usr/bin:/bin"}
    pipe = subprocess.PIPE
    return subprocess.Popen([DOVECOT, "-c", str(config)], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment, cwd=home, **somebody)


def numbers_of_parts(body, prefix=""):
    """The part numbers in a BODY value of a message. RFC 3501 §6.4.5."""
    parts = [it for it in body if isinstance(it, list)] if isinstance(body[0], list) else [body]
    for number, part in enumerate(parts[:30], 1):
        yield f"{prefix}{number}"
        if isinstance(part[0], list):
            yield from numbers_of_parts(part, f"{prefix}{number}.")
        elif len(part) > 8 and isinstance(part[8], list):
            yield from numbers_of_parts(part[8], f"{prefix}{number}.")


def sections(body):
    parts = list(dict.fromkeys(numbers_of_parts(body)))[:60]
    names = OF_MESSAGE + [part + text for part in parts for text in OF_PART] + NO_PARTS
    partial = [f"BODY.PEEK[{name}]<{origin}>" for name in ["", "TEXT", *parts[:2]] for origin in PARTIALS]
    return [f"BODY.PEEK[{name}]" for name in names] + partial


class Comparison:
    def __init__(self, ours, dovecot):
        self.ours, self.dovecot = ours, dovecot
        self.values = self.unexplained = 0
        self.reasons = collections.Counter()

    def message(self, name, uid):
        _, dovecot = self.items(name, uid, WHOLE)
        wanted = sections(dovecot["BODY"])
        for start in range(0, len(wanted), 40):
            self.items(name, uid, " ".join(wanted[start : start + 40]))

    def items(self, name, uid, items):
        # Dovecot repeats the names of fields in capitals, we as they came.
        told = [{item.upper(): value for item, value in client.fetch(uid, items).items()} for client in (self.ours, self.dovecot)]
        ours, dovecot = told
        for item in dovecot | ours:
            self.value(name, item, ours.get(item, "missing"), dovecot.get(item, "missing"))
        return ours, dovecot

    def value(self, name, item, ours, dovecot):
        self.values += 1
        if ours == dovecot:
            return
        why = None if "missing" in (ours, dovecot) else reason(name, item, ours, dovecot)
        self.reasons[why] += 1
        if not why:
            self.unexplained += 1
            print(f"{name!r} {item}\n  ours    {ours!r}\n  dovecot {dovecot!r}")


def compare(made):
    with tempfile.TemporaryDirectory() as folder:
        home = pathlib.Path(folder)
        deliver(home / "Maildir", made)
        deliver(pathlib.Path(people["alice"]["maildir"]), made)
        with start_dovecot(home) as process, socket.create_connection((host, ports["imap"]), 60) as connection:
            stream = connection.makefile("rwb")
            ours, dovecot = Client(stream, stream), Client(process.stdout, process.stdin)
            ours.command(f"LOGIN {people['alice']['address']} {people['alice']['password']}")
            for client in (ours, dovecot):
                client.command("EXAMINE INBOX")
            comparison = Comparison(ours, dovecot)
            for uid, name in enumerate(made, 1):
                comparison.message(name, uid)
            dovecot.command("LOGOUT")
            return comparison


def main():
    made = messages() | {f"file {path.name}": path.read_bytes() for path in map(pathlib.Path, sys.argv[1:])}
    comparison = compare(made)
    stale = [it for it in OWN_REASONS if it not in comparison.reasons]
    print(f"{len(made)} messages, {comparison.values} values, {comparison.unexplained} unexplained; {dict(comparison.reasons)}; stale: {stale}")
    return bool(comparison.unexplained or stale)


if __name__ == "__main__":
    sys.exit(main())
