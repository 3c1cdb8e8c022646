"""Bob posts to a list of which he is a member, and the server saves what he sends; a client that saves it too doubles nothing."""
import smtplib

from common import *

bob, alice = people["bob"], people["alice"]

text = "From: %s\r\nTo: staff@%s\r\nBcc: hidden@%s\r\nMessage-ID: <post@client>\r\nSubject: post\r\n\r\nbody\r\n" % (bob["address"], domain, domain)
with submission("bob") as session:
    assert session.sendmail(bob["address"], ["staff@" + domain], text) == {}

# The server's copy, read and with Bcc; then the client's, in its place.
with imap("bob") as reader:
    assert reader.select("Sent")[1] == [b"1"]
    _, found = reader.fetch("1", "(FLAGS BODY.PEEK[HEADER])")
    assert b"\\Seen" in found[0][0] + found[-1] and b"Bcc: hidden@" in found[0][1], found
    reader.append("Sent", r"(\Seen)", None, text.replace("body", "the client's").encode())
    assert reader.select("Sent")[1] == [b"1"]
    assert b"the client's" in reader.fetch("1", "(BODY.PEEK[TEXT])")[1][0][1]

# As whom he may send, in the envelope and in From.
with submission("bob") as session:
    assert session.sendmail("office@" + domain, [alice["address"]], "From: office@%s\r\nSubject: a\r\n\r\nx\r\n" % domain) == {}
    try:
        session.sendmail(bob["address"], [alice["address"]], "From: %s\r\nSubject: b\r\n\r\nx\r\n" % alice["address"])
        raise AssertionError("From is another's")
    except smtplib.SMTPDataError as refused:
        assert refused.smtp_code == 550 and b"5.7.1" in refused.smtp_error, refused

# Who only says to be a member.
stranger = mx()
assert stranger.mail("mallory@stranger.test")[0] == 250
code, why = stranger.rcpt("staff@" + domain)
assert code == 550 and why.startswith(b"5.7.2"), (code, why)
