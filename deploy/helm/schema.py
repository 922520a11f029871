"""`python -P -m deploy.helm.schema`: write the service's own settings into the chart's values.schema.json, so that Helm refuses what the
service would. To be run after a change of configs/serving.py; a test says when."""

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

from configs.serving import LogSettings, ServeSettings

SCHEMA = Path(__file__).with_name("tingsu") / "values.schema.json"


def definitions() -> dict[str, Any]:
    """Name → JSON schema of the sections that `settings` of the chart may hold."""
    _, found = models_json_schema([(ServeSettings, "validation"), (LogSettings, "validation")])
    return dict(found["$defs"])


def main() -> None:
    """Write the file anew; what is not a definition of ours stays as it is."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    schema["$defs"] = {name: part for name, part in schema["$defs"].items() if part.get("$comment") == "chart"}
    schema["$defs"] |= definitions()
    SCHEMA.write_text(json.dumps(schema, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
