"""OpenAI's dialect: its requests read, its answers and errors written."""
