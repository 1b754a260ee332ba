"""Cloud Storage: buckets and objects, with generations, preconditions and resumable uploads.

Bytes are kept in files of a folder, since real disks come here. Nothing is versioned: an object
that is written again or deleted is gone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import google_crc32c

from peers.google.calls import (
    Call,
    Cut,
    OtherBytes,
    Stale,
    Trouble,
    from_token,
    invalid,
    not_modelled,
    to_token,
)
from peers.google.discovery import Json

_QUANTUM = 256 * 1024
"""Chunks of a resumable upload, but the last, are multiples of this."""

SETTABLE = frozenset(
    {"cacheControl", "contentDisposition", "contentEncoding", "contentLanguage", "contentType"}
    | {"customTime", "metadata", "storageClass"}
)


class Broken(Exception):
    """The client's connection is to be ended without an answer."""


@dataclass(frozen=True)
class Bytes:
    """An answer that is an object's bytes: those of the file from ``start`` up to ``end``."""

    file: Path
    start: int
    end: int
    size: int
    headers: Mapping[str, str]
    cut: float | None = None


@dataclass(frozen=True)
class Plain:
    """An answer that is neither JSON nor an object."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Stored:
    """A live object. ``facts`` is what its resource says, but for links and counts."""

    facts: Json
    file: Path
    generation: int
    metageneration: int = 1


@dataclass
class Upload:
    """A resumable upload that has begun."""

    bucket: str
    name: str
    facts: Json
    query: Mapping[str, str]
    file: Path
    total: int | None
    done: Json | None = None


@dataclass
class Storage:
    """All buckets. ``now`` is the peer's clock."""

    folder: Path
    now: Callable[[], datetime]
    buckets: dict[str, Json] = field(default_factory=dict)
    objects: dict[tuple[str, str], Stored] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    uploaded: int = 0
    """How many bytes of objects have been received in all."""
    _before: dict[tuple[str, str], Stored | None] = field(default_factory=dict)
    _generation: int = 1_700_000_000_000_000
    _lock: threading.RLock = field(default_factory=threading.RLock)

    # What tests do behind the clients' backs.

    def add_bucket(self, name: str, location: str = "EU") -> None:
        at = _time(self.now())
        self.buckets[name] = {
            "kind": "storage#bucket",
            "id": name,
            "name": name,
            "projectNumber": "1",
            "metageneration": "1",
            "location": location,
            "locationType": "multi-region",
            "storageClass": "STANDARD",
            "timeCreated": at,
            "updated": at,
            "etag": "CAE=",
        }

    def remove_bucket(self, name: str) -> None:
        """It and all that is in it is gone."""
        del self.buckets[name]
        for key in [key for key in self.objects if key[0] == name]:
            del self.objects[key]

    def put(self, bucket: str, name: str, data: bytes, metadata: Json | None = None) -> None:
        """Somebody stores an object."""
        file = self._file()
        file.write_bytes(data)
        self._store(bucket, name, {"metadata": metadata} if metadata else {}, file)

    def get(self, bucket: str, name: str) -> bytes | None:
        """Its bytes; None where there is no such object."""
        stored = self.objects.get((bucket, name))
        return None if stored is None else stored.file.read_bytes()

    def names(self, bucket: str) -> list[str]:
        return sorted(name for each, name in self.objects if each == bucket)

    def state(self, bucket: str, name: str) -> Json:
        """All that could be changed of it."""
        stored = self.objects[bucket, name]
        return {
            **stored.facts,
            "generation": stored.generation,
            "metageneration": stored.metageneration,
            "sha256": hashlib.sha256(stored.file.read_bytes()).hexdigest(),
        }

    # What clients do.

    def handlers(self) -> Mapping[str, Callable[[Call], Any]]:
        """By the id of the call. Bytes are received side by side, all else is done in turn."""

        def in_turn(do: Callable[[Call], Any]) -> Callable[[Call], Any]:
            def locked(call: Call) -> Any:
                with self._lock:
                    return do(call)

            return locked

        receiving = {
            "storage.objects.insert": self._insert,
            "storage.objects.insert/bytes": self._bytes,
            "storage.objects.insert/status": self._bytes,
        }
        others = {
            "storage.buckets.get": self._bucket_get,
            "storage.buckets.insert": self._bucket_insert,
            "storage.buckets.list": self._bucket_list,
            "storage.buckets.delete": self._bucket_delete,
            "storage.objects.get": self._get,
            "storage.objects.list": self._list,
            "storage.objects.delete": self._delete,
            "storage.objects.patch": self._patch,
            "storage.objects.update": self._patch,
            "storage.objects.copy": self._copy,
            "storage.objects.rewrite": self._rewrite,
            "storage.objects.compose": self._compose,
            "storage.objects.insert/start": self._start,
            "storage.objects.insert/cancel": self._cancel,
        }
        return receiving | {id: in_turn(do) for id, do in others.items()}

    def _bucket_get(self, call: Call) -> Json:
        return self._bucket(call, call.path["bucket"])

    def _bucket(self, call: Call, name: str) -> Json:
        if name not in self.buckets:
            raise Trouble(404, "notFound", "The specified bucket does not exist.")
        return {**self.buckets[name], "selfLink": f"{call.base}/storage/v1/b/{name}"}

    def _bucket_insert(self, call: Call) -> Json:
        name = call.body.get("name", "")
        if not re.fullmatch(r"[a-z0-9][-_.a-z0-9]{1,61}[a-z0-9]", name):
            raise invalid(f"Invalid bucket name: '{name}'")
        if name in self.buckets:
            raise Trouble(
                409,
                "conflict",
                "Your previous request to create the named bucket succeeded.",
            )
        self.add_bucket(name, call.body.get("location", "US"))
        return self._bucket(call, name)

    def _bucket_list(self, call: Call) -> Json:
        names, token = _page(call, sorted(self.buckets), 1000)
        items = [self._bucket(call, name) for name in names]
        return _listing("storage#buckets", items, token)

    def _bucket_delete(self, call: Call) -> None:
        name = call.path["bucket"]
        self._bucket(call, name)
        if self.names(name):
            raise Trouble(409, "conflict", "The bucket you tried to delete is not empty.")
        del self.buckets[name]

    def _get(self, call: Call) -> Json | Bytes:
        bucket, name = call.path["bucket"], call.path["object"]
        stored = self._read(call, bucket, name)
        _preconditions(call.query, stored, reading=True)
        if call.query.get("alt") != "media":
            return self._resource(call, bucket, name, stored)
        size = int(stored.facts["size"])
        start, end = _range(call.headers.get("Range"), size)
        cut = call.effect(Cut)
        return Bytes(
            stored.file,
            start,
            end,
            size,
            {
                "Content-Type": stored.facts.get("contentType", "application/octet-stream"),
                "X-Goog-Generation": str(stored.generation),
                "X-Goog-Metageneration": str(stored.metageneration),
                "X-Goog-Storage-Class": "STANDARD",
                "X-Goog-Stored-Content-Length": str(size),
                "X-Goog-Hash": ",".join(
                    f"{form}={stored.facts[key]}"
                    for form, key in (("crc32c", "crc32c"), ("md5", "md5Hash"))
                    if key in stored.facts
                ),
            },
            cut=cut.share if isinstance(cut, Cut) else None,
        )

    def _list(self, call: Call) -> Json:
        bucket = call.path["bucket"]
        self._bucket(call, bucket)
        for each in ("versions", "softDeleted", "matchGlob", "filter", "includeTrailingDelimiter"):
            if call.query.get(each, "false").lower() != "false":
                raise not_modelled(f"{each} of storage.objects.list")
        prefix, delimiter = call.query.get("prefix", ""), call.query.get("delimiter")
        first, last = call.query.get("startOffset", ""), call.query.get("endOffset")
        entries: dict[str, bool] = {}
        for name in self.names(bucket):
            if not name.startswith(prefix) or name < first or (last and name >= last):
                continue
            rest = name[len(prefix) :]
            if delimiter and delimiter in rest:
                entries[prefix + rest.split(delimiter, 1)[0] + delimiter] = False
            else:
                entries[name] = True
        page, token = _page(call, sorted(entries), 1000)
        items = [
            self._resource(call, bucket, name, self._read(call, bucket, name))
            for name in page
            if entries[name]
        ]
        answer = _listing("storage#objects", items, token)
        if prefixes := [name for name in page if not entries[name]]:
            answer["prefixes"] = prefixes
        return answer

    def _delete(self, call: Call) -> None:
        bucket, name = call.path["bucket"], call.path["object"]
        stored = self._live(call, bucket, name)
        _preconditions(call.query, stored)
        self._before[bucket, name] = self.objects.pop((bucket, name))

    def _patch(self, call: Call) -> Json:
        bucket, name = call.path["bucket"], call.path["object"]
        stored = self._live(call, bucket, name)
        _preconditions(call.query, stored)
        facts = dict(stored.facts)
        if call.id.endswith("update"):
            facts = {key: each for key, each in facts.items() if key not in SETTABLE}
        for key, each in call.body.items():
            if key not in SETTABLE:
                continue  # what only the server sets is ignored
            if key == "metadata" and each is not None:
                each = {**facts.get("metadata", {}), **each}
                each = {word: text for word, text in each.items() if text is not None}
            if each is None:
                facts.pop(key, None)
            else:
                facts[key] = each
        facts["updated"] = _time(self.now())
        self._before[bucket, name] = stored
        changed = Stored(facts, stored.file, stored.generation, stored.metageneration + 1)
        self.objects[bucket, name] = changed
        return self._resource(call, bucket, name, changed)

    def _copy(self, call: Call) -> Json:
        source = self._live(call, call.path["sourceBucket"], call.path["sourceObject"])
        bucket, name = call.path["destinationBucket"], call.path["destinationObject"]
        self._bucket(call, bucket)
        _preconditions(call.query, self.objects.get((bucket, name)))
        file = self._file()
        shutil.copyfile(source.file, file)
        facts = {key: each for key, each in source.facts.items() if key in SETTABLE}
        facts |= {key: each for key, each in call.body.items() if key in SETTABLE}
        return self._resource(call, bucket, name, self._store(bucket, name, facts, file))

    def _rewrite(self, call: Call) -> Json:
        made = self._copy(call)
        size = made["size"]
        return {
            "kind": "storage#rewriteResponse",
            "done": True,
            "objectSize": size,
            "totalBytesRewritten": size,
            "resource": made,
        }

    def _compose(self, call: Call) -> Json:
        bucket, name = call.path["destinationBucket"], call.path["destinationObject"]
        parts = call.body.get("sourceObjects", [])
        if not 1 <= len(parts) <= 32:
            raise invalid("The number of source components must be between 1 and 32.")
        sources = [self._live(call, bucket, part["name"]) for part in parts]
        _preconditions(call.query, self.objects.get((bucket, name)))
        file = self._file()
        with file.open("wb") as out:
            for source in sources:
                with source.file.open("rb") as part:
                    shutil.copyfileobj(part, out)
        facts = {
            key: each for key, each in call.body.get("destination", {}).items() if key in SETTABLE
        }
        stored = self._store(bucket, name, facts, file)
        del stored.facts["md5Hash"]  # composite objects have none
        stored.facts["componentCount"] = len(parts)
        return self._resource(call, bucket, name, stored)

    # Uploads.

    def _insert(self, call: Call) -> Json:
        """In one request: ``media``, or ``multipart`` with the resource before the bytes."""
        bucket = call.path["bucket"]
        self._bucket(call, bucket)
        file, facts = self._file(), Json()
        if call.query.get("uploadType") == "multipart":
            facts, content = _parts(call.headers["Content-Type"], call.stream.read())
        else:
            facts = {"contentType": call.headers.get("Content-Type", "application/octet-stream")}
            content = call.stream.read()
        if isinstance(call.effect(Cut), Cut):
            raise Broken
        name = call.query.get("name") or facts.get("name", "")
        file.write_bytes(content)
        self.uploaded += len(content)
        return self._finish(call, bucket, name, facts, call.query, file)

    def _start(self, call: Call) -> Plain:
        bucket = call.path["bucket"]
        self._bucket(call, bucket)
        name = call.query.get("name") or call.body.get("name", "")
        _named(name)
        _preconditions(call.query, self.objects.get((bucket, name)))
        facts = dict(call.body)
        if kind := call.headers.get("X-Upload-Content-Type"):
            facts.setdefault("contentType", kind)
        length = call.headers.get("X-Upload-Content-Length")
        file = self._file()
        file.touch()
        id = secrets.token_urlsafe(24)
        self.uploads[id] = Upload(
            bucket, name, facts, call.query, file, int(length) if length else None
        )
        where = (
            f"{call.base}/upload/storage/v1/b/{quote(bucket)}/o"
            f"?uploadType=resumable&name={quote(name, safe='')}&upload_id={id}"
        )
        return Plain(200, {"Location": where, "X-GUploader-UploadID": id})

    def _bytes(self, call: Call) -> Json | Plain:
        upload = self._upload(call)
        if upload.done is not None:
            return upload.done
        found = re.fullmatch(
            r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", call.headers.get("Content-Range", "bytes 0-0/*")
        )
        length = call.headers.get("Content-Length")
        have = upload.file.stat().st_size
        total: int | None
        if not call.headers.get("Content-Range"):
            start, total = 0, int(length or 0)  # all of it in one request
        elif found is None:
            raise invalid("Failed to parse Content-Range header.")
        elif found[1] is None:
            if found[3] != "*":
                upload.total = int(found[3])
            if upload.total is not None and upload.total == have:
                return self._complete(call, upload)
            return _incomplete(have)
        else:
            start = int(found[1])
            total = None if found[3] == "*" else int(found[3])
            if int(found[2]) - start + 1 != int(length or -1) and length is not None:
                raise invalid("Content-Range and Content-Length do not agree.")
        if total is not None and upload.total not in (None, total):
            raise invalid("The total size is not the one that was said before.")
        if total is not None:
            upload.total = total
        if start > have:
            raise Trouble(
                503, "backendError", f"Invalid request. There are {have} bytes, not {start}."
            )
        self._receive(call, upload, start)
        have = upload.file.stat().st_size
        if upload.total is not None and have >= upload.total:
            return self._complete(call, upload)
        if have % _QUANTUM:
            raise invalid("The size of a chunk must be a multiple of 256 KiB.")
        return _incomplete(have)

    def _receive(self, call: Call, upload: Upload, start: int) -> None:
        """Write what is sent. Where the connection ends early, whole quanta are kept."""
        cut = call.effect(Cut)
        limit = None
        if isinstance(cut, Cut) and upload.total is not None:
            limit = int(upload.total * cut.share)
        broken = False
        with upload.file.open("r+b") as out:
            skip = upload.file.stat().st_size - start  # sent once more: what is here stays
            at = start
            for data in _pieces(call.stream):
                new = data[max(0, skip) :]
                skip -= len(data)
                at += len(data)
                if limit is not None and at > limit:
                    new = new[: max(0, len(new) - (at - limit))]
                    broken = True
                out.seek(0, 2)
                out.write(new)
                self.uploaded += len(new)
                if broken:
                    break
            expected = call.headers.get("Content-Length")
            if not broken and expected is not None and at - start < int(expected):
                broken = True  # the client went away
            if broken:
                out.seek(0, 2)
                out.truncate(out.tell() // _QUANTUM * _QUANTUM)
        if broken:
            raise Broken

    def _complete(self, call: Call, upload: Upload) -> Json:
        upload.done = self._finish(
            call, upload.bucket, upload.name, upload.facts, upload.query, upload.file
        )
        return upload.done

    def _finish(
        self,
        call: Call,
        bucket: str,
        name: str,
        facts: Json,
        query: Mapping[str, str],
        file: Path,
    ) -> Json:
        _named(name)
        self._bucket(call, bucket)
        crc32c, md5 = _checksums(file)
        said = dict(
            each.strip().split("=", 1)
            for header in call.headers.get_all("X-Goog-Hash") or []
            for each in header.split(",")
        )
        said.setdefault("crc32c", facts.get("crc32c", crc32c))
        said.setdefault("md5", facts.get("md5Hash", md5))
        for kind, value, right in (("CRC32C", said["crc32c"], crc32c), ("MD5", said["md5"], md5)):
            if value != right:
                raise invalid(
                    f'Provided {kind} hash "{value}" doesn\'t match calculated {kind} hash '
                    f'"{right}".'
                )
        if call.effect(OtherBytes):
            with file.open("r+b") as out:
                first = out.read(1) or b"\0"
                out.seek(0)
                out.write(bytes([first[0] ^ 1]))
        kept = {key: each for key, each in facts.items() if key in SETTABLE}
        with self._lock:
            _preconditions(query, self.objects.get((bucket, name)))
            return self._resource(call, bucket, name, self._store(bucket, name, kept, file))

    def _cancel(self, call: Call) -> Plain:
        self._upload(call)
        del self.uploads[call.query["upload_id"]]
        return Plain(499)

    def end_sessions(self) -> None:
        """Every resumable upload that has begun is forgotten, as after a week."""
        self.uploads.clear()

    def _upload(self, call: Call) -> Upload:
        upload = self.uploads.get(call.query.get("upload_id", ""))
        if upload is None:
            raise Trouble(410, "gone", "The upload session is no longer there.")
        return upload

    # What both do.

    def _file(self) -> Path:
        return self.folder / secrets.token_hex(8)

    def _store(self, bucket: str, name: str, facts: Json, file: Path) -> Stored:
        crc32c, md5 = _checksums(file)
        at = _time(self.now())
        self._generation += 1
        stored = Stored(
            {
                **facts,
                "size": str(file.stat().st_size),
                "crc32c": crc32c,
                "md5Hash": md5,
                "timeCreated": at,
                "updated": at,
                "timeStorageClassUpdated": at,
            },
            file,
            self._generation,
        )
        self._before[bucket, name] = self.objects.get((bucket, name))
        self.objects[bucket, name] = stored
        return stored

    def _live(self, call: Call, bucket: str, name: str) -> Stored:
        self._bucket(call, bucket)
        stored = self.objects.get((bucket, name))
        generation = call.query.get("generation")
        if stored is None or generation not in (None, str(stored.generation)):
            raise Trouble(404, "notFound", f"No such object: {bucket}/{name}")
        return stored

    def _read(self, call: Call, bucket: str, name: str) -> Stored:
        if call.effect(Stale) and (bucket, name) in self._before:
            before = self._before[bucket, name]
            if before is None:
                raise Trouble(404, "notFound", f"No such object: {bucket}/{name}")
            return before
        return self._live(call, bucket, name)

    def _resource(self, call: Call, bucket: str, name: str, stored: Stored) -> Json:
        path = f"storage/v1/b/{quote(bucket)}/o/{quote(name, safe='')}"
        etag = base64.b64encode(f"{stored.generation}/{stored.metageneration}".encode()).decode()
        return {
            "kind": "storage#object",
            "storageClass": "STANDARD",
            **stored.facts,
            "id": f"{bucket}/{name}/{stored.generation}",
            "name": name,
            "bucket": bucket,
            "generation": str(stored.generation),
            "metageneration": str(stored.metageneration),
            "etag": etag,
            "selfLink": f"{call.base}/{path}",
            "mediaLink": f"{call.base}/download/{path}?generation={stored.generation}&alt=media",
        }


def _named(name: str) -> None:
    if not name or len(name.encode()) > 1024 or "\r" in name or "\n" in name:
        raise Trouble(400, "required" if not name else "invalid", f"Invalid object name: {name!r}")


def _preconditions(
    query: Mapping[str, str], stored: Stored | None, *, reading: bool = False
) -> None:
    generation = stored.generation if stored else 0
    metageneration = stored.metageneration if stored else 0
    for word, value, same in (
        ("ifGenerationMatch", generation, True),
        ("ifGenerationNotMatch", generation, False),
        ("ifMetagenerationMatch", metageneration, True),
        ("ifMetagenerationNotMatch", metageneration, False),
    ):
        if word in query and (int(query[word]) == value) is not same:
            if reading and not same:
                raise Trouble(304, "notModified", "Not modified")
            raise Trouble(
                412,
                "conditionNotMet",
                "At least one of the pre-conditions you specified did not hold.",
            )


def _page(call: Call, names: list[str], most: int) -> tuple[list[str], str | None]:
    """One page of sorted names, and the token of the next one."""
    count = min(int(call.query.get("maxResults", most)), most)
    if count < 1:
        raise invalid("Invalid value for maxResults")
    if token := call.query.get("pageToken"):
        last = from_token(token)
        names = [name for name in names if name > last]
    page = names[:count]
    more = len(names) > len(page)
    return page, to_token(page[-1]) if more else None


def _listing(kind: str, items: list[Json], token: str | None) -> Json:
    answer: Json = {"kind": kind}
    if items:
        answer["items"] = items
    if token:
        answer["nextPageToken"] = token
    return answer


def _range(header: str | None, size: int) -> tuple[int, int]:
    """The first byte, and the one after the last."""
    if header is None:
        return 0, size
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
    if found is None or not (found[1] or found[2]):
        return 0, size
    if not found[1]:
        return max(0, size - int(found[2])), size
    start = int(found[1])
    if start >= size:
        raise Trouble(416, "requestedRangeNotSatisfiable", "Request range not satisfiable")
    return start, min(size, int(found[2]) + 1) if found[2] else size


def _incomplete(have: int) -> Plain:
    return Plain(308, {"Range": f"bytes=0-{have - 1}"} if have else {})


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    while data := stream.read(65536):
        yield data


def _parts(kind: str, body: bytes) -> tuple[Json, bytes]:
    """The resource and the bytes of a ``multipart/related`` body."""
    found = re.search(r'boundary="?([^";]+)"?', kind)
    if found is None:
        raise invalid("Malformed multipart body.")
    # Not left to the email package: it would change line ends of binary data.
    pieces = body.split(b"--" + found[1].encode())
    if len(pieces) != 4:
        raise invalid("Multipart body must have exactly two parts.")
    contents = []
    for piece in pieces[1:3]:
        end = re.search(rb"\r?\n\r?\n", piece.lstrip(b"\r\n"))
        content = piece.lstrip(b"\r\n")[end.end() :] if end else b""
        contents.append(content.removesuffix(b"\n").removesuffix(b"\r"))
    return json.loads(contents[0]), contents[1]


def _checksums(file: Path) -> tuple[str, str]:
    """CRC32C and MD5, in base64."""
    crc32c: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]  # it has no types
    md5 = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as data:
        while piece := data.read(1 << 20):
            crc32c.update(piece)
            md5.update(piece)
    return base64.b64encode(crc32c.digest()).decode(), base64.b64encode(md5.digest()).decode()


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
