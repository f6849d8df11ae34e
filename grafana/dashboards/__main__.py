"""``python -m grafana.dashboards`` writes the JSON files that Grafana loads."""

from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.dashboards import alerting, bridge, overview

FOLDER = Path(__file__).parent
DASHBOARDS = {"overview": overview.build, "bridge": bridge.build, "alerting": alerting.build}


def rendered(name: str) -> str:
    """The JSON of a dashboard, with panels numbered in their order."""
    made = DASHBOARDS[name]().build()
    for number, panel in enumerate(made.panels or (), start=1):
        panel.id_val = number
    return JSONEncoder(sort_keys=True, indent=1, ensure_ascii=False).encode(made) + "\n"


if __name__ == "__main__":
    for name in DASHBOARDS:
        path = FOLDER / f"{name}.json"
        path.write_text(rendered(name), encoding="utf-8")
        print(f"{path}: {len(rendered(name)):,} bytes")
