"""Launching engines and speaking to them."""
