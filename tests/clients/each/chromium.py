"""A browser: a page of another origin puts by a presigned URL and posts a form, under CORS.

The page comes from a server of its own on loopback, so every request to the store is one of another
origin: preflights, exposed headers and refusals are Chromium's doing.
"""

from __future__ import annotations

import http.server
import json
import subprocess
import threading
from pathlib import Path
from typing import Any

from tests.clients.boto_task import client_of
from tests.clients.server import ClientFailed, Server, command, md5, payload, same

PAGE = Path(__file__).with_suffix(".html")
WAIT_S = 90.0


def version() -> str:
    return command(["chromium", "--version", "--no-sandbox"]).split()[1]


class PageServer(http.server.ThreadingHTTPServer):
    """Serves the page and what it needs to know; takes what it reports."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Requests)
        self.given: dict[str, Any] = {}
        self.said: dict[str, Any] = {}
        self.reported = threading.Event()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Requests(http.server.BaseHTTPRequestHandler):
    server: PageServer

    def _give(self) -> None:
        is_data = self.path == "/given.json"
        body = json.dumps(self.server.given).encode() if is_data else PAGE.read_bytes()
        self.send_response(200 if is_data or self.path == "/" else 404)
        self.send_header("Content-Type", "application/json" if is_data else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _take(self) -> None:
        self.server.said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        self.server.reported.set()

    do_GET = _give
    do_POST = _take

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: standard output is the client's answer."""


def run(server: Server, work: Path) -> str:
    s3, bucket = client_of(server), server.bucket()
    s3.create_bucket(Bucket=bucket)
    body = payload(300_000).hex()
    pages = PageServer()
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    rule = {
        "AllowedOrigins": [pages.origin],
        "AllowedMethods": ["GET", "PUT", "POST"],
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag"],
    }
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    pages.given = _given(s3, bucket, body)
    _browse(server, pages, work)
    said = pages.said
    same(said.get("error"), None, "the page")
    same(said["put"], {"status": 200, "etag": f'"{md5(body.encode())}"'}, "presigned PUT")
    same(said["get"], body, "presigned GET")
    same(said["form"], {"status": 201, "etag": True}, "POST form")
    same(said["large_form"], 400, "POST form above its policy's length")
    same(said["deleted"], "TypeError", "a method that no rule allows")
    got = s3.get_object(Bucket=bucket, Key="form/été.txt")
    same(
        (got["Body"].read(), got["ContentType"]), (b"of a form", "text/plain"), "the form's object"
    )
    same(got["Metadata"], {"colour": "blue"}, "the form's metadata")
    s3.delete_bucket_cors(Bucket=bucket)
    pages.reported.clear()
    _browse(server, pages, work)
    same(pages.said.get("error", "")[:9], "TypeError", "the browser without CORS rules")
    for key in ("put", "form/été.txt"):
        s3.delete_object(Bucket=bucket, Key=key)
    s3.delete_bucket(Bucket=bucket)
    return (
        "presigned PUT (preflight) and GET, POST form with policy, too large a form, a method no "
        "rule allows, and the same page refused once the CORS rules are gone"
    )


def _given(s3: Any, bucket: str, body: str) -> dict[str, Any]:
    def url(method: str) -> str:
        return str(s3.generate_presigned_url(method, Params={"Bucket": bucket, "Key": "put"}))

    fields = {
        "Content-Type": "text/plain",
        "x-amz-meta-colour": "blue",
        "success_action_status": "201",
    }
    conditions: list[Any] = [{name: value} for name, value in fields.items()]
    form = s3.generate_presigned_post(
        bucket,
        "form/${filename}",
        Fields=fields,
        Conditions=[*conditions, ["content-length-range", 1, 100]],
    )
    return {
        "body": body,
        "put": url("put_object"),
        "get": url("get_object"),
        "delete": url("delete_object"),
        "form": form,
        "filename": "été.txt",
    }


def _browse(server: Server, pages: PageServer, work: Path) -> None:
    words = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    words += ["--disable-dev-shm-usage", "--disable-background-networking", "--disable-sync"]
    words += [f"--user-data-dir={work / 'profile'}", "--remote-debugging-port=0"]
    if server.server_key:
        words += [f"--ignore-certificate-errors-spki-list={server.server_key}"]
    with (work / "chromium.log").open("ab") as log:
        browser = subprocess.Popen([*words, f"{pages.origin}/"], stdout=log, stderr=log)
    try:
        if not pages.reported.wait(WAIT_S):
            text = (work / "chromium.log").read_text(errors="replace")
            raise ClientFailed(f"the page said nothing: {text[-800:]}")
    finally:
        browser.terminate()
        try:
            browser.wait(20)
        except subprocess.TimeoutExpired:
            browser.kill()
            browser.wait()
