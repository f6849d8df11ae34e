"""What the folder intake counts."""

from prometheus_client import CollectorRegistry, Counter, Gauge

OUTCOMES = ("taken", "repeated", "rejected")


class FolderMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.files = Counter("cctelegram_folder_files", "Files of EVENTS_DIR", ["outcome"], registry=registry)
        for outcome in OUTCOMES:
            self.files.labels(outcome)
        self.waiting = Gauge("cctelegram_folder_files_waiting", "Files not taken yet", registry=registry)
