"""The page: the only place that imports gradio."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.settings import Settings

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported


def serve(settings: "Settings", auth_file: str | Path | None = None) -> int:
    """Serve the page until it is stopped, see serving.serve."""
    from workbench.ui import serving

    return serving.serve(settings, auth_file)
