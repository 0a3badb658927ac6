"""The file that knows the keys, and where a request carries one."""

import contextlib
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator, MutableSequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hyperllama_nb.access.callers import SCOPES, Caller
from hyperllama_nb.access.key import Key
from hyperllama_nb.errors import RequestError, StoreError

_log = logging.getLogger(__name__)

PREFIX = "hlnb_"
"""How each key begins, so that people and secret scanners recognise one."""

DEFAULT_SCOPES = ("infer", "models:read")

DEFAULT_LIFETIME = timedelta(days=30)

_CREDENTIAL = re.compile(r"(?:bearer|token)\s+(\S+)\s*", re.IGNORECASE)

_LOCK_SECONDS = 30.0
"""Longest wait for another process that changes the file, which takes milliseconds."""

_MOST = 1_000_000
"""Upper bound of both limits of a key."""

_LONGEST = timedelta(days=36_500)


def default_path() -> Path:
    """Return the file that `HYPERLLAMA_KEYS` names, or keys.json in the user's data directory."""
    named = os.environ.get("HYPERLLAMA_KEYS")
    if named:
        return Path(named).expanduser()
    import platformdirs

    return platformdirs.user_data_path("hyperllama") / "keys.json"


def credential(authorization: str | None, api_key: str | None = None) -> str | None:
    """Return the key in a request's Authorization (Bearer, token) or X-API-Key header, or None.

    What does not begin like a key of ours is none: clients of Ollama send words of all sorts.

    >>> credential("Bearer hlnb_x"), credential("token hlnb_x"), credential("Bearer ollama")
    ('hlnb_x', 'hlnb_x', None)
    """
    match = _CREDENTIAL.fullmatch(authorization or "")
    for text in (match[1] if match else None, api_key):
        if text and text.startswith(PREFIX):
            return text
    return None


class KeyStore:
    """The keys in one file, which only its user can read; the file is made by the first key.

    Several processes may use it: changes happen under a file lock and replace the file in one
    step, and readers notice another file at their next call.

    >>> import tempfile
    >>> store = KeyStore(Path(tempfile.mkdtemp()) / "keys.json")
    >>> text, key = store.create(["infer"], name="editor")
    >>> store.find(text) == key.caller, store.find("hlnb_guess")
    (True, None)
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path if path is not None else default_path()
        self._seen: tuple[int, ...] | None = None
        self._keys: tuple[Key, ...] = ()

    def create(
        self,
        scopes: Iterable[str] = DEFAULT_SCOPES,
        *,
        name: str = "",
        lifetime: timedelta | None = DEFAULT_LIFETIME,
        requests_per_minute: int | None = None,
        concurrent: int | None = None,
    ) -> tuple[str, Key]:
        """Make a key and return its text, which nobody can read again, and what is stored of it.

        `lifetime` None is for ever. Raises RequestError for unknown scopes and limits out of
        range, StoreError if the file cannot be read or written.
        """
        chosen = _checked_scopes(scopes)
        for limit in (requests_per_minute, concurrent):
            if limit is not None and not 1 <= limit <= _MOST:
                raise RequestError(f"A limit of a key is from 1 to {_MOST}, and {limit} is not.")
        if lifetime is not None and not timedelta(0) < lifetime <= _LONGEST:
            raise RequestError(
                "A key expires later than now and within a hundred years; `never` has no end."
            )
        text = PREFIX + secrets.token_urlsafe(32)
        now = datetime.now(UTC)
        with self._changing() as keys:
            key = Key(
                id=_new_id(keys),
                name="".join(c for c in name if c.isprintable())[:100],
                scopes=chosen,
                created=now,
                expires=now + lifetime if lifetime is not None else None,
                last_four=text[-4:],
                hash=_hash(text),
                requests_per_minute=requests_per_minute,
                concurrent=concurrent,
            )
            keys.append(key)
        return text, key

    def list(self) -> list[Key]:
        """Return all keys, oldest first, the expired too; raises StoreError for a bad file."""
        return list(self._read())

    def revoke(self, which: str) -> Key:
        """Remove the key of this id, or of this name if only one has it, and return it.

        It counts at the next request. Raises RequestError if no key or several match.
        """
        with self._changing() as keys:
            found = [key for key in keys if key.id == which] or [
                key for key in keys if key.name == which
            ]
            if len(found) != 1:
                problem = f"{len(found)} keys are" if found else "No key is"
                raise RequestError(
                    f"{problem} called {which!r}. `hyperllama key list` shows each key's id."
                )
            keys.remove(found[0])
        return found[0]

    def find(self, text: str) -> Caller | None:
        """Return who asks with this key, or None if it is unknown, revoked or expired.

        Never raises: a file that cannot be read holds no keys, and the log tells why.
        """
        key = self._match(text)
        return key.caller if key is not None and not key.expired else None

    def get(self, id: str) -> Key | None:  # noqa: A002  the word that everybody uses for it
        """Return the key of an id if it is still good, or None; never raises."""
        for key in self._known():
            if key.id == id and not key.expired:
                return key
        return None

    def _match(self, text: str) -> Key | None:
        try:
            hashed = _hash(text)
        except (AttributeError, ValueError):
            return None
        found = None
        for key in self._known():
            # All keys are compared, in constant time: the answer's delay tells nothing.
            if hmac.compare_digest(key.hash, hashed):
                found = key
        return found

    def _known(self) -> tuple[Key, ...]:
        try:
            return self._read()
        except StoreError as error:
            _log.error("%s", error)
            return ()

    def _read(self) -> tuple[Key, ...]:
        """Return the keys in the file, which is parsed only when it is another than before."""
        try:
            status = self.path.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode)
            if seen != self._seen:
                if status.st_mode & 0o022 or status.st_uid not in {0, os.getuid()}:
                    raise StoreError(
                        f"The key file {self.path} could have been changed by somebody else, so "
                        f"no key counts. Make it yours alone: `chmod 600 {self.path}`."
                    )
                content = json.loads(self.path.read_bytes())
                self._keys = tuple(map(Key.from_json, content["keys"]))
                self._seen = seen
        except FileNotFoundError:
            self._seen, self._keys = None, ()
        except OSError as error:
            raise StoreError(
                f"The key file {self.path} cannot be read: {error.strerror}."
            ) from error
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise StoreError(
                f"The key file {self.path} is damaged. Move it away and make new keys."
            ) from error
        return self._keys

    @contextlib.contextmanager
    def _changing(self) -> Iterator[MutableSequence[Key]]:
        """Give the keys as a list and write what the block leaves in it."""
        import filelock

        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = filelock.FileLock(f"{self.path}.lock", timeout=_LOCK_SECONDS, mode=0o600)
            with lock:
                keys = list(self._read())
                yield keys
                self._write(keys)
        except (OSError, filelock.Timeout) as error:
            raise StoreError(
                f"The key file {self.path} cannot be changed: {error}. HYPERLLAMA_KEYS can name "
                "another place."
            ) from error

    def _write(self, keys: Iterable[Key]) -> None:
        content = json.dumps({"version": 1, "keys": [key.to_json() for key in keys]}, indent=1)
        # mkstemp makes files that nobody else can read; the rename is atomic.
        number, name = tempfile.mkstemp(prefix=".keys-", dir=self.path.parent)
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _new_id(keys: Iterable[Key]) -> str:
    taken = {key.id for key in keys}
    while (found := secrets.token_hex(4)) in taken:
        pass
    return found


def _checked_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    chosen = set(scopes)
    unknown = sorted(chosen - set(SCOPES))
    if unknown or not chosen:
        problem = f"There is no scope {unknown[0]!r}" if unknown else "A key needs a scope"
        raise RequestError(f"{problem}. The scopes are {', '.join(SCOPES)}.")
    return tuple(scope for scope in SCOPES if scope in chosen)
