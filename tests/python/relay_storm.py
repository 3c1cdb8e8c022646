"""Alice sends elsewhere while the queue and then SMTP are killed: every acknowledged message reaches the smarthost, whole."""
import collections
import os
import signal
import socketserver
import subprocess
import threading

from common import *

MESSAGES = 120
arrived, wrong = collections.Counter(), []


class Smarthost(socketserver.StreamRequestHandler):
    """As much of SMTP as a peer needs; it checks each message before its 250."""

    def reply(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def handle(self):
        self.reply("220 smarthost.test")
        for line in self.rfile:
            verb = line.split()[0].upper() if line.split() else b""
            if verb == b"EHLO":
                self.reply("250-smarthost.test\r\n250 8BITMIME")
            elif verb == b"DATA":
                self.reply("354 go on")
                octets = mail_data(self.rfile)
                if octets is None:
                    return
                self.take(octets)
            elif verb == b"QUIT":
                self.reply("221 bye")
                return
            else:
                self.reply("250 OK")

    def take(self, octets):
        subject = octets.split(b"Subject: ")[1].split(b"\r\n")[0].decode()
        if not octets.endswith(text(subject)):
            wrong.append(subject)
        arrived[subject] += 1
        self.reply("250 taken")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads, allow_reuse_address, request_queue_size = True, True, 100


def text(subject):
    return message(subject, "\r\n".join(".%s line %d" % (subject, line) for line in range(300)), people["alice"]["address"], "eve@elsewhere.test")


def status():
    command = [site["more"]["mailstead"], "status", "--json", "--config", site["more"]["config"]]
    answer = json.loads(subprocess.run(command, stdout=subprocess.PIPE).stdout)
    return {server["server"]: server for server in answer["servers"]}


def kill(name):
    pid = status()[name]["pid"]
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + SECONDS
    while status()[name]["pid"] in (None, pid):
        assert time.monotonic() < deadline


def send(thread):
    session = None
    for number in range(MESSAGES // 4):
        subject = "message %d of thread %d" % (number, thread)
        while True:
            try:
                session = session or submission("alice")
                assert session.sendmail(people["alice"]["address"], ["eve@elsewhere.test"], text(subject)) == {}
                break
            except (OSError, smtplib.SMTPException) as error:
                assert not isinstance(error, ConnectionRefusedError)
                unsure.add(subject)
                session = None
        acknowledged.append(subject)


server = Server(("127.0.0.1", site["more"]["smarthost"]), Smarthost)
threading.Thread(target=server.serve_forever, daemon=True).start()
acknowledged, unsure = [], set()
threads = [threading.Thread(target=send, args=(thread,), daemon=True) for thread in range(4)]
for thread in threads:
    thread.start()
deadline = time.monotonic() + SECONDS
for number, name in enumerate(["queue", "queue", "smtp"]):
    while len(arrived) < (number + 1) * 15:
        assert time.monotonic() < deadline, (len(acknowledged), len(arrived))
        time.sleep(0.005)
    kill(name)
for thread in threads:
    thread.join(SECONDS)
assert len(acknowledged) == MESSAGES, len(acknowledged)
while any(arrived[subject] < 1 for subject in acknowledged):
    assert time.monotonic() < deadline, [subject for subject in acknowledged if not arrived[subject]]
    time.sleep(0.01)
assert not wrong, wrong
server.shutdown()
