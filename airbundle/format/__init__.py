"""Bytes to values and back: pure, no I/O. Follows `spec/bundle.md` chapter by chapter."""
