"""What every Debian image here must be: up without failed units, and free of secrets."""


def test_reaches_multi_user_without_failed_units(host):
    waited = host.run("timeout 120 systemctl is-system-running --wait")
    failed = host.run("systemctl list-units --failed --no-legend --plain")
    assert failed.stdout == ""
    assert waited.stdout.strip() == "running"


def test_is_debian_12(host):
    assert host.system_info.distribution == "debian"
    assert host.system_info.release.startswith("12")


def test_ssh_host_keys_were_made_at_this_boot(host):
    """The image holds none: those that are there are younger than the boot."""
    booted = int(host.check_output("awk '/^btime/ {print $2}' /proc/stat"))
    keys = host.check_output("stat -c '%Y %n' /etc/ssh/ssh_host_*_key").splitlines()
    assert keys
    for line in keys:
        changed, name = line.split()
        assert int(changed) >= booted - 1, f"{name} was in the image"


def test_machine_id_was_made_at_this_boot(host):
    booted = int(host.check_output("awk '/^btime/ {print $2}' /proc/stat"))
    assert int(host.check_output("stat -c %Y /etc/machine-id")) >= booted - 1
    assert len(host.check_output("cat /etc/machine-id")) == 32


def test_no_account_has_a_password(host):
    fields = host.check_output("cut -d: -f2 /etc/shadow").splitlines()
    assert {field for field in fields if not field.startswith(("!", "*"))} == set()


def test_only_the_key_of_this_test_opens_a_session(host):
    keys = host.check_output(
        "cat /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys 2>/dev/null || true"
    ).splitlines()
    assert len(keys) == 1
    assert keys[0].endswith(" imagectl")


def test_no_trace_of_the_build_is_left(host):
    left = host.check_output(
        "find /root/.ansible /tmp/ansible* /var/lib/apt/lists/*_Packages "
        "/var/cache/apt/archives/*.deb -maxdepth 0 2>/dev/null || true"
    )
    assert left == ""


def test_root_file_system_fills_the_disk(host):
    disk = int(host.check_output("lsblk -bdno SIZE /dev/vda"))
    root = int(host.check_output("df -B1 --output=size / | tail -1"))
    assert root > disk * 0.85


def test_only_keys_open_a_session(host):
    settings = host.check_output("sshd -T").splitlines()
    assert "passwordauthentication no" in settings
    assert "permitrootlogin without-password" in settings
