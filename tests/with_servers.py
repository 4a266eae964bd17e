"""`python -m tests.with_servers COMMAND …`: runs a command that needs a database, with the tests' own servers."""

import subprocess
import sys

import tests.servers  # noqa: F401  (starts them)

sys.exit(subprocess.run(sys.argv[1:], check=False).returncode)
