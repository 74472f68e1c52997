"""How Python reads messages: a line of hexadecimal digits each, answered by a line of JSON each."""

import json
import sys

for line in sys.stdin:
    try:
        message = json.loads(bytes.fromhex(line).decode("utf-8"))
        params = message.get("params") or {}
        told = {"ok": True, "method": message.get("method")}
        told |= {key: params.get(key) for key in ("name", "uri", "arguments")}
        # A number that no double can hold is no number here.
        print(json.dumps(told, allow_nan=False))
    except Exception:
        print('{"ok":false}')
