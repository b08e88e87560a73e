"""The importable door: many jobs through a Downloader, or one URL in one call."""

from ._downloader import Downloader
from ._single import adownload, download

__all__ = ["Downloader", "adownload", "download"]
