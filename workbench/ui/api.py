"""The page's functions as endpoints that programs call by name, such as `gradio_client`: /next_pairs, /vote, /start_run.

One declaration, `takes`, serves both ways in: here it becomes the typed signature that Gradio lists, and the function
behind it is the page's own, with its checks, its login and its refusals.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable
from types import NoneType
from typing import Any, get_args

import gradio as gr
from gradio.data_classes import BlocksConfigDict
from gradio.events import api

from workbench import disk
from workbench.store import StoreError
from workbench.ui.context import Context, Refused
from workbench.ui.payload import Endpoint, WrongField

log = logging.getLogger(__name__)

PAGE = "api"  # the page of gradio's that the endpoints belong to
RELOAD = "Reload the page; nothing saved is lost."


class Blocks(gr.Blocks):
    """gr.Blocks whose endpoints stand on a page of their own that nobody sees.

    So the first page does not carry what they are described with. gradio draws a navigation bar as soon as it is told
    of two pages, so it is told of one.
    """

    def get_config_file(self) -> BlocksConfigDict:
        config = super().get_config_file()
        config["pages"] = [each for each in config["pages"] if each[0] != PAGE]
        config["page"].pop(PAGE, None)
        return config


def answer(context: Context, function: Endpoint, payload: Any, request: gr.Request, remedy: str = "") -> dict[str, Any]:
    """What `function` answers. What is refused comes back as {"error": text}, with `remedy` where a program is wrong.

    The payload's "rater" is always the server's own. Any other exception is logged with its traceback and comes back as
    an error that names its kind: nobody has to guess.
    """
    if not isinstance(payload, dict):
        return {"error": f"This request has no payload. {remedy}".strip()}
    try:
        return function(context, {**payload, "rater": context.rater(request)})
    except WrongField as error:
        log.info("%s refused: %s", function.__name__, error)
        return {"error": f"{error} {remedy}".strip()}
    except (Refused, ValueError, StoreError) as error:  # their texts are written for people
        log.info("%s refused: %s", function.__name__, error)
        return {"error": str(error)}
    except KeyError as error:
        return {"error": f"{error.args[0]}. It may have been removed{'; reload the page' if remedy else ''}."}
    except Exception as error:
        if disk.is_full(error):
            log.info("%s refused: %s", function.__name__, error)
            return {"error": disk.FULL}
        log.exception("%s failed", function.__name__)
        return {"error": f"This did not work ({type(error).__name__}: {error}). Nothing saved before is lost."}


def expose(page: gr.Blocks, context: Context, functions: Iterable[Endpoint]) -> None:
    """Give every function its name among the page's endpoints. Raises ValueError when two want the same."""
    names: dict[str, Endpoint] = {}
    for function in functions:
        name = api_name(function)
        if names.setdefault(name, function) is not function:
            raise ValueError(f"Two functions of the page are called /{name}: give one another name in its @takes.")
    with page.route("API", f"/{PAGE}", show_in_navbar=False):
        for name, function in names.items():
            # without a limit, as for the page: each function knows itself what must not happen twice at a time
            api(by_arguments(context, function), api_name=name, concurrency_limit=None)


def api_name(function: Endpoint) -> str:
    """What programs call it, without the slash."""
    return str(getattr(function, "api_name", function.__name__))


def by_arguments(context: Context, function: Endpoint) -> Callable[..., dict[str, Any]]:
    """`function` with its payload's fields as arguments, those that may be missing last, and refusals as gr.Error."""
    parameters = arguments(function)

    def handler(request: gr.Request, *values: Any) -> dict[str, Any]:
        payload = {
            parameter.name: value
            for parameter, value in zip(parameters, values, strict=True)
            if value is not None or parameter.default is parameter.empty
        }
        result = answer(context, function, payload, request)
        if result.get("error"):
            raise gr.Error(str(result["error"]), print_exception=False)
        return result

    handler.__name__ = api_name(function)
    handler.__doc__ = inspect.getdoc(function)
    # The annotation of the request must be the class itself: gradio injects it by that.
    request = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=gr.Request)
    signature = inspect.Signature([request, *parameters], return_annotation=dict[str, Any])
    handler.__signature__ = signature  # type: ignore[attr-defined]  # what inspect.signature answers
    handler.__annotations__ = {each.name: each.annotation for each in signature.parameters.values()}
    handler.__annotations__["return"] = signature.return_annotation
    return handler


def arguments(function: Endpoint) -> list[inspect.Parameter]:
    """The fields of its `takes` as parameters, in their order, but those with a default (None) last."""
    fields: dict[str, Any] = getattr(function, "takes", {})
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            annotation=kind,
            default=None if NoneType in get_args(kind) else inspect.Parameter.empty,
        )
        for name, kind in fields.items()
    ]
    return sorted(parameters, key=lambda each: each.default is None)
