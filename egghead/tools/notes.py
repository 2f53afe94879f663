"""The record tools: what agents do with notes. Each looks, says what it needs, and acts only when the gate has passed.

Reads leave out what the caller may not see instead of failing. Writes carry the revision that the decision was made on,
so a note that changes in between is not overwritten and its class cannot slip past the check.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from egghead.agents.record import authority_keys, grants_of
from egghead.capabilities.match import Request
from egghead.tools.ports import Refusal
from egghead.tools.registry import BadArguments, Plan, Tool, Work, says, tool
from egghead.tools.results import Output, as_json
from egghead.tools.sections import NoSuchPart, characters, lines, section
from egghead.tools.targets import RESERVED, class_of, merged, needed, request
from records.lines import lines as lines_of

Class = Literal["durable", "inbox", "deliberation", "transcript", "agent", "skill"]
Id = Annotated[str, says("the note's id, such as projects/garden; a title or alias works too", min_length=1)]
Query = Annotated[str, says('words to find; "a phrase", -not, tag:x, class:x, in:folder')]
Limit = Annotated[int, says("how many at most", ge=1, le=100)]

READ = ("records.read",)
PREVIEW = 500  # characters of a note that get_record shows
ANY_READ = Request.of("records.read")


async def _find(work: Work, id: str) -> dict[str, Any]:
    """The record of an id, or of what the id means as a link. Raises Refusal NotFound."""
    wanted = id.strip().removeprefix("[[").removesuffix("]]").strip()
    try:
        return dict(await work.ask("store", "get", id=wanted))
    except Refusal as missing:
        if missing.type not in ("NotFound", "InvalidId"):
            raise
        resolved = await work.ask("index", "resolve", target=wanted)
        if not isinstance(resolved, str) or resolved == wanted:
            raise
        return dict(await work.ask("store", "get", id=resolved))


async def _exact(work: Work, id: str) -> dict[str, Any]:
    """The record of this very id: what is changed or removed is named, not guessed."""
    record = await _find(work, id)
    wanted = id.strip().removeprefix("[[").removesuffix("]]").strip()
    if record["id"] != wanted:
        raise BadArguments(f"there is no note with the id {wanted!r}; did you mean {record['id']!r}?")
    return record


async def _visible(work: Work, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows that the caller may read. A caller that may read everything costs nothing; for any other, what a row
    does not say of its note is looked up, and a note that cannot be looked up is not shown."""
    if work.may(ANY_READ) or not rows:
        return [dict(row) for row in rows]
    known = await work.ask("index", "paths", ids=sorted({str(row["id"]) for row in rows}))
    paths: Mapping[str, Any] = known if isinstance(known, Mapping) else {}
    seen: dict[str, bool] = {}
    for row in rows:
        id = str(row["id"])
        if id not in seen:
            whole = {**row, "path": paths.get(id)} if "class" in row and id in paths else await _maybe(work, id)
            seen[id] = whole is not None and work.may(request("records.read", whole))
    return [dict(row) for row in rows if seen[str(row["id"])]]


async def _maybe(work: Work, id: str) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = await work.ask("store", "get", id=id)
    except Refusal:
        return None
    return found


def _reading(work: Work) -> tuple[Request, ...]:
    """For a call that reads many: passes when anything of the kind may be read; what may not is left out."""
    if work.may(ANY_READ) or not work.authority.of("records.read"):
        return (ANY_READ,)
    return ()


def _ids(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(str(row["id"]) for row in rows)


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


@tool(
    "Search the notes by words. Gives ids, titles and snippets, best first; read a note before you rely on it.",
    verbs=READ,
    read_only=True,
)
async def search_records(
    work: Work,
    query: Query,
    class_: Annotated[Class, says("only notes of this class")] | None = None,
    tags: Annotated[list[str], says("only notes with all of these tags")] = [],  # noqa: B006 - copied by msgspec
    limit: Limit = 20,
    since: Annotated[str, says("changed at this date or time or later, such as 2026-01-31")] | None = None,
) -> Plan:
    async def execute() -> Output:
        found = await work.ask("index", "search", query=query, **{"class": class_}, tags=tags, limit=limit, since=since)
        hits = await _visible(work, found)
        kept = [{key: hit.get(key) for key in HIT} for hit in hits]
        return Output(as_json({"hits": kept}), f'{_count(len(kept), "note")} for "{query}"', _ids(kept))

    return Plan(_reading(work), execute)


HIT = ("id", "title", "class", "tags", "snippet", "score", "updated")


@tool(
    "Look at one note: its fields, headings, links and the first part of its text. Use get_record_body for the text.",
    verbs=READ,
    read_only=True,
)
async def get_record(work: Work, id: Id) -> Plan:
    record = await _find(work, id)

    async def execute() -> Output:
        body = str(record.get("body") or "")
        shown = {key: record.get(key) for key in FIELDS if record.get(key) not in (None, [], {}, "")}
        shown["outline"] = [{"level": h["level"], "text": h["text"]} for h in record.get("outline") or ()]
        shown["preview"] = body if len(body) <= PREVIEW else body[:PREVIEW].rstrip() + " …"
        shown["size"] = {"characters": len(body), "lines": len(lines_of(body))}
        return Output(as_json(shown), f"looked at [[{record['id']}]]", (str(record["id"]),))

    return Plan((request("records.read", record),), execute)


FIELDS = (
    "id",
    "title",
    "class",
    "tags",
    "links",
    "created",
    "updated",
    "author",
    "meta",
    "format",
    "revision",
    "error",
    "cut",
)


@tool(
    "Read the text of one note: all of it, one section by its heading, a range of lines, or a range of characters of that.",
    verbs=READ,
    read_only=True,
)
async def get_record_body(
    work: Work,
    id: Id,
    section_: Annotated[str, says("only the part under this heading")] | None = None,
    lines_: Annotated[str, says("only these lines, such as 10-40, counted from 1")] | None = None,
    characters_: Annotated[str, says("of that only these characters, such as 1-20000, counted from 1")] | None = None,
) -> Plan:
    record = await _find(work, id)

    async def execute() -> Output:
        text = _part(record, section_, lines_, characters_)
        which = f" § {section_}" if section_ else f" lines {lines_}" if lines_ else ""
        which += f" characters {characters_}" if characters_ else ""
        return Output(text, f"read [[{record['id']}]]{which}", (str(record["id"]),))

    return Plan((request("records.read", record),), execute)


def _part(record: Mapping[str, Any], heading: str | None, span: str | None, few: str | None) -> str:
    body = str(record.get("body") or "")
    try:
        if heading:
            body = section(body, record.get("outline") or (), heading)
        body = lines(body, span) if span else body
        return characters(body, few) if few else body
    except NoSuchPart as error:
        raise BadArguments(f"{record['id']}: {error}") from None


@tool("List notes by class, tag or folder, by id.", verbs=READ, read_only=True)
async def list_records(
    work: Work,
    class_: Annotated[Class, says("only notes of this class")] | None = None,
    tag: Annotated[str, says("only notes with this tag")] | None = None,
    prefix: Annotated[str, says("only ids that begin with this, such as projects/")] | None = None,
    limit: Limit = 100,
) -> Plan:
    async def execute() -> Output:
        found = await work.ask("index", "list", **{"class": class_}, tag=tag, prefix=prefix, order="id", limit=limit)
        rows = await _visible(work, found)
        return Output(as_json({"records": rows}), f"listed {_count(len(rows), 'note')}", _ids(rows))

    return Plan(_reading(work), execute)


@tool("The notes that one note links to, and theirs up to a depth.", verbs=READ, read_only=True)
async def find_links(
    work: Work, id: Id, depth: Annotated[int, says("1 is only its own links", ge=1, le=5)] = 1
) -> Plan:
    return await _linked(work, id, "links", "links of", depth=depth)


@tool("The notes that link to one note.", verbs=READ, read_only=True)
async def find_backlinks(work: Work, id: Id) -> Plan:
    return await _linked(work, id, "backlinks", "what links to")


async def _linked(work: Work, id: str, method: str, words: str, **params: Any) -> Plan:
    record = await _find(work, id)

    async def execute() -> Output:
        found = await work.ask("index", method, id=str(record["id"]), **params)
        rows = [row for row in found if isinstance(row, Mapping)]
        ends = {str(row[end]) for row in rows for end in ("id", "source") if row.get(end)}
        seen = {str(row["id"]) for row in await _visible(work, [{"id": end} for end in sorted(ends)])}
        # A link that leads nowhere names no note; one that leaves a hidden note would tell what stands in it.
        kept = [dict(row) for row in rows if all(not row.get(end) or str(row[end]) in seen for end in ("id", "source"))]
        if not work.may(ANY_READ):  # why a file is not read says where it lies
            kept = [{key: value for key, value in row.items() if key != "unread"} for row in kept]
        leads = tuple(sorted({str(row["id"]) for row in kept if row.get("id")}))
        return Output(as_json({method: kept}), f"{words} [[{record['id']}]]: {len(kept)}", leads)

    return Plan((request("records.read", record),), execute)


@tool("The notes that changed or were made last, newest first.", verbs=READ, read_only=True)
async def recent_records(
    work: Work,
    order_by: Annotated[Literal["updated", "created"], says("which date counts")] = "updated",
    since: Annotated[str, says("not older than this date or time, such as 2026-01-31")] | None = None,
    limit: Limit = 20,
) -> Plan:
    async def execute() -> Output:
        rows = await _visible(work, await work.ask("index", "recent", order_by=order_by, since=since, limit=limit))
        return Output(as_json({"records": rows}), f"{_count(len(rows), 'recent note')}", _ids(rows))

    return Plan(_reading(work), execute)


def _check_meta(meta: Mapping[str, Any]) -> None:
    """`meta` is merged into the frontmatter: a key there that is a field would be a way around the gate."""
    for key in meta:
        if not isinstance(key, str) or key.strip().lower() in RESERVED or key != key.strip() or not key:
            raise BadArguments(f"meta may not hold {key!r}: it is an argument of its own or not yours to set")


def _check_grants(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
    """A person's file loads whatever it says; an agent does not write grants that nobody can read."""
    if class_of(after) != "agent" or (before is not None and authority_keys(before) == authority_keys(after)):
        return
    problems = grants_of(after)[1]
    if problems:
        raise BadArguments(f"{after['id']}: {problems[0]}")


def safe_body(body: str) -> str:
    """A body whose first line is `---` would be read as frontmatter where a file has none: an empty line before it
    keeps it a body."""
    text = body.lstrip("\ufeff")
    return "\n" + text if text.startswith("---") else text


@tool(
    "Write a new note. Search first: there may be one already. Without an id the title names it.",
    verbs=("records.create", "agent.create"),
)
async def create_record(
    work: Work,
    title: Annotated[str, says("a plain title", min_length=1, max_length=300)],
    body: Annotated[str, says("the text, in Markdown; link to notes as [[id]]")],
    id: Annotated[str, says("where to put it, such as projects/garden; it must not exist")] | None = None,
    class_: Annotated[Class, says("durable unless it is something else")] = "durable",
    tags: Annotated[list[str], says("use tags that the store has")] = [],  # noqa: B006 - copied by msgspec
    links: Annotated[list[str], says("ids it belongs to, besides those in the text")] = [],  # noqa: B006 - as above
    meta: Annotated[dict[str, Any], says("other frontmatter keys")] = {},  # noqa: B006 - as above
) -> Plan:
    _check_meta(meta)
    name = await _free_id(work, id or _slug(title, class_))
    fields = {"title": title, "body": safe_body(body), "class": class_, "tags": tags, "links": links, "meta": meta}
    after = {**fields, "id": name, "path": f"{name}.md"}
    _check_grants(None, after)
    requests, denial = needed(work.authority, None, after)

    async def execute() -> Output:
        made = await work.ask("store", "create", **fields, id=name, author=f"agents/{work.agent}", format="markdown")
        return _written(made, "wrote")

    return Plan(requests, execute, denial)


async def _free_id(work: Work, name: str) -> str:
    """The id, when nothing has it. Decided before the gate, because an id decides what the note may be."""
    wanted = name.strip().removesuffix(".md")
    try:
        await work.ask("store", "get", id=wanted)
    except Refusal as refusal:
        if refusal.type == "NotFound":
            return wanted
        raise
    raise BadArguments(f"a note {wanted!r} exists already; update it, or give the new one another id")


def _slug(title: str, class_: str) -> str:
    words = "".join(c if c.isalnum() else " " for c in title.casefold()).split()
    name = "-".join(words)[:60].strip("-")
    if not name:
        raise BadArguments(f"the title {title!r} has no letters to make an id of; give an id")
    return f"inbox/{name}" if class_ == "inbox" else name


def _written(answer: Any, verb: str) -> Output:
    record = answer["record"] if isinstance(answer, Mapping) and "record" in answer else answer
    shown = {"id": record["id"], "revision": record.get("revision")}
    if isinstance(answer, Mapping) and answer.get("indexed") is False:
        shown["note"] = "saved; search will find it when the index is back"
    return Output(as_json(shown), f"{verb} [[{record['id']}]]", (str(record["id"]),))


@tool(
    "Change fields or the whole text of a note; what is not given stays. Give the revision you read to be sure that "
    "nobody changed it since. For a small change of the text use edit_record.",
    verbs=("records.update", "agent.update", "agent.create", "agent.grant", "agent.delete"),
)
async def update_record(
    work: Work,
    id: Id,
    title: Annotated[str, says("a new title", min_length=1, max_length=300)] | None = None,
    body: Annotated[str, says("the whole new text")] | None = None,
    class_: Annotated[Class, says("a new class")] | None = None,
    tags: Annotated[list[str], says("all tags it shall have")] | None = None,
    links: Annotated[list[str], says("all links it shall have, besides those in the text")] | None = None,
    meta: Annotated[dict[str, Any], says("other frontmatter keys to set; null removes one")] | None = None,
    revision: Annotated[str, says("the revision you read")] | None = None,
) -> Plan:
    _check_meta(meta or {})
    given = {"title": title, "class": class_, "tags": tags, "links": links, "meta": meta or None}
    changes = {key: value for key, value in given.items() if value is not None}
    if body is not None:
        changes["body"] = safe_body(body)
    if not changes:
        raise BadArguments("nothing to change: give a title, body, class, tags, links or meta")
    return await _rewrite(work, id, lambda before: changes, revision)


@tool(
    "Replace one passage in the text of a note. `old` is copied exactly from the note and stands there once.",
    verbs=("records.update", "agent.update"),
)
async def edit_record(
    work: Work,
    id: Id,
    old: Annotated[str, says("the exact text to replace", min_length=1)],
    new: Annotated[str, says("what to put there; empty removes the passage")],
) -> Plan:
    def changes(before: Mapping[str, Any]) -> dict[str, Any]:
        if before.get("cut"):  # the part that was sent must not become the whole
            raise BadArguments(f"{before['id']} is too long to be changed in places; a person must change its file")
        body = str(before.get("body") or "")
        count = body.count(old)
        if count != 1:
            how = (
                "is not in the note; copy it exactly" if count == 0 else f"is there {count} times; take more around it"
            )
            raise BadArguments(f"{before['id']}: the old text {how}")
        return {"body": safe_body(body.replace(old, new))}

    return await _rewrite(work, id, changes, None)


async def _rewrite(
    work: Work, id: str, changes_of: Callable[[Mapping[str, Any]], dict[str, Any]], revision: str | None
) -> Plan:
    before = await _exact(work, id)
    if before.get("error"):
        raise BadArguments(f"{before['id']}: its frontmatter is broken ({before['error']}); a person must repair it")
    if before.get("format", "markdown") != "markdown":
        # In an org file the head of the text is its frontmatter: a changed body could change the class.
        raise BadArguments(f"{before['id']} is an {before['format']} file; agents write Markdown notes only")
    changes = changes_of(before)
    after = merged(before, changes)
    _check_grants(before, after)
    requests, denial = needed(work.authority, before, after)

    async def execute() -> Output:
        seen = revision or before["revision"]
        if seen != before["revision"]:
            raise BadArguments(f"{before['id']} changed since revision {seen}; read it again, then change it")
        return _written(await work.ask("store", "update", id=before["id"], changes=changes, revision=seen), "changed")

    return Plan(requests, execute, denial)


@tool("Move a note to the trash. A person can restore it.", verbs=("records.delete", "agent.delete"))
async def delete_record(work: Work, id: Id) -> Plan:
    before = await _exact(work, id)
    requests, denial = needed(work.authority, before, None)

    async def execute() -> Output:
        await work.ask("store", "trash", id=before["id"])
        return Output(
            as_json({"trashed": before["id"]}), f"moved [[{before['id']}]] to the trash", (str(before["id"]),)
        )

    return Plan(requests, execute, denial)


TOOLS: dict[str, Tool] = {
    entry.name: entry
    for entry in (
        search_records,
        get_record,
        get_record_body,
        list_records,
        find_links,
        find_backlinks,
        recent_records,
        create_record,
        update_record,
        edit_record,
        delete_record,
    )
}
