"""An agent's own key: for what it signs itself (RFC 7523), and for tokens that are bound to it (RFC 9449).

Needs the package `cryptography`: pip install "portreeve[key]".
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
import uuid
from typing import Any

from ._errors import PortreeveError
from ._sources import Source

# What is signed is good for this long, in seconds: each request gets its own.
LIFETIME = 60


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _cryptography() -> Any:
    try:
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
    except ImportError:
        remedy = 'Install it: pip install "portreeve[key]".'
        raise PortreeveError("cryptography_missing", "Keys need the package cryptography.", remedy) from None
    return hashes, serialization, ec, ed25519, utils


class Key:
    """An Ed25519 or P-256 key. Nothing prints its private half."""

    def __init__(self, private: Any) -> None:
        _, serialization, ec, ed25519, _ = _cryptography()
        self._private = private
        public = private.public_key()
        if isinstance(private, ed25519.Ed25519PrivateKey):
            raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            self._algorithm = "EdDSA"
            self._jwk = {"crv": "Ed25519", "kty": "OKP", "x": _packed(raw)}
        elif isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name == "secp256r1":
            numbers = public.public_numbers()
            x, y = (_packed(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
            self._algorithm = "ES256"
            self._jwk = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
        else:
            raise PortreeveError("key_unsupported", "This is no Ed25519 or P-256 key.", "Make one with Key.generate().")

    @classmethod
    def load(cls, path: str | os.PathLike[str], password: bytes | None = None) -> Key:
        """The private key in a PEM file."""
        _, serialization, *_ = _cryptography()
        try:
            with open(path, "rb") as opened:
                return cls(serialization.load_pem_private_key(opened.read(), password))
        except (OSError, ValueError, TypeError) as error:
            raise PortreeveError("key_unusable", f"{path} holds no private key: {error}.", "Write it as PEM.") from None

    @classmethod
    def generate(cls) -> Key:
        """A new Ed25519 key."""
        _, _, _, ed25519, _ = _cryptography()
        return cls(ed25519.Ed25519PrivateKey.generate())

    def jwk(self) -> dict[str, str]:
        """The public half, as `portreeve agent add --key FILE` takes it."""
        return dict(self._jwk)

    def source(self, agent: str) -> Source:
        """Shows that this is the agent of that name: a new assertion each time."""

        def fresh(audience: str) -> str:
            now = int(time.time())
            claims = {"iss": agent, "sub": agent, "aud": audience, "iat": now, "exp": now + LIFETIME}
            return self._signed({"typ": "client-authentication+jwt"}, {**claims, "jti": uuid.uuid4().hex})

        return fresh

    def dpop(self, method: str, url: str, token: str | None = None) -> str:
        """A proof of possession for one request."""
        claims: dict[str, Any] = {"jti": uuid.uuid4().hex, "htm": method, "htu": url, "iat": int(time.time())}
        if token is not None:
            claims["ath"] = _packed(hashlib.sha256(token.encode()).digest())
        return self._signed({"typ": "dpop+jwt", "jwk": self._jwk}, claims)

    def _signed(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        parts = [_packed(json.dumps(part).encode()) for part in ({"alg": self._algorithm, **header}, claims)]
        message = ".".join(parts).encode()
        if self._algorithm == "EdDSA":
            signature = self._private.sign(message)
        else:
            hashes, _, ec, _, utils = _cryptography()
            r, s = utils.decode_dss_signature(self._private.sign(message, ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return f"{message.decode()}.{_packed(signature)}"
