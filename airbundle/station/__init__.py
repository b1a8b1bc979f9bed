"""The station on the high side: what is let in, by whose word, and the evidence of it."""
