"""A newsletter to a thousand, handed over in one transaction: each gets it once, from a return address of its own, signed, with the header that lets go of it."""
import email

import aiosmtpd.controller
import aiosmtpd.smtp

from common import *

more = site["more"]
COUNT = 1000
arrived = []


class Smarthost:
    async def handle_DATA(self, server, session, envelope):
        arrived.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return "250 2.0.0 taken"


# However many come in one session.
aiosmtpd.smtp.CALL_LIMIT_DEFAULT = 100 * COUNT
aiosmtpd.controller.Controller(Smarthost(), hostname="127.0.0.1", port=more["smarthost"], ready_timeout=SECONDS).start()
NEWS = people["news"]["address"]
recipients = ["reader%d@d%d.test" % (number, number % 7) for number in range(COUNT)]
text = message("issue 1", sender=NEWS, to=NEWS)
UNSUBSCRIBE = b"List-Unsubscribe: <https://relay.test/u/1>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
session = submission("news")
assert session.sendmail(NEWS, recipients, UNSUBSCRIBE + text) == {}
session.quit()

wait_until("all have it", lambda: len(arrived) >= COUNT, lambda: len(arrived), time.monotonic() + 5 * SECONDS)
assert len(arrived) == COUNT, len(arrived)
assert sorted(to for _, tos, _ in arrived for to in tos) == sorted(recipients), "each once"
for sender, (to,), content in arrived:
    # By which a bounce is known, whatever it says: the recipient, and a mark that nobody can guess.
    local, at, domain = sender.rpartition("@")
    base, plus, rest = local.partition("+")
    named, equals, mark = rest.rpartition("=")
    assert (base, domain, named) == ("news", "relay.test", to.replace("@", "=")) and len(mark) >= 8, (sender, to)
    parsed = email.message_from_bytes(content)
    assert UNSUBSCRIBE in content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), content
    signed = " ".join(parsed.get_all("DKIM-Signature")).lower()
    assert "d=relay.test" in signed and "list-unsubscribe" in signed and "list-unsubscribe-post" in signed, signed
assert len({sender for sender, _, _ in arrived}) == COUNT
