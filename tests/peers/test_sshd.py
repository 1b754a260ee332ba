"""The SSH server for tests does what ssh, scp, Testinfra and Ansible ask of one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from peers.sshd import SshServer, ssh_server


@dataclass(frozen=True)
class Client:
    """A key, and the configuration that leads to the server as the host ``guest``."""

    key: Path
    config: Path

    def ssh(self, *command: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return self.run("ssh", "-F", str(self.config), "guest", *command, given=given)

    @staticmethod
    def run(*command: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=60, check=False
        )


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


@pytest.fixture
def sshd() -> Iterator[SshServer]:
    with ssh_server() as running:
        yield running


@pytest.fixture
def client(sshd: SshServer, key: Path, tmp_path: Path) -> Client:
    known = sshd.known_hosts(tmp_path / "known_hosts")
    config = tmp_path / "ssh_config"
    config.write_text(
        f"Host guest\n  HostName {sshd.host}\n  Port {sshd.port}\n  User somebody\n"
        f"  IdentityFile {key}\n  UserKnownHostsFile {known}\n"
        "  BatchMode yes\n  StrictHostKeyChecking yes\n"
    )
    return Client(key, config)


def test_only_keys_that_are_known_get_in(sshd: SshServer, client: Client) -> None:
    refused = client.ssh("true")
    assert (refused.returncode, sshd.ran()) == (255, [])
    assert "Permission denied (publickey)" in refused.stderr
    sshd.authorize(client.key.with_suffix(".pub").read_text())
    assert client.ssh("true").returncode == 0


def test_a_host_that_is_another_is_not_trusted(
    sshd: SshServer, client: Client, tmp_path: Path
) -> None:
    sshd.authorize(client.key.with_suffix(".pub").read_text())
    with ssh_server() as other:
        wrong = tmp_path / "known_hosts"
        wrong.write_text(f"[{sshd.host}]:{sshd.port} {other.host_key}\n")
        assert client.ssh("true").returncode == 255


def test_commands_have_input_output_and_a_status(sshd: SshServer, client: Client) -> None:
    sshd.authorize(client.key.with_suffix(".pub").read_text())
    done = client.ssh("echo $USER; pwd; cat; echo trouble >&2; exit 3", given="typed\n")
    assert done.stdout == f"somebody\n{sshd.home}\ntyped\n"
    assert (done.stderr, done.returncode) == ("trouble\n", 3)
    assert [(each.user, each.status) for each in sshd.ran()] == [("somebody", 3)]
    assert client.ssh(given="exit 4\n").returncode == 4, "a shell"


def test_a_command_need_not_read_its_input(sshd: SshServer, client: Client) -> None:
    sshd.authorize(client.key.with_suffix(".pub").read_text())
    assert client.ssh("true", given="x" * 1_000_000).returncode == 0


def test_files_are_copied(sshd: SshServer, client: Client, tmp_path: Path) -> None:
    sshd.authorize(client.key.with_suffix(".pub").read_text())
    (tmp_path / "file").write_bytes(b"\0content" * 100_000)
    config = ("-F", str(client.config))
    assert client.run("scp", "-O", *config, str(tmp_path / "file"), "guest:there").returncode == 0
    assert client.run("scp", "-O", *config, "guest:there", str(tmp_path / "back")).returncode == 0
    assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()


@pytest.mark.integration
def test_testinfra_and_ansible(sshd: SshServer, client: Client, tmp_path: Path) -> None:
    sshd.authorize(client.key.with_suffix(".pub").read_text())
    suite = tmp_path / "test_guest.py"
    suite.write_text("def test_host(host):\n    assert host.file('/etc/os-release').exists\n")
    tests = [
        *(sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "-p", "no:cacheprovider"),
        *("--hosts=ssh://guest", f"--ssh-config={client.config}", str(suite)),
    ]
    tested = client.run(*tests)
    assert tested.returncode == 0, tested.stdout
    playbook = tmp_path / "play.yml"
    copied = {"copy": {"content": "by ansible", "dest": str(sshd.home / "proof")}}
    plays = [{"hosts": "all", "gather_facts": False, "tasks": [copied]}]
    playbook.write_text(json.dumps(plays))
    ansible = [
        *(str(Path(sys.executable).with_name("ansible-playbook")), "-i", "guest,"),
        *(f"--ssh-common-args=-F {client.config}", "-e", "ansible_python_interpreter=python3"),
        str(playbook),
    ]
    played = client.run(*ansible)
    assert played.returncode == 0, played.stdout + played.stderr
    assert (sshd.home / "proof").read_text() == "by ansible"
