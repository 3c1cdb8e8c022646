"""Any bytes on any port: a proper error or the end of the connection, a bounded memory, and servers that live on."""
import random
import socket
import subprocess
import threading

from common import *

MIB = 1 << 20
IMPLICIT = ("submissions", "imaps", "pop3s")
SERVER = {name: "smtp" if "s" == name[0] else name.rstrip("s") for name in ports}
GREETING = {"smtp": b"220 ", "imap": b"* OK", "pop3": b"+OK"}
rng = random.Random(2026)


def status():
    command = [site["more"]["mailstead"], "status", "--json", "--config", site["more"]["config"]]
    answer = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return {server["server"]: server for server in answer["servers"]}


def resident(pid):
    """The octets of memory that a process holds."""
    with open("/proc/%d/status" % pid) as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


class Peer:
    """A connection that says what it likes."""

    def __init__(self, name, secured=None):
        self.name, self.kind = name, SERVER[name]
        self.socket = socket.create_connection((host, ports[name]), SECONDS)
        if secured if secured is not None else name in IMPLICIT:
            self.socket = tls.wrap_socket(self.socket, server_hostname=host)

    def line(self):
        line = b""
        while not line.endswith(b"\n"):
            octet = self.socket.recv(1)
            if not octet:
                return line
            line += octet
        return line

    def greeted(self):
        line = self.line()
        assert line.startswith(GREETING[self.kind]), (self.name, line)
        return self

    def say(self, octets):
        self.socket.sendall(octets)
        return self.line()

    def pour(self, octets, times):
        """Sends until done or shut out, taking what is answered; returns the answers."""
        answers = bytearray()
        self.socket.settimeout(0)
        try:
            for _ in range(times):
                view = memoryview(octets)
                while view:
                    try:
                        view = view[self.socket.send(view):]
                    except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                        time.sleep(0.001)
                    try:
                        piece = self.socket.recv(65536)
                        if not piece:
                            return bytes(answers)
                        answers += piece
                        del answers[65536:]
                    except (BlockingIOError, ssl.SSLWantReadError):
                        pass
        except OSError:
            pass
        return bytes(answers)

    def wait(self):
        """The next line, in time."""
        self.socket.settimeout(SECONDS)
        return self.line()

    def close(self):
        self.socket.close()


def lives(name):
    peer = Peer(name).greeted()
    peer.close()


def random_octets(name):
    for size in (1, 100, 10_000, 300_000):
        peer = Peer(name).greeted()
        peer.pour(rng.randbytes(size), 1)
        peer.close()


def random_lines(name):
    """Lines that look like commands, and are wrong. None is a login, which costs the memory of its hash."""
    words = {
        "smtp": [b"MAIL FROM:", b"RCPT TO:", b"<>", b"<@:@>", b"BDAT", b"99999999999999999999", b"AUTH", b"PLAIN", b"EHLO", b"=", b"\xff\xfe", b"SIZE=-1"],
        "imap": [b"a", b"SELECT", b"{0+}\r\n", b"{5+}\r\nhello", b"\"", b"(", b")", b"FETCH", b"AUTHENTICATE", b"*", b"\\", b"BODY[", b"]<", b"ID", b"NIL", b"\xc3("],
        "pop3": [b"USER", b"AUTH", b"PLAIN", b"=", b"CAPA", b"-1", b"99999999999999999999", b"LANG", b"*", b"UTF8", b"\xff"],
    }[SERVER[name]]
    for _ in range(30):
        peer = Peer(name).greeted()
        peer.pour(b"\r\n".join(b" ".join(rng.choices(words, k=rng.randint(1, 6))) for _ in range(20)) + b"\r\n", 1)
        peer.close()


def half_a_line(name):
    for octets in (b"E", b"EHLO half", b"a LOGIN {3}\r\nx", b"USER half", b"\r", b"\0"):
        peer = Peer(name).greeted()
        peer.socket.sendall(octets)
        peer.close()


def endless_line(name):
    peer = Peer(name).greeted()
    answers = peer.pour(b"x" * MIB, 96) or peer.pour(b"\r\n", 1) or peer.wait()
    peer.close()
    assert answers.startswith({"smtp": b"500 ", "imap": b"* B", "pop3": b"-ERR"}[SERVER[name]]), (name, answers[:200])


def tls_garbage(name):
    if name in IMPLICIT:
        for octets in (b"EHLO plain\r\n" * 10, rng.randbytes(20_000), b"\x16\x03\x01\xff\xff" + rng.randbytes(70_000), b"\x16\x03"):
            peer = Peer(name, secured=False)
            peer.pour(octets, 1)
            peer.close()
        return
    command = {"smtp": b"STARTTLS\r\n", "imap": b"a STARTTLS\r\n", "pop3": b"STLS\r\n"}[SERVER[name]]
    for octets in (rng.randbytes(20_000), b"EHLO plain\r\n", b"\x16\x03\x01\x40\x00" + rng.randbytes(30_000)):
        peer = Peer(name).greeted()
        if SERVER[name] == "smtp":
            peer.socket.sendall(b"HELO bad\r\n")
            peer.line()
        assert peer.say(command)[:2] in (b"22", b"a ", b"+O"), name
        peer.pour(octets, 1)
        peer.close()


def many_that_say_nothing(name):
    peers = [Peer(name) for _ in range(60)]
    lives(name)
    for peer in peers:
        peer.close()


ATTACKS = (random_octets, random_lines, half_a_line, endless_line, tls_garbage, many_that_say_nothing)


def endless_mail():
    """More recipients, more header, more message than the limits allow."""
    session = mx()
    session.mail("a@b.test")
    codes = [session.rcpt("nobody%d@%s" % (number, domain))[0] for number in range(15)]
    assert set(codes) == {550}, codes
    session.close()
    session = mx()
    session.mail("a@b.test")
    codes = [session.rcpt(people["bob"]["address"])[0] for _ in range(140)]
    # RFC 5321 §4.5.3.1.10: those over the limit are no errors that end the session.
    assert codes[0] == 250 and codes[-1] == 452, codes[-1]
    assert session.docmd("DATA")[0] == 354
    session.sock.settimeout(SECONDS)
    for _ in range(24):
        session.send(b"X-Endless: " + b"y" * MIB + b"\r\n")
    session.send(b"\r\n.\r\n")
    reply = session.getreply()
    assert reply[0] == 552, reply
    session.close()
    session = mx()
    session.mail("a@b.test")
    session.rcpt(people["bob"]["address"])
    assert session.docmd("BDAT", "18446744073709551616")[0] in (501, 552)
    session.close()


def hostile_mail():
    """Deep and endless MIME is stored, and read without harm."""
    deep = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level) for level in range(2000))
    wide = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 20_000
    nested = b"Content-Type: message/rfc822\r\n\r\n" * 3000
    header = b"".join(b"To: a%d@b.test\r\n" % number for number in range(5000)) + b"Subject: =?utf-8?q?" + b"=FF" * 20_000 + b"?=\r\n\r\nx\r\n"
    for octets in (deep, wide, nested, header, b"\r\n\r\n", b":\r\n : \r\n\r\n\xff\xfe\r\n"):
        deliver("bob", octets)
    box = imap("bob")
    count = int(ok(box.select())[0])
    for number in range(1, count + 1):
        for items in ("(BODYSTRUCTURE)", "(ENVELOPE)", "(BODY.PEEK[1.1.1.1.1.1.1.1])", "(BODY.PEEK[HEADER.FIELDS (TO)])", "(RFC822.SIZE BODY.PEEK[])"):
            ok(box.fetch(str(number), items))
    ok(box.search(None, "TEXT nothing-like-it"))
    box.logout()


def hostile_commands():
    """Of somebody who is logged in."""
    sets = b",".join(b"1:*" for _ in range(10_000))
    for command in (
        b"SEARCH " + b"(" * 10_000 + b"ALL" + b")" * 10_000,
        b"SEARCH " + b"NOT " * 10_000 + b"ALL",
        b"SEARCH " + b"OR ALL " * 5_000 + b"ALL",
        b"FETCH " + sets + b" UID",
        b"FETCH 1 BODY.PEEK[" + b"1." * 10_000 + b"1]",
        b"FETCH 1 (" + b"BODY.PEEK[] " * 3_000 + b"UID)",
        b"LIST \"\" " + b"*%" * 10_000 + b"x",
        b"APPEND INBOX {99999999999999999999}",
        b"APPEND INBOX {4294967295}",
        b"SEARCH SUBJECT {1073741824}",
        b"CREATE " + b"a/" * 5_000 + b"a",
        b"STORE 1 +FLAGS (" + b" ".join(b"k%d" % number for number in range(5_000)) + b")",
    ):
        box = imap("alice")
        ok(box.select())
        box.sock.sendall(b"bad " + command + b"\r\n")
        received = 0
        while True:
            line = box.readline()
            received += len(line)
            if not line or line.startswith((b"bad ", b"* BYE")):
                break
            assert received < 64 * MIB, command[:40]
        if line.startswith(b"bad ") and b"OK" not in line:
            # What was announced and refused need not be read, so the connection may be closed as well.
            try:
                box.noop()
            except (imaplib.IMAP4.abort, OSError):
                pass
        box.shutdown()


def guess(name):
    """Wrong passwords, as many as one connection may try."""
    for number in range(3):
        try:
            imap_or_pop3 = imaplib.IMAP4_SSL if name == "imaps" else poplib.POP3_SSL
            context = {"ssl_context" if name == "imaps" else "context": tls}
            session = imap_or_pop3(host, ports[name], timeout=4 * SECONDS, **context)
            try:
                if name == "imaps":
                    session.login(people["alice"]["address"], "wrong %d" % number)
                else:
                    session.user(people["alice"]["address"])
                    session.pass_("wrong %d" % number)
            except (imaplib.IMAP4.error, poplib.error_proto):
                pass
            (session.shutdown if name == "imaps" else session.close)()
        except OSError:
            pass


def flood_of_logins(name):
    """Many clients at once that try wrong passwords: each costs 19 MiB while it is looked at."""
    guessers = [threading.Thread(target=guess, args=(name,)) for _ in range(24)]
    for guesser in guessers:
        guesser.start()
    for guesser in guessers:
        guesser.join()


# What a first session of each kind costs belongs to no attack.
deliver("alice", message("something to fetch"))
for name in ports:
    random_octets(name)
imap("alice").logout()
pop3("alice").quit()
before = status()
first = {name: resident(server["pid"]) for name, server in before.items()}

for name in ports:
    for attack in ATTACKS:
        attack(name)
        lives(name)
for attack in (endless_mail, hostile_mail, hostile_commands):
    attack()

after = status()
for name, server in after.items():
    assert server["pid"] == before[name]["pid"] and server["restarts"] == 0, (before, after)
    grown = (resident(server["pid"]) - first[name]) / MIB
    assert grown < site["more"]["most_growth_mib"], "%s grew by %.1f MiB" % (name, grown)
    print("%s grew by %.1f MiB" % (name, grown))
for name in ("imaps", "pop3s"):
    first = resident(after[SERVER[name]]["pid"])
    flood_of_logins(name)
    grown = (resident(after[SERVER[name]]["pid"]) - first) / MIB
    assert grown < site["more"]["most_growth_by_logins_mib"], "%s grew by %.1f MiB" % (name, grown)
    print("%s grew by %.1f MiB by a flood of logins" % (name, grown))
deliver("bob", message("still there"))
box = imap("bob")
ok(box.select())
assert len(ok(box.search(None, "SUBJECT", "\"still there\""))[0].split()) == 1
box.logout()
