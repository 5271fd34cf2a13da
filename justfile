# What a contributor runs; `just --list` shows it. Everything here is also a plain command.

# lint, types, and every test
check: lint
    python -m pytest

# lint and types alone
lint:
    ruff check .
    ruff format --check .
    mypy
    npm ci --silent && npm run --silent lint

# every test but the long ones
test *arguments:
    python -m pytest {{arguments}}

# the tests that neither train nor drive a browser, under a minute
fast *arguments:
    python -m pytest -m fast {{arguments}}

# mend what can be mended by itself
fix:
    ruff check --fix .
    ruff format .
    npm ci --silent && npm run --silent fix

# renew the pages that are written from the code
docs:
    python docs/write_settings.py
    python docs/write_api.py

# the benchmarks that need nothing installed besides; docs/benchmarks.md has all of them
bench:
    python benchmarks/startup.py
    python benchmarks/page.py
    python benchmarks/rollout.py
    python benchmarks/overhead.py

# renew requirements.lock after a change of requirements.txt; `just lock --upgrade` takes newer transitive packages too
lock *arguments:
    uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-emit-index-url --custom-compile-command "just lock" {{arguments}} requirements.txt --output-file requirements.lock
