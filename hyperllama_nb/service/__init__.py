"""The engine service: it owns the engines and answers the Ollama API."""
