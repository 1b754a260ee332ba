"""A CI worker: Docker and docker-compose run, and the build user can use them."""

import pytest

USER = "ci"


@pytest.mark.parametrize("program", ["git", "gcc", "make", "jq", "python3", "rsync"])
def test_has(host, program):
    assert host.exists(program)


def test_docker_answers_to_the_build_user(host):
    assert host.service("docker").is_enabled
    assert host.check_output("runuser -u %s -- docker info --format '{{.ServerVersion}}'", USER)


def test_docker_compose_starts_a_container(host):
    """Without any registry: the container's file system is made of the guest's own busybox."""
    host.check_output(
        "rm -rf /tmp/compose && mkdir -p /tmp/compose/root/bin && cd /tmp/compose && "
        "cp --parents $(ldd /usr/bin/busybox | grep -o '/lib[^ ]*') root && "
        "cp /usr/bin/busybox root/bin/ && tar -C root -c . | docker import - local/busybox && "
        "printf 'version: \"3\"\\nservices:\\n  hello:\\n    image: local/busybox\\n"
        "    network_mode: none\\n    command: [\"/bin/busybox\", \"echo\", \"it runs\"]\\n' "
        "> docker-compose.yml && chown -R %s .",
        USER,
    )
    done = host.run("cd /tmp/compose && runuser -u %s -- docker-compose up --no-color", USER)
    assert done.rc == 0, done.stderr
    assert "it runs" in done.stdout


def test_build_user_is_root_by_sudo(host):
    assert host.check_output("runuser -u %s -- sudo -n id -u", USER) == "0"


def test_build_user_has_no_key_and_no_password(host):
    assert not host.file(f"/home/{USER}/.ssh").exists
    assert host.check_output("getent shadow %s | cut -d: -f2", USER).startswith("!")
