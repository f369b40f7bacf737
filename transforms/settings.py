"""The base of every piece of configuration: a frozen, validated value that refuses unknown keys."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Configuration is a value: immutable, compared by content, and it survives a round trip through YAML or JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
