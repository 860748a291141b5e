"""``python -m lvseg.cli`` is the command ``lvseg``."""

import sys

from lvseg.cli import main

sys.exit(main())
