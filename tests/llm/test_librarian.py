"""The librarian on small shelves: what it finds, what it says, and what it never does."""

from __future__ import annotations

import time
from typing import Any

import pytest

from egghead.agents.prompt import tools_part
from egghead.llm.errors import NoNotes
from egghead.llm.librarian import Librarian
from egghead.llm.librarian.answer import count_words
from egghead.llm.librarian.steps import BEYOND, NO_SEARCH, PASS, SELF
from egghead.llm.shapes import Stop, Text, ToolUse, request_from
from tests.llm.shelf import Shelf, ask, cited, events, user

GARDEN = {
    "garden/tomatoes": "# Tomatoes\n\nTomatoes want sun.\n\n## Watering\n\nWater tomatoes every second day, in the morning. "
    "Wet leaves bring blight.\n\n## Feeding\n\nFeed them with nettle brew once a week from July on.\n",
    "garden/compost": "# Compost\n\nTurn the heap every three weeks. Never put cooked food on it. See [[garden/tomatoes]].\n",
    "home/boiler": "# Boiler\n\nWhen the boiler shows E18, do this:\n\n1. Switch it off.\n2. Top up the water to 1.5 bar.\n"
    "3. Switch it on again.\n\nThe service number is on the door.\n",
    "travel/lisbon": "# Lisbon\n\nTram 28 is full from ten o'clock on. Board at Martim Moniz, where the seats are empty.\n",
}
ALONE = "Room: dm/index. In this room: Index (agent index, you), ada (person)."
CROWD = "Room: default. In this room: Index (agent index, you), Scout (agent scout), ada (person)."


async def test_a_question_is_answered_from_the_note_that_says_it() -> None:
    """The sentence that answers is quoted, with the id of its note."""
    answer = await ask(Shelf(GARDEN), "How often do I have to water the tomatoes?")
    assert "every second day" in answer
    assert cited(answer)[0] == "garden/tomatoes"


async def test_steps_are_quoted_in_order() -> None:
    """A list of steps comes with the steps around the one that matched."""
    answer = await ask(Shelf(GARDEN), "what to do when the boiler shows E18?")
    assert answer.index("Switch it off") < answer.index("1.5 bar") < answer.index("Switch it on again")
    assert cited(answer) == ["home/boiler"]


async def test_it_searches_in_more_than_one_phrasing() -> None:
    """The question as it is, and its carrying words with other words for them."""
    shelf = Shelf(GARDEN)
    await ask(shelf, "How often do I have to water the tomatoes?")
    queries = [use.input["query"] for use in shelf.calls if use.name == "search_records"]
    assert queries[0] == "How often do I have to water the tomatoes?"
    assert len(queries) == 2 and "tomatoes" in queries[1] and "how" not in queries[1].lower().split()


@pytest.mark.parametrize(
    ("question", "phrase"),
    [
        ("When does my passport expire?", "The notes do not say."),
        ("Wann läuft mein Reisepass ab?", "Die Notizen sagen dazu nichts."),
        ("Quand expire mon passeport ?", "Les notes ne le disent pas."),
        ("¿Cuándo caduca mi pasaporte?", "Las notas no lo dicen."),
        ("Когда истекает мой паспорт?", "В заметках об этом не сказано."),
        ("护照什么时候到期？", "笔记中没有提到。"),
    ],
)
async def test_what_the_notes_do_not_say_is_said_plainly(question: str, phrase: str) -> None:
    """Nothing that fits: one plain sentence in the language of the question, and no citation."""
    answer = await ask(Shelf(GARDEN), question)
    assert answer == phrase


async def test_in_a_crowd_it_yields_rather_than_say_nothing() -> None:
    """In an open room with other agents it passes; alone, or asked by name, it says that the notes do not say."""
    shelf = Shelf(GARDEN)
    assert await ask(shelf, "ada: When does my passport expire?", system=CROWD, mode="open") == PASS
    assert await ask(shelf, "ada: When does my passport expire?", system=ALONE, mode="open") == "The notes do not say."
    assert (
        await ask(shelf, "ada: When does my passport expire?", system=CROWD, mode="mention") == "The notes do not say."
    )


async def test_the_speakers_name_is_not_part_of_the_question() -> None:
    """A line "ada: …" of a person in the room is read without the name."""
    shelf = Shelf(GARDEN)
    await ask(shelf, "ada: How often do I water tomatoes?", system=CROWD)
    assert all("ada" not in use.input.get("query", "").split() for use in shelf.calls)


async def test_the_last_person_is_answered_whoever_spoke_since() -> None:
    """In a huddle, what other agents said after the question is not the question."""
    shelf = Shelf(GARDEN)
    before = [user("ada: How often do I water tomatoes?")]
    answer = await ask(
        shelf, "Scout (agent scout): I like trams in Lisbon.", before=before, system=CROWD, mode="huddle"
    )
    assert cited(answer)[0] == "garden/tomatoes"


async def test_what_another_agent_has_quoted_is_not_said_again() -> None:
    """In a huddle the second librarian passes when the first has cited the same note; asked by name it answers."""
    before = [user("ada: How often do I water tomatoes?")]
    line = "Scout (agent scout): Every second day. [[garden/tomatoes]]"
    assert await ask(Shelf(GARDEN), line, before=before, system=CROWD, mode="huddle") == PASS
    line = "Scout (agent scout): I do not know. [[home/boiler]]"
    assert "every second day" in await ask(Shelf(GARDEN), line, before=before, system=CROWD, mode="huddle")


async def test_a_peer_that_asks_is_answered() -> None:
    """In mode peer the last line is the question, although an agent said it."""
    before = [user("ada: How often do I water tomatoes?")]
    line = "Scout (agent scout): @index where does tram 28 have empty seats?"
    answer = await ask(Shelf(GARDEN), line, before=before, system=CROWD, mode="peer")
    assert cited(answer)[0] == "travel/lisbon"


async def test_a_follow_up_leans_on_the_question_before() -> None:
    """ "And how often do they get food?" is about the tomatoes of the question before."""
    before: list[dict[str, Any]] = [
        user("How often do I water the tomatoes?"),
        {"role": "assistant", "content": [{"type": "text", "text": "Every second day. [[garden/tomatoes]]"}]},
    ]
    answer = await ask(Shelf(GARDEN), "And when do I feed them?", before=before)
    assert "nettle brew" in answer


async def test_a_question_with_words_of_its_own_is_not_mixed_with_the_one_before() -> None:
    """ "Where are empty seats on tram 28 and when do I see them?" has a pronoun, and is not about tomatoes."""
    shelf = Shelf(GARDEN)
    before = [user("How often do I water the tomatoes?")]
    await ask(shelf, "Where are empty seats on tram 28 and when do I see them?", before=before)
    queries = [use.input["query"] for use in shelf.calls if use.name == "search_records"]
    assert queries
    assert not any("tomatoes" in query for query in queries)


async def test_what_was_read_for_an_earlier_answer_is_read_again() -> None:
    """A citation rests on a body read in this turn, not on one from before."""
    shelf = Shelf(GARDEN)
    before = [
        user("How often do I water the tomatoes?"),
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "a", "name": "get_record_body", "input": {"id": "x"}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "old"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Every second day."}]},
    ]
    answer = await ask(shelf, "Where are empty seats on tram 28?", before=before)
    assert set(cited(answer)) <= shelf.read


@pytest.mark.parametrize("tools", [(), ("search_records",), ("get_record_body",)])
async def test_without_the_tools_to_read_it_says_so(tools: tuple[str, ...]) -> None:
    """An agent that may not read is told what to add to its note."""
    assert await ask(Shelf(GARDEN), "How often do I water tomatoes?", tools=tools) == NO_SEARCH


async def test_why_there_are_no_tools_is_told() -> None:
    """An agent whose grants nobody can read now is not told to ask for more of them."""
    prompt = tools_part((), ("Denied (unreadable): the grants of scout cannot be read: the disk fails",))
    answer = await ask(
        Shelf(GARDEN), "How often do I water tomatoes?", tools=(), system=f"You are Scout.\n\n{prompt}\n\nMore."
    )
    assert answer.startswith("I cannot look into the notes now.") and answer.endswith("the disk fails.")


async def test_a_failed_search_is_told_with_its_reason() -> None:
    """Tools that refuse are not taken for notes that are silent."""
    use = {"type": "tool_use", "id": "s", "name": "search_records", "input": {"query": "x", "limit": 12}}
    result = {"type": "tool_result", "tool_use_id": "s", "content": "the store is down", "is_error": True}
    found = await events(
        {
            "messages": [
                user("How often do I water tomatoes?"),
                {"role": "assistant", "content": [use]},
                {"role": "user", "content": [result]},
            ],
            "tools": [{"name": "search_records"}, {"name": "get_record_body"}],
        }
    )
    text = "".join(event.text for event in found if isinstance(event, Text))
    assert text == "I could not search the notes: the store is down"


async def test_whats_new_lists_what_changed_last() -> None:
    """The newest notes, each cited and read."""
    shelf = Shelf(GARDEN)
    answer = await ask(shelf, "what's new?")
    assert answer.startswith("Changed last:")
    assert set(cited(answer)) == set(GARDEN) == shelf.read


async def test_links_and_backlinks_are_told() -> None:
    """ "What links to X" and "what does X link to", X by title or id."""
    assert cited(await ask(Shelf(GARDEN), "what links to tomatoes?")) == ["garden/compost"]
    assert cited(await ask(Shelf(GARDEN), "What does garden/compost link to?")) == ["garden/tomatoes"]
    assert await ask(Shelf(GARDEN), "what links to Boiler") == "No note links to “home/boiler”."
    assert "no note called" in await ask(Shelf(GARDEN), "what links to zeppelin")


async def test_notes_of_a_tag_are_listed() -> None:
    """ "Notes tagged X" names them all."""
    shelf = Shelf(GARDEN, tags={"garden/tomatoes": ["summer"], "travel/lisbon": ["summer"]})
    assert cited(await ask(shelf, "list notes tagged #summer")) == ["garden/tomatoes", "travel/lisbon"]
    assert await ask(shelf, "notes tagged winter") == "No note is tagged winter."


async def test_who_is_here_is_read_from_the_roster() -> None:
    """The names in the room, from the line of the system prompt."""
    assert await ask(Shelf({}), "who is here?", system=CROWD) == "Here: Scout (agent), ada, and I."


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("hello!", SELF),
        ("What can you do?", SELF),
        ("Write me a poem about tomatoes", BEYOND),
        ("summarise this", BEYOND),
    ],
)
async def test_what_it_is_not_is_said_in_one_line(message: str, answer: str) -> None:
    """Greetings and requests for more say what it is and how to configure a model."""
    assert await ask(Shelf(GARDEN), message) == answer
    assert "egghead llm add" in answer and "\n" not in answer


async def test_text_comes_in_small_pieces_and_ends_with_usage() -> None:
    """Streaming is real: several short text events, then a stop with counted tokens."""
    found = await events({"messages": [user("hello")]})
    texts = [event for event in found if isinstance(event, Text)]
    assert len(texts) > 5 and max(len(event.text) for event in texts) <= 40
    stop = found[-1]
    assert isinstance(stop, Stop) and stop.reason == "end_turn" and stop.usage.output > 10 and stop.usage.input > 0


async def test_max_tokens_cuts_and_says_so() -> None:
    """The limit of the request is kept, with the stop reason for it."""
    found = await events({"messages": [user("hello")], "max_tokens": 5})
    stop = found[-1]
    assert isinstance(stop, Stop) and stop.reason == "max_tokens" and stop.usage.output <= 5


async def test_transcripts_and_agents_are_not_quoted() -> None:
    """What was said in a room, and who the agents are, is not what the notes say."""
    shelf = Shelf({"chat/default": "# Chat\n\nWater tomatoes never, said bob."})
    row = shelf.row
    shelf.row = lambda id: {**row(id), "class": "transcript"}
    assert await ask(shelf, "How often do I water tomatoes?") == "The notes do not say."


async def test_saved_talk_does_not_hide_the_notes() -> None:
    """When transcripts fill the search, the notes are searched alone."""
    talk = {f"chat/{n}": "# Chat\n\nHow often do I water tomatoes? How often do I water tomatoes?" for n in range(12)}
    shelf = Shelf({**GARDEN, **talk})
    row, search = shelf.row, shelf.search
    shelf.row = lambda id: {**row(id), "class": "transcript" if id in talk else "durable"}
    wanted: list[str | None] = []

    def only(query: str, limit: int) -> list[dict[str, Any]]:
        kind = shelf.calls[-1].input.get("class")
        wanted.append(kind)
        return [hit for hit in search(query, 100) if kind in (None, hit["class"])][:limit]

    shelf.search = only
    answer = await ask(shelf, "How often do I water tomatoes?")
    assert "every second day" in answer and cited(answer)[0] == "garden/tomatoes"
    assert "durable" in wanted


async def test_a_quoted_wikilink_is_no_citation() -> None:
    """Links inside a quoted sentence are shown as words; only the librarian's own citation is in double brackets."""
    notes = {"a": "# Links\n\nType `[[` to link notes, as in `[[some note]]` or [[garden/tomatoes|the tomatoes]].\n"}
    assert cited(await ask(Shelf(notes), "how do I link notes by typing?")) == ["a"]


async def test_a_quoted_name_calls_nobody() -> None:
    """An `@name` in a note does not wake an agent when the sentence is quoted."""
    notes = {"a": "# Zeppelin\n\nAsk @scout and @everyone about the zeppelin, or ada@example.org.\n"}
    answer = await ask(Shelf(notes), "whom to ask about the zeppelin?")
    assert "@scout" not in answer and "@everyone" not in answer
    assert "ada@example.org" in answer and "@\u2060scout" in answer


async def test_a_huge_note_is_answered_in_a_blink_and_within_the_words() -> None:
    """Ten megabytes in one note cost no more than its beginning, and never a long answer."""
    body = "# Big\n\n" + "The zeppelin anchors at the mast near the lake. " * 200_000
    shelf = Shelf({"big": "# Big\n\nzeppelin anchors mast"})
    shelf.notes["big"] = body
    shelf.search = lambda query, limit: [{"id": "big", "title": "Big"}]
    began = time.process_time()
    answer = await ask(shelf, "where does the zeppelin anchor?")
    assert time.process_time() - began < 5
    assert cited(answer)[0] == "big" and count_words(answer) < 120


async def test_a_request_without_words_gets_an_answer() -> None:
    """An empty conversation is no crash: the librarian says what it is."""
    found = await events({"messages": [user("  ")]})
    assert isinstance(found[-1], Stop) and not any(isinstance(event, ToolUse) for event in found)


async def test_more_is_read_only_when_there_is_doubt() -> None:
    """A clear answer needs five notes at most; a thin one has five more looked at."""
    crowd = {
        f"misc/{n}": f"# Note {n}\n\nThe morning was cold and the boiler was old, every second day.\n"
        for n in range(12)
    }
    shelf = Shelf({**GARDEN, **crowd})
    await ask(shelf, "How often do I water the tomatoes with blight?")
    assert len(shelf.read) <= 5
    shelf = Shelf({**GARDEN, **crowd})
    await ask(shelf, "which cold zeppelin broke the old harness yesterday?")
    assert len(shelf.read) == 10


async def test_what_a_thing_is_is_told_by_the_sentence_that_begins_with_it() -> None:
    """A definition before other mentions."""
    notes = {
        "a": "# Ferry log\n\nWe took the zeppelin to the lake. The zeppelin was late again.\n",
        "b": "# Airships\n\nWe like them. A zeppelin is a rigid airship with a metal frame.\n",
    }
    answer = await ask(Shelf(notes), "What is a zeppelin?")
    assert answer.startswith("A zeppelin is a rigid airship")


async def test_a_definition_needs_no_other_words() -> None:
    """One carrying word is enough for a question."""
    answer = await ask(Shelf(GARDEN), "compost?")
    assert cited(answer)[0] == "garden/compost"


async def test_thin_evidence_is_offered_as_the_nearest() -> None:
    """Between an answer and silence: it says that the notes do not say, and what comes near."""
    shelf = Shelf(GARDEN)
    answer = await ask(shelf, "tomatoes attract zebras?")
    assert answer.startswith("The notes do not say. The nearest:")
    assert cited(answer) == ["garden/tomatoes"]


LANGUAGES = {
    "de": ("Die Heizung zeigt E9: den Wasserdruck auf 1,5 bar bringen.", "Was tun, wenn die Heizung E9 anzeigt?"),
    "fr": (
        "La chaudière s'arrête quand la pression descend sous un bar.",
        "Pourquoi la chaudière s'est-elle arrêtée ?",
    ),
    "es": ("Riega los tomates cada dos días por la mañana.", "¿Cada cuánto debo regar los tomates?"),
    "it": ("Annaffia i pomodori ogni due giorni al mattino.", "Quando devo annaffiare i pomodori?"),
    "pl": ("Pomidory podlewaj co dwa dni rano.", "Jak często podlewać pomidory?"),
    "ru": ("Помидоры поливают через день, утром.", "Как часто поливать помидоры?"),
    "uk": ("Помідори поливають через день, зранку.", "Як часто поливати помідори?"),
    "fi": ("Kastele tomaatit joka toinen päivä aamulla.", "Kuinka usein tomaatteja pitää kastella?"),
    "tr": ("Domatesleri iki günde bir sabah sulayın.", "Domatesler ne sıklıkla sulanır?"),
    "el": ("Πότιζε τις ντομάτες κάθε δεύτερη μέρα.", "Πόσο συχνά ποτίζω τις ντομάτες;"),
    "ar": ("اسق الطماطم كل يومين في الصباح.", "كم مرة أسقي الطماطم؟"),
    "he": ("להשקות את העגבניות כל יומיים בבוקר.", "כל כמה זמן משקים עגבניות?"),
    "hi": ("टमाटर को हर दूसरे दिन सुबह पानी दें।", "टमाटरों को कितनी बार पानी देना चाहिए?"),
    "th": ("รดน้ำมะเขือเทศทุกสองวันในตอนเช้า", "ควรรดน้ำมะเขือเทศบ่อยแค่ไหน"),
    "ko": ("토마토는 이틀에 한 번 아침에 물을 준다.", "토마토에 물을 얼마나 자주 줘야 하나요?"),
    "ja": ("トマトの水やりは二日に一度、朝に行う。", "トマトの水やりはどのくらいの頻度ですか？"),
    "zh": ("番茄每两天早上浇一次水。", "番茄多久浇一次水？"),
    "vi": ("Tưới cà chua hai ngày một lần vào buổi sáng.", "Bao lâu thì tưới cà chua một lần?"),
}


@pytest.mark.parametrize("language", LANGUAGES)
async def test_questions_are_answered_in_their_language(language: str) -> None:
    """The words of the question come in other forms than the note has; the note is found among others and quoted."""
    sentence, question = LANGUAGES[language]
    others = {f"other/{code}": f"# {code}\n\n{said}\n" for code, (said, _) in LANGUAGES.items() if code != language}
    shelf = Shelf({"mine": f"# {language}\n\n{sentence}\n", **others})
    shelf.search = lambda query, limit: [shelf.row(id) for id in ("mine", *list(others)[:4])]
    answer = await ask(shelf, question)
    assert cited(answer)[0] == "mine"
    assert sentence in answer


async def test_a_name_of_two_words_must_be_there_as_a_name() -> None:
    """Both words somewhere in a note are not the thing that was asked for."""
    notes = {
        "a": "# Foam\n\nFoam costs nothing a month.\n\nDrafts Pro has a subscription, which costs a little a month.\n"
    }
    answer = await ask(Shelf(notes), "what does the subscription of Foam Pro cost in a month?")
    assert answer.startswith("The notes do not say.")
    answer = await ask(Shelf(notes), "what does the subscription of Drafts Pro cost in a month?")
    assert cited(answer) == ["a"] and not answer.startswith("The notes do not say.")


async def test_the_note_about_a_thing_goes_before_the_long_one_that_mentions_it() -> None:
    """Names and first words say what a note is about; a long note has every word somewhere."""
    diary = "\n\n".join(f"Day {n}: walked, read, cooked. The kettle was slow and scale came off it." for n in range(60))
    shelf = Shelf(
        {
            "home/kettle": "# Kettle\n\nTo get scale off the kettle, boil vinegar in it and rinse.\n",
            "diary": f"# Diary\n\nA year of days.\n\n{diary}\n",
        }
    )
    answer = await ask(shelf, "How do I get the scale off the kettle?")
    assert cited(answer)[0] == "home/kettle"


async def test_a_list_of_notes_gives_way_to_the_note_it_links_to() -> None:
    """ "How do I fix a flat tyre?" is answered by the note on it, not by the overview that names and links it."""
    shelf = Shelf(
        {
            "bike/overview": "# Bike\n\nFix a flat tyre: see [[flat-tyre]]. Oil the chain: see [[chain]]. "
            "Fix a flat tyre on the road, fix a flat tyre at home.\n",
            "bike/flat-tyre": "# Flat tyre\n\nFix a flat tyre with the patches from the red box.\n",
            "bike/chain": "# Chain\n\nOil the chain each month.\n",
        }
    )
    answer = await ask(shelf, "How do I fix a flat tyre?")
    assert cited(answer)[0] == "bike/flat-tyre"


async def test_the_note_whose_title_is_the_question_goes_first() -> None:
    """ "What is Compost?" asks for the note of that title, however often others say the word."""
    notes = {f"log/{n}": f"# Day {n}\n\nCompost turned, compost sieved, compost carried.\n" for n in range(6)}
    shelf = Shelf({**notes, "help/what": "# What is Compost?\n\nRotted plants.\n"})
    assert cited(await ask(shelf, "What is Compost?"))[0] == "help/what"


async def test_a_note_that_lacks_the_name_goes_behind_one_that_has_it() -> None:
    """A name that is only the end of a word, or one letter away from one, is not there."""
    shelf = Shelf(
        {
            "apps/import": "# Import notes\n\nImport notes from any archive of notes: stack them in one folder.\n",
            "apps/slack": "# Team talk\n\nWe import our notes to Slack with a script.\n",
        }
    )
    assert cited(await ask(shelf, "How do we import notes to Slack?"))[0] == "apps/slack"
    silent = await ask(Shelf({"apps/import": shelf.notes["apps/import"]}), "How do we connect this to Slack?")
    assert silent.startswith("The notes do not say")


async def test_an_answer_names_four_notes_at_most() -> None:
    """A shelf full of notes that say the same does not make a longer list."""
    shelf = Shelf({f"tea/{n}": f"# Green tea {n}\n\nSteep green tea for two minutes.\n" for n in range(12)})
    assert 1 <= len(cited(await ask(shelf, "How long do I steep green tea?"))) <= 4


async def test_a_hand_off_note_takes_a_language_model() -> None:
    """Asked to write one, the librarian says that it cannot, instead of answering with something that is none."""
    request = request_from({"messages": [user("Write that note.")], "mode": "handoff"})
    with pytest.raises(NoNotes, match="writes no notes"):
        await anext(Librarian().complete(request, "librarian"))
