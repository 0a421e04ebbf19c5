#!/usr/bin/env python3
"""A player in Python: one call of the REST API V2, through tvpassd's gateway.
Nothing but the standard library.

    player.py SOCKET APP PATH [BODY]
"""
import http.client
import json
import socket
import sys


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("tvpassd", timeout=120)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


if not 4 <= len(sys.argv) <= 5:
    sys.exit("usage: player.py SOCKET APP PATH [BODY]")
daemon, app, path, body = (sys.argv[1:] + [None])[:4]
headers = {"Prefer": "wait=60"}
if body:
    headers["Content-Type"] = "application/json" if body[0] == "{" else "application/x-www-form-urlencoded"
# tvpassd adds the token, waits for the throttle, and repeats what may be repeated.
tvpassd = UnixConnection(daemon)
try:
    tvpassd.request("POST" if body else "GET", f"/v1/apps/{app}/api/v2/{path}", body, headers)
    answer = tvpassd.getresponse()
    content = answer.read().decode()
except (OSError, http.client.HTTPException) as e:
    sys.exit(f"player: {e}: start tvpassd (tvpassd start), or see who may open {daemon} (ls -l)")
if answer.status >= 300:
    said = json.loads(content) if "json" in answer.headers.get("Content-Type", "") else {}
    todo = "have the app checked in the TVE Dashboard" if answer.status == 401 else "docs/players.md says what to do"
    sys.exit(f"player: {answer.status} {said.get('code')}: {said.get('detail') or said.get('message')}: {todo}")
print(content, end="")
