"""A clock that stands still until a test moves it."""


class ManualClock:
    def __init__(self, time: float = 1_767_225_600.0, monotonic: float = 1_000.0) -> None:
        self.epoch = time
        self.steady = monotonic

    def time(self) -> float:
        return self.epoch

    def monotonic(self) -> float:
        return self.steady

    def advance(self, seconds: float) -> None:
        self.epoch += seconds
        self.steady += seconds
