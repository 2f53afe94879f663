"""What the librarian does next: tools to ask for, or the words to say. A function of the request, and of nothing else.

The road is short: search, read the best, answer. Questions about the store itself (what is new, what links to what, who
is here) take one tool and one line. It cites a note only when its body came back in this turn. Pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from egghead.llm.librarian import intents
from egghead.llm.librarian.answer import MAX_WORDS, cite, compose, count_words, within
from egghead.llm.librarian.conversation import Talk, hits, talk
from egghead.llm.librarian.languages import detect, phrase
from egghead.llm.librarian.passages import harmless
from egghead.llm.librarian.ranking import Candidate, in_doubt, promising, read
from egghead.llm.librarian.words import Term, terms
from egghead.llm.shapes import Request, ToolUse

HITS = 12  # asked for in each search
READ = 5  # bodies read at once: as many as an agent's tools run side by side
MORE = 5  # bodies read after them when what they say leaves doubt
NAMED = 0.1  # what a title that says the whole question adds to a place in the order: about a first place in one search
SHOWN = 0.03  # what names and snippet together add
FOUND = 0.05  # what the engine's own measure adds
FIRST = 2  # of each search, read in any case
MAX_TERMS = 24  # words of a long message that are looked up
LISTED = 8  # notes named in a list
PASS = "/pass"
SPOKEN = ("agent", "transcript", "deliberation")  # classes that are not notes: what was said in a room, and who said it

CONFIGURE = "add a provider of language models (`egghead llm add`) and name its model as `model:` in the agent's note"
SELF = (
    "I am the built-in librarian: no language model, I find things in your notes and quote them with their [\u2060[id]\u2060]. "
    "Ask me a question, “what's new”, “what links to NOTE” or “notes tagged TAG”. For more, " + CONFIGURE + "."
)
BEYOND = (
    "That takes a language model; I am the built-in librarian and only find and quote notes. To get one, "
    + CONFIGURE
    + "."
)
NO_SEARCH = (
    "I cannot look into the notes: this agent may not read records. Give it `records.read` in its note "
    "(`capabilities: [records.read]`)."
)
_UNUSABLE = re.compile(r"^Not usable: (.+?)\.?$", re.M)  # what the prompt says of tools that this agent has not
WELCOME = "You are welcome."


@dataclass(frozen=True)
class Step:
    """Either tools to call (`uses`) or the final words (`text`)."""

    uses: tuple[ToolUse, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class _Case:
    """One request, looked at once."""

    request: Request
    talk: Talk
    intent: intents.Intent
    tools: frozenset[str]


def step(request: Request) -> Step:
    """The next step for this request. Total: every request has one."""
    conversation = talk(request)
    case = _Case(request, conversation, intents.intent(conversation.question), frozenset(t.name for t in request.tools))
    return _STEPS[case.intent.kind](case)


def _ask(case: _Case) -> Step:
    question = case.intent.subject
    language = detect(question)
    wanted = _terms(question, case.talk.earlier, language)
    if not wanted:
        return Step(text=SELF if not case.talk.earlier else phrase(language, "silent"))
    if not {"search_records", "get_record_body"} <= case.tools:
        return Step(text=_no_search(case))
    searches = case.talk.results("search_records")
    if not searches:
        return Step(uses=_uses("search_records", _searches(question, wanted, case.talk.earlier)))
    results = [hits(result) for _, result in searches]
    found = _merge(results, wanted, language)
    crowded = any(hit.get("class") in SPOKEN for ranked in results for hit in ranked)
    if crowded and len(found) < READ and not any("class" in use.input for use, _ in searches):
        # Saved talk about the same question must not hide the notes that answer it.
        return Step(uses=_uses("search_records", [{**searches[0][0].input, "class": "durable"}]))
    if not found and all(result.is_error for _, result in searches):
        return Step(text=f"I could not search the notes: {_first_line(searches[0][1].content)}")
    bodies = case.talk.results("get_record_body")
    if found and not bodies:
        return _read_bodies(found[:READ])
    texts = {str(use.input.get("id")): result.content for use, result in bodies if not result.is_error}
    if found and not texts:
        return Step(text=f"I could not read the notes that I found: {_first_line(bodies[0][1].content)}")
    candidates = [replace(c, body=texts[c.id]) if c.id in texts else c for c in found]
    readings = read(question, candidates, wanted, language)
    more = found[READ : READ + MORE]
    if more and len(bodies) <= READ and in_doubt(readings):
        return _read_bodies(more)
    answer = compose(readings, language)
    if answer and case.request.mode in ("open", "huddle") and _said_already(answer, case.talk.said):
        return Step(text=PASS)
    return Step(text=answer or _silent(case, language))


def _said_already(answer: str, said: Sequence[str]) -> bool:
    """Whether another agent has quoted the same note first: saying it again helps nobody."""
    first = answer.find("[[")
    return first >= 0 and any(answer[first : answer.index("]]", first) + 2] in text for text in said)


def _read_bodies(candidates: Sequence[Candidate]) -> Step:
    return Step(uses=_uses("get_record_body", [{"id": candidate.id} for candidate in candidates]))


def _silent(case: _Case, language: str) -> str:
    """In an open room somebody else may know; asked by name, or alone, it says plainly that the notes do not."""
    if case.request.mode in ("open", "peer") and not case.talk.roster.alone:
        return PASS
    return phrase(language, "silent")


_OPENS = re.compile(
    r"^(?:and|but|what about|how about|und|aber|et|mais|y|pero|e|ma|а|и|но|那|それ)\b", re.IGNORECASE
)  # a question that goes on where the one before stopped
_POINTS = re.compile(
    r"\b(?:it|that|this|those|these|they|them|es|das|dies|dort|ça|cela|eso|esto|quello|questo|это|этого|там)\b",
    re.IGNORECASE,
)  # words that may stand for what was talked about, or only for something in the same sentence


def _terms(question: str, earlier: Sequence[str], language: str) -> tuple[Term, ...]:
    """The question's words; when it leans on the one before ("and on a phone?"), that one's too, at half weight."""
    own = terms(question, language)
    own = tuple(sorted(own, key=lambda t: -t.weight)[:MAX_TERMS]) if len(own) > MAX_TERMS else own
    if not earlier or not _leaning(question, own):
        return own
    before = [term for term in terms(intents.clean(earlier[-1]), language) if term.text not in {t.text for t in own}]
    return (*own, *(replace(term, weight=term.weight / 2) for term in before[: MAX_TERMS - len(own)]))


def _leaning(question: str, own: Sequence[Term]) -> bool:
    """Whether a question needs the one before it. A pronoun is no reason when the question has words of its own: "what
    is a placeholder link and where do I see them?" stands alone, whatever was asked before."""
    strong = sum(term.weight >= 0.7 for term in own)
    return (
        strong == 0
        or (strong <= 2 and bool(_OPENS.search(question)))
        or (strong == 1 and bool(_POINTS.search(question)))
    )


def _searches(question: str, wanted: Sequence[Term], earlier: Sequence[str]) -> list[dict[str, Any]]:
    """Two phrasings: the question as it is, and its carrying words with other words for them."""
    plain = _plain_query(question)
    surfaces = [term.surface or term.text for term in wanted if term.weight >= 0.5]
    if _leaning(question, [t for t in wanted if t.weight >= 0.7]) and earlier:
        plain = f"{plain} {' '.join(surfaces)}"
    others = [other for term in wanted if term.weight >= 0.7 for other in term.alternatives[:3]]
    queries = dict.fromkeys((plain[:300], " ".join([*surfaces, *others])[:300].strip()))
    return [{"query": query, "limit": HITS} for query in queries if query]


def _plain_query(question: str) -> str:
    """The question without signs that a search language gives a meaning to: quotes, minus, colons."""
    text = re.sub(r"[\"“”„«»]|(?<!\S)-+|[:^*()\[\]{}]", " ", question)
    return " ".join(text.split())


def _merge(found: Sequence[Sequence[Mapping[str, Any]]], wanted: Sequence[Term], language: str) -> list[Candidate]:
    """The hits of all searches in one order: reciprocal rank fusion (Cormack et al. 2009), and what their names say."""
    fused: dict[str, float] = {}
    scores: dict[str, float] = {}
    records: dict[str, Mapping[str, Any]] = {}
    for trust, ranked in zip((1.0, 0.8, 0.8, 0.8), found, strict=False):
        for rank, hit in enumerate(ranked):
            if hit.get("class") in SPOKEN:
                continue
            id = str(hit["id"])
            fused[id] = fused.get(id, 0.0) + trust / (10 + rank)
            scores[id] = max(scores.get(id, 0.0), trust * _score(hit))
            records.setdefault(id, hit)
    candidates = [_candidate(records[id], 0, scores[id]) for id in fused]
    for candidate, (said, shown) in zip(candidates, promising(candidates, wanted, language), strict=True):
        fused[candidate.id] += NAMED * said + SHOWN * shown + FOUND * candidate.found
    candidates.sort(key=lambda c: (-fused[c.id], c.id))
    # What one search puts first is read, however little the others think of it.
    first = {str(hit["id"]) for ranked in found for hit in ranked[:FIRST]}
    late = [c for c in candidates[READ:] if c.id in first]
    early = candidates[: READ - len(late)]
    order = [*early, *late, *(c for c in candidates if c not in early and c not in late)]
    return [replace(candidate, rank=rank) for rank, candidate in enumerate(order)]


def _score(hit: Mapping[str, Any]) -> float:
    """The engine's own measure when it is one of the kind we know: a share of the question, 0..1."""
    score = hit.get("score")
    return float(score) if isinstance(score, int | float) and 0 <= score <= 1 else 0.0


def _candidate(hit: Mapping[str, Any], rank: int, score: float) -> Candidate:
    tags = hit.get("tags") or []
    return Candidate(
        id=str(hit["id"]),
        title=str(hit.get("title") or hit["id"]),
        rank=rank,
        snippet=re.sub(r"</?(?:mark|b|em)>", "", str(hit.get("snippet") or "")),
        tags=tuple(str(tag) for tag in tags) if isinstance(tags, list) else (),
        found=score,
    )


def _uses(tool: str, inputs: Sequence[dict[str, Any]]) -> tuple[ToolUse, ...]:
    return tuple(ToolUse(f"{tool}-{_named(given)}", tool, given) for given in inputs)


def _named(given: Mapping[str, Any]) -> str:
    """A short name for a call, the same whenever the same is asked; two calls of a turn never share one."""
    return hashlib.blake2s(repr(sorted(given.items())).encode(), digest_size=6).hexdigest()


def _first_line(text: str) -> str:
    return harmless((text.strip().splitlines() or ["no reason was given"])[0][:200])


def _no_search(case: _Case) -> str:
    """Why there is no looking into the notes: what stands in the way now, when somebody said so, else that nobody allowed it."""
    if not case.tools and (said := _UNUSABLE.search(case.request.system)):
        return f"I cannot look into the notes now. {said[1]}."
    return NO_SEARCH


def _one_tool(case: _Case, tool: str, given: dict[str, Any]) -> tuple[list[dict[str, Any]] | None, Step]:
    """The records that one tool gives, or the step that gets or explains them."""
    if tool not in case.tools:
        return None, Step(text=_no_search(case))
    results = case.talk.results(tool)
    if not results:
        return None, Step(uses=_uses(tool, [given]))
    if results[-1][1].is_error:
        return None, Step(text=f"I could not find that out: {_first_line(results[-1][1].content)}")
    return hits(results[-1][1]), Step()


def _listing(case: _Case, records: Sequence[Mapping[str, Any]], opening: str) -> Step:
    """A list of notes. They are cited, so each is read first (or left out)."""
    ids = list(dict.fromkeys(str(record["id"]) for record in records))[:LISTED]
    if "get_record_body" not in case.tools:
        return Step(text=_no_search(case))
    if not case.talk.called("get_record_body"):
        return Step(uses=_uses("get_record_body", [{"id": id} for id in ids]))
    readable = {str(use.input.get("id")) for use, result in case.talk.results("get_record_body") if not result.is_error}
    lines = [opening]
    for record in records:
        id = str(record["id"])
        if id in readable and id in ids:
            title, day = harmless(str(record.get("title") or "")), str(record.get("updated") or "")[:10]
            shown = title if title and title.lower() != id.lower() and count_words(title) <= 8 else ""
            lines.append(" ".join(part for part in ("-", shown, cite(id), f"({day})" if day else "") if part))
            ids.remove(id)
    more = len({str(record["id"]) for record in records}) - (len(lines) - 1)
    if len(lines) == 1:
        return Step(text="I found notes, but could not read them.")
    text = within(lines, MAX_WORDS - 5)
    return Step(text=f"{text}\n… and {more} more." if more > 0 else text)


def _new(case: _Case) -> Step:
    records, other = _one_tool(case, "recent_records", {"order_by": "updated", "limit": LISTED})
    if records is None:
        return other
    records = [record for record in records if record.get("class") not in ("transcript", "deliberation")]
    return _listing(case, records, "Changed last:") if records else Step(text="There are no notes yet.")


def _target(case: _Case) -> tuple[str | None, Step]:
    """The id of the note that a person names by id, title or last segment, found by searching."""
    subject = case.intent.subject.removesuffix(".md")
    found, other = _one_tool(case, "search_records", {"query": _plain_query(subject.replace("/", " ")), "limit": HITS})
    if found is None:
        return None, other
    wanted = _key(subject)
    for name in (lambda h: h["id"], lambda h: h["id"].rsplit("/", 1)[-1], lambda h: str(h.get("title") or "")):
        for hit in found:
            if _key(name(hit)) == wanted:
                return str(hit["id"]), Step()
    near = [hit for hit in found if wanted in _key(hit["id"]) or wanted in _key(str(hit.get("title") or ""))]
    if near:
        return str(near[0]["id"]), Step()
    return None, Step(text=f"I know no note called “{harmless(case.intent.subject)}”.")


def _key(name: str) -> str:
    return re.sub(r"[\s_\-/]+", " ", name).strip().casefold()


def _backlinks(case: _Case) -> Step:
    return _linked(case, "find_backlinks", "Linked from:", "No note links to {0}.")


def _links(case: _Case) -> Step:
    return _linked(case, "find_links", "It links to:", "{0} links to no note.")


def _linked(case: _Case, tool: str, opening: str, none: str) -> Step:
    target, other = _target(case)
    if target is None:
        return other
    given = {"id": target, "depth": 1} if tool == "find_links" else {"id": target}
    records, other = _one_tool(case, tool, given)
    if records is None:
        return other
    records = [record for record in records if record["id"] != target]
    return _listing(case, records, opening) if records else Step(text=none.format(f"“{target}”"))


def _tagged(case: _Case) -> Step:
    tag = case.intent.subject.lstrip("#")
    records, other = _one_tool(case, "list_records", {"tag": tag})
    if records is None:
        return other
    return (
        _listing(case, records, f"Tagged {harmless(tag)}:")
        if records
        else Step(text=f"No note is tagged {harmless(tag)}.")
    )


def _who(case: _Case) -> Step:
    roster = case.talk.roster
    if not roster.line:
        return Step(text="I cannot see who is in this room.")
    names = [f"{name} (agent)" for name in roster.agents] + list(roster.people)
    return Step(text=f"Here: {', '.join(names)}, and I." if names else "Only you and I.")


_STEPS = {
    "ask": _ask,
    "greeting": lambda case: Step(text=SELF),
    "help": lambda case: Step(text=SELF),
    "thanks": lambda case: Step(text=WELCOME if case.talk.roster.alone or case.request.mode != "open" else PASS),
    "beyond": lambda case: Step(text=BEYOND),
    "new": _new,
    "backlinks": _backlinks,
    "links": _links,
    "who": _who,
    "tagged": _tagged,
}
