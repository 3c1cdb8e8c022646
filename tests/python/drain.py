"""SIGTERM in the middle of a message and of an APPEND: no new client, but what is in flight is finished."""
import os
import signal
import socket

from common import *

smtp = mx()
assert smtp.mail("stranger@elsewhere.test")[0] == 250
assert smtp.rcpt(people["bob"]["address"])[0] == 250
assert smtp.docmd("DATA")[0] == 354
octets = message("in flight")
smtp.send(octets[:50])

appending = imap("bob")
noted = message("appended in flight")
tag = appending._new_tag()
appending.send(tag + b" APPEND INBOX {%d}\r\n" % len(noted))
assert appending.readline().startswith(b"+")
appending.send(noted[:50])

waiting = imap("alice")
ok(waiting.select())
idle = Idle(waiting)

os.kill(site["more"], signal.SIGTERM)
for name, port in ports.items():
    deadline = time.monotonic() + SECONDS
    while True:
        assert time.monotonic() < deadline, name + " still takes clients"
        try:
            socket.create_connection((host, port), SECONDS).close()
        except ConnectionRefusedError:
            break
        except ConnectionResetError:
            pass

assert idle.wait(b"* BYE").startswith(b"* BYE")
smtp.send(octets[50:] + b".\r\n")
assert smtp.getreply()[0] == 250
appending.send(noted[50:] + b"\r\n")
while True:
    line = appending.readline()
    assert line, "closed before the answer"
    if line.startswith(tag):
        assert b" OK" in line, line
        break
