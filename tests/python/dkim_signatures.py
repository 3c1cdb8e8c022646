"""Verifies each DKIM signature of a message with dkimpy, against the DNS records in a file, and prints how each is made.

usage: dkim_signatures.py RECORDS < MESSAGE; the records as `mailstead dkim list --json` prints them
"""

import json
import sys

import dkim


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        generations = json.load(file)
    records = {record["name"]: record["value"] for each in generations for record in each["records"]}
    message = sys.stdin.buffer.read()
    count = message.lower().count(b"\ndkim-signature:") + message.lower().startswith(b"dkim-signature:")
    for index in range(count):
        verifier = dkim.DKIM(message)
        if not verifier.verify(index, dnsfunc=lambda name, timeout=5: records[name.decode().rstrip(".")].encode()):
            sys.exit(f"signature {index} is not good")
        fields = verifier.signature_fields
        print(*(fields[name].decode() for name in (b"a", b"d", b"s")))


main()
