"""What the image must be. Testinfra runs this against the booted image; `host` is that VM."""


def test_reaches_multi_user_without_failed_units(host):
    waited = host.run("timeout 120 systemctl is-system-running --wait")
    failed = host.run("systemctl list-units --failed --no-legend --plain")
    assert failed.stdout == ""
    assert waited.stdout.strip() == "running"


def test_is_debian_12(host):
    assert host.system_info.distribution == "debian"
    assert host.system_info.release.startswith("12")


def test_only_keys_open_a_session(host):
    settings = host.check_output("sshd -T").splitlines()
    assert "passwordauthentication no" in settings
    assert "permitrootlogin without-password" in settings


def test_no_account_has_a_password(host):
    fields = host.check_output("cut -d: -f2 /etc/shadow").splitlines()
    assert {field for field in fields if not field.startswith(("!", "*"))} == set()
