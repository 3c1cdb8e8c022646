"""What a client does in POP3, on both ports."""
from common import *

poplib._MAXLINE = 1 << 20
for number in range(1, 4):
    deliver("bob", message("number %d" % number, ".first\r\nsecond\r\nthird"))

for listener in ("pop3", "pop3s"):
    drop = pop3("bob", listener)
    capabilities = drop.capa()
    for wanted in ("TOP", "UIDL", "USER", "SASL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "UTF8", "LANG", "EXPIRE", "IMPLEMENTATION"):
        assert wanted in capabilities, (wanted, capabilities)
    assert set(capabilities["SASL"]) == {"SCRAM-SHA-256", "PLAIN", "LOGIN"}, capabilities
    count, size = drop.stat()
    assert count == 4
    sizes = [int(line.split()[1]) for line in drop.list()[1]]
    assert sum(sizes) == size and sizes[1] == len(b"\r\n".join(drop.retr(2)[1])) + 2
    assert drop.top(2, 2)[1][-3:] == [b"", b".first", b"second"]
    try:
        drop.retr(99)
        raise AssertionError("message 99")
    except poplib.error_proto:
        pass
    # One session at a time: RFC 1939 §8, RFC 2449 §8.1.2.
    try:
        pop3("bob", "pop3s")
        raise AssertionError("a second session")
    except poplib.error_proto as error:
        assert b"[IN-USE]" in error.args[0], error
    drop.quit()

try:
    bad = poplib.POP3_SSL(host, ports["pop3s"], context=tls, timeout=SECONDS)
    bad.user(people["bob"]["address"])
    bad.pass_("guess")
    raise AssertionError("a wrong password")
except poplib.error_proto as error:
    assert b"[AUTH]" in error.args[0], error

drop = pop3("bob")
unique = [line.split()[1] for line in drop.uidl()[1]]
assert len(set(unique)) == 4

# Only QUIT removes (RFC 1939 §6): neither RSET nor a connection that breaks.
drop.dele(1)
drop.rset()
drop.dele(2)
assert drop.stat()[0] == 3
drop.sock.close()
drop.file.close()

deadline = time.monotonic() + SECONDS
while True:
    try:
        drop = pop3("bob")
        break
    except poplib.error_proto as error:
        assert b"[IN-USE]" in error.args[0] and time.monotonic() < deadline, error
assert [line.split()[1] for line in drop.uidl()[1]] == unique, "nothing is gone, and the ids stay"
drop.dele(1)
drop.dele(3)
drop.quit()

drop = pop3("bob")
assert [line.split()[1] for line in drop.uidl()[1]] == [unique[1], unique[3]]
drop.quit()

box = imap("bob")
assert ok(box.select()) == [b"2"], "IMAP sees what POP3 removed"
box.logout()
