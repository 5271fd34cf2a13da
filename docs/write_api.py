"""Write docs/api.md from the functions of the page: `python docs/write_api.py`. A test holds it up to date."""

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import UnionType
from typing import get_origin

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from workbench import settings  # noqa: E402
from workbench.store import Store  # noqa: E402
from workbench.ui import api, shell  # noqa: E402
from workbench.ui.context import Context  # noqa: E402
from workbench.ui.payload import Endpoint  # noqa: E402

INTRODUCTION = """# The workbench from a program

Whatever the page can do, a program can do through [`gradio_client`](https://pypi.org/project/gradio-client/), which is installed with the workbench: every function of the page is an endpoint with a name and typed arguments. Start the workbench, then:

```python
import time
from gradio_client import Client

client = Client("http://127.0.0.1:7860")
```

**Vote** on a pair (`pairs` is empty while the model loads):

```python
pair = client.predict(n=1, api_name="/next_pairs")["pairs"][0]
print(pair["prompt"], *pair["texts"], sep="\\n\\n")
client.predict(pair["prompt_id"], pair["shown"], "a", api_name="/vote")
```

**Start a run** and wait for it:

```python
run = client.predict("sft", "quick", api_name="/start_run")["run"]
while client.predict(run, api_name="/run_status")["shown"]["live"]:
    time.sleep(1)
```

- With a login: `Client(url, auth=("ann", "her password"))`. Votes and answers are stored under that name; without a login, under "you".
- An argument that may be `None` may be left out. Arguments are checked as the page's are: a wrong one raises `gradio_client.exceptions.AppError`, which names it and says what is needed, and changes nothing.
- `token` is any text of 8 to 64 characters, made up anew for each act. Sending the same act again with the same token, after a lost connection for example, stores it once.
- `client.view_api()` lists all endpoints. A call may carry up to 30 MB.
- `gradio_client` itself reports to Hugging Face that it was started, unless `HF_HUB_DISABLE_TELEMETRY=1` is set.

# All endpoints

Written by `python docs/write_api.py` from the declarations in `workbench/ui`, which also check the calls.
"""


def type_text(kind: object) -> str:
    """A type as Python spells it."""
    return str(kind) if isinstance(kind, UnionType) or get_origin(kind) else getattr(kind, "__name__", str(kind))


def entry(function: Endpoint) -> str:
    """One endpoint: its name, its arguments, and what its docstring says."""
    fields = [f"{each.name}: {type_text(each.annotation)}" for each in api.arguments(function)]
    description = " ".join((function.__doc__ or "").split())
    return f"- **`/{api.api_name(function)}`** `({', '.join(fields)})`<br>{description}"


def text(functions: Iterable[Endpoint]) -> str:
    """The whole page: how to call, then the endpoints by the file that they are in."""
    by_module: dict[str, list[Endpoint]] = {}
    for function in functions:
        by_module.setdefault(function.__module__.rpartition(".")[2], []).append(function)
    parts = [INTRODUCTION]
    for module, members in by_module.items():
        parts.append(f"## {module.capitalize()}\n\n" + "\n".join(map(entry, members)) + "\n")
    return "\n".join(parts)


def functions() -> list[Endpoint]:
    """The functions of the page, in the order of its tabs."""
    with tempfile.TemporaryDirectory() as folder:
        context = Context(settings.load(folder), Store(Path(folder) / "workbench.db"))
        shell.build(context)
        context.close()
    return list(context.functions)


if __name__ == "__main__":
    (ROOT / "docs" / "api.md").write_text(text(functions()), encoding="utf-8")
