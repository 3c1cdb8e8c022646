"""Where we differ from Dovecot on purpose, and why.

A rule is a function of a message's name, an item's name and the two values; its text says who is right.
"""

import re

CRLF = b"\r\n"
# What Dovecot puts in the place of what it can't read.
UNREADABLE = {b"MISSING_MAILBOX", b"MISSING_DOMAIN", b"SYNTAX_ERROR", b"INVALID_ROUTE"}


def spelling(name, item, ours, dovecot):
    """Dovecot writes some names that have no case in lower case, and unfolds some fields to one blank and some to what
    stood there. RFC 2045 §5.1 and RFC 5322 §3.2.2 have it mean the same."""
    return not item.startswith("BODY[") and plain(ours) == plain(dovecot)


def plain(value):
    if isinstance(value, bytes):
        return re.sub(rb"\s+", b" ", value).strip(b" ")
    if not isinstance(value, list):
        return value
    value = [plain(it) for it in value]
    if len(value) > 5 and all(isinstance(it, bytes) for it in value[:2]):
        value[:2] = [it.lower() for it in value[:2]]
    if value[:1] == [b"charset"]:
        value[1] = value[1].lower()
    return value


def no_such_part(name, item, ours, dovecot):
    """Dovecot says that a part that does not exist is empty; NIL is RFC 3501's word for what is not there."""
    return item.startswith("BODY[") and ours is None and dovecot == b""


def empty_line(name, item, ours, dovecot):
    """RFC 3501 §6.4.5: HEADER.FIELDS ends with an empty line "except in the case of a message which has no body and
    no blank line". Dovecot adds one for HEADER.FIELDS, and doubles what a blank line of a header is."""
    return "HEADER.FIELDS (" in item and dovecot == ours + CRLF


def line_end_of_boundary(name, item, ours, dovecot):
    """RFC 2046 §5.1.1: the line end before a boundary belongs to the boundary. Dovecot counts it to the part behind the
    end of a nested multipart and behind a message that ends with its header, and then reads on behind the boundary."""
    if re.match(r"BODY\[\d.*(HEADER\.FIELDS|>$)", item):
        return dovecot.startswith(ours)
    if item.startswith("BODY["):
        return dovecot == ours + CRLF
    found = list(leaf_differences(plain(ours), plain(dovecot)))
    return bool(found) and all(str(mine).isdigit() and int(theirs) - int(mine) in (1, 2) for mine, theirs in found)


def leaf_differences(ours, dovecot):
    if isinstance(ours, list) and isinstance(dovecot, list) and len(ours) == len(dovecot):
        for mine, theirs in zip(ours, dovecot):
            yield from leaf_differences(mine, theirs)
    elif ours != dovecot:
        yield ours, dovecot


def invalid_type(name, item, ours, dovecot):
    """RFC 2045 §5.2: an invalid Content-Type is taken for plain text. Dovecot tells an empty type."""
    found = list(leaf_differences(plain(ours), plain(dovecot))) if item in ("BODY", "BODYSTRUCTURE") else []
    is_invalid = [isinstance(it, list) and b"" in it[:2] for _, it in found]
    is_text = [isinstance(it, list) and it[:2] == [b"text", b"plain"] for it, _ in found]
    return bool(found) and all(is_invalid) and all(is_text)


def missing_subtype(name, item, ours, dovecot):
    """The same where Dovecot tells the type and an empty subtype."""
    return list(leaf_differences(plain(ours), plain(dovecot))) == [(b"plain", b"")]


def address_that_dovecot_gives_up(name, item, ours, dovecot):
    """Dovecot stops at the first address that it can't read; we read all that are there, obsolete forms of RFC 5322 §4.4
    that it does not know among them, and empty members of a list are none (`obs-addr-list`)."""
    if item == "ENVELOPE":
        return envelope_reads_more(ours, dovecot)
    found = list(envelopes(ours, dovecot)) if item in ("BODY", "BODYSTRUCTURE") else []
    return bool(found) and all(envelope_reads_more(*pair) for pair in found)


def envelopes(ours, dovecot):
    """The pairs of differing envelopes in two structures that are equal otherwise."""
    if isinstance(ours, list) and isinstance(dovecot, list) and len(ours) == len(dovecot):
        for position, (mine, theirs) in enumerate(zip(ours, dovecot)):
            if position == 7 and isinstance(mine, list) and len(mine) == 10 and plain(mine) != plain(theirs):
                yield mine, theirs
            else:
                yield from envelopes(mine, theirs)


def envelope_reads_more(ours, dovecot):
    texts = [*range(2), 8, 9]
    same = all(plain(ours[it]) == plain(dovecot[it]) for it in texts)
    return same and all(reads_more(ours[it] or [], dovecot[it] or []) for it in range(2, 8))


def reads_more(ours, dovecot):
    """Whether each address that Dovecot could read is there, in its order."""
    ours = iter([plain_address(it) for it in ours])
    readable = [plain_address(it) for it in dovecot if not UNREADABLE.intersection(it)]
    return all(it in ours for it in readable)


def plain_address(address):
    """A blank name is none."""
    return [plain(address[0]) or None, *map(plain, address[1:])]


RULES = [spelling, no_such_part, empty_line, invalid_type, missing_subtype, address_that_dovecot_gives_up]

# Messages on which a value differs for a reason of their own.
OWN_REASONS = {
    "text/plain; =utf-8": "a parameter without a name is none",
    "image/png; name=a b.png": "the name of a file that is not quoted, read whole",
    "image/png; name=a(b).png": "the same",
    "image/png; name=[a]": "the same",
    "image/png; name=a@b": "the same",
    "image/png; name=a/b": "the same",
    "image/png; name='a b'": "the same",
    'image/png; name="unclosed': "a quoted string that is not closed goes to the end",
    "image/png; a=1;; b=2": "Dovecot stops at an empty parameter, we read on",
    "image/png; a=1; ; b=2;": "the same",
    "image/png; a; b=2": "the same",
    "image/png; a=1 b=2": "the same with a forgotten semicolon",
    "text/plain; charset=utf-8 format=flowed": "the same",
    "multipart/mixed": "a multipart without a boundary can't be read as one: shown as the text it is",
    "multipart/mixed; boundary=": "the same",
    'multipart/mixed; boundary=""': "the same",
    "multipart-without-boundary": "the same",
    "boundary-of-100": "Dovecot compares 80 octets of a boundary and then misses the end",
    "boundary-rfc2231": "a boundary in RFC 2231's form is one",
    "Content-Transfer-Encoding: base64; x=y": "the encoding is known, whatever a mailer adds",
    "Content-Disposition:": "an empty disposition is none",
    "Content-Disposition: ;filename=x": "RFC 2183 §2.8: what can't be read is an attachment",
    'Content-Disposition: "attachment"; filename=x': "the same",
    "Content-Disposition: attachment; filename=a b.txt": "the name of a file that is not quoted, read whole",
    "Content-Disposition: attachment filename=x": "a forgotten semicolon",
    "Content-Disposition: attachment\nContent-Disposition: inline": "the first of a repeated field counts, as for the others",
    "nul-in-type": "a NUL in a type leaves it readable, and text",
    "cr-cr-lf": "HEADER.FIELDS has the fields as they stand",
    "no-mime-version-encoded": "Dovecot ignores all but the type without MIME-Version; RFC 2045 §4 lets us read it",
}
LINE_ENDS = {
    "message-of-header-only",
    "message-base64",
    "type of part: message/RFC822",
    "type of part: MESSAGE/rfc822; name=x",
    "closed-nested",
    "digest-empty",
    "message-of-nothing",
    "message-without-separator",
}


def reason(name, item, ours, dovecot):
    """The rule by which the values may differ; None if there is none."""
    for rule in RULES:
        if rule(name, item, ours, dovecot):
            return rule.__name__
    if (name in LINE_ENDS or name.startswith(("noise", "file"))) and line_end_of_boundary(name, item, ours, dovecot):
        return line_end_of_boundary.__name__
    return own_name(name) if own_name(name) in OWN_REASONS else None


def own_name(name):
    """What is odd about a message, wherever in it that stands."""
    return re.sub(r"^(field|field of part|field of one|inner field|type|type of part): ", "", name)
