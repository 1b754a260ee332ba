"""What the build VM is told of the proxy, and the program that joins it to it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from imagectl.adapters import ansible, guest_network, process, relay
from imagectl.adapters.disk.rules import RULES, Action, compile_rules


def test_nothing_that_the_guest_is_told_stays_in_an_image(tmp_path: Path) -> None:
    authority = tmp_path / "authority.pem"
    authority.write_text("PEM")
    rule_of = compile_rules(RULES)
    for each in guest_network.files(authority):
        rule = rule_of(each.path.removeprefix("/").encode())
        assert rule is not None
        assert rule.action is Action.DROP


def test_a_path_with_a_comma_or_a_space_can_be_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/opt/a, b/python")
    option = guest_network.netdev(8, "22")
    assert option.endswith(f"-cmd:'/opt/a,, b/python' -I -S {relay.__file__} 8")


def test_the_environment_is_for_programs_of_either_case() -> None:
    told = guest_network.environment(7)
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        assert told[name] == told[name.upper()]
    assert told["SOURCE_DATE_EPOCH"] == "7"


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_the_relay_carries_both_ways_until_both_have_said_all(size: int) -> None:
    """As QEMU runs it: one socket is its input and its output."""
    sent = os.urandom(size)
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def answer() -> None:
            link, _ = proxy.accept()
            with link:
                while data := link.recv(1 << 16):
                    got.append(data)
                link.sendall(b"all of it: " + b"".join(got))

        thread = threading.Thread(target=answer)
        thread.start()
        ours, its = socket.socketpair()
        command = [sys.executable, "-I", "-S", relay.__file__, str(proxy.getsockname()[1])]
        with ours, subprocess.Popen(command, stdin=its.fileno(), stdout=its.fileno()) as child:
            its.close()
            ours.sendall(sent)
            ours.shutdown(socket.SHUT_WR)
            back = b""
            while data := ours.recv(1 << 16):
                back += data
            assert child.wait(60) == 0
        thread.join()
    assert back == b"all of it: " + sent


def test_the_relay_ends_with_the_guest() -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        ours, its = socket.socketpair()
        command = [sys.executable, "-I", "-S", relay.__file__, str(proxy.getsockname()[1])]
        with subprocess.Popen(command, stdin=its.fileno(), stdout=its.fileno()) as child:
            its.close()
            link, _ = proxy.accept()
            ours.close()
            with link:
                assert link.recv(1) == b"", "it hangs up"
            assert child.wait(60) == 0


PLAYBOOK = """
- hosts: default
  gather_facts: false
  environment: {OF_PLAY: play, https_proxy: "of the play"}
  handlers:
    - {name: handler, ansible.builtin.command: env, register: handler}
    - name: keep
      ansible.builtin.copy:
        dest: "{{ playbook_dir }}/seen.json"
        content: "{{ {'plain': plain.stdout_lines, 'own': own.stdout_lines,
          'block': block.stdout_lines, 'included': included.stdout_lines,
          'handler': handler.stdout_lines, 'away': away.stdout_lines} | to_json }}"
        mode: "0600"
  tasks:
    - {name: plain, ansible.builtin.command: env, register: plain, notify: [handler, keep]}
    - {name: own, ansible.builtin.shell: env, register: own, environment: {http_proxy: mine}}
    - block:
        - {name: block, ansible.builtin.command: env, register: block}
      environment: {http_proxy: "of the block"}
    - ansible.builtin.include_tasks: included.yml
    - {name: away, ansible.builtin.command: env, register: away, delegate_to: localhost}
"""


def test_each_task_has_our_environment_unless_it_says_otherwise(tmp_path: Path) -> None:
    playbook = tmp_path / "play.yml"
    playbook.write_text(PLAYBOOK)
    (tmp_path / "included.yml").write_text(
        "- {name: included, ansible.builtin.command: env, register: included}\n"
    )
    ours = {"http_proxy": "ours", "https_proxy": "ours", "EPOCH": "it's 7 $HOME"}
    inventory, needed = ansible.prepare_shell(tmp_path, ours)
    packers = tmp_path / "packers-inventory"
    packers.write_text(f"{ansible.HOST} ansible_connection=local\n")
    program = str(Path(sys.executable).parent / "ansible-playbook")
    process.run(
        [program, "-i", str(packers), "-i", str(inventory), str(playbook)],
        env={**ansible.environment(tmp_path, tmp_path, tmp_path), **needed},
    )
    text = json.loads((tmp_path / "seen.json").read_text())
    seen = {name: dict(each.partition("=")[::2] for each in lines) for name, lines in text.items()}
    assert {name: env.get("http_proxy") for name, env in seen.items()} == {
        "plain": "ours",
        "own": "mine",
        "block": "of the block",
        "included": "ours",
        "handler": "ours",
        "away": os.environ.get("http_proxy"),
    }
    assert {env["https_proxy"] for env in seen.values()} == {"of the play"}
    assert {env.get("EPOCH") for name, env in seen.items() if name != "away"} == {ours["EPOCH"]}
