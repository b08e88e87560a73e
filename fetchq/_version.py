"""The version, stated once: the build reads it from here, and so does the User-Agent."""

from __future__ import annotations

VERSION = "0.1.0"
