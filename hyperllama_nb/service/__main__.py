"""Run the engine service: `python -P -m hyperllama_nb.service`."""

import sys

from hyperllama_nb.service.host import main

sys.exit(main())
