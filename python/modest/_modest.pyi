from typing import Any, Callable, Iterable, Iterator, Optional, Sequence, final

__all__ = ["FileWrapper", "Listeners", "Log", "Server", "Settings", "Watch", "__version__", "run", "running", "serve"]

__version__: str

def run(args: Sequence[str]) -> int: ...
def running() -> int: ...
def serve(
    load: Callable[[], Callable[..., Iterable[bytes]]],
    settings: Settings,
    *,
    name: str,
    server: Server,
    multiprocess: bool = False,
    listeners: Optional[tuple[Listeners, int]] = None,
    ready: Optional[Callable[[], object]] = None,
    beside: Optional[Callable[[Callable[[], None]], None]] = None,
    retire: Optional[tuple[int, Callable[[], object]]] = None,
    signals: str = "program",
    announce: bool = True,
) -> int: ...

@final
class Server:
    """A server that is to be started, or runs in another thread."""

    def __new__(cls) -> Server: ...
    def shutdown(self) -> None: ...
    def hand_over(self) -> None: ...
    @property
    def addresses(self) -> list[str]: ...

@final
class Settings:
    def __new__(cls, args: Sequence[str], has_application: bool = False) -> Settings: ...
    def check(self) -> Optional[tuple[str, int]]: ...
    def name_of(self, option: str) -> str: ...
    exit: Optional[tuple[str, int]]
    application: str
    processes: Optional[int]
    process_requests: Optional[int]
    process_age: Optional[int]
    chdir: Optional[str]
    environment: list[tuple[str, str]]
    reload: bool
    drain: Optional[float]
    delay: float
    quiet: bool
    has_parent: bool
    is_check: bool

@final
class Listeners:
    def __new__(cls, settings: Settings, processes: int) -> Listeners: ...
    def refuse_clients(self) -> float: ...

@final
class Log:
    """The messages of a parent process."""

    def __new__(cls, settings: Settings) -> Log: ...
    def write(self, level: str, message: str) -> None: ...
    def interrupted(self) -> float: ...
    def explain(self) -> None: ...

@final
class Watch:
    """On Linux only: elsewhere `Watch()` raises OSError."""

    def __new__(cls) -> Watch: ...
    def add(self, folder: str) -> None: ...
    def fileno(self) -> int: ...
    def clear(self) -> None: ...

@final
class FileWrapper:
    def __new__(cls, filelike: Any, block_size: int = 65536, /) -> FileWrapper: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def __next__(self) -> bytes: ...
    def close(self) -> None: ...
