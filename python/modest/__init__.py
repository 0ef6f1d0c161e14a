"""A web server for WSGI applications and folders: `modest.wsgi`, and the programs `modest` and `modest-wsgi`."""

from ._modest import __version__

__all__ = ["__version__"]
