"""The queue, SMTP and the supervisor are killed at random while four threads send small and large messages to a host that defers, drops and
stumbles: every acknowledged message arrives, whole, and what arrives twice was on its way when something was cut off."""
import atexit
import collections
import os
import random
import signal
import socketserver
import subprocess
import threading

from common import *

SOAK = float(os.environ.get("MAILSTEAD_SOAK_SECONDS") or site["more"]["seconds"])
# How long after the final reply a delivery may not be on the disk yet.
IN_FLIGHT = 3.0
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
        subject = octets.split(b"Subject: ")[1].split(b"\r\n")[0].decode()
        if random.random() < 0.03:
            self.reply("452 4.3.1 full")
            return True
        with lock:
            arrived[subject].append(time.monotonic())
            if not octets.endswith(text(subject)):
                wrong.append(subject)
            if random.random() < 0.02:
                # Taken, and nobody will know: RFC 1047.
                cuts.append(time.monotonic())
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
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
    with lock:
        cuts.append(time.monotonic())


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
# What came again had been cut off, or was being written down as something was killed.
for subject, moments in arrived.items():
    for moment in moments[:-1]:
        assert any(moment - IN_FLIGHT <= cut <= moment + IN_FLIGHT for cut in cuts), ("twice for nothing", subject, moments, cuts)
again = sum(len(moments) - 1 for moments in arrived.values() if moments)
# As many as are tried at one time, each time.
assert again <= 20 * len(cuts), (again, cuts)
print("%d acknowledged, %d arrived, %d of them again, %s" % (len(acknowledged), len(arrived), again, dict(kills)))
