"""GGUF files: the check before anything reads them, and the import into what MAX runs."""
