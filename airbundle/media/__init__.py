"""Volumes, sources and staging trees as files: the only code of a pack or an unpack that opens anything."""
