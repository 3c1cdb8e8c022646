"""IDLE is woken by whatever changes the mailbox: SMTP, another session, another program."""
import os
import socket

from common import *

deliver("bob", message("already there"))
box = imap("bob")
last = int(ok(box.select())[0])
idle = Idle(box)

deliver("bob", message("by SMTP"))
idle.wait(b"* %d EXISTS" % (last + 1))

# As a delivery agent does: written in tmp, renamed into new.
maildir = people["bob"]["maildir"]
name = "%d.M1P%d.%s" % (time.time(), os.getpid(), socket.gethostname())
with open(os.path.join(maildir, "tmp", name), "wb") as file:
    file.write(message("by another program").replace(b"\r\n", b"\n"))
os.rename(os.path.join(maildir, "tmp", name), os.path.join(maildir, "new", name))
idle.wait(b"* %d EXISTS" % (last + 2))

other = imap("bob", "imap")
ok(other.select())
ok(other.store(str(last + 1), "+FLAGS", r"(\Flagged $Label1)"))
line = idle.wait(b"* %d FETCH" % (last + 1), rb"\Flagged")
assert b"$Label1" in line, line
ok(other.append("INBOX", None, None, message("by APPEND")))
idle.wait(b"* %d EXISTS" % (last + 3))
ok(other.store("1", "+FLAGS", r"(\Deleted)"))
ok(other.expunge())
idle.wait(b"* 1 EXPUNGE")

# mutt renames the file that it has read.
cur = os.path.join(maildir, "cur")
[file] = [file for file in os.listdir(cur) if "P%d." % os.getpid() in file]
os.rename(os.path.join(cur, file), os.path.join(cur, file.split(":2,")[0] + ":2,RS"))
line = idle.wait(b"* %d FETCH" % (last + 1), rb"\Answered")
assert rb"\Seen" in line, line
[file] = [file for file in os.listdir(cur) if "P%d." % os.getpid() in file]
os.remove(os.path.join(cur, file))
idle.wait(b"* %d EXPUNGE" % (last + 1))

idle.done()
answer = ok(box.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))
subjects = [part[1].strip() for part in answer if isinstance(part, tuple)]
assert subjects[-2:] == [b"Subject: by SMTP", b"Subject: by APPEND"], subjects
box.logout()
other.logout()
