#!/usr/bin/env bash
# Fill .venv-clients: the client libraries of others, apart from what MAX and we need.
set -eu
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/bin/python}" scripts/environment.py .venv-clients . ipykernel xllamacpp pytest ollama openai langchain-ollama litellm
