"""Drives that come and go: events, mounting read-only, sandboxes. May be privileged, and parses nothing of a bundle."""
