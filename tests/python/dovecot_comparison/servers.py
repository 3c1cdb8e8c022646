"""Dovecot and our server over the same messages.

Dovecot's imap process is spoken to through a pipe, logged in already; it needs no port and no service.
"""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from common import host, people, ports
from imap_client import Client

DOVECOT = "/usr/lib/dovecot/imap"
UNPRIVILEGED = 65534


@contextlib.contextmanager
def both_servers(made):
    """Clients of our server and of Dovecot's that have INBOX open, where the messages' UIDs count from 1."""
    with tempfile.TemporaryDirectory() as folder:
        home = pathlib.Path(folder)
        deliver(home / "Maildir", made)
        deliver(pathlib.Path(people["alice"]["maildir"]), made)
        with start_dovecot(home) as process, socket.create_connection((host, ports["imap"]), 60) as connection:
            stream = connection.makefile("rwb")
            ours, dovecot = Client(stream, stream), Client(process.stdout, process.stdin)
            ours.command(f"LOGIN {people['alice']['address']} {people['alice']['password']}")
            for client in (ours, dovecot):
                client.command("EXAMINE INBOX")
            yield ours, dovecot
            dovecot.command("LOGOUT")


def deliver(maildir, made):
    """Puts the messages into a Maildir, in their order."""
    for folder in ("cur", "new", "tmp"):
        (maildir / folder).mkdir(parents=True, exist_ok=True)
    for number, octets in enumerate(made.values(), 1):
        path = maildir / "cur" / f"{1700000000 + number}.M{number}P1.host:2,S"
        path.write_bytes(octets)
        os.utime(path, (1700000000 + number,) * 2)


def start_dovecot(home):
    """Dovecot's imap process, as somebody who is not root: it refuses to read root's mail."""
    config = home / "dovecot.conf"
    settings = [f"base_dir = {home}/run", f"log_path = {home}/log", "ssl = no", "mail_location = maildir:~/Maildir", "stats_writer_socket_path ="]
    config.write_text("\n".join(settings) + "\n")
    somebody = {}
    if os.getuid() == 0:
        for path in [home, *home.rglob("*")]:
            os.chown(path, UNPRIVILEGED, UNPRIVILEGED)
        somebody = {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []}
    environment = {"USER": "somebody", "HOME": str(home), "PATH": "/usr/bin:/bin"}
    pipe = subprocess.PIPE
    return subprocess.Popen([DOVECOT, "-c", str(config)], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment, cwd=home, **somebody)
