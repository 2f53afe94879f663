"""Which of several near notes is meant: real manuals have hundreds that share their words."""

from __future__ import annotations

from pathlib import Path

from records import Notes

# Sentences without a word of the queries, so that notes are long and words have a frequency.
FILL = "Open the menu in the corner, choose the panel and follow what is shown there. "


def order(root: Path, notes: dict[str, str], query: str) -> list[str]:
    """Ids of the hits, best first, of notes given as their titles and bodies."""
    for id_, text in notes.items():
        title, _, body = text.partition("\n")
        (root / f"{id_}.md").write_text(f"# {title}\n\n{body or FILL}\n", encoding="utf-8")
    with Notes(root) as made:
        return [hit.id for hit in made.search(query)]


def test_a_note_named_after_the_subject_goes_before_a_rare_verb_in_passing(tmp_path: Path) -> None:
    """`swap password`: the note called `Change your password` wins over a long one that swaps something."""
    notes = {f"other-{n}": f"Panel {n}\n{FILL * 3}" for n in range(10)}
    notes |= {f"admin-{n}": f"Panel {n}\n{FILL * 3}The administrator knows the password." for n in range(8)}
    notes |= {f"colors-{n}": f"Colors {n}\n{FILL * 2}Swap the colors. {FILL * 2}" for n in range(2)}
    notes["password"] = f"Change your password\n{FILL * 2}Type the old one, then the new one. {FILL}"
    assert order(tmp_path, notes, "swap password")[0] == "password"


def test_the_last_part_of_a_compound_that_no_note_has_is_what_it_is_a_kind_of(tmp_path: Path) -> None:
    """`Standardbrowser` finds the note about browsers, not those that have only its first part."""
    notes = {f"{n}": f"Tafel {n}\n{FILL} Als Standard wird das Programm benutzt." for n in range(6)}
    notes["web"] = f"Webseiten öffnen\n{FILL} Ein anderer Browser wird für Standard gehalten."
    assert order(tmp_path, notes, "Standardbrowser")[0] == "web"


def test_a_word_that_is_written_in_two_is_no_slip_of_another(tmp_path: Path) -> None:
    """`زمان بندی`: the note that has both in one word, not those that have `بعد`, which is a letter from the second."""
    notes = {f"{n}": "زمان و بعد\nزمان را ببین و بعد از آن کار کن، بعد بخواب." for n in range(6)}
    notes["cron"] = "برنامه\nزمان‌بندی وظیفه‌ها با این ابزار انجام می‌شود."
    assert order(tmp_path, notes, "زمان بندی")[0] == "cron"


def test_a_word_that_no_note_has_is_not_taken_for_a_stop_word(tmp_path: Path) -> None:
    """`portátil aquece`: `aquele` is a letter from the verb, but it is not what anybody looks for."""
    notes = {f"{n}": f"Painel {n}\nPrima aquele botão e depois aquele menu." for n in range(6)}
    notes["fan"] = "A ventoinha\nO computador portátil fica quente."
    assert order(tmp_path, notes, "portátil aquece") == ["fan"]


def test_the_words_of_a_question_are_known_in_serbian_and_latvian(tmp_path: Path) -> None:
    """Small words in Cyrillic Serbian and in Latvian find nobody beside the subject."""
    notes = {f"{n}": f"Табла {n}\nКоја је моја слика и која је моја датотека." for n in range(4)}
    notes |= {f"l{n}": f"Panelis {n}\nKā un kur, bet kāpēc man tas ir vajadzīgs." for n in range(4)}
    notes["ip"] = "Сазнајте вашу адресу\nПритисните на мрежу и сазнајте адресу."
    notes["foto"] = "Attēli\nFotogrāfijas glabājas mapē."
    assert order(tmp_path, notes, "која је моја адреса") == ["ip"]
    assert order(tmp_path, notes, "kur man ir fotogrāfijas") == ["foto"]


def test_of_notes_that_share_a_word_the_one_in_the_language_of_the_question_goes_first(tmp_path: Path) -> None:
    """`mikrofon` is the same word in three languages, `ikke` is not."""
    notes = {
        "a": "Memakai mikrofon lain\nPilih mikrofon yang ada di dalam daftar.",
        "b": "Använd en annan mikrofon\nVälj en mikrofon som inte står i listan.",
        "c": "Brug en anden mikrofon\nVælg en mikrofon som ikke står på listen.",
    }
    assert order(tmp_path, notes, "hvorfor kan jeg ikke bruge mikrofon")[0] == "c"
    assert order(tmp_path, notes, "mikrofon inte")[0] == "b"


def test_a_word_with_the_umlaut_spelled_out_is_found_beside_words_that_begin_so(tmp_path: Path) -> None:
    """`aendern` means `ändern`, also where notes in another language have words with `aend`."""
    notes = {f"{n}": f"Ændre {n}\nAndre ændringer står her." for n in range(3)}
    notes["de"] = "Passwort ändern\nHier wird es gesetzt."
    assert order(tmp_path, notes, "aendern")[0] == "de"


def test_the_whole_last_word_weighs_more_than_others_with_its_stem(tmp_path: Path) -> None:
    """`verbinden` has the stem `verb`, which `Verbrauch` begins with but is no form of."""
    notes = {f"{n}": f"Verbrauch {n}\nDer Verbrauch wird hier gezeigt." for n in range(2)}
    notes["z"] = "Geräte\nEs lässt sich hier verbinden."
    assert order(tmp_path, notes, "verbinden")[0] == "z"


def test_what_a_note_begins_with_is_what_it_is_about(tmp_path: Path) -> None:
    """Of two notes with the same words the one that begins with those asked for goes first."""
    said, rest = "Keep the kettle free of lime.", FILL * 8
    notes = {"a": f"One\n{rest}{said}", "b": f"Two\n{said} {rest}"}
    assert order(tmp_path, notes, "kettle lime") == ["b", "a"]


def test_a_slip_in_a_long_word_is_no_word_with_half_its_letters(tmp_path: Path) -> None:
    """`vacinations`: without its ending it is a word of Portuguese, but Vaccinations is meant."""
    notes = {"dog": "O cão\nVacina em abril.", "us": "Vaccinations\nTetanus in 2020."}
    assert order(tmp_path, notes, "vacinations")[0] == "us"


def test_both_parts_of_a_compound_that_no_note_has_are_looked_for(tmp_path: Path) -> None:
    """`Druckertreiber` means the note about the Drucker that says Treiber, not the one about a Druckerei."""
    notes = {
        "fair": "Messe\nDie Druckerei fragen.",
        "print": "Drucker einrichten\nTreiber von der Seite des Herstellers.",
    }
    assert order(tmp_path, notes, "Druckertreiber")[0] == "print"


def test_a_mark_inside_an_armenian_word_does_not_cut_it(tmp_path: Path) -> None:
    """The question mark of Armenian stands behind the vowel that is asked: `Տատիկը ե՞կավ` says `եկավ`."""
    notes = {"a": "Հյուրեր\nՏատիկը ե՞կավ։", "b": "Ցուցակ\nՀաց և կաթ։"}
    assert order(tmp_path, notes, "եկավ") == ["a"]
    assert order(tmp_path, notes, "կա՞թ") == ["b"]


def test_a_word_that_is_small_in_another_language_is_looked_for_before_nothing_is_found(tmp_path: Path) -> None:
    """`Spaziergang am See`: English `see` and `am` carry no subject, but no note has the walk. What many notes have finds nobody."""
    notes = {f"{n}": f"Liste {n}\nWas wir am Montag kaufen." for n in range(8)}
    notes["see"] = "Muttertag\nMit Mama am See Eis gegessen."
    assert order(tmp_path, notes, "Spaziergang am See")[0] == "see"
    assert order(tmp_path, notes, "Blumenkohl am Dienstag") == []


def test_two_han_that_stand_together_nowhere_are_looked_for_one_by_one(tmp_path: Path) -> None:
    """`腰疼` finds the note that says `腰痛`, when nobody says the other."""
    notes = {"back": "腰痛康复\n早晚拉伸。", "milk": "买东西\n牛奶和面包。"}
    assert order(tmp_path, notes, "腰疼") == ["back"]


def test_a_japanese_verb_is_found_with_another_ending(tmp_path: Path) -> None:
    """`本を読む` finds `読んだ`."""
    notes = {"read": "日記\n昨日やっと読んだ。", "milk": "買い物\n牛乳とパン。"}
    assert order(tmp_path, notes, "読む")[0] == "read"


def test_a_word_with_accents_is_no_small_word_that_has_others(tmp_path: Path) -> None:
    """Vietnamese `máy`, machine, is neither `may` nor `mấy`, and `đau`, pain, is not `đâu`; without accents it may be either."""
    notes = {f"{n}": f"Giặt {n}\nGiặt áo." for n in range(4)}
    notes |= {"machine": "Phòng tắm\nGọi thợ cho máy.", "pain": "Nhật ký\nHôm nay lại đau."}
    assert order(tmp_path, notes, "máy giặt")[0] == "machine"
    assert order(tmp_path, notes, "đau giặt")[0] == "pain"


def test_one_letter_behind_small_words_does_not_make_them_nothing(tmp_path: Path) -> None:
    """`How h`, on the way to `How houses stand`: the word before the letter still says more than the letter."""
    notes = {f"h{n}": f"Ha{letter}\nA list." for n, letter in enumerate("bcdefgijklmnopqrstuvwxyz")}
    notes["house"] = "How houses stand\nOn their walls."
    for typed in ("How", "How h", "How hou", "How houses s"):
        assert "house" in order(tmp_path, notes, typed)[:5], typed


def test_the_words_of_a_question_are_known_in_languages_of_few(tmp_path: Path) -> None:
    """Small words of Georgian, Armenian, Amharic and Basque find no diary that is full of them, where a note has the subject."""
    notes = {
        "ka-diary": "დღიური\nროგორ უნდა ვიყო? ვინ არის აქ და რა მაქვს, სად არის სიმშვიდე, როდის მოვა?",
        "ka": "მანქანა\nსაბურავები სარდაფშია.",
        "hy-diary": "Օրագիր\nԻնչպես պետք է լինեմ։ Ով է այստեղ և ինչ ունեմ։ Որտեղ է և երբ է։",
        "hy": "Մեքենա\nԱնվադողերը նկուղում են։",
        "am-diary": "ማስታወሻ\nምን ማድረግ አለብኝ? ማን ነው፣ የት ነው፣ መቼ ነው፣ እንዴት ነው?",
        "am": "ቁልፎች\nጎረቤታችን አልማዝ ዘንድ።",
        "eu-diary": "Egunkaria\nZer egin behar dut? Nor naiz, non dago, noiz da, nola da?",
        "eu": "Autoa\nGurpilak sotoan daude.",
    }
    asked = {"ka": "რა მაქვს სარდაფში", "hy": "Ի՞նչ ունեմ նկուղում", "am": "ጎረቤታችን ማን ነው", "eu": "non daude gurpilak"}
    for language, question in asked.items():
        assert order(tmp_path, notes, question)[0] == language


def test_of_titles_that_are_one_word_the_one_spelled_as_asked_goes_first(tmp_path: Path) -> None:
    """Papá is not papa, nor 想读 想讀, though each finds the other."""
    notes = {"a": "Papa\nLista.", "b": "Papá\nLista.", "c": "想讀的書\n三。", "d": "想读的书\n三。"}
    for query, first in (("papá", "b"), ("papa", "a"), ("想读", "d"), ("想讀", "c")):
        found = order(tmp_path, notes, query)
        assert found[0] == first and len(found) == 2
