"""One contender for a lock file, as Terraform's S3 backend takes one: a process of its own.

`python -m tests.support.lock_race PORT BUCKET NAME TURNS` reads its credentials, says "ready",
waits for a line, then takes the lock, adds one to a counter that nothing else guards, and gives the
lock back, TURNS times. It says how often it was refused.
"""

from __future__ import annotations

import sys

from tests.support.raw_s3 import Credentials, RawClient

LOCK = "state.tflock"
COUNTER = "counter"


def contend(client: RawClient, bucket: str, name: str, turns: int) -> int:
    """Take the lock `turns` times; how often it was somebody else's. Raises: RuntimeError."""
    refused = 0
    left = turns
    while left:
        taken = client.request(
            "PUT", f"/{bucket}/{LOCK}", body=name.encode(), headers={"if-none-match": "*"}
        )
        if taken.status in (409, 412):
            refused += 1
            continue
        if taken.status != 200:
            raise RuntimeError(f"taking the lock: {taken.status}")
        holder = client.request("GET", f"/{bucket}/{LOCK}").body.decode()
        count = int(client.request("GET", f"/{bucket}/{COUNTER}").body)
        client.request("PUT", f"/{bucket}/{COUNTER}", body=str(count + 1).encode())
        given = client.request(
            "DELETE", f"/{bucket}/{LOCK}", headers={"if-match": taken.headers["etag"]}
        )
        if holder != name or given.status != 204:
            raise RuntimeError(f"held by {holder}, giving it back: {given.status}")
        left -= 1
    return refused


def main() -> None:
    port, bucket, name, turns = sys.argv[1:]
    access_key, secret, region = (sys.stdin.readline().strip() for _ in range(3))
    client = RawClient("127.0.0.1", int(port), Credentials(access_key, secret, region))
    print("ready", flush=True)
    sys.stdin.readline()
    with client:
        print(contend(client, bucket, name, int(turns)), flush=True)


if __name__ == "__main__":
    main()
