"""`python -m tests.clients.one CLIENT WORK < server.json`: run one client file, in its environment.

Prints one line of JSON: what was done, and the client's version. Errors end it with a traceback.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from tests.clients.server import Server


def main() -> None:
    name, work = sys.argv[1], Path(sys.argv[2])
    server = Server.from_json(sys.stdin.read())
    client = importlib.import_module(f"tests.clients.each.{name}")
    done = client.run(server, work)
    print(json.dumps({"done": done, "version": client.version()}))


if __name__ == "__main__":
    main()
