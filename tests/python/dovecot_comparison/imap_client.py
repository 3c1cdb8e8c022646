"""A client that shows exactly what a server answers to FETCH."""

import re


class Client:
    """Speaks IMAP over two binary streams."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.greeting = reader.readline()

    def command(self, command):
        """The untagged responses to a command, each as its octets with the literals in place."""
        self.writer.write(f"t {command}\r\n".encode())
        self.writer.flush()
        responses = []
        while True:
            response = self.response()
            if response.startswith(b"t "):
                if not response.startswith(b"t OK"):
                    raise ValueError(f"{command}: {response!r}")
                return responses
            responses.append(response)

    def response(self):
        whole = b""
        while True:
            line = self.reader.readline()
            if not line.endswith(b"\r\n"):
                raise EOFError(f"the server ended in the middle: {whole + line!r}")
            whole += line
            literal = re.search(rb"\{(\d+)\}\r\n$", line)
            if not literal:
                return whole[:-2]
            whole += self.reader.read(int(literal[1]))

    def fetch(self, uid, items):
        """What FETCH tells of one message, as a dictionary from the item's name to its value."""
        told = {}
        for response in self.command(f"UID FETCH {uid} ({items})"):
            if re.match(rb"\* \d+ FETCH ", response):
                values = Reader(response, response.index(b"(")).value()
                told.update(zip(values[::2], values[1::2]))
        return told


class Reader:
    """Reads IMAP values: lists, strings as octets, atoms as text, NIL as None."""

    def __init__(self, octets, at):
        self.octets, self.at = octets, at

    def value(self):
        first = self.octets[self.at : self.at + 1]
        if first == b"(":
            return self.list()
        if first == b'"':
            return self.quoted()
        if first in (b"{", b"~"):
            return self.literal()
        return self.atom()

    def list(self):
        self.at += 1
        values = []
        while self.octets[self.at : self.at + 1] != b")":
            if self.octets[self.at : self.at + 1] == b" ":
                self.at += 1
            else:
                values.append(self.value())
        self.at += 1
        return values

    def quoted(self):
        match = re.compile(rb'"((?:[^"\\\r\n\0]|\\["\\])*)"').match(self.octets, self.at)
        if not match:
            raise ValueError(f"not a quoted string: {self.octets[self.at : self.at + 80]!r}")
        self.at = match.end()
        return re.sub(rb"\\(.)", rb"\1", match[1])

    def literal(self):
        match = re.compile(rb"~?\{(\d+)\}\r\n").match(self.octets, self.at)
        self.at = match.end() + int(match[1])
        return self.octets[match.end() : self.at]

    def atom(self):
        match = re.compile(rb"[A-Za-z0-9.\\$_-]+(\[[^\]]*\](<\d+>)?)?").match(self.octets, self.at)
        if not match:
            raise ValueError(f"not an atom: {self.octets[self.at : self.at + 80]!r}")
        self.at = match.end()
        return None if match[0].upper() == b"NIL" else match[0].decode()
