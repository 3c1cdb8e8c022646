"""A storm of deliveries, in which one server is killed three times. Every acknowledged message is there once, and whole."""
import collections
import os
import signal
import socket
import subprocess
import threading

from common import *

ROUNDS, THREADS, BETWEEN = 3, 6, 25
killed = site["more"]["server"]


def status():
    command = [site["more"]["mailstead"], "status", "--json", "--config", site["more"]["config"]]
    answer = json.loads(subprocess.run(command, stdout=subprocess.PIPE).stdout)
    return {server["server"]: server for server in answer["servers"]}


class Storm:
    """Threads that send numbered messages, and what became of each."""

    def __init__(self, sender):
        self.sender = sender
        self.acknowledged, self.unknown = {}, {}
        self.lock, self.stop = threading.Lock(), threading.Event()
        self.failure, self.count, self.breaks = None, 0, 0
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(THREADS)]
        for thread in self.threads:
            thread.start()

    def next(self):
        with self.lock:
            self.count += 1
            name = "%s %d" % (self.sender.__name__, self.count)
        return name, message(name, "\r\n".join("%s line %d" % (name, line) for line in range(600)))

    def run(self):
        try:
            sender = self.sender()
            while not self.stop.is_set():
                name, octets = self.next()
                sender.handed_over = False
                try:
                    if sender.send(octets):
                        self.acknowledged[name] = octets
                except (OSError, smtplib.SMTPException, imaplib.IMAP4.error, EOFError) as error:
                    assert not isinstance(error, ConnectionRefusedError), "the listening sockets outlive the server"
                    self.breaks += 1
                    if sender.handed_over:
                        self.unknown[name] = octets
                    sender = self.sender()
        except Exception as error:
            self.failure = error
            raise

    def wait_for(self, more):
        target = len(self.acknowledged) + more
        deadline = time.monotonic() + SECONDS
        while len(self.acknowledged) < target:
            assert self.failure is None, self.failure
            assert time.monotonic() < deadline, "the storm is becalmed"
            time.sleep(0.005)

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(SECONDS)
        assert self.failure is None, self.failure


class BySmtp:
    session = None

    def send(self, octets):
        if self.session is None:
            self.session = mx()
        assert self.session.mail("stranger@elsewhere.test")[0] == 250
        assert self.session.rcpt(people["bob"]["address"])[0] == 250
        assert self.session.docmd("DATA")[0] == 354
        self.handed_over = True
        self.session.send(octets + b".\r\n")
        code, _ = self.session.getreply()
        self.handed_over = code == 250
        return code == 250


class ByAppend:
    session = None

    def send(self, octets):
        if self.session is None:
            self.session = imap("bob")
        self.handed_over = True
        kind, _ = self.session.append("INBOX", None, None, octets)
        self.handed_over = kind == "OK"
        return kind == "OK"


def answers_again(port):
    """The seconds until a server greets on the port."""
    started = time.monotonic()
    while True:
        assert time.monotonic() - started < SECONDS, "it is not back"
        try:
            with tls.wrap_socket(socket.create_connection((host, port), SECONDS), server_hostname=host) as peer:
                if peer.recv(512)[:3] in (b"220", b"* O", b"+OK"):
                    return time.monotonic() - started
        except OSError as error:
            assert not isinstance(error, ConnectionRefusedError), error


def uids():
    box = imap("bob")
    ok(box.select(readonly=True))
    answers = ok(box.fetch("1:*", "(UID BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])"))
    box.logout()
    return {part[0].split(b"UID ")[1].split()[0]: part[1] for part in answers if isinstance(part, tuple)}


deliver("bob", message("before the storm"))
known = uids()
before = status()
# Sessions with the servers that live: they must not notice.
living = {name: imap("bob") if name == "imap" else pop3("alice") for name in ("imap", "pop3") if name != killed}
if "imap" in living:
    ok(living["imap"].select())

storms = [Storm(BySmtp)] + ([Storm(ByAppend)] if killed == "imap" else [])
port = ports[{"smtp": "submissions", "imap": "imaps", "pop3": "pop3s", "queue": "submissions"}[killed]]
times = []
for round in range(ROUNDS):
    for storm in storms:
        storm.wait_for(BETWEEN)
    current = status()[killed]["pid"]
    os.kill(current, signal.SIGKILL)
    times.append(answers_again(port))
    # Not ours to hurry: the next kill must hit the new process.
    deadline = time.monotonic() + SECONDS
    while status()[killed]["pid"] in (None, current) or status()[killed]["state"] != "running":
        assert time.monotonic() < deadline
for storm in storms:
    storm.wait_for(BETWEEN)
    storm.end()
# The first restart comes after 100 ms; only the best counts, for the machine may be busy.
assert min(times) < 1, times

after = status()
for name, server in after.items():
    if name == killed:
        assert server["restarts"] == ROUNDS, after
    else:
        assert server["pid"] == before[name]["pid"] and server["restarts"] == 0, (before, after)
if killed not in ("smtp", "imap"):
    assert storms[0].breaks == 0, "SMTP sessions don't notice"
if "imap" in living:
    ok(living["imap"].noop())
    living["imap"].logout()
if "pop3" in living:
    assert living["pop3"].noop().startswith(b"+OK")
    living["pop3"].quit()

# Every acknowledged message once, an unacknowledged one at most once, none by half, none that nobody sent.
box = imap("bob")
ok(box.select(readonly=True))
stored = collections.Counter()
expected = {}
for storm in storms:
    expected.update(storm.acknowledged)
    expected.update(storm.unknown)
for part in ok(box.fetch("1:*", "(BODY.PEEK[])")):
    if not isinstance(part, tuple):
        continue
    subject = next(line for line in part[1].split(b"\r\n") if line.startswith(b"Subject: "))[9:].decode()
    stored[subject] += 1
    if subject in expected:
        assert part[1].endswith(expected[subject]), "half of " + subject
box.logout()
for storm in storms:
    lost = [name for name in storm.acknowledged if stored[name] != 1]
    assert not lost, {name: stored[name] for name in lost}
    assert all(stored[name] <= 1 for name in storm.unknown)
strangers = [name for name in stored if name.split(" ")[0] in ("BySmtp", "ByAppend") and name not in expected]
assert not strangers, strangers

# UIDs are for ever.
now = uids()
assert all(now.get(uid) == identity for uid, identity in known.items()), (known, now)
print(json.dumps({"seconds": times, "acknowledged": sum(len(storm.acknowledged) for storm in storms), "unknown": sum(len(storm.unknown) for storm in storms)}))
