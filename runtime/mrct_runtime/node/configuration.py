"""What a node is told: one frozen value, read from TOML, that refuses nonsense and unknown keys."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from mrct_runtime.errors import UsageError
from mrct_runtime.structured_text import from_toml, shown

_LONGEST_TITLE = 16


def _title(value: str) -> str:
    """An application entity title as PS3.5 has it, without the spaces around it that do not count."""
    value = value.strip(" ")
    plain = value.isascii() and value.isprintable() and "\\" not in value
    if not (0 < len(value) <= _LONGEST_TITLE and plain):
        raise ValueError("an AE title has 1 to 16 printable ASCII characters and no backslash")
    return value


def _address(value: str) -> str:
    return str(ipaddress.ip_address(value))


Title: TypeAlias = Annotated[str, AfterValidator(_title)]
Address: TypeAlias = Annotated[str, AfterValidator(_address)]
Text: TypeAlias = Annotated[str, Field(min_length=1)]
Port: TypeAlias = Annotated[int, Field(ge=1, le=65535)]
Count: TypeAlias = Annotated[int, Field(ge=1)]
Seconds: TypeAlias = Annotated[float, Field(gt=0)]
Bytes: TypeAlias = Annotated[int, Field(ge=0)]


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Caller(_Value):
    """Who may send here: a calling AE title, and the addresses that it may come from; none for any address."""

    title: Title
    addresses: tuple[Address, ...] = ()


class Destination(_Value):
    """Where results go."""

    title: Title
    host: Text
    port: Port
    may_refuse: tuple[Text, ...] = ()
    """SOP class UIDs that it need not take, such as that of the Parametric Map."""


class Tls(_Value):
    """The node's own certificate and the authority that signed those of its peers: both sides prove who they are."""

    certificate: Path
    key: Path
    authority: Path
    receive: bool = True
    """Peers have to speak TLS to the node."""
    send: bool = True
    """The node speaks TLS to the destination, whose certificate must be for its host's name or address."""


class Limits(_Value):
    """What a peer may take of this machine."""

    associations: Annotated[int, Field(ge=1, le=1000)] = 10
    instance_bytes: Count = 1_000_000_000
    study_instances: Count = 20_000
    spool_bytes: Count = 200_000_000_000
    """Of everything that the node keeps; above it nothing more is taken."""
    free_bytes: Bytes = 5_000_000_000
    """What has to stay free on the spool's disk."""
    pdu_bytes: Annotated[int, Field(ge=4096, le=131_072)] = 65_536
    association_s: Seconds = 30.0
    """For an answer when an association is made or released, and for a TLS handshake."""
    message_s: Seconds = 60.0
    network_s: Seconds = 60.0
    """Without a byte from the peer."""


class Retries(_Value):
    """How often something is tried, and the wait after the n-th failure: first_s 2^(n - 1), at most longest_s."""

    attempts: Count
    first_s: Seconds
    longest_s: Seconds

    @model_validator(mode="after")
    def _fits(self) -> Retries:
        if self.first_s > self.longest_s:
            raise ValueError(f"first_s {self.first_s:g} is more than longest_s {self.longest_s:g}")
        return self

    def wait_s(self, failures: int) -> float:
        """Seconds to wait after so many failures, at least one."""
        return min(self.first_s * 2.0 ** min(failures - 1, 62), self.longest_s)


class NodeConfig(_Value):
    """All of a node. Times are in seconds."""

    spool: Path
    """The folder of received studies, the queue and the results: patient data, on one local disk."""
    callers: Annotated[tuple[Caller, ...], Field(min_length=1)]
    destination: Destination
    title: Title = "MRCT"
    bind: Address = "127.0.0.1"
    """The address to listen at; another than loopback opens the node to a network."""
    port: Port = 11112
    bundle: Path | None = None
    """The model; none for the demonstration model, which was trained on phantoms."""
    infer: tuple[str, ...] = ()
    """Options of mrct-infer, such as ["--sampler", "em", "--mc", "10"]."""
    infer_s: Seconds = 7200.0
    """A translation that takes longer is ended."""
    quiet_s: Seconds = 30.0
    """A study is complete when nothing of it has come for so long."""
    max_age_s: Seconds = 3600.0
    """And at the latest so long after its first instance."""
    keep_days: Annotated[float, Field(ge=0)] = 7.0
    """Finished jobs are deleted after that; failed ones are kept."""
    health_port: Port | None = None
    """Of GET /health on loopback."""
    json_log: bool = False
    tls: Tls | None = None
    limits: Limits = Limits()
    inference_retries: Retries = Retries(attempts=3, first_s=30, longest_s=600)
    sending_retries: Retries = Retries(attempts=12, first_s=10, longest_s=3600)

    @field_validator("callers")
    @classmethod
    def _differ(cls, callers: tuple[Caller, ...]) -> tuple[Caller, ...]:
        titles = [caller.title for caller in callers]
        if len(set(titles)) < len(titles):
            raise ValueError("a calling AE title stands there twice; give all its addresses once")
        return callers

    @model_validator(mode="after")
    def _fits(self) -> NodeConfig:
        if self.quiet_s > self.max_age_s:
            raise ValueError(
                f"quiet_s {self.quiet_s:g} is more than max_age_s {self.max_age_s:g}, so a study would never grow quiet"
            )
        if self.health_port == self.port:
            raise ValueError(f"health_port and port are both {self.port}")
        if self.limits.instance_bytes > self.limits.spool_bytes:
            raise ValueError("limits: instance_bytes is more than spool_bytes")
        return self

    @property
    def addresses(self) -> frozenset[str] | None:
        """Those that any caller may come from; None for any."""
        if any(not caller.addresses for caller in self.callers):
            return None
        return frozenset(address for caller in self.callers for address in caller.addresses)

    def allows(self, title: str, address: str) -> bool:
        """True where that calling AE title may come from that address."""
        return any(
            caller.title == title and (not caller.addresses or address in caller.addresses)
            for caller in self.callers
        )

    @classmethod
    def made(cls, values: dict[str, Any], source: str) -> NodeConfig:
        """The value; UsageError that names `source` and the first fault."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UsageError(f"{source}: {_first_fault(error)}") from error


def read_toml(path: Path) -> dict[str, Any]:
    """What the file holds, its relative paths from its own folder; UsageError where it cannot be read."""
    try:
        values = from_toml(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path}: not TOML: {error}") from error
    _beside(values, path.parent, "spool", "bundle")
    _beside(values.get("tls"), path.parent, "certificate", "key", "authority")
    return values


def _beside(table: Any, folder: Path, *names: str) -> None:
    """Makes the relative paths under these names of a table those of the folder."""
    for name in names if isinstance(table, dict) else ():
        if isinstance(table.get(name), str):
            table[name] = folder / table[name]


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"unknown key {place!r}"
    if fault["type"] == "missing":
        return f"{place!r} is missing"
    message = str(fault["msg"]).removeprefix("Value error, ")
    if not place:
        return message
    return f"{place}: {message}, got {shown(fault['input'])}"
