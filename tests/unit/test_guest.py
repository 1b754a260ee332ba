from __future__ import annotations

import base64
import contextlib
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from imagectl.adapters import guest
from imagectl.errors import Failed, GuestUnreachable


def decoded(arguments: list[str]) -> dict[str, str]:
    found = {}
    for option, value in zip(arguments[::2], arguments[1::2], strict=True):
        assert option == "-smbios"
        path = Path(value.removeprefix("type=11,path="))
        assert path.stat().st_mode & 0o077 == 0, "other users could read the credential"
        name, _, data = (
            path.read_text().removeprefix("io.systemd.credential.binary:").partition("=")
        )
        found[name] = base64.b64decode(data).decode()
    return found


def test_the_key_reaches_the_guest_as_a_credential(tmp_path: Path) -> None:
    keys = guest.make_keys(tmp_path)
    assert keys.private.stat().st_mode & 0o077 == 0
    credentials = decoded(guest.credentials(keys, tmp_path))
    assert credentials == {"ssh.authorized_keys.root": keys.public + "\n"}


def test_a_folder_with_a_comma_is_no_end_of_an_option(tmp_path: Path) -> None:
    folder = tmp_path / "a,b"
    folder.mkdir()
    arguments = guest.credentials(guest.make_keys(folder), folder)
    assert arguments[1].startswith(f"type=11,path={tmp_path}/a,,b/")


def test_ssh_takes_a_folder_by_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "a fleet, 100% ours"
    folder.mkdir()
    config = guest.write_ssh_config(folder, tmp_path, guest.make_keys(folder), 2222)
    said = subprocess.run(
        ["ssh", "-G", "-F", config, "guest"], check=True, capture_output=True, text=True
    ).stdout
    found = dict(line.split(" ", 1) for line in said.splitlines())
    assert found["userknownhostsfile"] == str(folder / "known_hosts")
    # This one is shown as it was read, before percent signs are expanded.
    assert found["identityfile"] == str(folder / "id_ed25519").replace("%", "%%")


def test_files_reach_the_guest_unchanged(tmp_path: Path) -> None:
    keys = guest.make_keys(tmp_path)
    text = "two lines %h\nand a 'quote'\n"
    credentials = decoded(
        guest.credentials(keys, tmp_path, [guest.GuestFile("/etc/a", text, 0o644)])
    )
    line = credentials["tmpfiles.extra"]
    assert line.startswith("f+~ /etc/a 0644 root root - ")
    assert base64.b64decode(line.split()[-1]).decode() == text


def test_more_than_a_guest_reads_is_an_error_here(tmp_path: Path) -> None:
    """There it would be none: the last credential would be missing."""
    keys = guest.make_keys(tmp_path)

    def size(length: int) -> int:
        arguments = guest.credentials(
            keys, tmp_path, [guest.GuestFile("/a", "x" * length)], ["imagectl.build"]
        )
        paths = [Path(each.removeprefix("type=11,path=")) for each in arguments[1::2]]
        return 6 + sum(path.stat().st_size + 1 for path in paths)

    fits = max(length for length in range(2000, 2300, 3) if size(1) + length * 16 / 9 < 4090)
    assert size(fits) <= guest.SMBIOS_BYTES
    with pytest.raises(Failed, match="cannot be given") as caught:
        size(fits + 20)
    assert "of which a guest reads 4096" in caught.value.why


def server(answer: bytes, seconds: float = 0) -> tuple[socket.socket, int]:
    """One that greets each client so many *seconds* after it has called, one after the other."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            while True:
                link, _ = listener.accept()
                time.sleep(seconds)
                with link, contextlib.suppress(OSError):
                    link.sendall(answer)
        except OSError:
            return

    threading.Thread(target=serve, daemon=True).start()
    return listener, listener.getsockname()[1]


def test_a_greeting_is_enough(tmp_path: Path) -> None:
    listener, port = server(b"SSH-2.0-x\r\n")
    with listener:
        guest.wait_for_ssh(port, tmp_path / "console", 5, lambda: True)


def test_a_guest_that_greets_slowly_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who hangs up and calls again, each time after as short a while, is never greeted."""
    monkeypatch.setattr(guest, "GREETING_SECONDS", 0.1)
    monkeypatch.setattr(guest, "GREETING_SHARE", 1 / 2)
    listener, port = server(b"SSH-2.0-x\r\n", 0.5)
    with listener:
        guest.wait_for_ssh(port, tmp_path / "console", 20, lambda: True)


def test_a_port_that_only_accepts_is_not_a_guest(tmp_path: Path) -> None:
    console = tmp_path / "console"
    console.write_text("one\r\n\x1b[0;32m  OK\x1b[0m two\r\n")
    listener, port = server(b"")
    with listener, pytest.raises(GuestUnreachable, match="cannot be reached") as caught:
        guest.wait_for_ssh(port, console, 0.5, lambda: True)
    assert "within" in caught.value.why
    assert "two" in caught.value.tail
    assert "\x1b" not in caught.value.tail


def test_a_panic_ends_the_waiting_at_once(tmp_path: Path) -> None:
    console = tmp_path / "console"
    console.write_text("[1.0] Kernel panic - not syncing: VFS: Unable to mount root fs\n")
    with pytest.raises(GuestUnreachable) as caught:
        guest.wait_for_ssh(1, console, 3600, lambda: True)
    assert "Unable to mount root fs" in caught.value.why


def test_a_vm_that_ended_ends_the_waiting_at_once(tmp_path: Path) -> None:
    with pytest.raises(GuestUnreachable) as caught:
        guest.wait_for_ssh(1, tmp_path / "none", 3600, lambda: False)
    assert caught.value.why == "the VM ended by itself"
