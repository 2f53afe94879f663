"""What a message asks for: a table of messages and intents."""

from __future__ import annotations

import pytest

from egghead.llm.librarian.intents import clean, intent
from egghead.llm.librarian.languages import asks_how, asks_what, detect, foreign

TABLE = [
    ("hello", "greeting", ""),
    ("Hi there!", "greeting", ""),
    ("привет", "greeting", ""),
    ("thanks a lot!", "thanks", ""),
    ("@index what can you do?", "help", ""),
    ("who is here?", "who", ""),
    ("Who's in this room", "who", ""),
    ("what's new?", "new", ""),
    ("What has changed recently?", "new", ""),
    ("show me the latest notes", "new", ""),
    ("was gibt es Neues?", "new", ""),
    ("what links to [[garden/tomatoes]]?", "backlinks", "garden/tomatoes"),
    ("which notes link to Boiler", "backlinks", "Boiler"),
    ("backlinks of “Lisbon”", "backlinks", "Lisbon"),
    ("What does garden/compost link to?", "links", "garden/compost"),
    ("links from Boiler", "links", "Boiler"),
    ("list all notes tagged #summer", "tagged", "summer"),
    ("notes with the tag recipes", "tagged", "recipes"),
    ("tag:garden", "tagged", "garden"),
    ("please write me a short poem about rain", "beyond", None),
    ("Can you summarize this?", "beyond", None),
    ("translate this to German", "beyond", None),
    ("how do I write an email template?", "ask", None),
    ("hello, how do I water tomatoes?", "ask", "how do I water tomatoes?"),
    ("what is new in version 2 of the boiler?", "ask", None),
    ("how do I list notes tagged x in the sidebar", "ask", None),
    ("what did we decide about summaries", "ask", None),
    ("", "ask", ""),
]


@pytest.mark.parametrize(("message", "kind", "subject"), TABLE)
def test_a_message_has_the_intent_that_a_person_means(message: str, kind: str, subject: str | None) -> None:
    """A question that merely begins like a command is a question."""
    found = intent(message)
    assert found.kind == kind
    assert subject is None or found.subject == subject


def test_names_that_are_called_are_not_part_of_a_message() -> None:
    """A mention goes, an address stays."""
    assert clean("@index, how are things? mail ada@example.org") == "how are things? mail ada@example.org"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("How often do I water the tomatoes?", "en"),
        ("tomatoes", "en"),
        ("Wie oft muss ich die Tomaten gießen?", "de"),
        ("Hoe vaak moet ik de tomaten water geven?", "nl"),
        ("Hur ofta ska jag vattna tomaterna?", "sv"),
        ("À quelle fréquence arroser les tomates ?", "fr"),
        ("¿Cada cuánto riego los tomates?", "es"),
        ("Com que frequência devo regar os tomates?", "pt"),
        ("Quante volte devo annaffiare i pomodori?", "it"),
        ("Jak często podlewać pomidory?", "pl"),
        ("Ako často polievať paradajky?", "sk"),
        ("Milyen gyakran öntözzem a paradicsomot?", "hu"),
        ("Kuinka usein kastelen tomaatit?", "fi"),
        ("Kuidas ma saan tomateid kasta?", "et"),
        ("Domatesleri ne sıklıkla sulamalıyım?", "tr"),
        ("Berapa sering saya harus menyiram tomat?", "id"),
        ("Bao lâu thì tưới cà chua một lần?", "vi"),
        ("Как часто поливать помидоры?", "ru"),
        ("Як часто поливати помідори?", "uk"),
        ("Πόσο συχνά ποτίζω τις ντομάτες;", "el"),
        ("كم مرة أسقي الطماطم؟", "ar"),
        ("چند وقت یکبار گوجه فرنگی را آب بدهم؟", "fa"),
        ("כל כמה זמן משקים עגבניות?", "he"),
        ("टमाटर को कितनी बार पानी देना चाहिए?", "hi"),
        ("ควรรดน้ำมะเขือเทศบ่อยแค่ไหน", "th"),
        ("토마토에 물을 얼마나 자주 주나요?", "ko"),
        ("トマトの水やりはいつですか", "ja"),
        ("番茄多久浇一次水", "zh"),
        ("რამდენად ხშირად", "und"),
    ],
)
def test_the_language_of_a_question_is_told(text: str, language: str) -> None:
    """By its script, else by its function words and letters."""
    assert detect(text) == language


def test_how_and_what_are_told_from_how_many() -> None:
    """A question for steps, a question for a definition, and neither."""
    assert asks_how("How do I publish?") and asks_how("Wie kann ich das ändern?") and asks_how("如何发布")
    assert not asks_how("how many notes are there") and not asks_how("who is here")
    assert asks_what("What is a backlink?") and asks_what("Was ist ein Backlink?") and not asks_what("what happened")


def test_a_note_in_another_language_is_foreign_only_when_that_is_sure() -> None:
    """A question without function words is at home everywhere."""
    assert foreign("Wie oft muss ich die Tomaten gießen?", "de", "it")
    assert not foreign("tomato blight", "en", "de")
    assert not foreign("Wie oft muss ich gießen?", "de", "de")
    assert not foreign("Docker の設定", "ja", "en")
