"""The command line: words, flags, exit codes, progress, tables."""
