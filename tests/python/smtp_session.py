"""What clients and other servers do in SMTP, beyond sending one message."""
import base64

from common import *

alice, bob = people["alice"]["address"], people["bob"]["address"]

session = mx()
for wanted in ("pipelining", "size", "8bitmime", "smtputf8", "chunking", "enhancedstatuscodes", "starttls"):
    assert session.has_extn(wanted), (wanted, session.esmtp_features)
assert not session.has_extn("auth"), "other servers have no password here"
assert session.vrfy("bob")[0] == 252
assert session.docmd("EXPN", "all")[0] in (252, 502)
assert session.noop()[0] == 250 and session.help().startswith(b"2.0.0")
assert session.docmd("DATA")[0] == 503
assert session.docmd("RCPT", "TO:<%s>" % bob)[0] == 503
assert session.docmd("NONSENSE")[0] == 500
assert session.docmd("MAIL", "FROM:<broken")[0] == 501
assert session.docmd("MAIL", "FROM:<a@b.test> SIZE=%d" % (1 << 40))[0] == 552
assert session.docmd("MAIL", "FROM:<a@b.test> NOTHING=1")[0] == 555
# Postmaster is always accepted, with and without the domain (RFC 5321 §4.5.1); any case of the address is.
for to in ("Postmaster", "postmaster@" + domain, bob.upper()):
    session.rset()
    assert session.mail("")[0] == 250
    assert session.rcpt(to)[0] == 250, to

# Pipelined (RFC 2920): one packet, replies in order, a bad recipient among good ones.
session.rset()
session.send(("MAIL FROM:<a@b.test>\r\nRCPT TO:<%s>\r\nRCPT TO:<nobody@%s>\r\nRCPT TO:<%s>\r\nDATA\r\n" % (bob, domain, alice)).encode())
assert [session.getreply()[0] for _ in range(5)] == [250, 250, 550, 250, 354]
session.send(message("pipelined") + b".\r\nQUIT\r\n")
assert [session.getreply()[0] for _ in range(2)] == [250, 221]

# Smuggling: bare line ends neither end the message nor get in.
for end in (b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n"):
    session = mx()
    assert session.mail("a@b.test")[0] == 250 and session.rcpt(bob)[0] == 250 and session.docmd("DATA")[0] == 354
    smuggled = b"MAIL FROM:<evil@b.test>\r\nRCPT TO:<%s>\r\nDATA\r\nsmuggled\r\n" % bob.encode()
    session.send(message("outer") + b"x" + end + smuggled + b".\r\n")
    assert session.getreply()[0] == 554, end
    assert session.noop()[0] == 250, "the rest was data, not commands"
    session.quit()

# What came before TLS is forgotten: the command injected behind STARTTLS is not obeyed.
session = mx()
session.send(b"STARTTLS\r\nMAIL FROM:<injected@b.test>\r\n")
assert session.getreply()[0] == 220
try:
    session.sock = tls.wrap_socket(session.sock, server_hostname=host)
    session.file = None
    session.ehlo("peer.e2e.test")
    assert session.rcpt(bob)[0] == 503
    session.quit()
except (ssl.SSLError, OSError, smtplib.SMTPServerDisconnected):
    pass

# LOGIN with and without the initial response, as Outlook sends it; the challenges are exactly these.
for initial in (False, True):
    session = smtplib.SMTP(host, ports["submission"], timeout=SECONDS)
    session.starttls(context=tls)
    session.ehlo()
    user = base64.b64encode(alice.encode()).decode()
    if initial:
        answer = session.docmd("AUTH LOGIN", user)
    else:
        assert session.docmd("AUTH LOGIN") == (334, b"VXNlcm5hbWU6")
        answer = session.docmd(user)
    assert answer == (334, b"UGFzc3dvcmQ6")
    assert session.docmd(base64.b64encode(people["alice"]["password"].encode()).decode())[0] == 235
    session.quit()

# A message for itself, with addresses beyond ASCII in the header, and 8-bit without being announced (as iOS does).
session = submission("alice", "submissions")
assert session.sendmail(alice, [bob], "From: Älice <{0}>\r\nTo: {1}\r\nSubject: ß\r\n\r\nÜ\r\n".format(alice, bob).encode(), []) == {}
session.quit()

box = imap("bob")
assert ok(box.select()) == [b"3"], "welcome, pipelined, Älice; none smuggled"
box.logout()
