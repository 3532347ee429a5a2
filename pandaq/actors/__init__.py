"""Concurrency only: each actor owns one plain object and lets one message at a time touch it."""
