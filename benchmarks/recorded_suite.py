"""The whole suite in one process, with a profile hook that records which functions of services/ run.

``python -m benchmarks.recorded_suite SOCKET`` starts what ``python -m services`` starts. A program that
connects to the Unix socket sends None, and receives the functions entered since its last request, as a list
of (file, qualified name, first line) in the order of first entry. Services import nothing of this module.
"""

import sys
import threading
from multiprocessing.connection import Listener
from pathlib import Path
from types import CodeType, FrameType

from services import __main__ as suite

SERVICES = Path(suite.__file__).parent
#: (file relative to services/, qualified name, first line)
Function = tuple[str, str, int]


class Recorder:
    """Records the code objects that Python enters, in all threads started after it."""

    def __init__(self) -> None:
        self._entered: dict[int, CodeType] = {}

    def install(self) -> None:
        """Sets the hook in this thread and in each thread that starts later."""
        threading.setprofile(self._hook)
        sys.setprofile(self._hook)

    def _hook(self, frame: FrameType, event: str, _: object) -> None:
        # A coroutine that resumes is a call as well: a loop that waited for work counts when it gets some.
        if event == "call" and id(frame.f_code) not in self._entered:
            self._entered[id(frame.f_code)] = frame.f_code

    def take(self) -> list[Function]:
        """Returns what was entered since the last call, and starts with an empty record."""
        entered, self._entered = self._entered, {}
        return [
            (str(Path(code.co_filename).relative_to(SERVICES)), code.co_qualname, code.co_firstlineno)
            for code in entered.values()
            if Path(code.co_filename).is_relative_to(SERVICES)
        ]

    def serve(self, socket: str) -> None:
        """Answers one program until it closes the connection."""
        with Listener(socket) as listener, listener.accept() as program:
            while True:
                try:
                    program.recv()
                except EOFError:
                    return
                program.send(self.take())


def main() -> None:
    recorder = Recorder()
    threading.Thread(target=recorder.serve, args=sys.argv[1:2], daemon=True).start()
    recorder.install()
    suite.main()


if __name__ == "__main__":
    main()
