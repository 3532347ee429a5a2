"""Measured claims, repeatable by anyone: `python -m bench`; see README.md beside this file."""
