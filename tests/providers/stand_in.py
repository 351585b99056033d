"""A stand-in for a service or the `keyledger` command: what `make cluster` needs of them, and no more.

`python stand_in.py serve <name>` answers every GET with what it was given; `serve broken` says why and ends.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "KEYLEDGER_DATABASE_URL"  # noqa: S105 - a variable's name


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        given = {name: value for name, value in os.environ.items() if name.startswith("KEYLEDGER_") and name != SECRET}
        body = json.dumps({"given": given, "headers": {k.lower(): v for k, v in self.headers.items()}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(verb: str, name: str) -> int:
    if name == "broken":
        sys.stdout.write("the stand-in was told to break\n")
        return 3
    if verb == "serve":
        ThreadingHTTPServer(("127.0.0.1", int(os.environ["KEYLEDGER_PORT"])), Echo).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
