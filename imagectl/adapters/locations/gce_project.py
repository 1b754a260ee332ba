"""A project of Google Compute Engine, one request at a time: its images, and all operations.

Only Google's ``_unary`` calls are used: the others poll the public address whatever endpoint was
set. Each call goes through ``calls.py``, with the library's own retries switched off. An operation
that is DONE may have failed all the same; here that is an error, always.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.locations.calls import Calls, pause_before
from imagectl.adapters.locations.google_account import Account, Answer, again, answer_of, meaning
from imagectl.adapters.locations.google_account import translated as ours
from imagectl.errors import CannotTell, Failed, NoSpace
from imagectl.model.names import LocationName
from imagectl.model.place import GceLocation as Settings

if TYPE_CHECKING:
    from google.auth.transport.requests import AuthorizedSession
    from google.cloud import compute_v1

T = TypeVar("T")

PAGE = 500
"""The most that a page may hold."""
CALL_SECONDS = 60.0
WAIT_SECONDS = 150.0
"""``wait`` answers after two minutes at the latest."""
OPERATION_SECONDS = 3600.0
"""Importing a disk takes minutes, and longer for very large ones."""


class Told(Exception):
    """An answer that the caller has asked to decide about itself."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(str(answer))
        self.answer = answer


class Project:
    """What the settings name, with the account that they name."""

    def __init__(
        self, name: LocationName, settings: Settings, account: Account, calls: Calls
    ) -> None:
        self._name = name
        self._settings = settings
        self._account = account
        self._calls = calls

    @property
    def id(self) -> str:
        return self._settings.project

    @property
    def location(self) -> LocationName:
        return self._name

    def reference(self, image: compute_v1.Image) -> str:
        """What consumers are given: its name."""
        return f"projects/{self.id}/global/images/{image.name}"

    def provider_id(self, image: compute_v1.Image) -> str:
        """What names the image for good: its numeric id too."""
        return f"{self.reference(image)}#{image.id}"

    def where(self, image: compute_v1.Image) -> str:
        """The same for people."""
        return f"location {self._name}: {self.provider_id(image)}"

    @property
    def account(self) -> Account:
        return self._account

    @cached_property
    def connection(self) -> Mapping[str, Any]:
        """What Google's clients are made with."""
        from google.api_core.client_options import ClientOptions

        return {
            "credentials": self._account.credentials,
            "client_options": ClientOptions(api_endpoint=self._settings.endpoint),
        }

    @cached_property
    def _images(self) -> compute_v1.ImagesClient:
        from google.cloud.compute_v1 import ImagesClient

        return ImagesClient(**self.connection)

    @cached_property
    def _operations(self) -> compute_v1.GlobalOperationsClient:
        from google.cloud.compute_v1 import GlobalOperationsClient

        return GlobalOperationsClient(**self.connection)

    @cached_property
    def _zone_operations(self) -> compute_v1.ZoneOperationsClient:
        from google.cloud.compute_v1 import ZoneOperationsClient

        return ZoneOperationsClient(**self.connection)

    @cached_property
    def _region_operations(self) -> compute_v1.RegionOperationsClient:
        from google.cloud.compute_v1 import RegionOperationsClient

        return RegionOperationsClient(**self.connection)

    @cached_property
    def _session(self) -> AuthorizedSession:
        from google.auth.transport.requests import AuthorizedSession

        return AuthorizedSession(self._account.credentials)  # type: ignore[no-untyped-call]  # its own

    def call(self, what: str, attempt: Callable[[], T], told: Sequence[int] = ()) -> T:
        """What *attempt* returns. An answer with one of the statuses *told* raises Told, all others
        errors of ours."""
        from google.api_core.exceptions import GoogleAPICallError

        with ours(what, self._name, self._account.identity):
            try:
                return self._calls.run(what, attempt, again)
            except GoogleAPICallError as error:
                if error.code in told:
                    raise Told(answer_of(error)) from None
                raise

    def image(self, image: str) -> compute_v1.Image | None:
        """The image of that name, or of that numeric id; None where the service knows none, which
        it also says of a project that is gone: see ``exists``."""
        request = {"project": self.id, "image": image}
        try:
            return self.call(
                f"reading image {image}",
                lambda: self._images.get(request, retry=None, timeout=CALL_SECONDS),
                told=(404,),
            )
        except Told:
            return None

    def exists(self) -> None:
        """Returns where the project answers, else raises what ``pages`` raises."""
        self._page("", 1, None)

    def pages(self, only: str = "") -> Iterator[compute_v1.ImageList]:
        """All images, page by page; *only* is a filter in the service's own language."""
        token, seen = None, set[str]()
        while True:
            page = self._page(only, PAGE, token)
            yield page
            token = page.next_page_token
            if not token:
                return
            if token in seen:
                raise CannotTell(
                    "listing images does not come to an end",
                    where=f"location {self._name}",
                    why="a page named one before as its next",
                )
            seen.add(token)

    def _page(self, only: str, most: int, token: str | None) -> compute_v1.ImageList:
        request: dict[str, object] = {"project": self.id, "max_results": most}
        if only:
            request["filter"] = only
        if token:
            request["page_token"] = token

        def one() -> compute_v1.ImageList:
            # The pager would fetch the pages after it by itself, without our limits.
            pager = self._images.list(request, retry=None, timeout=CALL_SECONDS)
            page: compute_v1.ImageList = next(iter(pager.pages))
            return page

        return self.call("listing images", one)

    def insert(self, image: Mapping[str, object], request_id: str) -> None:
        """Make an image. Raises Told (409: the name is taken), Failed, NoSpace."""
        request = {"project": self.id, "image_resource": image, "request_id": request_id}
        self.change(
            f"making image {image['name']}",
            lambda: self._images.insert_unary(request, retry=None, timeout=CALL_SECONDS),
            told=(409, 412),
        )

    def delete(self, image_id: str, request_id: str) -> None:
        """Delete the image of that numeric id, and no other. Nothing where it is gone."""
        request = {"project": self.id, "image": image_id, "request_id": request_id}
        try:
            self.change(
                f"deleting image {image_id}",
                lambda: self._images.delete_unary(request, retry=None, timeout=CALL_SECONDS),
                told=(404,),
            )
        except Told:
            self.exists()

    def label(self, image: compute_v1.Image, labels: Mapping[str, str]) -> None:
        """Give it those labels and no others. Raises Told (412: they have changed since *image* was
        read). There is no request id for it: the fingerprint makes it safe to repeat."""
        request = {
            "project": self.id,
            "resource": str(image.id),
            "global_set_labels_request_resource": {
                "label_fingerprint": image.label_fingerprint,
                "labels": dict(labels),
            },
        }
        self.change(
            f"labelling image {image.name}",
            lambda: self._images.set_labels_unary(request, retry=None, timeout=CALL_SECONDS),
            told=(412,),
        )

    def set_family(self, image: compute_v1.Image, family: str, request_id: str) -> None:
        """Put it into a family; an empty one takes it out."""
        request = {
            "project": self.id,
            "image": str(image.id),
            "image_resource": {"family": family},
            "request_id": request_id,
        }
        self.change(
            f"setting the family of image {image.name}",
            lambda: self._images.patch_unary(request, retry=None, timeout=CALL_SECONDS),
        )

    def deprecate(self, image: compute_v1.Image, state: str, request_id: str) -> None:
        """Set the warning: ACTIVE, DEPRECATED, OBSOLETE, DELETED (which deletes nothing)."""
        request = {
            "project": self.id,
            "image": str(image.id),
            "deprecation_status_resource": {"state": state},
            "request_id": request_id,
        }
        self.change(
            f"marking image {image.name} {state}",
            lambda: self._images.deprecate_unary(request, retry=None, timeout=CALL_SECONDS),
        )

    def policy(self, image: compute_v1.Image) -> compute_v1.Policy:
        """Who may do what with it, conditions included (version 3)."""
        request = {
            "project": self.id,
            "resource": str(image.id),
            "options_requested_policy_version": 3,
        }
        return self.call(
            f"reading who may use image {image.name}",
            lambda: self._images.get_iam_policy(request, retry=None, timeout=CALL_SECONDS),
        )

    def set_policy(self, image: compute_v1.Image, policy: compute_v1.Policy) -> None:
        """Raises Told (409, 412: it was changed since it was read)."""
        request = {
            "project": self.id,
            "resource": str(image.id),
            "global_set_policy_request_resource": {"policy": policy},
        }
        self.call(
            f"sharing image {image.name}",
            lambda: self._images.set_iam_policy(request, retry=None, timeout=CALL_SECONDS),
            told=(409, 412),
        )

    def permitted(self, permissions: Sequence[str]) -> frozenset[str]:
        """Those of the permissions that we have in the project. The Resource Manager knows."""
        from google.api_core.exceptions import from_http_response

        base = self._settings.endpoint or "https://cloudresourcemanager.googleapis.com"

        def ask() -> frozenset[str]:
            answer = self._session.post(
                f"{base}/v1/projects/{self.id}:testIamPermissions",
                json={"permissions": list(permissions)},
                timeout=CALL_SECONDS,
            )
            if answer.status_code >= 400:
                raise from_http_response(answer)  # type: ignore[no-untyped-call]  # its own
            return frozenset(answer.json().get("permissions", ()))

        return self.call("asking what we may do in the project", ask)

    def change(
        self,
        what: str,
        begin: Callable[[], compute_v1.Operation],
        told: Sequence[int] = (),
        scope: str = "global",
    ) -> None:
        """Begin an operation and wait until it is over. *scope*: ``global``, or ``zones/Z`` or
        ``regions/R``, where it takes place. Raises Failed, NoSpace."""
        from google.cloud.compute_v1 import Operation

        operation = self.call(what, begin, told)
        clock = SystemClock()
        began, tries = clock.monotonic(), 1
        while operation.status != Operation.Status.DONE:
            if clock.monotonic() - began > OPERATION_SECONDS:
                raise CannotTell(
                    f"{what} is not over yet",
                    where=f"location {self._name}: operation {operation.name}",
                    why=f"it has run for {OPERATION_SECONDS / 60:.0f} minutes",
                    hint="type the command again later: it goes on where it stopped",
                )
            operation = self._waited(what, operation.name, scope)
            if operation.status != Operation.Status.DONE:
                # `wait` may come back at once, and then it must not be asked over and over.
                time.sleep(min(5.0, pause_before(tries := tries + 1, None)))
        if operation.error.errors:
            raise self._failed(what, operation)

    def _waited(self, what: str, operation: str, scope: str) -> compute_v1.Operation:
        request = {"project": self.id, "operation": operation}
        sort, _, name = scope.partition("/")

        def wait() -> compute_v1.Operation:
            if sort == "zones":
                return self._zone_operations.wait(
                    {**request, "zone": name}, retry=None, timeout=WAIT_SECONDS
                )
            if sort == "regions":
                return self._region_operations.wait(
                    {**request, "region": name}, retry=None, timeout=WAIT_SECONDS
                )
            return self._operations.wait(request, retry=None, timeout=WAIT_SECONDS)

        return self.call(what, wait)

    def _failed(self, what: str, operation: compute_v1.Operation) -> Failed:
        codes = {str(each.code) for each in operation.error.errors}
        why = "; ".join(f"{each.code}: {each.message}" for each in operation.error.errors)
        where = f"location {self._name}: operation {operation.name}"
        if any("QUOTA" in code for code in codes):
            return NoSpace(
                f"{what}: a quota of the project is used up",
                where=where,
                why=why,
                hint="remove what is not needed there, or ask Google for more",
            )
        return Failed(f"{what} did not work", where=where, why=why)

    def wrong(self, told: Told, what: str) -> Exception:
        """The error that an answer is to somebody who knows no better."""
        return meaning(told.answer, what, self._name, self._account.identity)


def warned(page: compute_v1.ImageList) -> str:
    """Why the page does not hold all that it should; empty where it does (P3)."""
    if "warning" not in page:
        return ""
    # Google's class of that name has other attributes than Python's, for which mypy takes it.
    warning: object = page.warning
    return f"{getattr(warning, 'code', '')}: {getattr(warning, 'message', '')}"


def moment(text: str) -> datetime | None:
    """A timestamp of Google's (RFC 3339), in UTC; None where there is none."""
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
