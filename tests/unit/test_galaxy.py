"""Roles and collections of ``playbooks/requirements.yml``, from a server on this machine."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.supplies import session
from support.web import Site, site

from imagectl.adapters import ansible, galaxy, process
from imagectl.adapters.checks import check_playbook
from imagectl.errors import BadInput, BuildFailed
from imagectl.model.image import DebianBase, Image, Provision
from imagectl.model.names import Architecture, ImageName
from imagectl.testing.build import RecordingProgress


def tar(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for folder in sorted({str(each) for name in files for each in Path(name).parents} - {"."}):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def collection() -> bytes:
    """``acme.tools`` 1.0.0 with a module, as ``ansible-galaxy collection build`` packs it."""
    module = b"#!/usr/bin/python\nfrom ansible.module_utils.basic import AnsibleModule\n"
    module += b"AnsibleModule({}).exit_json(changed=False)\n"
    files = {
        "files": [
            {"name": ".", "ftype": "dir", "chksum_type": None, "chksum_sha256": None, "format": 1},
            *(
                {"name": n, "ftype": "dir", "chksum_type": None, "chksum_sha256": None, "format": 1}
                for n in ("plugins", "plugins/modules")
            ),
            {
                "name": "plugins/modules/nothing.py",
                "ftype": "file",
                "chksum_type": "sha256",
                "chksum_sha256": hashlib.sha256(module).hexdigest(),
                "format": 1,
            },
        ],
        "format": 1,
    }
    listing = json.dumps(files).encode()
    manifest = {
        "collection_info": {
            "namespace": "acme",
            "name": "tools",
            "version": "1.0.0",
            "authors": ["a"],
            "readme": "README.md",
            "tags": [],
            "description": "d",
            "license": ["MIT"],
            "license_file": None,
            "dependencies": {},
            "repository": "http://mirror.example",
            "documentation": None,
            "homepage": None,
            "issues": None,
        },
        "file_manifest_file": {
            "name": "FILES.json",
            "ftype": "file",
            "chksum_type": "sha256",
            "chksum_sha256": hashlib.sha256(listing).hexdigest(),
            "format": 1,
        },
        "format": 1,
    }
    return tar(
        {
            "MANIFEST.json": json.dumps(manifest).encode(),
            "FILES.json": listing,
            "plugins/modules/nothing.py": module,
        }
    )


def role() -> bytes:
    return tar(
        {
            "greeter/meta/main.yml": b"galaxy_info: {author: a, description: d, license: MIT, "
            b"min_ansible_version: '2.9'}\ndependencies: []\n",
            "greeter/tasks/main.yml": b"- ansible.builtin.debug: {msg: hello}\n",
        }
    )


@pytest.fixture
def server() -> Iterator[Site]:
    with site() as made:
        made.put("/tools.tar.gz", collection())
        made.put("/greeter.tar.gz", role())
        yield made


def project(folder: Path, requirements: str) -> Path:
    (folder / "playbooks").mkdir(parents=True)
    (folder / galaxy.REQUIREMENTS).write_text(requirements)
    (folder / "playbooks" / "main.yml").write_text(
        "- hosts: all\n  gather_facts: false\n  roles: [greeter]\n  tasks: [{acme.tools.nothing: }]"
    )
    return folder


def both(server: Site) -> str:
    return (
        f"collections:\n  - name: {server.url()}/tools.tar.gz\n    type: url\n"
        f"roles:\n  - {{src: '{server.url()}/greeter.tar.gz', name: greeter}}\n"
    )


def test_roles_and_collections_are_installed_through_the_proxy_and_found(
    server: Site, tmp_path: Path
) -> None:
    root = project(tmp_path / "project", both(server))
    work = tmp_path / "work"
    work.mkdir()
    with session(root, tmp_path, reachable=[server.address]) as ours:
        installed = galaxy.install(ours, work, RecordingProgress())
        downloads = {each.url: each.sha256 for each in ours.supply.taken().downloads}
    assert installed is not None
    assert downloads == {
        server.url(path): hashlib.sha256(page.body).hexdigest()
        for path, page in server.pages.items()
    }
    playbook = work / "all.yml"
    playbook.write_text(f"- import_playbook: {root / 'playbooks/main.yml'}\n")
    said = process.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"),
            "-i",
            "localhost,",
            "-c",
            "local",
            str(playbook),
        ],
        env=ansible.environment(root, work, work, installed),
    ).output
    assert "hello" in said
    assert "failed=0" in said


def test_what_is_not_to_be_had_ends_the_build(server: Site, tmp_path: Path) -> None:
    root = project(tmp_path / "project", f"roles: [{{src: '{server.url()}/no.tar.gz', name: no}}]")
    work = tmp_path / "work"
    work.mkdir()
    with (
        session(root, tmp_path, reachable=[server.address]) as ours,
        pytest.raises(BuildFailed, match=r"installing the roles of playbooks/requirements\.yml"),
    ):
        galaxy.install(ours, work, RecordingProgress())


def test_a_project_that_asks_for_nothing_gets_nothing(tmp_path: Path) -> None:
    (tmp_path / "playbooks").mkdir()
    with session(tmp_path, tmp_path) as ours:
        assert galaxy.install(ours, tmp_path, RecordingProgress()) is None


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("", ()),
        ("[]", ()),
        ("- src: x\n", ("role",)),
        ("roles: [x]\n", ("role",)),
        ("collections: [a.b]\nroles: []\n", ("collection",)),
        ("collections: [a.b]\nroles: [x]\n", ("collection", "role")),
    ],
)
def test_what_a_file_asks_for(text: str, kinds: tuple[str, ...], tmp_path: Path) -> None:
    root = project(tmp_path, text)
    assert galaxy.kinds_of(root / galaxy.REQUIREMENTS) == kinds


@pytest.mark.parametrize("text", ["a: [", "just text", "7", "\x00", "[" * 5000])
def test_a_file_that_is_wrong_is_told(text: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"playbooks/requirements\.yml"):
        galaxy.check(project(tmp_path, text))


def test_what_a_build_would_install_does_not_fail_the_check(tmp_path: Path) -> None:
    root = project(tmp_path / "project", "roles: [greeter]\n")
    image = Image(
        ImageName("x"),
        "x",
        DebianBase("bookworm"),
        Architecture.AMD64,
        1,
        Provision(roles=("greeter",)),
        (),
        (),
        (),
    )
    work = tmp_path / "work"
    work.mkdir()
    progress = RecordingProgress()
    check_playbook(image, root, work, "image.yaml", progress)
    (note,) = progress.notes
    assert "'greeter'" in note
    assert "ansible-galaxy role install" in note
    (root / galaxy.REQUIREMENTS).unlink()
    with pytest.raises(BadInput, match=r"image\.yaml"):
        check_playbook(image, root, work, "image.yaml", progress)
