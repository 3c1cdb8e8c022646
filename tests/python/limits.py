"""What the limits of the config give: told as such, and gone when a connection is."""
from common import *

limit = site["more"]
boxes = [imap("alice") for _ in range(limit)]
extra = imaplib.IMAP4_SSL(host, ports["imaps"], ssl_context=tls, timeout=SECONDS)
try:
    extra.login(people["alice"]["address"], people["alice"]["password"])
    raise AssertionError("one connection too many")
except imaplib.IMAP4.error as error:
    # Clients take AUTHENTICATIONFAILED for a wrong password and stop asking.
    assert "[LIMIT]" in str(error) and "AUTHENTICATIONFAILED" not in str(error), error
imap("bob").logout()
boxes.pop().logout()
deadline = time.monotonic() + SECONDS
while True:
    try:
        boxes.append(imap("alice"))
        break
    except imaplib.IMAP4.error as error:
        assert "[LIMIT]" in str(error) and time.monotonic() < deadline, error
for box in boxes:
    box.logout()

# Failed logins end a connection.
guesser = imaplib.IMAP4_SSL(host, ports["imaps"], ssl_context=tls, timeout=SECONDS)
failures = 0
try:
    while True:
        try:
            guesser.login(people["alice"]["address"], "guess %d" % failures)
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error:
            failures += 1
            assert failures < 20
except (imaplib.IMAP4.abort, OSError):
    pass
assert 1 <= failures <= limit, failures
