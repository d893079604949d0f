"""Stands for an evaluator. The path of a function says how it behaves."""

import json
import struct
import sys
import time


def send(answer):
    body = json.dumps(answer).encode()
    sys.stdout.buffer.write(struct.pack(">I", len(body)) + body)
    sys.stdout.buffer.flush()


def call(path):
    if path == "hangs":
        time.sleep(3600)
    if path == "fails":
        return {"failed": "master.cfg:1: it does not work"}
    if path == "thinks":
        time.sleep(0.7)
    return {"returned": {"kind": "literal", "value": True}}


while True:
    length = sys.stdin.buffer.read(4)
    if len(length) < 4:
        break
    request = json.loads(sys.stdin.buffer.read(struct.unpack(">I", length)[0]))
    kind, body = next(iter(request.items()))
    if kind == "limits":
        send("ready")
    elif kind == "load":
        farm = next(iter(body["bundle"]["files"]["master.cfg"].values()))
        send({"loaded": {"farm": json.loads(farm), "diagnostics": []}})
    else:
        send(call(body["path"]))
