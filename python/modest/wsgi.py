"""Serves WSGI applications (PEP 3333): the command `modest-wsgi`, and `serve` for programs."""

from __future__ import annotations

import ast
import atexit
import contextlib
import errno
import importlib
import importlib.util
import inspect
import os
import signal
import socket
import stat
import sys
import threading
import time
import warnings

from . import _modest

__all__ = ["Server", "load", "main", "serve"]

Server = _modest.Server

# A second signal within this time, in seconds, counts as the first one: `timeout` signals its child and then the whole group.
REPEATED = 0.0005


def serve(app, *, server=None, **options) -> None:
    """Serves this application until SIGINT or SIGTERM, or until `server.shutdown()`.

    Options are those of `modest-wsgi`, with underscores: `serve(app, bind="0.0.0.0:80", threads=8)`. A list repeats an option, True
    gives one without a value, None leaves it out. An address can be a tuple, as in `bind=("127.0.0.1", 0)`. Signals are handled if this is the main thread. Raises TypeError if `app` can't be a WSGI
    application or if an option belongs to the command alone, ValueError for wrong options, and OSError if the server can't serve, for example with errno EADDRINUSE.
    """
    why = _fault(app)
    if why:
        raise TypeError(f"the application {why}")
    settings = _modest.Settings(list(_words(options)), True)
    if settings.exit is not None:
        raise ValueError(settings.exit[0])
    for name in _OF_COMMAND:
        if getattr(settings, {"env": "environment"}.get(name, name)):
            warnings.warn(f"{settings.name_of(name.replace('_', '-'))} has no effect: it is an option of the command modest-wsgi alone", stacklevel=2)
    server = Server() if server is None else server
    _in_forks.register()
    over = threading.Event()
    before = _listeners()

    def load():
        _in_forks.closed |= _listeners() - before
        return app

    def run():
        try:
            _modest.serve(load, settings, name=_name_of(app), server=server, signals="caller")
        finally:
            over.set()

    def end():
        server.shutdown()
        over.wait()

    atexit.register(end)  # the interpreter would end the thread of a daemon, and those of the server, in the middle of a request
    try:
        if threading.current_thread() is threading.main_thread():
            _with_signals(run, server)
        else:
            run()
    finally:
        atexit.unregister(end)


class _InForks:
    """Releases what a process that the application forks must not keep: the listening sockets, and the handlers of signals. It would hold the port
    after the server has ended, and could not be ended by `terminate()`. Its main thread must be one that can end."""

    def __init__(self) -> None:
        self.is_registered = False
        self.closed: set[tuple[int, int]] = set()  # descriptors and their inodes
        self.handlers: dict[int, object] = {}  # those to install
        self.mask = threading.local()

    def register(self) -> None:
        if not self.is_registered:
            os.register_at_fork(before=self.block, after_in_parent=self.unblock, after_in_child=self.reset)
            self.is_registered = True

    def block(self) -> None:
        """A signal to the new process waits until that process has its handlers."""
        self.mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, self.handlers)

    def unblock(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask.before)

    def reset(self) -> None:
        _set_main_thread()
        for number, inode in self.closed:
            with contextlib.suppress(OSError):
                if os.fstat(number).st_ino == inode:
                    os.close(number)
        self.closed = set()
        handlers, self.handlers = self.handlers, {}
        with contextlib.suppress(ValueError):  # not the main interpreter
            if handlers:
                signal.set_wakeup_fd(-1)
            for number, handler in handlers.items():
                signal.signal(number, handler)
        self.unblock()


_in_forks = _InForks()


def _set_main_thread() -> None:
    """Makes the thread that has forked a proper main thread. `current_thread()` registers a thread of the server as a dummy. Before
    Python 3.13, `threading` keeps that as the main thread of the new process, and fails to end it: buffered output would be lost."""
    if isinstance(threading.main_thread(), threading._DummyThread):
        threading._main_thread = threading._MainThread()  # replaces the dummy among the active threads


def _listeners() -> set[tuple[int, int]]:
    """The descriptors of sockets that listen in this process, with their inodes."""
    found = set()
    try:
        names = os.listdir("/dev/fd")
    except OSError:
        return found  # a system without it
    for name in names:
        with contextlib.suppress(OSError):
            number = int(name)
            status = os.fstat(number)
            if stat.S_ISSOCK(status.st_mode):
                with socket.socket(fileno=os.dup(number)) as copy:
                    if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                        found.add((number, status.st_ino))
    return found


def ignored(*_) -> None:
    """Handles a signal that the parent process handles."""


def _handlers_in_forks() -> dict[int, object]:
    """Those of the application, or those of a new process."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
    known = {number: signal.getsignal(number) for number in numbers}
    return {number: signal.SIG_DFL if handler in (None, ignored) else handler for number, handler in known.items()}


def _with_signals(run, server) -> None:
    """Calls `run`, and shuts the server down at the first SIGINT or SIGTERM."""
    handlers = {}

    def on_signal(number, _):
        for each in handlers:
            signal.signal(each, signal.SIG_IGN)
        server.shutdown()
        time.sleep(REPEATED)
        for each in handlers:
            signal.signal(each, signal.SIG_DFL)  # a second one ends the program at once

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            handlers[number] = signal.signal(number, on_signal)
        _in_forks.handlers = {number: handler or signal.SIG_DFL for number, handler in handlers.items()}
        _beside_signals(run, server)
    finally:
        _in_forks.handlers = {}
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _beside_signals(run, server) -> None:
    """Calls `run` in a thread. Python calls handlers of signals in the main thread only, which waits for the thread and for signals.

    Each signal is also written to a pipe: the system can deliver it to any thread, which does not wake the main thread otherwise.
    """
    raised, over = [], threading.Event()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    end = open(os.dup(wake), "wb", buffering=0)

    def work():
        try:
            run()
        except BaseException as error:
            raised.append(error)
        over.set()
        with end, contextlib.suppress(OSError):  # full of signals, or the main thread has stopped waiting
            end.write(b"\0")

    thread = threading.Thread(target=work, name="modest")
    previous = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    try:
        start(thread.start)
        while not over.is_set():
            os.read(woken, 4096)
        thread.join()
    except BaseException:  # raised by a signal handler, such as one for SIGALRM
        server.shutdown()
        raise
    finally:
        signal.set_wakeup_fd(previous)
        os.close(wake)
        os.close(woken)
    if raised:
        raise raised[0]


def start(function, *arguments) -> None:
    """Calls this function, which starts a thread. Python reports the system's limit of threads as an error of the program."""
    try:
        function(*arguments)
    except RuntimeError:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None


_OF_COMMAND = ("chdir", "env", "processes", "process_requests", "process_age", "reload")


def _words(options):
    for name, value in options.items():
        if name in _OF_COMMAND:
            raise TypeError(f"{name} is an option of the command modest-wsgi alone")
        if name == "host":
            raise ValueError(f"there is no option host; use bind={value!r}")
        option = "--" + name.replace("_", "-")
        for each in value if isinstance(value, (list, tuple)) and not _is_address(value) else [value]:
            if _is_address(each):
                host, port = each
                each = f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
            if each is True:
                yield option
            elif each is not None and each is not False:
                yield f"{option}={each}"


def _is_address(value) -> bool:
    """Whether this is a host and a port, as in `socket`, and not two words."""
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int


def _name_of(app) -> str:
    return f"{getattr(app, '__module__', '')}:{getattr(app, '__qualname__', type(app).__qualname__)}"


class LoadError(ImportError):
    """The name leads to no application. The message contains the cause."""


def load(name: str):
    """The application of this name: `MODULE:CALLABLE`, `FILE.py:CALLABLE` or `MODULE:factory()`."""
    module_name, _, attribute = name.partition(":")
    if not module_name:
        raise LoadError(f"{name!r} names no module; expected MODULE:CALLABLE or FILE.py:CALLABLE")
    module = _module(module_name)
    if not attribute:
        for attribute in ("application", "app"):
            if hasattr(module, attribute):
                break
        else:
            raise LoadError(f"{module_name} has neither 'application' nor 'app'; name the callable, as in {module_name}:NAME")
    app = _evaluate(module, module_name, attribute)
    why = _fault(app)
    if why:
        raise LoadError(f"{name} {why}")
    return app


def _fault(app) -> str | None:
    """Why this is not a WSGI application."""
    if not callable(app):
        return f"is not callable, but of the type {type(app).__name__}"
    if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(getattr(app, "__call__", None)):
        return "is an ASGI application, but only WSGI is supported; wrap it, as in a2wsgi.ASGIMiddleware(app)"
    try:
        signature = inspect.signature(app, follow_wrapped=False)
    except (TypeError, ValueError):
        return None  # not known, as for some functions in C
    try:
        signature.bind(None, None)
    except TypeError:
        return f"takes {signature}, but a WSGI application is called with (environ, start_response); a factory needs parentheses, as in create_app()"
    return None


def _module(name: str):
    if not name.endswith(".py"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name and (name + ".").startswith(error.name + "."):
                raise LoadError(f"{error}; modules are imported from {os.getcwd()} and Python's module path") from None
            raise
    path = os.path.abspath(name)
    folder, file = os.path.split(path)
    try:
        is_file = stat.S_ISREG(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        is_file = False
    except OSError as error:  # for example, a closed folder above the working folder
        raise LoadError(f"{name} can't be read: {error.strerror}: {path}") from None
    if not is_file:
        raise LoadError(f"there is no file {name}")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    # Imported by its own name, so that other modules can import it.
    module_name = file[: -len(".py")]
    module = importlib.import_module(module_name)
    found = getattr(module, "__file__", None) or "a module of Python itself"
    if not (os.path.exists(found) and os.path.samefile(found, path)):
        raise LoadError(f"{name}: there is another module {module_name!r}, {found}; rename the file")
    return module


def _evaluate(module, module_name: str, text: str):
    """`app`, `package.app`, `create_app()` or `create_app("production", debug=False)`, with literals only."""
    try:
        node = ast.parse(text, mode="eval").body
    except SyntaxError:
        raise LoadError(f"{text!r} is neither a name nor a call") from None
    arguments, keywords = [], {}
    is_call = isinstance(node, ast.Call)
    if is_call:
        try:
            arguments = [ast.literal_eval(argument) for argument in node.args]
            keywords = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords}
            if None in keywords:  # **
                raise ValueError
        except (TypeError, ValueError):
            raise LoadError(f"{text!r}: arguments must be literals") from None
        node = node.func
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise LoadError(f"{text!r} is neither a name nor a call")
    found = module
    for name in [node.id, *reversed(names)]:
        try:
            found = getattr(found, name)
        except AttributeError:
            raise LoadError(f"{module_name} has no {name!r}") from None
    return found(*arguments, **keywords) if is_call else found


def main(args=None) -> int:
    """The command `modest-wsgi`."""
    args = sys.argv[1:] if args is None else list(args)
    settings = _modest.Settings(args)
    if settings.exit is not None:
        text, status = settings.exit
        try:
            print(text, file=sys.stderr if status else sys.stdout, flush=True)
        except OSError as error:
            # Otherwise Python would report it again when it flushes stdout.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if not isinstance(error, BrokenPipeError):  # the reader, such as `head`, has ended
                print(f"modest-wsgi: can't write to stdout: {error.strerror}", file=sys.stderr)
                return 1
        return status
    for name, value in settings.environment:
        os.environ[name] = value
    if settings.chdir is not None:
        try:
            os.chdir(settings.chdir)
        except OSError as error:
            print(f"modest-wsgi: {settings.name_of('chdir')} {settings.chdir}: {error.strerror}", file=sys.stderr)
            return 1
    sys.path.insert(0, os.getcwd())
    error = settings.check() if settings.has_parent else None  # otherwise each process reports it
    if error is not None:
        line, status = error
        print(line, file=sys.stderr)
        return status
    if settings.has_parent and not settings.is_check:
        from . import _processes

        return _processes.supervise(settings)
    status = run(settings)
    # The interpreter would end these threads in the middle of the server's code. After a failure it would wait for the
    # threads of the application, and no one would notice the failure.
    if _modest.running() or status and any(not thread.daemon for thread in threading.enumerate() if thread is not threading.current_thread()):
        end(status)
    return status


def end(status: int, finishes: bool = False) -> None:
    """Ends this process after its exit handlers. `finishes`: first waits for its threads, except daemons, and for the jobs of its executors,
    as Python does at its end."""
    try:
        if finishes:
            threading._shutdown()
        atexit._run_exitfuncs()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass
        os._exit(status)


def run(settings, begin=None, **how) -> int:
    """Loads the application, and serves it in this process. `begin` is called first."""

    def loaded():
        _in_forks.closed, _in_forks.handlers = _listeners(), _handlers_in_forks()
        _in_forks.register()
        if begin is not None:
            begin()
        try:
            app = load(settings.application)
        except LoadError:
            raise
        except KeyboardInterrupt:  # Ctrl-C during a long import: this signal ends the process, so that a shell script ends too
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
            raise
        except BaseException:  # also SystemExit, which would hide the reason
            import traceback

            traceback.print_exc()
            raise LoadError(f"{settings.application} can't be loaded; the traceback is above") from None
        is_pythons = how.get("signals") != "parent" and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if is_pythons and threading.current_thread() is threading.main_thread():
            # From here on the server handles it. Python's handler would raise KeyboardInterrupt after the shutdown.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        _in_forks.handlers = _handlers_in_forks()
        return app

    server = how.setdefault("server", Server())
    if threading.current_thread() is threading.main_thread():
        how["beside"] = lambda serve: _beside_signals(serve, server)
    return _modest.serve(loaded, settings, name=settings.application, **how)


if __name__ == "__main__":
    sys.exit(main())
