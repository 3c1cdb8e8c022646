"""Fetches the same messages from Dovecot and from our server, and reports every difference that has no reason.

Files named as arguments are compared too.
"""

import collections
import pathlib
import sys

from deliberate import OWN_REASONS, reason
from odd_messages import messages
from servers import both_servers

WHOLE = "ENVELOPE BODY BODYSTRUCTURE RFC822.SIZE"
FIELDS = ["HEADER.FIELDS (SUBJECT From X-None)", "HEADER.FIELDS.NOT (Subject)", "HEADER.FIELDS (X-None)"]
OF_MESSAGE = ["", "HEADER", "TEXT", *FIELDS]
OF_PART = ["", ".MIME", ".HEADER", ".TEXT", f".{FIELDS[0]}", f".{FIELDS[1]}"]
NO_PARTS = ["2000", "1.2000"]
PARTIALS = ["0.7", "5.1000", "900000.1"]


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
        again = {item.upper(): value for item, value in self.ours.fetch(uid, items).items()}
        if again != ours:
            self.unexplained += 1
            print(f"{name!r}: what was kept of it differs\n  first {ours!r}\n  then  {again!r}")
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
    with both_servers(made) as servers:
        comparison = Comparison(*servers)
        for uid, name in enumerate(made, 1):
            comparison.message(name, uid)
        return comparison


def main():
    made = messages() | {f"file {path.name}": path.read_bytes() for path in map(pathlib.Path, sys.argv[1:])}
    comparison = compare(made)
    stale = [it for it in OWN_REASONS if it not in comparison.reasons]
    print(f"{len(made)} messages, {comparison.values} values, {comparison.unexplained} unexplained; {dict(comparison.reasons)}; stale: {stale}")
    return bool(comparison.unexplained or stale)


if __name__ == "__main__":
    sys.exit(main())
