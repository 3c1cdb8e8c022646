"""The queue, SMTP and the supervisor are killed at random while four threads send small and large messages to a host that defers, drops and
stumbles: every acknowledged message arrives, whole. Twice arrives only what the host hung up on, and what was killed with its delivery not yet recorded: the
queue is stopped before it is killed, and what it has recorded by that instant never comes again."""
import atexit
import collections
import os
import random
import signal
import socketserver
import sqlite3
import subprocess
import threading

from common import *

SOAK = float(os.environ.get("MAILSTEAD_SOAK_SECONDS") or site["more"]["seconds"])
# As many as are tried at one time: `max_per_destination`.
IN_FLIGHT = 20
QUEUE = os.path.join(site["more"]["data"], "queue")
# When its connection was opened, and whether the host hung up instead of its reply: for each time that a message arrived.
Arrival = collections.namedtuple("Arrival", "opened hung_up")
# When the queue was killed, and what it had not recorded as delivered by then.
Kill = collections.namedtuple("Kill", "at pending")
arrived, wrong, cuts = collections.defaultdict(list), [], []
lock = threading.Lock()


class Host(socketserver.StreamRequestHandler):
    """It checks each message before its 250, defers some, and hangs up on some before that or after it."""

    def reply(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def handle(self):
        try:
            self.converse()
        except OSError:
            pass

    def converse(self):
        self.opened = time.monotonic()
        if random.random() < 0.02:
            self.reply("421 4.3.2 not now")
            return
        self.reply("220 host.test")
        for line in self.rfile:
            verb = line.split()[0].upper() if line.split() else b""
            if verb == b"EHLO":
                self.reply("250-host.test\r\n250-8BITMIME\r\n250 PIPELINING")
            elif verb == b"RCPT" and random.random() < 0.05:
                self.reply("451 4.7.1 later")
            elif verb == b"DATA":
                self.reply("354 go on")
                octets = mail_data(self.rfile)
                if octets is None or not self.take(octets):
                    return
            elif verb == b"QUIT":
                self.reply("221 bye")
                return
            else:
                self.reply("250 OK")

    def take(self, octets):
        """False if it hangs up."""
        if b"\r\nSubject: " not in b"\r\n" + octets:
            # Nobody was accepted.
            self.reply("554 5.5.1 no recipients")
            return True
        subject = subject_of(octets)
        if random.random() < 0.03:
            self.reply("452 4.3.1 full")
            return True
        # Taken, and nobody will know: RFC 1047.
        hangs_up = random.random() < 0.02
        with lock:
            arrived[subject].append(Arrival(self.opened, hangs_up))
            if not octets.endswith(text(subject)):
                wrong.append(subject)
        if hangs_up:
            return False
        self.reply("250 taken")
        return True


class Server(socketserver.ThreadingTCPServer):
    daemon_threads, allow_reuse_address, request_queue_size = True, True, 100


def text(subject):
    """Every third one is large, and so lies in a file of its own."""
    number = int(subject.split()[1])
    lines = 3000 if number % 3 == 0 else 30
    return message(subject, "\r\n".join(".%s line %d" % (subject, line) for line in range(lines)), people["alice"]["address"], "eve@elsewhere.test")


def status():
    command = [site["more"]["mailstead"], "status", "--json", "--config", site["more"]["config"]]
    answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return {server["server"]: server for server in json.loads(answer)["servers"]} if answer else {}


def serve():
    command = [site["more"]["mailstead"], "serve", "--config", site["more"]["config"]]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def kill(name):
    """At once; what was killed is running again when this returns."""
    global supervisor
    if name == "supervisor":
        supervisor.kill()
        supervisor.wait()
        supervisor = serve()
    else:
        pid = (status().get(name) or {}).get("pid")
        if pid is None:
            return
        try:
            if name == "queue":
                stop(pid)
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, FileNotFoundError):
            return


def stop(pid):
    """From now on it does nothing more: notes what it has not recorded as delivered."""
    os.kill(pid, signal.SIGSTOP)
    while "stopped" not in open("/proc/%d/status" % pid).read():
        time.sleep(0.001)
    cuts.append(Kill(time.monotonic(), pending()))


def pending():
    """The subjects of what is queued."""
    database = sqlite3.connect("file:%s/queue.sqlite?mode=ro" % QUEUE, uri=True, timeout=SECONDS)
    rows = database.execute("SELECT message.id, octets FROM message LEFT JOIN content ON content.id = content").fetchall()
    database.close()
    return {subject_of(octets or open("%s/messages/%s" % (QUEUE, name), "rb").read()) for name, octets in rows}


def subject_of(octets):
    return octets.split(b"Subject: ")[1].split(b"\r\n")[0].decode()


def send(thread):
    """Each try has a name of its own: what was not acknowledged may arrive or not."""
    session, number = None, thread
    while time.monotonic() < end:
        subject, number = "message %d of thread %d" % (number, thread), number + 4
        try:
            session = session or submission("alice")
            assert session.sendmail(people["alice"]["address"], ["eve@elsewhere.test"], text(subject)) == {}
            acknowledged.append(subject)
        except (OSError, smtplib.SMTPException):
            session = None
            time.sleep(0.05)


server = Server(("127.0.0.1", site["more"]["smarthost"]), Host)
threading.Thread(target=server.serve_forever, daemon=True).start()
supervisor = serve()
atexit.register(lambda: supervisor.kill())
begun = time.monotonic()
while True:
    try:
        submission("alice").quit()
        break
    except OSError:
        assert time.monotonic() < begun + SECONDS
        time.sleep(0.1)
end, acknowledged, kills = time.monotonic() + SOAK, [], collections.Counter()
threads = [threading.Thread(target=send, args=(thread,), daemon=True) for thread in range(4)]
for thread in threads:
    thread.start()
while time.monotonic() < end:
    time.sleep(random.uniform(0.2, 2.5))
    name = random.choices(["queue", "smtp", "supervisor"], [6, 2, 2])[0]
    kill(name)
    kills[name] += 1
for thread in threads:
    thread.join(2 * SECONDS)
    assert not thread.is_alive()
assert len(acknowledged) >= 20, (acknowledged, kills)
deadline = time.monotonic() + 3 * SECONDS
while any(not arrived[subject] for subject in acknowledged):
    assert time.monotonic() < deadline, ("lost", [subject for subject in acknowledged if not arrived[subject]], kills)
    time.sleep(0.05)
supervisor.terminate()
supervisor.wait()
assert not wrong, wrong
# What came again: the host hung up on it, or it was killed before it was recorded, on a connection of what was killed.
doubled = collections.Counter()
for subject, arrivals in arrived.items():
    for arrival in arrivals[:-1]:
        if arrival.hung_up:
            continue
        causes = [kill for kill in cuts if arrival.opened <= kill.at and subject in kill.pending]
        assert causes, ("twice for nothing", subject, arrivals, [(kill.at, subject in kill.pending) for kill in cuts])
        doubled[causes[0].at] += 1
assert all(again <= IN_FLIGHT for again in doubled.values()), doubled
print("%d acknowledged, %d arrived, %d of them again by %d kills of the queue, %s" % (len(acknowledged), len(arrived), sum(doubled.values()), len(cuts), dict(kills)))
