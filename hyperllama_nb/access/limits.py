"""How large a request may be."""

MAX_BODY_BYTES = 32 << 20
"""A prompt of a million tokens takes about 4 MB; images in base64 are the reason for more."""

MAX_HEADER_BYTES = 16 << 10
"""Of one header line, and of the request line."""
