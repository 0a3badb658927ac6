"""`python -m hyperllama_nb` is the `hyperllama` command."""

import sys

from hyperllama_nb.cli import main

sys.exit(main())
