"""The frame around the tabs: theme, header, steps, the next step, and how a tab talks to its Python functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradio as gr

from workbench.ui.api import RELOAD, Blocks, answer, expose
from workbench.ui.context import Context
from workbench.ui.export import export_all
from workbench.ui.overview import overview
from workbench.ui.payload import Endpoint

STATIC = Path(__file__).parent / "static"
TABS = ("demonstrate", "rank", "train", "score", "compare")
LABELS = {name: name.capitalize() for name in TABS}


def endpoint(context: Context, function: Endpoint) -> Callable[..., dict[str, Any]]:
    """Wrap `function(context, payload)` as a gr.HTML server function; what is refused comes back as {"error": text}."""

    def handler(payload: Any, request: gr.Request) -> dict[str, Any]:
        return answer(context, function, payload, request, RELOAD)

    # The annotation must be the class itself: gradio injects the request by it.
    handler.__annotations__ = {"payload": Any, "request": gr.Request, "return": dict}
    handler.__name__ = f"wb_{function.__name__}"  # the prefix keeps clear of gr.HTML's own attributes, such as `stop`
    handler.__doc__ = inspect.getdoc(function)
    handler.takes = getattr(function, "takes", None)  # type: ignore[attr-defined]  # an attribute of our own
    return handler


def panel(context: Context, name: str, functions: Sequence[Endpoint], before: Sequence[str] = ()) -> gr.HTML:
    """One piece of the page: an empty element that static/NAME.js fills, and the functions that it may call.

    `before` names scripts of static/ that it needs, such as "charts"; each of them defines itself only once.

    In NAME.js `element`, `server` and `props` are given, and `workbench.call(server, "f", payload)` calls `f`.
    The template is constant, so nothing that a person or a model wrote is ever parsed as HTML.
    """
    context.functions.update(dict.fromkeys(functions))
    script = "\n".join((STATIC / f"{each}.js").read_text(encoding="utf-8") for each in (*before, name))
    return gr.HTML(
        value="",
        html_template=f'<div class="wb wb-{name}"></div>',
        js_on_load=f'workbench.mount("{name}", element, () => {{\n{script}\n}});',
        apply_default_css=False,
        server_functions=[endpoint(context, function) for function in functions],
        elem_id=f"wb-{name}",
    )


def head() -> str:
    """The page's own script. gradio runs it before any panel's; it defines window.workbench once."""
    return f"<script>{(STATIC / 'shell.js').read_text(encoding='utf-8')}</script>"


def theme() -> gr.themes.Base:
    """gradio's tokens pointed at ours, light and dark alike. Plain font names, so that nothing is fetched."""
    tokens = {
        "body_text_color": "var(--ink)",
        "body_text_color_subdued": "var(--ink-3)",
        "background_fill_primary": "var(--surface)",
        "background_fill_secondary": "var(--sunken)",
        "block_background_fill": "var(--surface)",
        "block_border_color": "var(--line)",
        "block_shadow": "none",
        "border_color_primary": "var(--line)",
        "border_color_accent": "var(--accent)",
        "color_accent_soft": "var(--accent-soft)",
        "input_background_fill": "var(--surface)",
        "input_border_color": "var(--line-control)",
        "input_border_color_focus": "var(--accent)",
        "button_primary_background_fill": "var(--accent)",
        "button_primary_background_fill_hover": "var(--accent-hover)",
        "button_primary_text_color": "var(--on-accent)",
        "link_text_color": "var(--accent)",
    }
    sans = ["-apple-system", "BlinkMacSystemFont", "Segoe UI", "Roboto", "Noto Sans", "Liberation Sans", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace"]
    # The page's first paint, before our tokens arrive, takes these two as they are: no flash of white in the dark.
    first_paint = {"body_background_fill": "#F7F5F1", "body_background_fill_dark": "#151412"}
    themed_tokens = {name + dark: value for name, value in tokens.items() for dark in ("", "_dark")}
    # gradio names its text sizes as tokens.css does: they must agree, whichever style sheet comes last.
    text = gr.themes.Size(name="text", xxs="12px", xs="12px", sm="13px", md="15px", lg="18px", xl="22px", xxl="26px")
    return gr.themes.Base(text_size=text, font=sans, font_mono=mono).set(
        color_accent="var(--accent)", **first_paint, **themed_tokens
    )


def css() -> str:
    """tokens.css, shell.css, then each tab's own file."""
    base_sheets = ["tokens.css", "shell.css"]
    tab_sheets = sorted(path.name for path in STATIC.glob("*.css") if path.name not in base_sheets)
    return "\n".join((STATIC / name).read_text(encoding="utf-8") for name in base_sheets + tab_sheets)


def header(context: Context) -> gr.HTML:
    """The mark, the model, the steps, the running job; its lower edge carries the next step onto the tab row."""
    return panel(context, "header", [overview, export_all])


def build(context: Context) -> gr.Blocks:
    """The whole page: the header and one tab per file of this folder, and its functions as endpoints."""
    page = Blocks(title="Alignment workbench", analytics_enabled=False, fill_width=True)
    with page:
        header(context)
        with gr.Tabs(elem_id="wb-tabs", overflow_behavior="wrap"):
            for name in TABS:
                if find_spec(f"workbench.ui.{name}") is None:
                    continue
                module = import_module(f"workbench.ui.{name}")
                with gr.Tab(LABELS[name], id=name, elem_id=f"wb-tab-{name}"):
                    module.tab(context)
    expose(page, context, context.functions)
    return page


def launch_options() -> dict[str, Any]:
    """What gr.Blocks.launch() needs beside the address, so that the page looks as designed and sends nothing away."""
    return {
        "theme": theme(),
        "css": css(),
        "head": head(),
        "footer_links": [],
        "run_history": False,
        "quiet": True,
        "show_error": True,
        "pwa": False,
        "ssr_mode": False,
        "favicon_path": str(STATIC / "favicon.svg"),
        "max_file_size": "64mb",
        "state_session_capacity": 100,  # we keep no state there, and each has a copy of the endpoints' descriptions
    }
