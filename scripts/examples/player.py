#!/usr/bin/env python3
"""A player in Python: one protected call with what tvpassd hands out. Nothing but the standard library.

    player.py SOCKET APP URL [CA_FILE]
"""
import http.client
import json
import socket
import ssl
import sys
import time
import urllib.parse


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("tvpassd", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def exchange(conn, todo, *request):
    try:
        conn.request(*request)
        answer = conn.getresponse()
        return answer, answer.read()
    except (OSError, http.client.HTTPException) as e:
        sys.exit(f"player: {e}: {todo}")
    finally:
        conn.close()


def ask(path, app, method, name, body=None):
    """Asks the daemon, again where it says when."""
    for _ in range(5):
        todo = f"start tvpassd (tvpassd start), or see who may open {path} (ls -l)"
        answer, content = exchange(UnixConnection(path), todo, method, f"/v1/apps/{app}/{name}", body)
        told = json.loads(content)
        pause = told.get("retry_after_ms", 1000)
        if answer.status != 503 or pause > 60_000:
            break
        time.sleep(pause / 1000)
    if answer.status >= 300:
        sys.exit(f"player: tvpassd answered {told['code']}: {told['detail']}: see tvpassd status")
    return told


if not 4 <= len(sys.argv) <= 5:
    sys.exit("usage: player.py SOCKET APP URL [CA_FILE]")
daemon, url, ca = sys.argv[1:3], urllib.parse.urlsplit(sys.argv[3]), (sys.argv[4:] or [None])[0]
tls = ssl.create_default_context(cafile=ca)
pause, reported = 1, False
while True:
    headers = ask(*daemon, "GET", "headers")["headers"]  # each time: it costs nothing, and is sure to be good
    answer, content = exchange(http.client.HTTPSConnection(url.netloc, timeout=60, context=tls),
                               f"check the network and the certificate of {url.netloc} (tvpassd doctor)",
                               "GET", url._replace(scheme="", netloc="").geturl(), None, headers)
    after = answer.headers.get("Retry-After", "")
    wait = max(pause, int(after) if after.isdecimal() else 0)
    if answer.status == 429 and pause <= 4 and wait <= 60:  # the throttle: wait 1, 2 and 4 s, or what it asks for
        time.sleep(wait)
        pause *= 2
    elif answer.status == 401 and not reported:  # the daemon fetches another token, and has the next call wait for it
        reported = True
        token = headers["Authorization"].removeprefix("Bearer ")
        ask(*daemon, "POST", "report", json.dumps({"access_token": token, "status": 401}))
    else:
        break
if answer.status >= 300:
    todo = {401: "have the app checked in the TVE Dashboard", 429: "too many calls from this address, try again in a minute"}
    sys.exit(f"player: {sys.argv[3]} answered {answer.status} {content[:300]}: " +
             todo.get(answer.status, 'see Adobe\'s page "Enhanced error codes"'))
print(content.decode(), end="")
