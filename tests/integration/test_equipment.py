"""A build's real wiring: where its VM gets to, what its tasks see, and the same bytes again (P9).

One small image is built with nothing locked, by a playbook that tries to get out of its VM; then
again from the lock that came of it, cut off from every network, a year later, in another time zone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import equipped
from support.projects import new_project
from support.supplies import toolchains
from support.toolchains import share_toolchain

from imagectl.adapters.inputs.store import InputStore
from imagectl.adapters.mirrors import host_mirror
from imagectl.adapters.toolchain import Toolchain
from imagectl.errors import Corrupt, ImagectlError
from imagectl.model.lock import Access, Archive, Lock, LockedToolchain
from imagectl.model.names import Sha256

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3000)]

DEFINITION = """\
summary: a small image
base: {debian: {suite: bookworm, packages: [sudo]}}
disk_size: 2G
build: {cpus: 1}
provision: {playbook: playbooks/small.yml, roles: [asks]}
suites: [tests/images/test_small.py]
formats: [qcow2]
locations: {required: [local]}
"""

GONE = "\nmirror: {debian: http://127.0.0.1:9/d, security: http://127.0.0.1:9/s}\n"

# Tries them all at once: each new task, and each wait, takes seconds in an emulated machine.
ATTEMPT = """
import json, sys
from subprocess import PIPE, Popen
tries = json.loads(sys.argv[1])
run = {name: Popen([sys.executable, "-c", tries[name]], stdout=PIPE, stderr=PIPE, text=True)
       for name in tries}
print(json.dumps({name: [*each.communicate(), each.returncode] for name, each in run.items()}))
"""
# Each attempt prints what it got; its status says whether it got anything.
TCP = "import socket; socket.create_connection(({host!r}, {port}), 5); print('connected')"
ICMP = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
s.settimeout(5)
s.sendto(bytes.fromhex("0800f7ff00000000"), ("{host}", 0))
print(s.recvfrom(99))
"""
DNS = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
question = b"\\x12\\x34\\x01\\0\\0\\x01\\0\\0\\0\\0\\0\\0\\x06debian\\x03org\\0\\0\\x01\\0\\x01"
s.sendto(question, ("10.0.2.3", 53))
print(s.recvfrom(999))
"""


WAYS = ("plain", "nobody", "own", "included", "role", "handled", "here")
"""Of running ``env``: as a plain task, as another user, with an environment of its own, ..."""


def attempts(port: int) -> dict[str, str]:
    """Python programs that must all fail. *port* is one that this machine really listens on."""
    found = {
        "this machine, as QEMU names it": TCP.format(host="10.0.2.2", port=port),
        "a public address": TCP.format(host="1.1.1.1", port=80),
        "the proxy's address, another port": TCP.format(host="10.0.2.100", port=port),
        "QEMU's name server by TCP": TCP.format(host="10.0.2.3", port=53),
        "QEMU's name server": DNS,
        "a name": "import socket; print(socket.getaddrinfo('debian.org', 80))",
        "IPv6": TCP.format(host="2606:4700:4700::1111", port=80),
        "IPv6, as QEMU names this machine": TCP.format(host="fec0::2", port=port),
        "a ping": ICMP.format(host="1.1.1.1"),
    }
    if address := own_address():
        found["this machine's own address"] = TCP.format(host=address, port=port)
    return found


def own_address() -> str:
    """This machine's address in its network; empty where it is in none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return ""
        return str(asking.getsockname()[0])


def playbook(port: int) -> str:
    def task(name: str, **keys: Any) -> dict[str, Any]:
        return {"name": name, "ansible.builtin.command": "env", "register": name, **keys}

    seen = ", ".join(f"'{way}': {way}.stdout_lines" for way in WAYS)
    tasks: list[dict[str, Any]] = [
        task("plain", notify=["handled", "Keep what was seen"]),
        task("nobody", become=True, become_user="nobody"),
        task("own", environment={"https_proxy": "http://mine.example:1", "MORE": "x"}),
        {"ansible.builtin.include_tasks": "included.yml"},
        {
            "name": "Fetch a package",
            "ansible.builtin.apt": {"name": "tree", "update_cache": True},
        },
        {
            "name": "Get out",
            "ansible.builtin.command": {
                "argv": ["python3", "-c", ATTEMPT, json.dumps(attempts(port))]
            },
            "register": "tried",
        },
        task("here", delegate_to="localhost"),
        {
            "name": "Keep what was tried",
            "delegate_to": "localhost",
            "ansible.builtin.copy": {
                "dest": "{{ playbook_dir }}/tried.json",
                "content": "{{ tried.stdout | from_json | to_json }}",
                "mode": "0644",
            },
        },
    ]
    keep = {
        "name": "Keep what was seen",
        "delegate_to": "localhost",
        "ansible.builtin.copy": {
            "dest": "{{ playbook_dir }}/seen.json",
            "content": f"{{{{ {{ {seen} }} | to_json }}}}",
            "mode": "0644",
        },
    }
    play = {"hosts": "all", "tasks": tasks, "handlers": [task("handled"), keep]}
    return json.dumps([play])  # which is YAML


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with the small image alone, on a real disk."""
    root = Path(tempfile.mkdtemp(prefix="imagectl-test-", dir="/var/tmp"))
    new_project(root).close()
    share_toolchain(tmp_path_factory, root)
    shutil.rmtree(root / "images")
    image = root / "images" / "small" / "image.yaml"
    image.parent.mkdir(parents=True)
    image.write_text(DEFINITION)
    (root / "tests" / "images" / "test_small.py").write_text("def test_x(host): pass\n")
    (root / "playbooks" / "included.yml").write_text(
        "- {name: included, ansible.builtin.command: env, register: included}\n"
    )
    role = root / "playbooks" / "roles" / "asks" / "tasks"
    role.mkdir(parents=True)
    (role / "main.yml").write_text("- {name: role, ansible.builtin.command: env, register: role}\n")
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def recorded(root: Path) -> Lock:
    """The lock of its first build."""
    with socket.create_server(("", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    listener.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        port = listener.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), 5).close()
        (root / "playbooks" / "small.yml").write_text(playbook(port))
        try:
            return equipped.run(root, Access.RECORD, fresh=False)
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def test_nothing_gets_out_of_the_build_vm(recorded: Lock, root: Path) -> None:
    tried = json.loads((root / "playbooks" / "tried.json").read_text())
    assert tried.keys() >= {"a public address", "IPv6", "a ping"}
    assert {name: out for name, (out, _, status) in tried.items() if status == 0} == {}
    # They failed for want of a network, not of Python.
    assert [name for name, (_, said, _) in tried.items() if "error" not in said.lower()] == []


@pytest.mark.parametrize("how", [way for way in WAYS if way != "here"])
def test_each_task_knows_the_proxy_and_the_epoch(recorded: Lock, root: Path, how: str) -> None:
    seen = json.loads((root / "playbooks" / "seen.json").read_text())[how]
    found = dict(line.partition("=")[::2] for line in seen)
    assert found["http_proxy"] == "http://10.0.2.100:3128"
    assert found["SOURCE_DATE_EPOCH"] == str(recorded.epoch)
    for name in ("PIP_CERT", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO"):
        assert found[name] == "/run/imagectl-build/authority.pem"
    own = how == "own"
    assert found["https_proxy"] == ("http://mine.example:1" if own else found["http_proxy"])
    assert found.get("MORE") == ("x" if own else None)


def test_what_is_delegated_to_this_machine_has_this_machines_proxy(
    recorded: Lock, root: Path
) -> None:
    seen = json.loads((root / "playbooks" / "seen.json").read_text())["here"]
    found = dict(line.partition("=")[::2] for line in seen)
    assert found["http_proxy"].startswith("http://127.0.0.1:")
    assert found["no_proxy"] == ""


def test_nothing_of_the_build_stays_in_the_image(recorded: Lock, root: Path) -> None:
    with tarfile.open(root / equipped.TREE) as tree:
        names = tree.getnames()
        sources = tree.extractfile("./etc/apt/sources.list.d/debian.sources")
        assert sources is not None
        text = sources.read().decode()
    assert "./usr/bin/tree" in names, "the package is there"
    assert [name for name in names if "imagectl-build" in name or name.startswith("./run/")] == []
    assert host_mirror().archive in text
    assert "127.0.0.1" not in text
    assert "10.0.2.100" not in text


def test_the_lock_lists_what_was_read(recorded: Lock) -> None:
    packages = {package.name for package in recorded.inputs.packages}
    assert {"tree", "sudo", "linux-image-cloud-amd64"} <= packages, "base and task"
    assert {"e2fsprogs", "qemu-utils"} <= {
        package.name for package in recorded.toolchain.inputs.packages
    }
    assert any(index.path == "dists/bookworm/InRelease" for index in recorded.inputs.indexes)


@pytest.mark.long
def test_the_same_bytes_a_year_later_with_no_network_at_all(recorded: Lock, root: Path) -> None:
    settings = root / "imagectl.yaml"
    settings.write_text(settings.read_text() + GONE)
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    command = [sys.executable, equipped.__file__, str(root), Access.OFFLINE.value]
    if os.geteuid() == 0:
        command = ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", *command]
    done = subprocess.run(
        command,
        env={
            **os.environ,
            "LD_PRELOAD": str(library),
            "FAKETIME": "+370d",
            "TZ": "Asia/Kathmandu",
            "USER": "somebody",
        },
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == recorded.expected.tree


@pytest.fixture(scope="module")
def made(root: Path, recorded: Lock) -> LockedToolchain:
    return recorded.toolchain


def test_the_toolchain_has_every_tool(root: Path, recorded: Lock) -> None:
    locked = recorded.toolchain
    tools = Toolchain(root / ".imagectl" / "toolchain" / locked.tree, locked)
    for program in (
        *("mke2fs", "debugfs", "mkfs.fat", "mcopy", "mmd", "grub-mkimage", "qemu-img"),
        *("pigz", "zstd", "tar"),
    ):
        assert tools.run(["which", program]).output.strip().endswith(f"bin/{program}")
    version = re.search(r"mke2fs (\d+)\.(\d+)\.(\d+)", tools.run(["mke2fs", "-V"]).tail)
    assert version is not None
    assert tuple(map(int, version.groups())) >= (1, 47, 2), "deterministic since then"


def test_the_toolchain_is_the_same_again_with_the_mirror_gone(
    made: LockedToolchain, root: Path, tmp_path: Path
) -> None:
    """In another folder, from the packages in the input store alone; and again from its tree.

    Of a mirror by https, mmdebstrap would ask for a package more.
    """
    store = InputStore(root / ".imagectl" / "inputs")
    poorer = InputStore(tmp_path / "inputs")
    for each in made.inputs.all:
        poorer.add(store.find(each.sha256))
    mirrors = {each: f"https://mirror.example/{each.value}" for each in Archive}
    again = toolchains(tmp_path / "one", poorer).exactly(made, Access.OFFLINE, mirrors)
    assert again.root == tmp_path / "one" / made.tree
    assert again.run(["qemu-img", "--version"]).output.startswith("qemu-img version")
    assert poorer.verify(made.tree)
    kept = InputStore(tmp_path / "tree-alone")
    kept.add(store.find(made.tree))
    from_tree = toolchains(tmp_path / "two", kept).exactly(made, Access.OFFLINE, mirrors)
    assert from_tree.run(["mke2fs", "-V"]).status == 0


def test_a_toolchain_that_does_not_come_out_the_same_is_refused(
    made: LockedToolchain, root: Path, tmp_path: Path
) -> None:
    other = LockedToolchain(made.suite, Sha256("1" * 64), made.inputs)
    store = InputStore(root / ".imagectl" / "inputs")
    with pytest.raises(Corrupt, match="cannot be made again as it was") as caught:
        toolchains(tmp_path, store).exactly(other, Access.OFFLINE, host_mirror().addresses())
    assert made.tree in caught.value.why


def test_a_toolchain_that_cannot_be_had_says_what_is_missing(
    made: LockedToolchain, tmp_path: Path
) -> None:
    with pytest.raises(ImagectlError, match="not in the input store"):
        toolchains(tmp_path / "t", InputStore(tmp_path / "i")).exactly(
            made, Access.OFFLINE, host_mirror().addresses()
        )
