"""Calls to one bucket that speaks S3, through botocore: counted, limited, tried again where that
may help, and refused in words of our own.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from imagectl.adapters.locations.bucket import CALLS_PER_SECOND
from imagectl.adapters.locations.calls import calls_of
from imagectl.adapters.locations.s3_answers import again, meaning, unanswered
from imagectl.errors import Denial, Denied, NotFound
from imagectl.model.image import SecretRef
from imagectl.model.names import LocationName
from imagectl.model.place import Ambient
from imagectl.model.place import S3Location as Settings

if TYPE_CHECKING:
    from imagectl.adapters.locations import Surroundings

T = TypeVar("T")


class Client:
    """Nothing is asked before it is needed. What calls raises Denied, Throttled and CannotTell."""

    def __init__(self, name: LocationName, settings: Settings, around: Surroundings) -> None:
        self.name = name
        self._settings = settings
        self._prefix = f"{settings.bucket.prefix}/" if settings.bucket.prefix else ""
        self._around = around
        self._calls = calls_of(name, around, CALLS_PER_SECOND)
        self._opening = threading.Lock()
        self._opened: Any = None  # botocore makes its clients' classes while it runs
        self.identity = "nobody"

    def key(self, name: str) -> dict[str, Any]:
        """What names an object in a call."""
        return {"Bucket": self._settings.bucket.name, "Key": self._prefix + name}

    def call(self, method: str, what: str, given: dict[str, Any]) -> Any:
        """What that method of botocore's answers. Raises NotFound, There, UploadGone, NoSpace and
        Failed too."""
        return self.run(what, lambda: self.ask(method, given))

    def ask(self, method: str, given: dict[str, Any]) -> Any:
        """The same within ``run``."""
        return getattr(self._opened, method)(**given)

    def run(self, what: str, attempt: Callable[[], T]) -> T:
        """What *attempt* returns, which asks; errors as those of ``call``."""
        from botocore.exceptions import BotoCoreError, ClientError

        what = f"{what} in {self._settings.bucket}"
        self._open()
        try:
            return self._calls.run(what, attempt, again)
        except ClientError as error:
            raise meaning(error, what, self.name, self.identity) from None
        except BotoCoreError as error:
            raise unanswered(error, what, self.name, self.identity) from None

    def _open(self) -> None:
        with self._opening:
            if self._opened is None:
                self._opened = self._client()
                weakref.finalize(self, self._opened.close)

    def _client(self) -> Any:
        import botocore.session
        from botocore import UNSIGNED
        from botocore.config import Config

        settings = self._settings
        anonymous = settings.access_key is None and settings.credentials is Ambient.ANONYMOUS
        session = botocore.session.get_session()
        session.register_component("data_loader", _loader())
        key: dict[str, str] = {}
        if settings.access_key is not None and settings.secret_key is not None:
            key = {
                "aws_access_key_id": self._secret(settings.access_key),
                "aws_secret_access_key": self._secret(settings.secret_key),
            }
            self.identity = _shown(key["aws_access_key_id"])
        elif anonymous:
            self.identity = "anonymous"
        elif (found := session.get_credentials()) is not None:
            self.identity = _shown(found.access_key)
        return session.create_client(
            "s3",
            region_name=settings.region or session.get_config_variable("region") or "us-east-1",
            endpoint_url=settings.endpoint,
            config=Config(
                signature_version=UNSIGNED if anonymous else "s3v4",
                s3={
                    "addressing_style": "path" if settings.endpoint else "auto",
                    "payload_signing_enabled": True,
                },
                # Tried again by Calls, which counts, limits, and knows the deadline.
                retries={"total_max_attempts": 1},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                connect_timeout=10,
                read_timeout=60,
            ),
            **key,
        )

    def _secret(self, ref: SecretRef) -> str:
        try:
            return self._around.secret(ref)
        except NotFound as error:
            raise Denied(
                f"there is no key for {self._settings.bucket}",
                denial=Denial.MISSING,
                where=f"location {self.name}: {ref}",
                why=error.why or error.what,
                hint=error.hint,
            ) from None


@functools.cache
def _loader() -> Any:
    """S3's description, which botocore reads for seconds: once for all locations."""
    from botocore.loaders import create_loader

    return create_loader()


def _shown(access_key: str) -> str:
    """Enough of an access key's id to know it again."""
    return f"access key ...{access_key[-4:]}"
