"""A CI worker: Docker and docker-compose run, and the build user can use them."""

import pytest

USER = "ci"


@pytest.mark.parametrize("program", ["git", "gcc", "make", "jq", "python3", "rsync"])
def test_has(host, program):
    assert host.exists(program)


def test_docker_answers_to_the_build_user(host):
    assert host.service("docker").is_enabled
    assert host.check_output("runuser -u %s -- docker info --format '{{.ServerVersion}}'", USER)


COMPOSE = """
set -e
rm -rf /tmp/compose
mkdir -p /tmp/compose/root
cd /tmp/compose
cp --parents -L /usr/bin/echo $(ldd /usr/bin/echo | grep -o '/lib[^ ]*') root
tar -C root -c . | docker import - local/echo
cat > docker-compose.yml <<EOF
version: "3"
services:
  hello:
    image: local/echo
    network_mode: none
    command: ["/usr/bin/echo", "it runs"]
EOF
"""


def test_docker_compose_starts_a_container(host):
    """Without any registry: the container's file system is the guest's own ``echo``."""
    made = host.run(COMPOSE)
    assert made.rc == 0, made.stderr
    done = host.run(f"cd /tmp/compose && runuser -u {USER} -- docker-compose up --no-color")
    assert done.rc == 0, done.stderr
    assert "it runs" in done.stdout


def test_build_user_is_root_by_sudo(host):
    assert host.check_output("runuser -u %s -- sudo -n id -u", USER) == "0"


def test_build_user_has_no_key_and_no_password(host):
    assert not host.file(f"/home/{USER}/.ssh").exists
    assert host.check_output("getent shadow %s | cut -d: -f2", USER).startswith("!")
