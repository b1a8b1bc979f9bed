"""`python -m airbundle` is the command line."""

from airbundle.cli.main import run

run()
