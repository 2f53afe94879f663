"""The HTTP side that all remote providers share: one POST, a stream of events back.

Here belong connections, time limits and size limits. What is asked and what an event means does not: that is the
adapter's, given as data and as two functions. Trying again is `lane`'s: a failure before the first event of the answer
is `Transient` when it passes; after it never, because half of the answer has been heard.

httpx is imported here and in `connection` and nowhere else, and both only by the process `llm` when a remote provider is
configured.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Protocol

import httpx
import msgspec

from egghead.llm import net, reasons, surroundings
from egghead.llm.connection import Direct, Proxied
from egghead.llm.errors import (
    LlmError,
    NotAnApi,
    ProviderMissing,
    ProviderTimeout,
    StreamBroken,
    Unreachable,
)
from egghead.llm.limits import Limits, moment
from egghead.llm.reasons import words as words
from egghead.llm.shapes import NO_OBJECT, TOO_LONG, Event, Text, ToolUse
from egghead.llm.sse import MAX_VOID, Decoder, Sse
from egghead.llm.surroundings import is_near

logger = logging.getLogger("egghead.llm")
# httpx writes the whole address of each request to the log, and in an address there may be a password.
for _noisy in ("httpx", "httpcore"):
    logging.getLogger(_noisy).setLevel(logging.WARNING)

LINGER = 2.0  # seconds to wait for more of an answer that may be whole: Gemini's has no end but that of the connection
DRAIN = 0.25  # seconds to wait for the end of a body whose answer is whole
MAX_ERROR = 64 * 1024  # bytes read of an error's body
MAX_LISTING = 16 * 1024 * 1024  # bytes of a list of models; OpenRouter's has a megabyte
LISTING_TIME = 20.0  # seconds to read it in
ERROR_TIME = 5.0  # seconds to read it in; its status says enough
MAX_STREAM = 64 * 1024 * 1024  # bytes of one answer
MAX_DEPTH = 64  # of the arguments of a tool call
MAX_INPUT = 768 * 1024  # bytes of them: an entry of a room's log has room for a mebibyte
MAX_USES = 256  # tools that one answer may ask for at once; providers allow half of that
MAX_FIGURE = 2**53  # tokens
LEAST_KEY = 4  # letters of a key that are not shown, should a sentence end within it


class Parser(Protocol):
    """One answer being read. Raises LlmError for an error that the provider tells within it."""

    def feed(self, event: Sse) -> Sequence[Event]:
        """The neutral events that this one completes."""
        ...

    paused: bool
    """Whether the answer stops only to be asked to go on: the same request again, with what came of it behind it."""

    @property
    def ended(self) -> bool:
        """Whether the provider has said all that belongs to an answer."""
        ...

    def at_end(self) -> bool:
        """Whether the answer is whole if the connection ends here."""
        ...

    def finish(self) -> Sequence[Event]:
        """What is still to be told when the answer is whole: at least the Stop."""
        ...


Hear = Callable[[Mapping[str, str]], object]


class Failure(Protocol):
    """Turns an HTTP answer that is no stream into an error: status, the body as JSON (None: it is none), wait asked."""

    def __call__(self, status: int, body: Any, after: float | None) -> LlmError: ...


class Wire:
    """The connections of one configured provider. `name` is what people call it, `secret` must never be shown; `uds` is the
    path of a unix socket that is spoken to in place of the address."""

    def __init__(
        self,
        name: str,
        base_url: str,
        headers: Mapping[str, str],
        secret: str | None,
        limits: Limits,
        uds: str | None = None,
    ) -> None:
        if secret is not None and not (secret.isascii() and secret.isprintable() and " " not in secret):
            raise ProviderMissing(f"the api_key of {name} has a space or another sign that no key has; write it again")
        self.name = name
        self.limits = limits
        self._headers = {**headers, "accept": "text/event-stream", "accept-encoding": "identity"}
        self._secret = secret
        self._given = base_url
        self._uds = uds
        self._client: httpx.AsyncClient | None = None
        self._address: reasons.Address | None = None

    async def stream(
        self,
        path: str,
        body: Mapping[str, Any],
        parser: Callable[[], Parser],
        failure: Failure,
        hear: Hear | None = None,
    ) -> AsyncGenerator[Event, None]:
        """One try at one completion. Closing the generator closes the connection at once. `hear`: gets the headers of the
        answer."""
        begun = False
        try:
            async with aclosing(self._once(path, body, parser(), failure, hear)) as events:
                async for event in events:
                    begun = True
                    yield event
        except Unreachable as error:
            if not begun:
                raise self._clean(error) from None
            logger.warning("%s: the answer broke off: %s", self.name, self._clean(error))
            raise StreamBroken(f"the answer of {self.name} broke off before its end; ask again") from None
        except LlmError as error:
            raise self._clean(error) from None

    async def get(self, path: str, failure: Failure) -> Any:
        """One JSON document, small and soon. Raises LlmError."""
        try:
            async with asyncio.timeout(LISTING_TIME), self._answer(path) as answer:
                kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
                if answer.status_code != 200:
                    raise await self._not_a_stream(answer, kind, failure)
                body = bytearray()
                async with aclosing(self._pieces(answer)) as pieces:
                    async for piece in pieces:
                        body += piece
                        if len(body) > MAX_LISTING:
                            raise self._no_api("answered with more than a list of models can be")
                data = as_json(bytes(body))
                if data is None:
                    raise self._no_api(f"answered with {kind or 'nothing'} instead of a list of models")
                return data
        except TimeoutError:
            raise self._silent(LISTING_TIME, "list its models") from None
        except LlmError as error:
            raise self._clean(error) from None

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _once(
        self, path: str, body: Mapping[str, Any], parser: Parser, failure: Failure, hear: Hear | None
    ) -> AsyncGenerator[Event, None]:
        async with self._answer(path, body) as answer:
            if hear is not None:
                hear(answer.headers)
            kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            if answer.status_code != 200 or kind != "text/event-stream":
                raise await self._not_a_stream(answer, kind, failure)
            if (packed := answer.headers.get("content-encoding", "").strip().lower()) not in ("", "identity"):
                raise self._no_api(f"answered with a stream packed as {words(packed)!r}, which nobody asked for")
            decoder, size, uses = Decoder(), 0, 0
            clock = asyncio.get_running_loop().time
            patience = max(self.limits.first_byte_timeout, self.limits.idle_timeout)
            alive = clock()
            async with aclosing(self._pieces(answer, parser.at_end)) as pieces:
                async for piece in pieces:
                    size += len(piece)
                    told = decoder.feed(piece)
                    found, fault = self._read(parser, told)
                    uses = self._uses(found, uses)
                    for event in found:
                        yield event
                    if fault is not None:
                        raise fault
                    if parser.ended:
                        break
                    # Signs of life come as long as a proxy stands on the way, model or no model.
                    if any(sse.event != "ping" for sse in told):
                        alive, decoder.void = clock(), 0
                    elif clock() - alive > patience:
                        raise self._silent(patience, "say anything")
                    else:
                        decoder.void += sum(len(sse.data) for sse in told)
                    if decoder.flooded or size > MAX_STREAM or decoder.void > MAX_VOID:
                        raise StreamBroken(f"{self.name} sent an answer larger than a model can mean; it was cut off")
                if not (parser.ended or parser.at_end()):
                    raise reasons.unreachable(self._at(), "the connection was closed before the answer")
                last = parser.finish()
                self._uses(last, uses)
                for event in last:
                    yield event
                await _drain(pieces)

    def _uses(self, found: Sequence[Event], before: int) -> int:
        """How many tools were asked for so far. Nobody has run one: an agent begins when the answer is whole."""
        uses = before + sum(type(event) is ToolUse for event in found)
        if uses > MAX_USES:
            raise StreamBroken(f"{self.name} asked for more than {MAX_USES} tools at once; ask again")
        return uses

    def _read(self, parser: Parser, events: Sequence[Sse]) -> tuple[list[Event], LlmError | None]:
        """What came in one piece, and the fault that is behind it. Words that came together go on together: one message
        to the agent instead of many, when we are behind, and never a wait when we are not."""
        found: list[Event] = []
        try:
            for sse in events:
                for event in parser.feed(sse):
                    if type(event) is Text and found and type(found[-1]) is Text:
                        found[-1] = Text(found[-1].text + event.text)
                    else:
                        found.append(event)
        except LlmError as error:
            return found, error
        return found, None

    @asynccontextmanager
    async def _answer(self, path: str, body: Mapping[str, Any] | None = None) -> AsyncIterator[httpx.Response]:
        """The answer's head, to a POST of `body` as JSON or to a GET. All that httpx may raise becomes an error of ours,
        also while the answer's body is read."""
        try:
            answer = await self._ask(path, body)
            try:
                yield answer
            finally:
                await answer.aclose()
        except httpx.HTTPError as error:
            raise reasons.of(error, self._at(), self.limits) from None
        except httpx.InvalidURL as error:
            raise ProviderMissing(f"the base_url of {self.name} cannot be used: {error}") from None

    async def _ask(self, path: str, body: Mapping[str, Any] | None) -> httpx.Response:
        client = self._ready()
        if body is None:
            request = client.build_request("GET", path.lstrip("/"), headers={"accept": "application/json"})
        else:
            content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
            request = client.build_request("POST", path.lstrip("/"), content=content)
        try:
            async with asyncio.timeout(self.limits.first_byte_timeout):
                answer = await client.send(request, stream=True)
        except TimeoutError:
            raise self._silent(self.limits.first_byte_timeout, "answer") from None
        # What was sent is not held while it is answered: many long conversations at once would be much memory.
        answer.request = httpx.Request(request.method, request.url)
        return answer

    async def _pieces(
        self, answer: httpx.Response, whole: Callable[[], bool] = lambda: False
    ) -> AsyncGenerator[bytes, None]:
        """The body as it comes, each piece timed; not for long once it is `whole`. `_answer` closes what is left of it."""
        begun = False
        body = answer.extensions.get("body") or Proxied(answer)
        while True:
            limit = self.limits.idle_timeout if begun else self.limits.first_byte_timeout
            limit = min(limit, LINGER) if whole() else limit
            try:
                piece = await body.read(limit)
            except TimeoutError:
                if whole():
                    return
                raise self._silent(limit, "go on" if begun else "answer") from None
            if not piece:
                return
            begun = True
            yield piece

    async def _not_a_stream(self, answer: httpx.Response, kind: str, failure: Failure) -> LlmError:
        body = await self._body(answer)
        data, status = as_json(body), answer.status_code
        if 300 <= status < 400:
            return self._no_api(f"sends us elsewhere ({status}{_elsewhere(answer)}), where the key must not go")
        if status < 300 and not (isinstance(data, dict) and data.get("error")):
            page = ", or does the log-in page of a network stand in the way" if kind == "text/html" else ""
            return self._no_api(f"answered with {kind or 'nothing'} ({status}) instead of a stream of events", page)
        if self._at().proxy and (status == 407 or (data is None and self._is_plain())):
            return reasons.by_proxy(words(f"{status} {answer.reason_phrase}"), self._at())
        if data is None and status in (404, 405):
            return self._no_api(f"has no model API ({status})")
        return failure(status, data, retry_after(answer.headers, time.time()))

    async def _body(self, answer: httpx.Response) -> bytes:
        """The beginning of an error's body. It may be without end, slow, or break off: what came of it will do."""
        body = b""
        with suppress(TimeoutError, LlmError, httpx.HTTPError):
            async with asyncio.timeout(ERROR_TIME), aclosing(self._pieces(answer)) as pieces:
                async for piece in pieces:
                    body += piece
                    if len(body) > MAX_ERROR:
                        break
        if answer.headers.get("content-encoding", "").strip().lower() in ("gzip", "x-gzip", "deflate"):
            with suppress(zlib.error):
                body = zlib.decompressobj(wbits=47).decompress(body, MAX_ERROR)  # no more, whatever it unfolds to
        return body[:MAX_ERROR]

    def _no_api(self, what: str, more: str = "") -> NotAnApi:
        return NotAnApi(f"{self._place()} {what}: is the base_url of {self.name} right{more}?")

    def _clean(self, error: LlmError) -> LlmError:
        """The same error without the key, should the provider have repeated it."""
        if self._secret:
            error.args = (without(str(error), self._secret), *error.args[1:])
        return error

    def _silent(self, seconds: float, verb: str) -> ProviderTimeout:
        return ProviderTimeout(f"{self.name} did not {verb} within {seconds:g} s; ask again, or try another model")

    def _is_plain(self) -> bool:
        return httpx.URL(self._given).scheme == "http"

    def _place(self) -> str:
        """The address without user, password, path or query: these may hold a secret."""
        if self._uds is not None:
            return self._uds
        url = httpx.URL(self._given)
        return f"{url.scheme}://{url.netloc.decode('ascii', 'replace')}"

    def _at(self) -> reasons.Address:
        if self._address is None:
            url = httpx.URL(self._given)
            uds = self._uds is not None
            proxy = None if uds else surroundings.current().proxy(url.scheme, url.host, url.port)
            self._address = reasons.Address(self.name, self._place(), uds or is_near(url.host), proxy)
        return self._address

    def _ready(self) -> httpx.AsyncClient:
        if self._client is None:
            check_url(self.name, self._given)
            proxy = self._at().proxy
            # Without a proxy there is one server, and our own way to it.
            way = net.by_proxy(self.name, proxy, secure=not self._is_plain()) if proxy else Direct(self.name, self._uds)
            self._client = httpx.AsyncClient(
                base_url=self._given.rstrip("/") + "/",
                headers={**self._headers, "content-type": "application/json"},
                # Reading is timed by us: before the first byte and after it the limits differ.
                timeout=httpx.Timeout(None, connect=self.limits.connect_timeout, write=self.limits.idle_timeout),
                follow_redirects=False,  # a redirect would carry the key to another host
                trust_env=False,  # what the environment says is in the surroundings
                transport=way,
            )
        return self._client


async def _drain(pieces: AsyncGenerator[bytes, None]) -> None:
    """Read the end of the body that follows the end of the answer: a connection that is not read to its end cannot be
    used again, and the next call would pay for a new one."""
    with suppress(TimeoutError, LlmError, httpx.HTTPError):
        async with asyncio.timeout(DRAIN):
            size = 0
            async for piece in pieces:
                size += len(piece)
                if size > MAX_ERROR:
                    return


def check_url(name: str, url: str) -> None:
    """Raises ProviderMissing for a base_url that cannot be meant."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ProviderMissing(f"the base_url of {name} cannot be used: {error}") from None
    # A host is looked up in the network: what cannot be one is told from a server that is not there.
    if parsed.scheme not in ("http", "https") or not re.fullmatch(r"[\w.:-]+", parsed.host):
        raise ProviderMissing(f"the base_url of {name} must begin with https:// or http:// and name a host")


def without(text: str, secret: str) -> str:
    """The text without the secret, also where the text was cut off in the middle of it."""
    text = text.replace(secret, "…")
    for length in range(len(secret) - 1, LEAST_KEY - 1, -1):
        text = text.replace(f"{secret[:length]}…", "…")
    return text


def _elsewhere(answer: httpx.Response) -> str:
    """Where a redirect goes, without what may be a secret in it."""
    try:
        url = httpx.URL(answer.headers.get("location", ""))
    except httpx.InvalidURL:
        return ""
    return f" to {url.scheme}://{url.host}" if url.host and url.scheme else ""


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that an answer asks to wait: `retry-after-ms`, or `Retry-After` as seconds or as a date (RFC 9110, 10.2.3);
    None when it does not say. `now` is the wall clock, for an answer that does not say what time it was there: our clock
    and theirs may be hours apart."""
    for key, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(key, "").strip()
        if re.fullmatch(r"\d{1,30}(\.\d{1,9})?", value):
            return float(value) * scale
    until, sent = moment(headers.get("retry-after", "")), moment(headers.get("date", ""))
    return None if until is None else max(0.0, until - (now if sent is None else sent))


_decode = msgspec.json.Decoder().decode


def as_json(body: bytes | str) -> Any:
    """The value, or None for what is no JSON. NaN and Infinity are none; half a surrogate pair, which JSON can say and
    UTF-8 cannot, becomes U+FFFD."""
    try:
        return _decode(body)  # a tenth of the time, and all there is but for what follows
    except (msgspec.MsgspecError, UnicodeError, ValueError, RecursionError):
        pass
    try:
        data = json.loads(body, parse_constant=_no_constant)
        lone = b"\\ud" in body.lower() if isinstance(body, bytes) else "\\ud" in body.lower()
        return _paired(data) if lone else data
    except (ValueError, RecursionError):
        return None


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _paired(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [_paired(item) for item in value]
    return {_paired(k): _paired(v) for k, v in value.items()} if isinstance(value, dict) else value


def read(event: Sse, provider: str, take: Callable[[dict[str, Any]], Sequence[Event]]) -> Sequence[Event]:
    """What `take` makes of an event's JSON. Total over what a server may send: no JSON, or a field of another type, is
    the server's fault and told as such."""
    data = as_json(event.data)
    if not isinstance(data, dict):
        raise StreamBroken(f"{provider} sent an event that is no JSON: {words(event.data[:80])!r}")
    try:
        return take(data)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        kind = f"{type(error).__name__}: {words(error)}"
        raise StreamBroken(f"{provider} sent an event that is not of its format ({kind})") from None


def figure(value: Any) -> int:
    """A count of tokens; what is none counts nothing."""
    return min(value, MAX_FIGURE) if isinstance(value, int) and value > 0 else 0


def tool_input(text: str, given: Any = None) -> dict[str, Any]:
    """The arguments of a tool call. What a model wrote that is no JSON object is handed to the tool under a name that
    it refuses: the model then reads what was wrong with it, and writes it again."""
    data = as_json(text) if text.strip() else given or {}
    if not (isinstance(data, dict) and _sane(data, MAX_DEPTH)):
        return {NO_OBJECT: text[:1000]}
    if (size := len(msgspec.json.encode(data))) > MAX_INPUT:
        return {TOO_LONG: f"{size} bytes of arguments; at most {MAX_INPUT} can be taken: do it in parts"}
    return data


def _sane(value: Any, depth: int) -> bool:
    """Whether a value can cross the bus: not endlessly deep, and no number that has no room in 64 bits."""
    if isinstance(value, int):
        return -(2**63) <= value < 2**64
    if not isinstance(value, dict | list):
        return True
    return depth > 0 and all(_sane(item, depth - 1) for item in (value.values() if isinstance(value, dict) else value))
