"""Verifies the ARC chain of a message with dkimpy, against the DNS records in a file, and prints what is found as JSON: the result, and the sets with
the newest first, each with its number, what it says of the chain before it, and whether its message signature and its seal are good.

usage: arc_chain.py RECORDS [last] < MESSAGE; the records as an object of names and values. With `last` the sets before the newest are left out.
"""

import json
import re
import sys

import dkim


def without_others(message):
    header, body = message.split(b"\r\n\r\n", 1)
    fields = re.split(rb"\r\n(?![ \t])", header)
    number = lambda field: int(re.search(rb"\bi=(\d+)", field).group(1)) if field.upper().startswith(b"ARC-") else 0
    last = max(map(number, fields))
    return b"\r\n".join(field for field in fields if number(field) in (0, last)) + b"\r\n\r\n" + body


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        records = json.load(file)
    message = sys.stdin.buffer.read()
    if sys.argv[2:] == ["last"]:
        message = without_others(message)
    result, sets, reason = dkim.arc_verify(message, dnsfunc=lambda name, timeout=5: records[name.decode().rstrip(".")].encode())
    shown = [[it["instance"], it["cv"].decode(), it["ams-valid"], it["as-valid"]] for it in sets]
    print(json.dumps({"result": (result or b"ended").decode(), "sets": shown, "reason": reason}))


main()
