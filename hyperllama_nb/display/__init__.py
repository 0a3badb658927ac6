"""Showing things in a notebook and in a terminal."""
