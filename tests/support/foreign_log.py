"""A log as a program without our code reads it: by bus/ENVELOPE.md and the raw NATS protocol, nothing else."""
import base64
import functools
import os
import re
import struct

from harness import ROOT


def varint(data, at):
    value, shift = 0, 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 0x7f) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at


def fields(data):
    """{field number: [values]} of one Protobuf message."""
    found, at = {}, 0
    while at < len(data):
        tag, at = varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind == 1:
            value, at = struct.unpack_from("<Q", data, at)[0], at + 8
        else:
            assert kind == 2, f"wire type {kind}"
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
        found.setdefault(tag >> 3, []).append(value)
    return found


def one(message, number, default=0):
    return message.get(number, [default])[0]


COMMITS, CHUNK, HEARTBEAT, TAKEOVER = 1, 2, 4, 5


def document_program():
    """The program printed in bus/ENVELOPE.md."""
    with open(os.path.join(ROOT, "bus", "ENVELOPE.md")) as f:
        blocks = re.findall(r"^```python\n(.*?)^```$", f.read(), re.M | re.S)
    assert len(blocks) == 1
    return blocks[0]


@functools.cache
def document_functions():
    """What that program defines before it begins to read."""
    defined = {}
    exec(document_program().partition("KINDS = ")[0], defined)
    return defined


def entry_files(envelope):
    """(min TXID, max TXID, bytes) of each entry."""
    entries = list(map(fields, envelope.get(2, [])))
    if 5 not in envelope:
        return [(one(entry, 1), one(entry, 2), one(entry, 5, b"")) for entry in entries]
    packed, files, at = fields(envelope[5][0]), [], 0
    rest = document_functions()["unpacked"](one(packed, 2, b""))
    assert len(rest) == one(packed, 1), "the size of packed files"
    for entry in entries:
        assert 5 not in entry, "bytes beside packed ones"
        files.append((one(entry, 1), one(entry, 2), rest[at:at + one(entry, 7)]))
        at += one(entry, 7)
    assert at == len(rest), "packed files are all of what is packed"
    return files


def ltx_files(raw, name):
    """(min TXID, max TXID, bytes) of every LTX file in the stream, oldest first, and the messages counted by
    kind, those with packed files as "packed" too."""
    state = raw.api(f"STREAM.INFO.RUNNEL-{name}")["state"]
    files, kinds, parts = [], {}, []
    for seq in range(state["first_seq"], state["last_seq"] + 1):
        answer = raw.api(f"STREAM.MSG.GET.RUNNEL-{name}", {"seq": seq})
        envelope = fields(base64.b64decode(answer["message"]["data"]))
        header = fields(one(envelope, 1, b""))
        assert one(header, 1) == (2 if 5 in envelope else 1) and one(header, 5).decode() == name, header
        kind = one(header, 2)
        kinds[kind] = kinds.get(kind, 0) + 1
        kinds["packed"] = kinds.get("packed", 0) + (5 in envelope)
        files += entry_files(envelope)
        if kind == CHUNK:
            chunk = fields(one(envelope, 3))
            parts = parts if one(chunk, 2) else []
            assert one(chunk, 2) == len(parts), f"chunk {one(chunk, 2)} after {len(parts)} parts"
            parts.append(one(chunk, 4, b""))
            if one(chunk, 3):
                entry, whole = fields(one(chunk, 1, b"")), b"".join(parts)
                assert len(whole) == one(chunk, 6), "the size of a file in chunks"
                files.append((one(entry, 1), one(entry, 2), whole))
    return files, kinds
