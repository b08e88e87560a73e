"""The importable door: many jobs through a Downloader, or one URL in one call."""

from .downloader import Downloader
from .functions import adownload, download

__all__ = ["Downloader", "adownload", "download"]
