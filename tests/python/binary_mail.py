"""BINARYMIME (RFC 3030) in, BINARY (RFC 3516) out: the octets that were sent are those that are read."""

import random
import smtplib

from common import host, imap, people, ports, tls

body = random.Random(3030).randbytes(300_000) + b"\0\r\n.\r\n\n\r"
header = b"\r\n".join(
    [
        b"From: <eve@elsewhere.test>",
        b"Subject: raw",
        b"MIME-Version: 1.0",
        b"Content-Type: application/octet-stream",
        b"Content-Transfer-Encoding: binary",
        b"\r\n",
    ]
)
message = header + body

with smtplib.SMTP(host, ports["smtp"]) as smtp:
    smtp.starttls(context=tls)
    smtp.ehlo()
    assert smtp.has_extn("chunking") and smtp.has_extn("binarymime"), smtp.esmtp_features
    assert smtp.docmd("MAIL", "FROM:<eve@elsewhere.test> BODY=BINARYMIME")[0] == 250
    assert smtp.docmd("RCPT", f"TO:<{people['bob']['address']}>")[0] == 250
    for start in range(0, len(message), 70_000):
        chunk = message[start : start + 70_000]
        last = " LAST" if start + 70_000 >= len(message) else ""
        smtp.sock.sendall(f"BDAT {len(chunk)}{last}\r\n".encode() + chunk)
        code, text = smtp.getreply()
        assert code == 250, text

with imap("bob") as session:
    session.select()
    _, [found] = session.search(None, "SUBJECT", "raw")
    _, [(announced, content), *_] = session.fetch(found.decode(), "(BINARY.PEEK[1])")
    assert b"~{" in announced, announced
    assert content == body, (len(content), len(body), content[-20:])
