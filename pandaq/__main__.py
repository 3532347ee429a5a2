"""`python -m pandaq`: look at a data directory and mend it; see `pandaq.cli`."""

import sys

from pandaq.cli import main

if __name__ == "__main__":
    sys.exit(main())
