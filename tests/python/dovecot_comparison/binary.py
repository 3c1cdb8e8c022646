"""Fetches the bodies of the same messages without their transfer encoding (BINARY, RFC 3516) from Dovecot and from our server, and reports
every difference that has no reason."""

import collections
import sys

from compare import numbers_of_parts
from deliberate import CRLF, LINE_ENDS, OWN_REASONS, own_name
from odd_messages import messages
from servers import both_servers

PARTIALS = ["", "<0.7>", "<3.1000>", "<900000.1>"]
REFUSED = "refused"


def told(client, uid, number):
    """The size and the content of a part, whole and partly, or that it is refused."""
    items = [f"BINARY.SIZE[{number}]"] + [f"BINARY.PEEK[{number}]{partial}" for partial in PARTIALS]
    answers = []
    for item in items:
        try:
            answers.append(next(value for name, value in client.fetch(uid, item).items() if name != "UID"))
        except ValueError as error:
            assert "[UNKNOWN-CTE]" in str(error), error
            answers.append(REFUSED)
    return answers


def encoding(body, number):
    """What BODY tells of the encoding of a part that is no multipart."""
    for step in number.split("."):
        if len(body) > 8 and isinstance(body[8], list):
            body = body[8]
        if isinstance(body[0], list):
            body = body[int(step) - 1]
    return body[5].lower() if len(body) > 6 and isinstance(body[5], bytes) else None


def no_such_part(name, body, number, ours, dovecot):
    """A part that does not exist is NIL; Dovecot says that it is empty."""
    return ours == ["0", None, None, None, None] and dovecot == ["0", b"", b"", b"", b""]


def line_end_of_boundary(name, body, number, ours, dovecot):
    """As in FETCH BODY: the line end before a boundary belongs to the boundary (RFC 2046 §5.1.1)."""
    return (name in LINE_ENDS or name.startswith("noise")) and REFUSED not in ours + dovecot and dovecot[1] == ours[1] + CRLF


def size_of_its_own(name, body, number, ours, dovecot):
    """RFC 3516 §4.3: BINARY.SIZE is the size of what BINARY gives. Dovecot tells another one, or none where another part has
    an encoding that it does not know."""
    return ours[1:] == dovecot[1:] and REFUSED not in ours and int(ours[0]) == len(ours[1])


def what_is_no_encoding(name, body, number, ours, dovecot):
    """What can't be read as an encoding is none: both tell 7BIT in BODYSTRUCTURE, and Dovecot refuses it here."""
    return set(dovecot) == {REFUSED} and REFUSED not in ours and encoding(body, number) == b"7bit"


def first_of_repeated(name, body, number, ours, dovecot):
    """Of a repeated field the first counts, as both have it in BODYSTRUCTURE; Dovecot takes the last here."""
    return name.count("Content-Transfer-Encoding") > 1


def decoded_within(name, body, number, ours, dovecot):
    """RFC 3516 §4.2 decodes the section's encoding. Dovecot decodes the parts of a multipart too, and changes their headers."""
    return b"Content-Transfer-Encoding: base64" in ours[1] and b"Content-Transfer-Encoding: binary" in dovecot[1]


RULES = [no_such_part, line_end_of_boundary, size_of_its_own, what_is_no_encoding, first_of_repeated, decoded_within]


def reason(*difference):
    for rule in RULES:
        if rule(*difference):
            return rule.__name__
    name = own_name(difference[0])
    return name if name in OWN_REASONS else None


def main():
    made = messages()
    values = unexplained = 0
    reasons = collections.Counter()
    with both_servers(made) as (ours, dovecot):
        for uid, name in enumerate(made, 1):
            body = dovecot.fetch(uid, "BODY")["BODY"]
            for number in list(dict.fromkeys(numbers_of_parts(body)))[:20]:
                mine, theirs = told(ours, uid, number), told(dovecot, uid, number)
                values += len(theirs)
                if mine == theirs:
                    continue
                why = reason(name, body, number, mine, theirs)
                reasons[why] += 1
                if not why:
                    unexplained += 1
                    print(f"{name!r} {number}\n  ours    {mine!r}\n  dovecot {theirs!r}")
    stale = [rule.__name__ for rule in RULES if rule.__name__ not in reasons]
    print(f"{len(made)} messages, {values} values, {unexplained} unexplained; {dict(reasons)}; stale: {stale}")
    return bool(unexplained or stale)


if __name__ == "__main__":
    sys.exit(main())
