"""A reader complains, and his provider says so by a feedback report (RFC 5965): he gets no more newsletters, and nobody else is hit."""
import subprocess

import aiosmtpd.controller

from common import *

more = site["more"]
NEWS, FEEDBACK, READER, OTHER = people["news"]["address"], people["feedback"]["address"], "reader@elsewhere.test", "other@elsewhere.test"
arrived = []


class Smarthost:
    async def handle_DATA(self, server, session, envelope):
        arrived.append((envelope.rcpt_tos, envelope.content))
        return "250 2.0.0 taken"


aiosmtpd.controller.Controller(Smarthost(), hostname="127.0.0.1", port=more["smarthost"], ready_timeout=SECONDS).start()


def mailstead(*arguments):
    done = subprocess.run([more["mailstead"], *arguments, "--config", more["config"]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout


def listed():
    return mailstead("suppression", "list")


def send(subject, to):
    session = submission("news")
    try:
        return session.sendmail(NEWS, to, message(subject, sender=NEWS, to=to[0]))
    finally:
        session.close()


def report(original, sender="fbl@elsewhere.test", kind="abuse"):
    """As in RFC 5965, Appendix B.2."""
    return "\r\n".join([
        "From: <%s>" % sender,
        "Date: Thu, 8 Mar 2005 17:40:36 EDT",
        "Subject: FW: Earn money",
        "To: <%s>" % FEEDBACK,
        "MIME-Version: 1.0",
        'Content-Type: multipart/report; report-type=feedback-report; boundary="part1_13d.2e68ed54_boundary"',
        "",
        "--part1_13d.2e68ed54_boundary",
        'Content-Type: text/plain; charset="US-ASCII"',
        "Content-Transfer-Encoding: 7bit",
        "",
        "This is an email abuse report for an email message received from IP 127.0.0.1.",
        "",
        "--part1_13d.2e68ed54_boundary",
        "Content-Type: message/feedback-report",
        "",
        "Feedback-Type: " + kind,
        "User-Agent: SomeGenerator/1.0",
        "Version: 1",
        "Original-Mail-From: <%s>" % NEWS,
        "Original-Rcpt-To: <%s>" % READER,
        "Arrival-Date: Thu, 8 Mar 2005 14:00:00 EDT",
        "Reporting-MTA: dns; mx.elsewhere.test",
        "Source-IP: 127.0.0.1",
        "",
        "--part1_13d.2e68ed54_boundary",
        "Content-Type: message/rfc822",
        "Content-Disposition: inline",
        "",
        original.decode().replace("\r\n", "\n").replace("\n", "\r\n"),
        "--part1_13d.2e68ed54_boundary--",
        "",
    ]).encode()


def complain(text, sender="fbl@elsewhere.test", helo="mx.elsewhere.test"):
    session = smtplib.SMTP(host, ports["smtp"], timeout=SECONDS)
    session.ehlo(helo)
    assert session.sendmail(sender, [FEEDBACK], text) == {}
    session.quit()


def read():
    """What `mailstead report feedback` counts."""
    return mailstead("report", "feedback")


assert send("issue 1", [READER, OTHER]) == {}
wait_until("it has arrived", lambda: len(arrived) == 2, lambda: arrived)
original = next(content for to, content in arrived if to == [READER])
# The event log has it too.
wait_until("it is known", lambda: "delivered" in mailstead("trace", READER), lambda: mailstead("trace", READER))

# Somebody whom nothing proves says so in his name.
complain(report(original, sender="fbl@nowhere.test"), sender="fbl@elsewhere.test")
# Nor does it hit who says that it is no spam.
complain(report(original, kind="not-spam"))
complain(report(original))
wait_until("he is on the list", lambda: READER in listed(), lambda: (listed(), read()))
assert "complaint" in listed() and OTHER not in listed(), listed()
shown = json.loads(mailstead("suppression", "show", READER, "--json"))
assert shown["suppressed"] is True, shown
try:
    send("issue 2", [READER])
    raise AssertionError("he gets more")
except smtplib.SMTPRecipientsRefused as refused:
    code, said = refused.recipients[READER]
    assert code == 550 and said.startswith(b"5.1.1 " + READER.encode() + b" is on the suppression list since "), (code, said)
    assert b"abuse, reported by elsewhere.test" in said, said
# The others of the next issue get it.
refused = send("issue 3", [READER, OTHER])
assert list(refused) == [READER], refused
wait_until("issue 3", lambda: len(arrived) == 3, lambda: arrived)
assert arrived[2][0] == [OTHER], arrived[2]
