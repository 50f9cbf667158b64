"""The OpenAPI schema as JSON, from which the page's typed client is generated.

`python -m faceloom.server.schema > studio/openapi.json`
"""

from __future__ import annotations

import json

from faceloom.server.app import make_app


def schema() -> str:
    """The schema as text; it needs neither a model nor a data folder."""
    return json.dumps(make_app(None).openapi(), indent=2, ensure_ascii=False, sort_keys=True)


if __name__ == "__main__":
    print(schema())
