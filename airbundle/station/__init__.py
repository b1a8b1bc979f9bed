"""The importing side: what a bundle has to be before it is published here."""
