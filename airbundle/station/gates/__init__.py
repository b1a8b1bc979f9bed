"""Content gates: what the files of a verified bundle have to be before an import publishes them."""
