"""Who may do what: service accounts, their tokens, and the permissions that methods ask for."""

from __future__ import annotations

import base64
import fnmatch
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from peers.google.calls import Trouble
from peers.google.discovery import Json, Method

_PERMISSIONS = {
    "aggregatedList": "list",
    "compose": "create",
    "copy": "create",
    "insert": "create",
    "patch": "update",
    "rewrite": "create",
    "wait": "get",
}
"""The verb of a method's permission, where it is another than the method's."""


def permission(id: str) -> str | None:
    """What a method asks for, such as ``compute.images.create``. Asking what one may do is free."""
    service, collection, verb = id.split("/", 1)[0].rsplit(".", 2)
    if verb == "testIamPermissions":
        return None
    return f"{service}.{collection}.{_PERMISSIONS.get(verb, verb)}"


@dataclass
class Account:
    """A service account. ``permissions`` are shell patterns."""

    email: str
    key: rsa.RSAPrivateKey = field(repr=False)
    permissions: tuple[str, ...] = ("*",)

    def may(self, permission: str) -> bool:
        return any(fnmatch.fnmatchcase(permission, each) for each in self.permissions)


@dataclass(frozen=True)
class Token:
    account: Account
    until: datetime
    scopes: frozenset[str]


@dataclass
class Accounts:
    """All accounts and tokens. Callers without any credentials may do what ``anonymous`` says."""

    now: Callable[[], datetime]
    url: Callable[[], str]
    anonymous: tuple[str, ...] = ("*",)
    lifetime: timedelta = timedelta(hours=1)
    _accounts: dict[str, Account] = field(default_factory=dict)
    _tokens: dict[str, Token] = field(default_factory=dict)
    _refusal: Trouble | None = None
    given: int = 0
    """How many tokens were asked for and given."""

    def add(
        self, folder: Path, name: str = "imagectl", permissions: tuple[str, ...] = ("*",)
    ) -> Path:
        """A new service account; its key as the JSON file that Google's clients read."""
        email = f"{name}@peer.iam.gserviceaccount.com"
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._accounts[email] = Account(email, key, permissions)
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        file = folder / f"{name}.json"
        file.write_text(
            json.dumps(
                {
                    "type": "service_account",
                    "project_id": "peer",
                    "private_key_id": "1",
                    "private_key": pem.decode(),
                    "client_email": email,
                    "client_id": "1",
                    "token_uri": f"{self.url()}/token",
                }
            ),
            encoding="utf-8",
        )
        return file

    def forget(self, name: str = "imagectl") -> None:
        """The account is deleted: its keys and tokens are worth nothing."""
        account = self._accounts.pop(f"{name}@peer.iam.gserviceaccount.com")
        for text in [text for text, each in self._tokens.items() if each.account is account]:
            del self._tokens[text]

    def end_tokens(self) -> None:
        """All tokens given until now have expired."""
        self._tokens.clear()

    @contextmanager
    def only(self, *permissions: str) -> Iterator[None]:
        """While the block runs, nobody may do anything else: shell patterns of permissions."""
        before = self.anonymous, {each.email: each.permissions for each in self._accounts.values()}
        self.anonymous = permissions
        for each in self._accounts.values():
            each.permissions = permissions
        try:
            yield
        finally:
            self.anonymous = before[0]
            for email, kept in before[1].items():
                if email in self._accounts:
                    self._accounts[email].permissions = kept

    @contextmanager
    def refusing(self, reason: str, message: str) -> Iterator[None]:
        """While the block runs, no tokens are given, for that reason: such as ``invalid_grant``,
        "Token has been expired or revoked."."""
        self._refusal = Trouble(400, reason, message)
        try:
            yield
        finally:
            self._refusal = None

    def token(self, form: Mapping[str, str]) -> Json:
        """What the token endpoint answers. Raises Trouble, whose JSON is that of the endpoint."""
        if self._refusal is not None:
            raise self._refusal
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            raise Trouble(400, "unsupported_grant_type", "Invalid grant_type")
        account, claims = self._claims(form.get("assertion", ""))
        text = f"ya29.{secrets.token_urlsafe(24)}"
        scopes = frozenset(claims.get("scope", "").split())
        self._tokens[text] = Token(account, self.now() + self.lifetime, scopes)
        self.given += 1
        return {
            "access_token": text,
            "expires_in": int(self.lifetime.total_seconds()),
            "token_type": "Bearer",
        }

    def check(self, authorization: str | None, method: Method) -> None:
        """Raises Trouble where the caller may not do it."""
        needed = permission(method.id)
        if authorization is None:
            if not self.anonymous:
                raise Trouble(401, "required", "Login Required.")
        else:
            scopes = self._token(authorization).scopes
            if scopes and not scopes & method.scopes:
                raise Trouble(
                    403,
                    "insufficientPermissions",
                    "Request had insufficient authentication scopes.",
                )
        if needed is not None and not self.may(authorization, needed):
            raise Trouble(403, "forbidden", f"Required '{needed}' permission")

    def may(self, authorization: str | None, permission: str) -> bool:
        """Whether a caller with that header has a permission."""
        if authorization is None:
            return any(fnmatch.fnmatchcase(permission, each) for each in self.anonymous)
        return self._token(authorization).account.may(permission)

    def _token(self, authorization: str) -> Token:
        text = authorization.removeprefix("Bearer ")
        if text.count(".") == 2 and text.startswith("ey"):
            try:
                account, claims = self._claims(text)
            except Trouble as error:
                raise _unauthenticated() from error
            return Token(account, self.now(), frozenset(claims.get("scope", "").split()))
        token = self._tokens.get(text)
        if token is None or token.until <= self.now():
            raise _unauthenticated()
        return token

    def _claims(self, text: str) -> tuple[Account, Json]:
        """Whose JSON web token it is, and what it says."""
        try:
            head, body, signature = text.split(".")
            claims = json.loads(_unpadded(body))
            account = self._accounts.get(claims["iss"])
            if account is None:
                raise Trouble(400, "invalid_grant", "Invalid grant: account not found")
            account.key.public_key().verify(
                _unpadded(signature),
                f"{head}.{body}".encode(),
                padding.PKCS1v15(),
                hashes.SHA256(),
            )
        except InvalidSignature:
            raise Trouble(400, "invalid_grant", "Invalid JWT Signature.") from None
        except (ValueError, KeyError):
            raise Trouble(400, "invalid_grant", "Invalid JWT") from None
        now = self.now().timestamp()
        if claims["iat"] > now + 300 or claims["exp"] < now - 300:
            raise Trouble(
                400,
                "invalid_grant",
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable "
                "timeframe. Check your iat and exp values in the JWT claim.",
            )
        return account, claims


def _unauthenticated() -> Trouble:
    return Trouble(
        401,
        "authError",
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login "
        "cookie or other valid authentication credential.",
        headers={
            "WWW-Authenticate": 'Bearer realm="https://accounts.google.com/", error="invalid_token"'
        },
    )


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
