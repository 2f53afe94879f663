"""Which provider serves a model's name, and what to say when none does.

Here belong the names (`provider/model`, bare names with a known beginning), the known providers and where their keys
come from, and the errors a person sees. Wire formats do not: an adapter is looked up in ADAPTERS by the provider's kind.
A key is held by the adapter it was given to; no error, no repr and no listing of this module has one in it.
"""

from __future__ import annotations

import difflib
import importlib
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from egghead.llm import models as table
from egghead.llm.errors import LlmError, ProviderMissing, UnknownModel, UnknownProvider
from egghead.llm.lane import Lane
from egghead.llm.librarian import Librarian
from egghead.llm.limits import Limits
from egghead.llm.provider import Model, Provider
from egghead.llm.surroundings import shown

logger = logging.getLogger("egghead.llm")

DEFAULT_MODEL = "local/librarian"


@dataclass(frozen=True)
class Known:
    """A provider that we know by name: the environment variables that may hold its key (first found wins; none: it
    needs no key) and the beginnings of bare model names that mean it."""

    name: str
    keys: tuple[str, ...] = ()
    bare: str = ""
    default: str | None = None


KNOWN = {
    known.name: known
    for known in (
        Known("local"),
        Known("anthropic", ("ANTHROPIC_API_KEY",), r"claude-", "claude-sonnet-5-5"),
        Known("openai", ("OPENAI_API_KEY",), r"gpt-|o\d|chatgpt-", "gpt-5.4"),
        Known("google", ("GOOGLE_API_KEY", "GEMINI_API_KEY"), r"gemini-", "gemini-3.8-flash"),
        Known("xai", ("XAI_API_KEY",), default="grok-4.7"),
        Known("groq", ("GROQ_API_KEY",), default="openai/gpt-oss-120b"),
        Known("deepseek", ("DEEPSEEK_API_KEY",), default="deepseek-v4-flash"),
        Known("mistral", ("MISTRAL_API_KEY",), default="mistral-medium-latest"),
        Known("openrouter", ("OPENROUTER_API_KEY",)),
        Known("together", ("TOGETHER_API_KEY",)),
        Known("ollama"),
        Known("lmstudio"),
        Known("llamacpp"),
        Known("vllm"),
    )
}


@dataclass(frozen=True)
class Entry:
    """One configured provider: `kind` is a known provider, `name` what models are called by it, `api` which of OpenAI's two
    ways it is spoken to ("chat" or "responses"; None: as fits). The key is left out of the repr, so that a traceback cannot
    show it."""

    kind: str
    name: str
    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    models: tuple[str, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)
    api: str | None = None
    source: str = ""  # where the key is from, for people

    def __post_init__(self) -> None:
        if self.base_url is not None and not self.base_url.strip():
            object.__setattr__(self, "base_url", None)


Adapter = Callable[[Entry], Provider]


def _late(module: str) -> Adapter:
    """An adapter whose module is imported when it is first used: httpx costs time and memory that only the process
    `llm`, and only with a remote provider, should spend."""
    return lambda entry: importlib.import_module(f"egghead.llm.{module}").provider(entry)


_CHAT = _late("openai")

ADAPTERS: Mapping[str, Adapter] = {
    "local": lambda entry: Librarian(),
    "anthropic": _late("anthropic"),
    "google": _late("gemini"),
    **dict.fromkeys(
        (
            "openai",
            "xai",
            "groq",
            "deepseek",
            "mistral",
            "openrouter",
            "together",
            "ollama",
            "lmstudio",
            "llamacpp",
            "vllm",
        ),
        _CHAT,
    ),
}


class Registry:
    """The providers of one node: what is configured, what the environment adds, and `local`, always."""

    def __init__(
        self,
        entries: Iterable[Entry] = (),
        *,
        default: str | None = None,
        adapters: Mapping[str, Adapter] = ADAPTERS,
    ) -> None:
        self._adapters = adapters
        self._entries: dict[str, Entry] = {"local": Entry("local", "local")}
        self._entries.update({entry.name: entry for entry in entries})
        self.default = default or self._default()
        self._lanes: dict[str, Lane] = {}
        self._retired: list[Lane] = []

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], environ: Mapping[str, str], *, adapters: Mapping[str, Adapter] = ADAPTERS
    ) -> Registry:
        """Out of the configuration (`llm`, `default_model`) and the environment. A configured key wins over the
        environment's for the same provider; `{env:NAME}` in a key is looked up here. Unknown providers are refused
        when they are asked for, not here: one bad entry must not take the others down."""
        entries = [_entry(given, environ) for given in config.get("llm") or ()]
        configured = {entry.kind for entry in entries}
        for known in KNOWN.values():
            key = next((environ[name] for name in known.keys if environ.get(name)), None)
            if key and known.name not in configured:
                entries.append(Entry(known.name, known.name, key, source=_in_environment(known, environ)))
        return cls(entries, default=config.get("default_model"), adapters=adapters)

    def models(self) -> list[Model]:
        """Every model that can be used as things are, the default first, then by name."""
        found: list[Model] = []
        for entry in self._entries.values():
            if (self._adapter(entry)) is None or _keyless(entry):
                continue
            try:
                lane = self._provider(entry)
                found += [lane.catalog.known.get(model.name, model) for model in lane.models()]
            except LlmError as error:  # a bad entry must not hide the others; whoever asks for it is told
                logger.warning("%s", error)
        return sorted(found, key=lambda model: (model.name != self.default, model.name))

    def resolve(self, name: str | None) -> tuple[Lane, str]:
        """The way to the provider of a model's name, and the name that the provider knows it by. None or "" is the default.

        Raises UnknownProvider, UnknownModel or ProviderMissing, with the nearest names or the remedy.
        """
        wanted = (name or self.default).strip()
        prefix, slash, model = wanted.partition("/")
        if not slash:
            prefix, model = self._bare(wanted), wanted
        entry = self._entries.get(prefix)
        if entry is None:
            raise self._missing(prefix, wanted)
        if self._adapter(entry) is None:
            raise _unknown(entry.kind, KNOWN, wanted)
        if _keyless(entry):
            raise ProviderMissing(
                f"the model {wanted!r} needs a key of {entry.name}: {_remedy(entry.kind, entry.name)}"
            )
        provider = self._provider(entry)
        self._check(provider, entry, model, wanted)
        return provider, model

    async def aclose(self) -> None:
        for lane in (*self._lanes.values(), *self._retired):
            await lane.aclose()

    def take(self, other: Registry) -> None:
        """Become what `other` is, which has not been used. A provider that is as it was is not touched, nor is a call that
        runs; those that wait for one that changed go to it as it is now."""
        before, self._entries, self.default = self._entries, other._entries, other.default
        for name, lane in list(self._lanes.items()):
            entry = self._entries.get(name)
            if entry == before[name]:
                continue
            adapter = None if entry is None or _keyless(entry) else self._adapter(entry)
            try:
                if entry is not None and adapter is not None:
                    lane.renew(adapter(entry), Limits.of(entry.limits, entry.name))
                    continue
            except LlmError as error:  # whoever asks for it is told; the others are there
                logger.warning("%s", error)
            lane.retire()
            self._retired = [one for one in self._retired if not one.idle] + [self._lanes.pop(name)]

    def names(self) -> list[str]:
        """The providers that can be asked."""
        return [entry.name for entry in self._entries.values() if not _keyless(entry) and self._adapter(entry)]

    def providers(self) -> list[dict[str, Any]]:
        """Each provider for people: `{name, provider, key, base_url, models, usable, why}` and, once it was used, what its
        lane tells. `key` says where the key is from, and is never the key."""
        found = []
        for entry in self._entries.values():
            why = None
            try:
                if self._adapter(entry) is None:
                    raise _unknown(entry.kind, KNOWN, f"{entry.name}/")
                if _keyless(entry):
                    raise ProviderMissing(f"{entry.name} has no key: {_remedy(entry.kind, entry.name)}")
                self._provider(entry)
            except LlmError as error:
                why = str(error)
            lane = self._lanes.get(entry.name)
            found.append(
                {
                    "name": entry.name, "provider": entry.kind, "key": entry.source or None,
                    "base_url": shown(entry.base_url), "models": list(entry.models),
                    "default": self.default.partition("/")[0] == entry.name, "usable": why is None, "why": why,
                    **(lane.told() if lane is not None else {}),
                }
            )  # fmt: skip
        return found

    def lane(self, name: str) -> Lane:
        """The way to the provider called `name`. Raises UnknownProvider or ProviderMissing."""
        entry = self._entries.get(name)
        if entry is None or self._adapter(entry) is None:
            raise self._missing(name, f"{name}/…")
        if _keyless(entry):
            raise ProviderMissing(f"{entry.name} has no key: {_remedy(entry.kind, entry.name)}")
        return self._provider(entry)

    def first_model(self, name: str) -> str | None:
        """A model of this provider to try it with: configured, else known as its usual one; None: nobody says."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        if entry.models:
            return entry.models[0]
        if self.default.partition("/")[0] == name:
            return self.default.partition("/")[2]
        known = KNOWN.get(entry.kind)
        return "librarian" if entry.kind == "local" else known.default if known else None

    def model(self, provider: Lane, model: str) -> Model:
        """What is known of a model that `resolve` gave."""
        name = f"{provider.name}/{model}"
        if (said := provider.catalog.known.get(name)) is not None:
            return said
        entry = self._entries.get(provider.name)
        offered = next((offer for offer in provider.models() if offer.name == name), None)
        return offered or (table.known(entry.kind, provider.name, model) if entry else Model(name, provider.name))

    def _default(self) -> str:
        """The model of an agent that names none: of the first provider that is configured and has one."""
        for entry in self._entries.values():
            if entry.kind == "local" or self._adapter(entry) is None or _keyless(entry):
                continue
            known = KNOWN.get(entry.kind)
            model = entry.models[0] if entry.models else known.default if known else None
            if model:
                return f"{entry.name}/{model}"
        return DEFAULT_MODEL

    def _adapter(self, entry: Entry) -> Adapter | None:
        if entry.kind in self._adapters:
            return self._adapters[entry.kind]
        # Anybody's server that speaks Chat Completions or Responses, by its address.
        return _CHAT if entry.base_url and entry.kind not in KNOWN else None

    def _provider(self, entry: Entry) -> Lane:
        if entry.name not in self._lanes:
            adapter = self._adapter(entry)
            assert adapter is not None
            self._lanes[entry.name] = Lane(adapter(entry), Limits.of(entry.limits, entry.name))
        return self._lanes[entry.name]

    def _bare(self, wanted: str) -> str:
        for known in KNOWN.values():
            if known.bare and re.match(known.bare, wanted, re.IGNORECASE):
                named = [entry.name for entry in self._entries.values() if entry.kind == known.name]
                return named[0] if named else known.name
        for model in self.models():
            if model.name.partition("/")[2] == wanted:
                return model.provider
        names = [model.name for model in self.models()]
        near = _near(wanted, [*names, *(n.partition("/")[2] for n in names)])
        raise UnknownModel(
            f"unknown model {wanted!r}{near or f'; there is {_listing(names)}'}. Write it as provider/model"
        )

    def _missing(self, prefix: str, wanted: str) -> UnknownProvider | ProviderMissing:
        known = KNOWN.get(prefix)
        if known is None:
            return _unknown(prefix, {*self._entries, *KNOWN}, wanted)
        way = _remedy(prefix, known.name)
        return ProviderMissing(f"the model {wanted!r} needs the provider {prefix!r}, which is not configured: {way}")

    def _check(self, provider: Provider, entry: Entry, model: str, wanted: str) -> None:
        offered = [offer.name.partition("/")[2] for offer in provider.models()]
        # Only `local` is sure to know all its models; a remote provider has new ones that we have not heard of.
        if entry.kind == "local" and model not in offered:
            near = _near(model, offered) or f"; there is {_listing(offered)}"
            raise UnknownModel(f"unknown model {wanted!r}{near}. `egghead llm local add FILE` puts a file there")


def _entry(given: Mapping[str, Any], environ: Mapping[str, str]) -> Entry:
    kind = str(given.get("provider") or "")
    raw = str(given.get("api_key") or "")
    key = re.sub(r"\{env:([A-Za-z_]\w*)\}", lambda m: environ.get(m[1], ""), raw)
    source = raw if re.fullmatch(r"\{env:\w+\}", raw) else "configuration"
    if not key or set(key) == {"*"}:  # a configuration made safe for showing has stars for a key
        known = KNOWN.get(kind)
        key = next((environ[name] for name in known.keys if environ.get(name)), "") if known else ""
        source = _in_environment(known, environ)
    models = tuple(given.get("models") or ())
    return Entry(
        kind, str(given.get("name") or kind), key or None, given.get("base_url"), models,
        given.get("limits") or {}, given.get("api"), source,
    )  # fmt: skip


def _remedy(kind: str, name: str) -> str:
    known = KNOWN.get(kind)
    return f"egghead llm add {name}" + (
        f", or set {known.keys[0]} and start the node again" if known and known.keys else ""
    )


def _in_environment(known: Known | None, environ: Mapping[str, str]) -> str:
    """Where in the environment a key of this provider is; empty: nowhere."""
    name = next((name for name in known.keys if environ.get(name)), None) if known else None
    return f"{name} in the environment" if name else ""


def _keyless(entry: Entry) -> bool:
    """Whether this provider needs a key and has none. A server of one's own may need none."""
    known = KNOWN.get(entry.kind)
    return known is not None and bool(known.keys) and not entry.api_key and not entry.base_url


def _unknown(kind: str, known: Iterable[str], wanted: str) -> UnknownProvider:
    names = sorted(known)
    near = _near(kind, names) or f"; known: {_listing(names)}"
    return UnknownProvider(f"unknown provider {kind!r} in the model {wanted!r}{near}")


def _near(wanted: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def _listing(names: Sequence[str]) -> str:
    return ", ".join(names)
