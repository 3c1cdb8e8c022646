"""Compares which messages SEARCH finds with Dovecot, over messages of every charset and encoding."""

import base64
import quopri
import sys

from servers import both_servers

TEXTS = {
    "german": "Größe und Straße, GRÜSSE",
    "greek": "Ὀδυσσεύς ΟΔΥΣΣΕΥΣ οδυσσευς",
    "russian": "Привет, мир",
    "japanese": "日本語のテキスト",
    "ascii": "The quick brown fox, Kiss",
    "html": "<p class=\"shown\">Gr&uuml;&szlig;e an <b>al</b>le</p>",
}
CHARSETS = {
    "german": ["utf-8", "iso-8859-1", "iso-8859-15", "windows-1252"],
    "greek": ["utf-8"],
    "russian": ["utf-8", "koi8-r", "windows-1251", "iso-8859-5"],
    "japanese": ["utf-8", "iso-2022-jp", "shift_jis", "euc-jp"],
    "ascii": ["us-ascii", "utf-8", "iso-8859-1", "x-unknown"],
    "html": ["utf-8"],
}
SEEN_IN_HTML = ["Grüße an", "an alle"]
NEEDLES = [
    "größe", "GRÖSSE", "STRAßE", "grüsse", "οδυσσευς", "ΟΔΥΣΣΕΥΣ", "привет", "МИР", "日本語", "テキスト", "QUICK BROWN", "kiss", "fox,", "brown  fox",
    *SEEN_IN_HTML, "shown", "&uuml;", "x-marker", "attached.txt", "inner subject", "inner text", "preamble", "epilogue", "boundary", "footer", "Subject: german", "", "text/plain",
]


def encoded(octets, encoding):
    if encoding == "base64":
        return base64.encodebytes(octets).replace(b"\n", b"\r\n")
    if encoding == "quoted-printable":
        return quopri.encodestring(octets).replace(b"\n", b"\r\n") + b"\r\n"
    return octets + b"\r\n"


def word(text, charset, encoding):
    octets = text.encode("ascii" if charset == "x-unknown" else charset)
    if encoding == "b":
        return f"=?{charset}?b?{base64.b64encode(octets).decode()}?="
    return f"=?{charset}?q?{''.join(f'={octet:02X}' for octet in octets)}?="


def entity(text, charset, encoding, kind="plain"):
    octets = text.encode("ascii" if charset == "x-unknown" else charset)
    return f"Content-Type: text/{kind}; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + encoded(octets, encoding)


def messages():
    made = {}
    head = b"MIME-Version: 1.0\r\nFrom: Somebody <s@example.org>\r\n"
    for name, text in TEXTS.items():
        kind = "html" if name == "html" else "plain"
        for charset in CHARSETS[name]:
            for encoding in ["8bit", "base64", "quoted-printable"]:
                part = entity(text, charset, encoding, kind)
                made[f"{name} {charset} {encoding}"] = head + f"Subject: {name}\r\nX-Marker: {encoding}\r\n".encode() + part
                inner = b"Subject: inner subject\r\n" + part
                parts = [part, b"Content-Type: message/rfc822\r\n\r\n" + inner, b"Content-Type: image/png; name=attached.txt\r\n\r\nkiss\r\n"]
                body = b"preamble\r\n" + b"".join(b"--=_b\r\n" + it for it in parts) + b"--=_b--\r\nepilogue\r\n"
                made[f"{name} {charset} {encoding} in parts"] = head + b'Content-Type: multipart/mixed; boundary="=_b"\r\n\r\n' + body
            for encoding in "bq":
                made[f"{name} {charset} word {encoding}"] = head + f"Subject: Re: {word(text, charset, encoding)}\r\nTo: {word(text, charset, encoding)} <t@x.org>\r\n\r\nx\r\n".encode()
        for encoding in ["base64", "quoted-printable"]:
            made[f"{name} {encoding} with a footer"] = head + entity(text, "utf-8", encoding) + b"-- \r\nfooter: http://example.org/?a=b!\r\n"
        made[f"{name} raw"] = head + f"Subject: {text}\r\n folded\r\n\r\nx\r\n".encode()
    return made


def found(client, key, needle):
    literal = f"{{{len(needle.encode())}+}}\r\n{needle}"
    responses = client.command(f"UID SEARCH CHARSET UTF-8 {key} {literal}")
    return {int(uid) for it in responses if it.startswith(b"* SEARCH") for uid in it.split()[2:]}


def reason(name, key, needle):
    """Why we may find a message that Dovecot does not; None if there is no reason."""
    if "x-unknown word" in name:
        return "what is ASCII is so in an unknown charset"
    if "base64 with a footer" in name and needle == "footer":
        return "what a list adds to a base64 body is read"
    if "in parts" in name and key == "BODY" and needle in ("inner subject", "text/plain"):
        return "RFC 3501 §6.4.4: the header of a message within is in the body"
    if name.startswith("html") and needle in SEEN_IN_HTML:
        return "what HTML shows is found"
    return None


def main():
    made = messages()
    names, failures, searches = list(made), 0, 0
    with both_servers(made) as (ours, dovecot):
        for key in ["BODY", "TEXT", "SUBJECT", "TO", "HEADER X-Marker", "NOT BODY"]:
            for needle in NEEDLES:
                searches += 1
                mine, theirs = found(ours, key, needle), found(dovecot, key, needle)
                for uid in mine ^ theirs:
                    name = names[uid - 1]
                    # NOT finds what BODY does not.
                    more = theirs if key.startswith("NOT") else mine
                    if uid not in more or not reason(name, key.removeprefix("NOT "), needle):
                        failures += 1
                        print(f"{key} {needle!r} finds {name!r} only {'here' if uid in mine else 'in Dovecot'}")
    print(f"{len(made)} messages, {searches} searches, {failures} unexplained")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
