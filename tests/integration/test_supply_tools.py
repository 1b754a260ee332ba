"""Real programs through the recording proxy: apt, pip and npm, online and then with upstream gone;
and a build that is killed in the middle of a download."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.children import Child, Say
from support.web import Handler, Page, Site, get, site

from imagectl.adapters.durable import PARTIAL
from imagectl.adapters.inputs.authority import Authority
from imagectl.adapters.inputs.store import InputStore
from imagectl.adapters.inputs.supply import Supply, open_supply
from imagectl.adapters.mirrors import host_mirror
from imagectl.model.lock import Access, Archive, Inputs

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC)


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[Site, Path]]:
    """A site with https in the name of localhost, and who vouches for it."""
    folder = tmp_path / "upstream"
    folder.mkdir()
    authority = Authority(folder, int(NOW.timestamp()), NOW)
    trust = folder / "ca.pem"
    trust.write_bytes(authority.pem)
    with site(authority.context("localhost")) as made:
        yield made, trust


def opened(
    folder: Path,
    access: Access = Access.RECORD,
    locked: Inputs | None = None,
    mirrors: Mapping[Archive, str] | None = None,
    web: Site | None = None,
    trust: Path | None = None,
) -> AbstractContextManager[Supply]:
    return open_supply(
        access=access,
        locked=locked or Inputs(),
        mirrors=mirrors or {},
        upstream=lambda: mirrors or {},
        store=InputStore(folder / "inputs"),
        folder=folder / "supply",
        epoch=int(NOW.timestamp()),
        now=lambda: NOW,
        reachable=[("localhost", web.port), ("127.0.0.1", web.port)] if web is not None else [],
        environment={"SSL_CERT_FILE": str(trust)} if trust is not None else os.environ,
    )


def run(command: list[str], supply: Supply, **more: str) -> str:
    """Run a program that knows of the proxy and trusts the build, and nothing of this machine."""
    trust = str(supply.authority)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(supply.authority.parent),
        "http_proxy": supply.proxy,
        "https_proxy": supply.proxy,
        "no_proxy": "",
        "SSL_CERT_FILE": trust,
        **more,
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wheel(name: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        info = f"{name}-1.0.dist-info"
        archive.writestr(f"{name}.py", f"NAME = {name!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return data.getvalue()


def test_pip_installs_by_https_and_again_with_upstream_gone(
    secure: tuple[Site, Path], tmp_path: Path
) -> None:
    web, trust = secure
    data = wheel("greetings")
    link = "https://localhost:%d/files/greetings-1.0-py3-none-any.whl"
    digest = hashlib.sha256(data).hexdigest()
    web.put(
        "/simple/greetings/",
        f'<a href="{link % web.port}#sha256={digest}">greetings-1.0-py3-none-any.whl</a>'.encode(),
        Content_Type="text/html",
    )
    web.put("/files/greetings-1.0-py3-none-any.whl", data, Content_Type="application/zip")
    web.pages["/simple/greetings"] = Page(status=301, headers={"Location": "/simple/greetings/"})

    def install(supply: Supply, target: Path) -> None:
        run(
            [
                *(sys.executable, "-m", "pip", "install", "-q", "--no-cache-dir"),
                *("--target", str(target), "greetings"),
            ],
            supply,
            PIP_INDEX_URL=f"https://localhost:{web.port}/simple",
            PIP_CERT=str(supply.authority),
            PIP_CONFIG_FILE=os.devnull,
            PIP_DISABLE_PIP_VERSION_CHECK="1",
        )
        supply.check()

    with opened(tmp_path, web=web, trust=trust) as supply:
        install(supply, tmp_path / "first")
        locked = supply.taken()
    assert {each.url.rpartition("/")[2] for each in locked.downloads} >= {
        "greetings-1.0-py3-none-any.whl"
    }
    asked = len(web.asked)
    with opened(tmp_path, Access.OFFLINE, locked) as supply:
        install(supply, tmp_path / "second")
        assert supply.taken() == locked
    assert len(web.asked) == asked
    for target in ("first", "second"):
        assert "greetings" in (tmp_path / target / "greetings.py").read_text()


# Debian's npm is hundreds of packages, for this one test: `make setup` does not install it.
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed by make setup")
def test_npm_installs_by_https_and_again_with_upstream_gone(
    secure: tuple[Site, Path], tmp_path: Path
) -> None:
    web, trust = secure
    package = json.dumps({"name": "greetings", "version": "1.0.0"}).encode()
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        member = tarfile.TarInfo("package/package.json")
        member.size = len(package)
        archive.addfile(member, io.BytesIO(package))
    base = f"https://localhost:{web.port}"
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(data.getvalue()).digest()).decode()
    tarball = f"{base}/greetings/-/greetings-1.0.0.tgz"
    version = {
        **json.loads(package),
        "dist": {"tarball": tarball, "integrity": integrity},
    }
    document = {"name": "greetings", "dist-tags": {"latest": "1.0.0"}}
    document["versions"] = {"1.0.0": version}
    web.put("/greetings", json.dumps(document).encode(), Content_Type="application/json")
    web.put("/greetings/-/greetings-1.0.0.tgz", data.getvalue())

    def install(supply: Supply, target: Path) -> None:
        target.mkdir()
        run(
            ["npm", "install", "--prefix", str(target), "greetings"],
            supply,
            npm_config_registry=base,
            npm_config_cafile=str(supply.authority),
            npm_config_cache=str(target / "cache"),
            npm_config_audit="false",
            npm_config_fund="false",
            npm_config_update_notifier="false",
        )
        supply.check()

    with opened(tmp_path, web=web, trust=trust) as supply:
        install(supply, tmp_path / "first")
        locked = supply.taken()
    assert tarball in {each.url for each in locked.downloads}
    with opened(tmp_path, Access.OFFLINE, locked) as supply:
        install(supply, tmp_path / "second")
    assert (tmp_path / "second/node_modules/greetings/package.json").read_bytes() == package


def test_apt_gets_packages_and_again_with_the_mirror_gone(tmp_path: Path) -> None:
    mirrors = host_mirror().addresses()

    def fetch(supply: Supply, target: Path) -> list[str]:
        for folder in ("lists/partial", "cache/archives/partial"):
            (target / folder).mkdir(parents=True)
        (target / "status").touch()
        (target / "sources.list").write_text(f"deb {mirrors[Archive.DEBIAN]} bookworm main\n")
        options = {
            "Dir::State::Lists": target / "lists",
            "Dir::State::status": target / "status",
            "Dir::Cache": target / "cache",
            "Dir::Etc::SourceList": target / "sources.list",
            "Dir::Etc::SourceParts": os.devnull,
            "Acquire::Languages": "none",
            "APT::Sandbox::User": "root",
            "APT::Install-Recommends": "0",
        }
        apt = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]
        run([*apt, "update"], supply)
        run([*apt, "install", "-y", "--download-only", "hello", "g++-12-multilib"], supply)
        supply.check()
        return sorted(path.name for path in (target / "cache/archives").glob("*.deb"))

    with opened(tmp_path, mirrors=mirrors) as supply:
        names = fetch(supply, tmp_path / "first")
        locked = supply.taken()
    assert len(names) > 10
    assert {f"{each.name}_{each.version}_{each.architecture}.deb" for each in locked.packages} == {
        name.replace("%3a", ":") for name in names
    }, "apt names files by the version in the index"
    assert len(locked.indexes) == 2
    assert not locked.downloads
    gone = dict.fromkeys(mirrors, "http://mirror.invalid/debian")
    with open_supply(
        access=Access.OFFLINE,
        locked=locked,
        mirrors=mirrors,
        upstream=lambda: gone,
        store=InputStore(tmp_path / "inputs"),
        folder=tmp_path / "supply",
        epoch=0,
        now=lambda: NOW,
    ) as supply:
        assert fetch(supply, tmp_path / "second") == names
        assert supply.taken() == locked


def test_a_build_that_is_killed_while_downloading_leaves_no_half_file(tmp_path: Path) -> None:
    """P7: nothing half under a final name; and what is left is removed by the next build."""
    half, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        half.set()
        go_on.wait(60)

    def stall(handler: Handler, page: Page) -> None:
        handler.reply(page, cut=2_000_000, before_hanging_up=wait)

    with site() as web:
        url = web.put("/large", b"x" * 4_000_000)
        web.faults["/large"] = [stall]

        def download(say: Say) -> None:
            with opened(tmp_path, web=web) as supply:
                say(str(supply.port))
                get(url, supply.port)

        child = Child(download)
        assert child.hear()
        assert half.wait(60)
        store = InputStore(tmp_path / "inputs")
        while not any(path.stat().st_size > 1_000_000 for path in partial_files(store)):
            pass
        child.kill()
        go_on.set()
        assert list(store.digests()) == []
        assert len(partial_files(store)) == 1
        with opened(tmp_path, web=web) as supply:
            assert get(url, supply.port).body == b"x" * 4_000_000
        assert [size for _, size in store.digests()] == [4_000_000]
        assert partial_files(store) == []


def partial_files(store: InputStore) -> list[Path]:
    folder = store.root / PARTIAL
    return list(folder.iterdir()) if folder.is_dir() else []


def test_two_builds_at_once_share_a_store(tmp_path: Path) -> None:
    with site() as web:
        urls = [web.put(f"/{number}", b"%d" % number * 100_000) for number in range(30)]

        def build(say: Say) -> None:
            with opened(tmp_path, web=web) as supply:
                say("ready")
                for url in urls:
                    get(url, supply.port)
                supply.check()
                say(str(len(supply.taken().downloads)))

        children = [Child(build) for _ in range(3)]
        assert [child.end()[-1] for child in children] == ["30"] * 3
    store = InputStore(tmp_path / "inputs")
    for digest, _ in store.digests():
        store.verify(digest)
    assert len(list(store.digests())) == 30
