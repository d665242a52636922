"""Django's file storage over django-storages: what a web application does with uploads."""

from __future__ import annotations

import urllib.request
from importlib.metadata import version as installed
from pathlib import Path

import boto3
import django
from django.conf import settings
from django.core.files.base import ContentFile

from tests.clients.server import MIB, Server, check, payload, same


def version() -> str:
    return f"django-storages {installed('django-storages')}, Django {django.__version__}"


def run(server: Server, work: Path) -> str:
    bucket = server.bucket()
    boto3.client("s3", endpoint_url=server.url).create_bucket(Bucket=bucket)
    options = {
        "bucket_name": bucket,
        "endpoint_url": server.url,
        "region_name": server.region,
        "addressing_style": "virtual" if server.is_virtual else "path",
        "signature_version": "s3v4",
        "file_overwrite": False,
        "location": "media",
        "object_parameters": {"CacheControl": "max-age=60"},
    }
    backend = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}
    static = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.configure(STORAGES={"default": backend, "staticfiles": static}, USE_TZ=True)
    django.setup()
    from django.core.files.storage import default_storage as storage

    body = payload(9 * MIB)
    name = storage.save("photos/été 1.bin", ContentFile(body))
    again = storage.save("photos/été 1.bin", ContentFile(b"other"))
    check(again != name, "a taken name gets another")
    with storage.open(name) as stream:
        same(stream.read(), body, "body")
    same((storage.exists(name), storage.size(name)), (True, len(body)), "exists and size")
    check(storage.get_modified_time(name).tzinfo is not None, "modified time")
    same(
        sorted(storage.listdir("photos")[1]), sorted(Path(n).name for n in (name, again)), "listdir"
    )
    with urllib.request.urlopen(storage.url(again)) as answer:
        same((answer.read(), answer.headers["Cache-Control"]), (b"other", "max-age=60"), "its URL")
    with storage.open("notes.txt", "w") as out:
        out.write("à demain")
    same(storage.open("notes.txt").read(), "à demain".encode(), "written as text")
    for path in (name, again, "notes.txt"):
        storage.delete(path)
    same(storage.exists(name), False, "deleted")
    return "save, no overwriting, open, size, times, listdir, presigned URL, text write, delete"
