"""The Python API: Downloader for many jobs, download and adownload for one URL."""

from .downloader import Downloader
from .functions import adownload, download

__all__ = ["Downloader", "adownload", "download"]
