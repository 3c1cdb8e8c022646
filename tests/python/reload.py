"""While the supervisor is told to reload, again and again, clients on every port are greeted, and none is refused."""
import os
import signal
import socket
import subprocess
import threading

from common import *

stop = threading.Event()
failures, served, sent_away = [], {name: 0 for name in ports}, {name: 0 for name in ports}
QUIT = {"smtp": b"QUIT\r\n", "submission": b"QUIT\r\n", "imap": b"1 LOGOUT\r\n", "pop3": b"QUIT\r\n"}


def status():
    command = [site["more"]["mailstead"], "status", "--json", "--config", site["more"]["config"]]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE).stdout)["servers"]


def call(name):
    """One short session after the other."""
    try:
        while not stop.is_set():
            with socket.create_connection((host, ports[name]), SECONDS) as peer, peer.makefile("rb") as lines:
                greeting = lines.readline()
                assert greeting[:3] in (b"220", b"* O", b"+OK"), (name, greeting)
                peer.sendall(QUIT[name])
                answer = lines.readline()
                if answer[:3] in (b"221", b"* B", b"+OK"):
                    served[name] += 1
                else:
                    # An old server that drains may still say so itself, in the words of the protocol.
                    assert answer[:3] in (b"421", b"-ER"), (name, answer)
                    sent_away[name] += 1
    except Exception as error:
        failures.append((name, repr(error)))


def pids():
    return {server["pid"] for server in status() if server["state"] == "running"}


threads = [threading.Thread(target=call, args=(name,), daemon=True) for name in QUIT]
for thread in threads:
    thread.start()
for _ in range(3):
    old = pids()
    os.kill(site["more"]["pid"], signal.SIGHUP)
    deadline = time.monotonic() + SECONDS
    while pids() & old or len(pids()) < 4:
        assert time.monotonic() < deadline, status()
    before = dict(served)
    while any(served[name] < before[name] + 3 for name in QUIT):
        assert not failures, failures
        assert time.monotonic() < deadline, (before, served)
        time.sleep(0.005)
stop.set()
for thread in threads:
    thread.join(SECONDS)
assert not failures, failures
