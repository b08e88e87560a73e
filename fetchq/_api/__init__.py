"""The Python API: Downloader for many downloads, functions for one URL."""

from .downloader import Downloader
from .functions import adownload, afetch_bytes, download, fetch_bytes, stream
from .results import Results
from .streams import Stream

__all__ = ["Downloader", "Results", "Stream", "adownload", "afetch_bytes", "download", "fetch_bytes", "stream"]
