"""The vCenter for tests keeps what its page promises, as pyvmomi sees it."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zlib
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pyVim.connect import SmartStubAdapter
from pyVim.task import WaitForTask
from pyVmomi import vim, vmodl

from imagectl.adapters.disk.ova import Machine, describe
from imagectl.adapters.disk.vmdk import encode
from imagectl.model.names import ImageName, Sha256
from peers.vsphere import VCenter, vcenter

MEBIBYTE = 2**20
UNKNOWN_TOKEN = vmodl.query.InvalidProperty  # type: ignore[attr-defined]  # the types lack it
_NUMBERS = count(1)


class Client:
    """Somebody who has logged in, and looks at the datacenter DC0."""

    def __init__(self, vcenter: VCenter, user: str, password: str) -> None:
        self.trust = ssl.create_default_context(cafile=vcenter.ca)
        self._stub: Any = SmartStubAdapter(  # type: ignore[no-untyped-call]  # pyvmomi's
            host=vcenter.host, port=vcenter.port, sslContext=self.trust
        )
        service: Any = vim.ServiceInstance
        self.service = service("ServiceInstance", self._stub)
        self.content: Any = self.service.RetrieveContent()
        try:
            self.content.sessionManager.Login(user, password, None)
        except BaseException:
            self.close()
            raise
        self.datacenter: Any = self.child(self.content.rootFolder, "DC0")
        self.folder: Any = self.child(self.datacenter.vmFolder, "images")
        self.pool: Any = self.child(self.datacenter.hostFolder, "DC0_C0").resourcePool

    def close(self) -> None:
        self._stub.DropConnections()

    @staticmethod
    def child(folder: Any, name: str) -> Any:
        return next(each for each in folder.childEntity if each.name == name)

    def machine(self, name: str) -> Any:
        return self.child(self.folder, name)

    def by_reference(self, reference: str) -> Any:
        kind: Any = vim.VirtualMachine
        return kind(reference, self._stub)

    def clone(self, source: str, name: str, **spec: object) -> Any:
        where = vim.vm.RelocateSpec(pool=self.pool)
        task = self.machine(source).CloneVM_Task(
            self.folder, name, vim.vm.CloneSpec(location=where, **spec)
        )
        finish(task)
        return task.info.result

    def read(self, page: int | None, *paths: str) -> tuple[list[Any], int]:
        """Those properties of all machines in the folder, and how many pages that took."""
        query = vmodl.query.PropertyCollector
        view = self.content.viewManager.CreateContainerView(self.folder, [vim.VirtualMachine], True)
        walk = query.TraversalSpec(name="view", path="view", type=vim.view.ContainerView)
        asked = query.FilterSpec(
            objectSet=[query.ObjectSpec(obj=view, skip=True, selectSet=[walk])],
            propSet=[query.PropertySpec(type=vim.VirtualMachine, pathSet=list(paths))],
        )
        collector = self.content.propertyCollector
        got = collector.RetrievePropertiesEx([asked], query.RetrieveOptions(maxObjects=page))
        objects, pages = list(got.objects), 1
        while got.token:
            got = collector.ContinueRetrievePropertiesEx(got.token)
            objects += got.objects
            pages += 1
        view.Destroy()
        return objects, pages

    def begin_import(self, name: str, disk: int, stored: int) -> Any:
        """The lease for an OVF of a disk of so many bytes, once it is ready."""
        machine = Machine(ImageName("tiny"), "A tiny one", 64 * MEBIBYTE, 1, disk)
        made = self.content.ovfManager.CreateImportSpec(
            describe(machine, stored),
            self.pool,
            self.datacenter.datastore[0],
            vim.OvfManager.CreateImportSpecParams(entityName=name),
        )
        assert not made.error
        lease = self.pool.ImportVApp(made.importSpec, self.folder)
        assert lease.state == "ready"
        return lease

    def send(self, lease: Any, body: bytes, vcenter: VCenter, length: int | None = None) -> int:
        url = re.sub(r"^https://\*", "", lease.info.deviceUrl[0].url)
        connection = http.client.HTTPSConnection(
            vcenter.host, vcenter.port, context=self.trust, timeout=30
        )
        try:
            connection.putrequest("PUT", url)
            connection.putheader("Content-Length", str(len(body) if length is None else length))
            connection.endheaders(body)
            if length is not None:
                assert connection.sock is not None
                connection.sock.close()
                return 0
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()


def finish(task: Any) -> None:
    """Wait for a task. Raises its error."""
    WaitForTask(task)  # type: ignore[no-untyped-call]  # pyvmomi's


@pytest.fixture(scope="module")
def vsphere() -> Iterator[VCenter]:
    with vcenter() as running:
        yield running


@pytest.fixture
def client(vsphere: VCenter) -> Iterator[Client]:
    made = Client(vsphere, vsphere.user, vsphere.password)
    yield made
    made.close()


@pytest.fixture
def name() -> str:
    """One that nothing has yet."""
    return f"machine-{next(_NUMBERS)}"


@contextmanager
def settings(vsphere: VCenter, before: dict[str, object], **changed: object) -> Iterator[None]:
    vsphere.settings(**changed)
    try:
        yield
    finally:
        vsphere.settings(**before)


def tiny_vmdk(size: int = MEBIBYTE) -> bytes:
    with tempfile.TemporaryFile() as raw:
        raw.write(b"boot")
        raw.truncate(size)
        raw.flush()
        return b"".join(encode(raw.fileno(), size, Sha256("a" * 64), zlib.compress))


# --- listing


def test_pages_are_as_long_as_the_client_asks_and_complete(
    vsphere: VCenter, client: Client, name: str
) -> None:
    before = len(vsphere.machines())
    vsphere.fill(101, f"{name}-{{n}}", annotation="number {n}")
    found, pages = client.read(25, "name", "config.annotation")
    read = {each.propSet[0].val for each in found}
    assert len(found) == before + 101
    assert pages == -(-len(found) // 25)
    assert {f"{name}-{n}" for n in range(101)} <= read


def test_no_more_objects_than_the_server_likes(vsphere: VCenter, client: Client, name: str) -> None:
    vsphere.fill(12, f"{name}-{{n}}")
    with settings(vsphere, {"page_limit": 1000}, page_limit=5):
        found, pages = client.read(None, "name")
    assert pages == -(-len(found) // 5)


def test_a_token_is_good_once_and_for_its_session(
    vsphere: VCenter, client: Client, name: str
) -> None:
    vsphere.fill(4, f"{name}-{{n}}")
    query = vmodl.query.PropertyCollector
    asked = query.FilterSpec(
        objectSet=[query.ObjectSpec(obj=each) for each in client.folder.childEntity],
        propSet=[query.PropertySpec(type=vim.VirtualMachine, pathSet=["name"])],
    )
    collector = client.content.propertyCollector
    token = collector.RetrievePropertiesEx([asked], query.RetrieveOptions(maxObjects=1)).token
    other = Client(vsphere, vsphere.user, vsphere.password)
    with pytest.raises(UNKNOWN_TOKEN):
        other.content.propertyCollector.ContinueRetrievePropertiesEx(token)
    assert len(collector.ContinueRetrievePropertiesEx(token).objects) == 1
    with pytest.raises(UNKNOWN_TOKEN):
        collector.ContinueRetrievePropertiesEx(token)
    other.close()


# --- machines


def test_a_name_is_taken_once_in_a_folder(vsphere: VCenter, client: Client, name: str) -> None:
    vsphere.fill(1, name)
    vsphere.fill(1, f"{name}-other", template=False)
    with pytest.raises(vim.fault.DuplicateName) as refused:
        client.clone(name, name)
    assert refused.value.name == name
    with pytest.raises(vim.fault.DuplicateName):
        finish(client.machine(f"{name}-other").Rename_Task(name))
    with pytest.raises(vim.fault.DuplicateName):
        client.begin_import(name, MEBIBYTE, 1000)
    assert len(vsphere.machines(name)) == 1


def test_a_clone_has_what_its_source_has_and_ids_of_its_own(
    vsphere: VCenter, client: Client, name: str
) -> None:
    vsphere.fill(1, name, annotation="ours", custom={"imagectl-image": "debian"})
    clone = client.clone(name, f"{name}-clone", powerOn=True)
    source, made = vsphere.machines(name)[0], vsphere.machines(f"{name}-clone")[0]
    assert (made.annotation, made.custom) == ("ours", {"imagectl-image": "debian"})
    assert made.instance_uuid != source.instance_uuid
    assert made.disks == source.disks == [1024]
    files = [
        device.backing.fileName
        for machine in (client.machine(name), clone)
        for device in machine.config.hardware.device
        if isinstance(device, vim.vm.device.VirtualDisk)
    ]
    assert len(set(files)) == 2
    assert all(files)
    assert clone.guest.ipAddress == "127.0.0.1"
    assert [each.ipAddress for each in clone.guest.net] == [["127.0.0.1"]]
    finish(clone.PowerOffVM_Task())
    assert clone.guest.ipAddress is None
    finish(clone.Destroy_Task())
    assert not vsphere.machines(f"{name}-clone")


def test_a_guest_may_never_get_an_address(vsphere: VCenter, client: Client, name: str) -> None:
    vsphere.fill(1, name, template=False)
    with settings(vsphere, {"guest_ip": "127.0.0.1"}, guest_ip=""):
        finish(client.machine(name).PowerOnVM_Task())
    assert client.machine(name).guest.ipAddress is None
    finish(client.machine(name).PowerOffVM_Task())


def test_what_a_template_does_not_have_is_nothing(
    vsphere: VCenter, client: Client, name: str
) -> None:
    vsphere.fill(1, name)
    assert client.machine(name).resourcePool is None


def test_a_custom_field_has_one_value(vsphere: VCenter, client: Client, name: str) -> None:
    vsphere.fill(1, name, custom={"imagectl-sha256": "first"})
    client.machine(name).setCustomValue("imagectl-sha256", "second")
    (value,) = client.machine(name).customValue
    assert value.value == "second"


def test_machines_of_one_name_one_after_the_other_are_two(
    vsphere: VCenter, client: Client, name: str
) -> None:
    spec = vim.vm.ConfigSpec(
        name=name, guestId="otherGuest", files=vim.vm.FileInfo(vmPathName="[LocalDS_0]")
    )
    seen = set()
    for _ in range(2):
        finish(client.folder.CreateVM_Task(spec, client.pool))
        seen.add(client.machine(name).config.instanceUuid)
        finish(client.machine(name).Destroy_Task())
    assert len(seen) == 2


def test_many_at_the_same_time(vsphere: VCenter, client: Client, name: str) -> None:
    threads, each = 8, 20
    vsphere.fill(threads * each, f"{name}-{{n}}", template=False, bare=True)
    there = {found.propSet[0].val: found.obj for found in client.read(None, "name")[0]}
    references = [there[f"{name}-{number}"]._moId for number in range(threads * each)]
    everybody_is_ready = threading.Barrier(threads)

    def come_and_go(number: int) -> None:
        mine = Client(vsphere, vsphere.user, vsphere.password)
        try:
            everybody_is_ready.wait(60)
            for reference in references[number::threads]:
                machine = mine.by_reference(reference)
                machine.PowerOnVM_Task()
                machine.PowerOffVM_Task()
                machine.Destroy_Task()
        finally:
            mine.close()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(come_and_go, range(threads)))
    assert not [found for found in vsphere.machines() if found.name.startswith(f"{name}-")]


def test_states_that_no_client_can_make(vsphere: VCenter, client: Client, name: str) -> None:
    vsphere.fill(1, name)
    vsphere.change(name, connection_state="inaccessible", annotation="somebody's")
    assert client.machine(name).runtime.connectionState == "inaccessible"
    assert client.machine(name).config.annotation == "somebody's"
    vsphere.change(name, destroy=True)
    assert not vsphere.machines(name)


# --- imports


def test_an_import_that_is_whole(vsphere: VCenter, client: Client, name: str) -> None:
    disk = tiny_vmdk()
    lease = client.begin_import(name, MEBIBYTE, len(disk))
    assert client.send(lease, disk, vsphere) == 200
    lease.HttpNfcLeaseProgress(100)
    lease.HttpNfcLeaseComplete()
    client.machine(name).MarkAsTemplate()
    (made,) = vsphere.machines(name)
    assert made.template
    assert made.disks == [1024]
    assert made.uploads is not None
    (upload,) = made.uploads
    assert upload["sha256"] == hashlib.sha256(disk).hexdigest()


@pytest.mark.parametrize("broken", ["cut off", "no disk", "another size", "not sent"])
def test_an_import_that_is_not_whole_is_not_completed(
    vsphere: VCenter, client: Client, name: str, broken: str
) -> None:
    disk = tiny_vmdk()
    lease = client.begin_import(name, MEBIBYTE, len(disk))
    match broken:
        case "cut off":
            client.send(lease, disk[: len(disk) * 7 // 10], vsphere, length=len(disk))
        case "no disk":
            assert client.send(lease, b"\0" * len(disk), vsphere) == 500
        case "another size":
            assert client.send(lease, tiny_vmdk(2 * MEBIBYTE), vsphere) == 500
        case _:
            pass
    with pytest.raises(vim.fault.InvalidState):
        lease.HttpNfcLeaseComplete()
    lease.HttpNfcLeaseAbort()
    assert not vsphere.machines(name)


# --- who may do what


def test_ways_of_not_getting_in(vsphere: VCenter) -> None:
    vsphere.account("old@vsphere.local", "secret", expired=True)
    with pytest.raises(vim.fault.PasswordExpired):
        Client(vsphere, "old@vsphere.local", "secret")
    for user, password in ((vsphere.user, "guess"), ("nobody", vsphere.password)):
        with pytest.raises(vim.fault.InvalidLogin) as refused:
            Client(vsphere, user, password)
        assert type(refused.value) is vim.fault.InvalidLogin


def test_privileges_are_asked_for_and_told(vsphere: VCenter, client: Client, name: str) -> None:
    vsphere.fill(1, name)
    held = "VirtualMachine.Provisioning.DeployTemplate"
    vsphere.account("narrow@vsphere.local", "secret", privileges=[held])
    narrow = Client(vsphere, "narrow@vsphere.local", "secret")
    narrow.clone(name, f"{name}-clone")
    with pytest.raises(vim.fault.NoPermission) as refused:
        finish(narrow.machine(name).Destroy_Task())
    assert refused.value.privilegeId == "VirtualMachine.Inventory.Delete"
    asked = [held, "VirtualMachine.Inventory.Delete"]
    (told,) = narrow.content.authorizationManager.HasUserPrivilegeOnEntities(
        [narrow.folder], "narrow@vsphere.local", asked
    )
    assert [each.isGranted for each in told.privAvailability] == [True, False]
    narrow.close()


def test_sessions_end(vsphere: VCenter, name: str) -> None:
    client = Client(vsphere, vsphere.user, vsphere.password)
    disk = tiny_vmdk()
    client.begin_import(name, MEBIBYTE, len(disk))
    vsphere.end_sessions()
    with pytest.raises(vim.fault.NotAuthenticated):
        client.content.rootFolder.CreateFolder("anything")
    assert vsphere.machines(name), "what was half imported stays"
    client.close()


# --- faults


def test_a_fault_for_one_call(vsphere: VCenter, client: Client) -> None:
    rule = {"method": "CreateContainerView", "skip": 1, "times": 1, "do": "fault"}
    with vsphere.wrong({**rule, "fault": "HostConnectFault", "message": "no way"}):
        client.read(10, "name")
        with pytest.raises(vim.fault.HostConnectFault, match="no way"):
            client.read(10, "name")
        client.read(10, "name")


def test_a_task_that_fails_although_the_call_did_not(
    vsphere: VCenter, client: Client, name: str
) -> None:
    vsphere.fill(1, name)
    rule = {"method": "Destroy_Task", "do": "task_fault", "fault": "ResourceInUse"}
    with vsphere.wrong({**rule, "fields": {"Name": "it"}}):
        task = client.machine(name).Destroy_Task()
        assert (task.info.state, task.info.error.name) == ("error", "it")
    assert vsphere.machines(name)


def test_a_task_that_takes_long_goes_on_without_its_client(
    vsphere: VCenter, client: Client, name: str
) -> None:
    vsphere.fill(2, f"{name}-{{n}}", template=False)
    with vsphere.wrong({"method": "Destroy_Task", "do": "task_slow", "seconds": 0.5}):
        task = client.machine(f"{name}-0").Destroy_Task()
        assert (task.info.state, task.info.progress) == ("running", 10)
        finish(task)
        assert task.info.state == "success"
        assert not vsphere.machines(f"{name}-0")
        client.machine(f"{name}-1").Destroy_Task()
        vsphere.end_sessions()
        until = time.monotonic() + 30
        while vsphere.machines(f"{name}-1"):
            assert time.monotonic() < until
            time.sleep(0.05)


def test_a_response_that_is_lost_was_an_action_that_was_done(
    vsphere: VCenter, client: Client, name: str
) -> None:
    vsphere.fill(2, f"{name}-{{n}}")
    for number, (do, left) in enumerate((("drop_response", 0), ("drop", 1))):
        machine = client.machine(f"{name}-{number}")
        with (
            vsphere.wrong({"method": "Destroy_Task", "do": do}),
            pytest.raises(http.client.RemoteDisconnected),
        ):
            machine.Destroy_Task()
        assert len(vsphere.machines(f"{name}-{number}")) == left


def test_a_status_of_http_and_an_upload_that_breaks_off(
    vsphere: VCenter, client: Client, name: str
) -> None:
    headers = {"Retry-After": "7"}
    rule = {"method": "CurrentTime", "do": "status", "status": 503, "headers": headers}
    with vsphere.wrong(rule), pytest.raises(http.client.HTTPException, match="503"):
        client.service.CurrentTime()
    disk = tiny_vmdk()
    lease = client.begin_import(name, MEBIBYTE, len(disk))
    with (
        vsphere.wrong({"method": "NFC", "do": "cut", "bytes": 1000}),
        pytest.raises((OSError, http.client.HTTPException)),
    ):
        client.send(lease, disk * 100, vsphere)
    lease.HttpNfcLeaseAbort()


def test_a_datacenter_that_cannot_be_reached(vsphere: VCenter, client: Client, name: str) -> None:
    vsphere.fill(1, name)
    with settings(vsphere, {"unreachable": []}, unreachable=["DC0"]):
        found, _ = client.read(None, "name", "config.annotation")
        assert {type(each.missingSet[0].fault) for each in found} == {vmodl.fault.HostNotConnected}
        with pytest.raises(vmodl.fault.HostNotConnected):
            client.machine(name).Destroy_Task()
    assert vsphere.machines(name)


def test_a_clock_that_is_wrong(vsphere: VCenter, client: Client) -> None:
    with settings(vsphere, {"clock_skew": 0}, clock_skew=-7200):
        ahead = datetime.now(UTC) - client.service.CurrentTime()
    assert 7100 < ahead.total_seconds() < 7300


# --- REST


def test_tags_over_rest(vsphere: VCenter, client: Client, name: str) -> None:
    vsphere.fill(1, name)
    session = ask(vsphere, client, "session", login=f"{vsphere.user}:{vsphere.password}")
    category = ask(
        vsphere,
        client,
        "tagging/category",
        session,
        create_spec={
            "name": f"of-{name}",
            "description": "",
            "cardinality": "SINGLE",
            "associable_types": ["VirtualMachine"],
        },
    )
    tag = ask(
        vsphere,
        client,
        "tagging/tag",
        session,
        create_spec={"name": "ours", "description": "", "category_id": category},
    )
    machine = {"type": "VirtualMachine", "id": vsphere.machines(name)[0].reference}
    ask(
        vsphere,
        client,
        f"tagging/tag-association/id:{tag}?~action=attach",
        session,
        object_id=machine,
    )
    attached = ask(
        vsphere,
        client,
        "tagging/tag-association?~action=list-attached-tags",
        session,
        object_id=machine,
    )
    assert attached == [tag]
    for wrong in (f"{vsphere.user}:guess", None):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask(vsphere, client, "session" if wrong else "tagging/tag", login=wrong)


def ask(
    vsphere: VCenter,
    client: Client,
    path: str,
    session: str | None = None,
    login: str | None = None,
    **body: object,
) -> Any:
    headers = {"Content-Type": "application/json"}
    if session is not None:
        headers["vmware-api-session-id"] = session
    if login is not None:
        headers["Authorization"] = f"Basic {b64encode(login.encode()).decode()}"
    url = f"https://{vsphere.host}:{vsphere.port}/rest/com/vmware/cis/{path}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
    with urllib.request.urlopen(request, context=client.trust, timeout=30) as response:
        text = response.read()
    return json.loads(text)["value"] if text else None


# --- ends


def test_it_ends_with_whoever_started_it(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from peers.vsphere import vcenter\n"
        "with vcenter() as made:\n"
        "    print(made.port, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    with child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        child.kill()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return
        time.sleep(0.05)
    pytest.fail("it still listens")


@pytest.mark.parametrize("state", ["inaccessible", "invalid", "orphaned"])
def test_a_machine_that_is_lost_shows_no_configuration_and_can_only_be_unregistered(
    vsphere: VCenter, client: Client, state: str
) -> None:
    name = f"lost-{next(_NUMBERS)}"
    made = datetime(2015, 1, 1, tzinfo=UTC)
    vsphere.fill(
        1,
        name,
        template=False,
        annotation="{reference}",
        custom={"owner": "{reference}"},
        created=made,
        power_state="suspended",
        connection_state=state,
    )
    (known,) = vsphere.machines(name)
    assert (known.annotation, known.power_state) == (known.reference, "suspended")
    objects, _ = client.read(None, "name", "config.annotation", "config.createDate", "customValue")
    (read,) = (each for each in objects if each.obj._moId == known.reference)
    values = {each.name: each.val for each in read.propSet}
    assert values.keys() == {"name", "customValue"}
    assert [each.value for each in values["customValue"]] == [known.reference]
    machine = client.by_reference(known.reference)
    for method in (machine.Destroy_Task, machine.PowerOnVM_Task, machine.PowerOffVM_Task):
        with pytest.raises(vim.fault.InvalidState):
            finish(method())
    machine.UnregisterVM()
    assert vsphere.machines(name) == []


def test_a_machine_whose_host_is_disconnected_shows_itself_and_nothing_can_be_done(
    vsphere: VCenter, client: Client
) -> None:
    name = f"away-{next(_NUMBERS)}"
    made = datetime(2015, 1, 1, tzinfo=UTC)
    vsphere.fill(1, name, template=False, created=made, connection_state="disconnected")
    (known,) = vsphere.machines(name)
    objects, _ = client.read(None, "config.createDate")
    (read,) = (each for each in objects if each.obj._moId == known.reference)
    assert [each.val for each in read.propSet] == [made]
    machine = client.by_reference(known.reference)
    for method in (machine.Destroy_Task, machine.PowerOnVM_Task, machine.UnregisterVM):
        with pytest.raises(vmodl.fault.HostNotConnected):
            method()
    assert vsphere.machines(name) == [known]
    vsphere.change(name, destroy=True)


def test_it_tells_apart_the_calls_that_wait_for_tasks(vsphere: VCenter, client: Client) -> None:
    name = f"waits-{next(_NUMBERS)}"
    vsphere.fill(1, name, template=False)
    before = vsphere.waits()
    client.read(None, "name")
    assert vsphere.waits() == before
    task = client.machine(name).Destroy_Task()
    query = vmodl.query.PropertyCollector
    asked = query.FilterSpec(
        objectSet=[query.ObjectSpec(obj=task)],
        propSet=[query.PropertySpec(type=vim.Task, pathSet=["info.state"])],
    )
    client.content.propertyCollector.RetrievePropertiesEx([asked], query.RetrieveOptions())
    assert vsphere.waits() == before + 1
