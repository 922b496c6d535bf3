"""What the SDK asks of every extension."""

from dataclasses import dataclass
from typing import Self

from mpt_extension_sdk.settings.extension import BaseExtensionSettings


@dataclass(frozen=True)
class ExtensionSettings(BaseExtensionSettings):
    """No settings of its own."""

    @classmethod
    def load(cls) -> Self:
        """From the environment, if there were any."""
        return cls()
