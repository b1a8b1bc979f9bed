"""Suites, identities, envelopes, seals and signatures: values in, values out, no files."""
