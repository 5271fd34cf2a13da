"""Start the workbench: python app.py [--host H] [--port P] [--workspace DIR] [--share] [--model NAME]."""

import sys

from workbench.ui.serving import main

if __name__ == "__main__":
    sys.exit(main())
