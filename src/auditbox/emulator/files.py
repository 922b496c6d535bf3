"""Files that people write for the emulator: JSON, or YAML by the name's ending."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from auditbox.errors import ConfigurationError


def read(path: str | Path, what: str) -> Any:
    """The content of a seed or of a plan of faults; an empty YAML file is an empty object.

    Raises:
        ConfigurationError: it cannot be read; the text says what it is, and where.
    """
    path = Path(path)
    is_yaml = path.suffix in {".yaml", ".yml"}
    try:
        text = path.read_text("utf-8")
        return (yaml.safe_load(text) or {}) if is_yaml else json.loads(text)
    except OSError as exc:
        raise ConfigurationError(f"{what}: {path} cannot be read: {exc.strerror}") from exc
    except (ValueError, RecursionError, yaml.YAMLError) as exc:
        reason = " ".join(str(exc).split())
        raise ConfigurationError(f"{what}: {path} is no {'YAML' if is_yaml else 'JSON'}: {reason}") from exc
