"""Chunks to packed chunks, blocks to stripes, statements to records, and back: pure, no keys, no files."""
