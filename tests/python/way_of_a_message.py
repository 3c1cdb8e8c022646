"""Alice writes to Bob by submission; Bob reads it by IMAP and POP3, byte for byte."""
import imaplib, json, poplib, smtplib, ssl, sys

demo = json.load(sys.stdin)
tls = ssl.create_default_context(cafile=demo["ca_file"])
alice, bob = demo["alice"], demo["bob"]
message = b"From: <%s>\r\nTo: <%s>\r\nSubject: way\r\nDate: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@e2e.test>\r\n\r\n.dot\r\n..two\r\nend\r\n" % (
    alice["address"].encode(), bob["address"].encode())

smtp = smtplib.SMTP(demo["host"], demo["submission"])
smtp.starttls(context=tls)
smtp.login(alice["address"], alice["password"])
assert smtp.sendmail(alice["address"], [bob["address"]], message) == {}
smtp.quit()

imap = imaplib.IMAP4_SSL(demo["host"], demo["imaps"], ssl_context=tls)
imap.login(bob["address"], bob["password"])
assert imap.select() == ("OK", [b"2"]), "the welcome message and Alice's"
stored = imap.fetch("2", "(BODY.PEEK[])")[1][0][1]
assert stored.endswith(message), stored
assert imap.search(None, "SUBJECT", "way") == ("OK", [b"2"])
imap.logout()

pop3 = poplib.POP3_SSL(demo["host"], demo["pop3s"], context=tls)
pop3.user(bob["address"])
pop3.pass_(bob["password"])
assert b"\r\n".join(pop3.retr(2)[1]) + b"\r\n" == stored
pop3.quit()
