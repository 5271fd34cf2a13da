"""Where the page finds its chart library: plotly.js out of the installed wheel, so that nothing comes from elsewhere."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote


@cache
def plotly_url() -> str:
    """Address of plotly.min.js relative to the page, which is then served as a fixed file. Imports no plotly.

    Raises ModuleNotFoundError when plotly is not installed.
    """
    import gradio as gr

    spec = find_spec("plotly")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("plotly is not installed, so there are no charts: pip install -r requirements.txt")
    file = Path(spec.origin).parent / "package_data" / "plotly.min.js"
    gr.set_static_paths([file])
    return f"gradio_api/file={quote(str(file))}"
