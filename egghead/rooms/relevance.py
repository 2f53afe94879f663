"""How well a message fits an agent: TF-IDF of the message against title, tags and disposition. No model call.

Words are Unicode words (two-character pieces where a script writes without spaces); stop words of the message's
language family are dropped; idf = ln((n + 1) / (df + 1)) + 1 over the candidates. A term counts 1 + ln(tf) in an
agent's text, title and tags count more, and each agent's weights are brought to length one, so that a long disposition
is not an advantage. The numbers are compared with one another only; they are no probability.

People ask in other forms than agents are described in (contract, contracts; договор, договоры). A word that begins as
the asked one does and differs in a short ending counts as that word, for less.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, lru_cache

TITLE_WEIGHT = 3
TAG_WEIGHT = 3
FORM_WEIGHT = 0.6  # of another form of the word, against the word itself
SHORTEST_STEM = 4  # letters that two forms of a word have in common at least
LONGEST_ENDING = 3  # letters behind them

# Letters, digits, and the marks that \w leaves out: accents, Hebrew and Arabic points, Indic vowel signs.
_WORD = re.compile("(?:[^\\W_]|[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0966-\u0dff])+")
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+"
)

# The article, and with it what is written together with it: and, by, as, then, for.
_ARABIC_ARTICLE = re.compile("(?:[\u0648\u0628\u0643\u0641]?\u0627\u0644|\u0644\u0644)(?=[\u0620-\u064a]{3})")

# The commonest function words of each family: enough to tell the family and to keep them from counting as a topic.
STOP_WORDS: dict[str, frozenset[str]] = {
    family: frozenset(words.split())
    for family, words in {
        "english": """a an and any are as at be been but by can could did do does for from get had has have he her him
            his how i if in into is it its just like me my no not of on one or our out please she should so some
            tell than that the their them then there these they this to up us was we were what when where which who
            why will with would you your about also all am let make more most much need now only other over own
            same such too very want""",
        "germanic": """aan als auf aus bei bij bin bist da dan das dass dat de dem den der des det die dies dir du een
            ein eine einem einen einer eines en er es ett et for für han hat het hoe ich ihr ik im in is ist je jeg
            jag kan kann kein keine man mit mijn mir mit med met nach nicht niet noch nog nur och oder of og om op
            på sie sich sind som te till til und uns van vi voor von vom wie was wat war wel wenn werden wir wird
            wo zijn zu zum zur über å är er ikke inte hvad hvordan vad hur mig dig bitte auch aber alle meine wer""",
        "romance": """a ai al alla alle au aux avec ce ces che chi ci com comment como con cosa cuándo cómo da dans das de dei del
            della des di do dos du dónde e el elle em en es essa esse est este et eu fait gli há i il io is je la las le
            les lo los lui ma mais mas me mes mi mon na ne nel ni no non nos nous o ou où para pas pe per perché
            pero plus por pour qual que quel quelle qué quem qui quién quoi sa se ses si sobre son su sur sus te tu um
            un una une uno uns vos vous y à è é ça și sunt este cum care în la cu del als els amb""",
        "slavic": """a aby ale ani bo by byl być było był co czy dla do gdzie i ich jak jako je jest jestem jeszcze już
            k kde kdo ma mi mne moje może můj na nad nas není nie o od po pod pro przez se si są ta tak także ten
            ti to toho tu tym w we z za ze že але бо був була був в вас вона вони все всё вы где да для до его ее
            если есть ещё же з за и из или их й как когда кто ли меня мне мой мы на над не него нет ни но о об
            он она они от по под при про с сам со так также там те то только тот ты у уже чем что чтобы щоб що
            это этот я як який є і в із від та це ми ви""",
        "uralic": """a az és egy hogy nem is meg mi ki van volt ez azt csak de ha már még mint vagy sem itt ott hol
            hogyan miért mikor ja ei en et on oli ovat se että mutta kun niin kuin tai myös mitä mikä missä miten
            miksi kuka minä sinä hän me te he tämä tuo joka jos vain ole olen""",
        "turkic": "ve bir bu da de için ile mi mı mu mü ne nasıl neden nerede o olan olarak var ya çok daha gibi kim",
        "greek": "και το να του η της με που την από για είναι τα ο οι τον θα δεν σε στο στη στην ένα μια πώς τι ποιος",
        "arabic": "من في على إلى عن أن إن ما هل كيف لماذا متى أين هذا هذه التي الذي مع أو لا و هو هي كان يا",
        "hebrew": "של על את לא אני זה עם הוא היא מה איך למה איפה מתי מי או גם כי אם יש אין אל ב ה ו",
        "indic": "और का के की में से को है हैं था पर यह वह क्या कैसे क्यों कहाँ कब कौन या भी नहीं तो ही एक लिए",
        "malay": "yang dan di ke dari untuk dengan ini itu apa bagaimana mengapa kapan siapa adalah tidak atau saya",
        "chinese": "的 了 是 在 我 有 和 就 不 人 都 一 个 什么 怎么 如何 为什么 哪里 吗 呢 请 请问 是否 什麼 怎麼",
        "japanese": "の に は を た が で て と し れ さ ある いる も な する から です ます こと これ どう 何 なぜ",
    }.items()
}


def words(text: str) -> list[str]:
    """The words of a text, folded; pieces of two characters where a script has no spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    if _UNSPACED.search(folded) is None:
        return [_bare(word) for word in _WORD.findall(folded)]
    found: list[str] = []
    for word in _WORD.findall(folded):
        at = 0
        for run in _UNSPACED.finditer(word):
            if run.start() > at:
                found.append(word[at : run.start()])
            piece = run.group()
            found.extend(piece[i : i + 2] for i in range(max(1, len(piece) - 1)))
            at = run.end()
        if at < len(word):
            found.append(word[at:])
    return found


def _bare(word: str) -> str:
    return _ARABIC_ARTICLE.sub("", word, count=1) if _ARABIC_ARTICLE.match(word) else word


def same_word(one: str, other: str) -> bool:
    """Whether these may be two forms of one word: a common beginning, most of both, and short endings."""
    longer = max(len(one), len(other))
    common = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return common >= SHORTEST_STEM and longer - common <= LONGEST_ENDING and common >= 0.6 * longer


def family(tokens: Iterable[str]) -> str | None:
    """The language family with most stop words among these; None when none occurs. Ties by name."""
    counted = Counter(tokens)
    hits = {name: sum(counted[word] for word in stop if word in counted) for name, stop in STOP_WORDS.items()}
    best = max(sorted(hits), key=lambda name: hits[name])
    return best if hits[best] else None


def terms(text: str) -> tuple[str, ...]:
    """The words of a message that can be about something, each once, in order."""
    tokens = words(text)
    name = family(tokens)
    stop = STOP_WORDS[name] if name else frozenset()
    return tuple(dict.fromkeys(token for token in tokens if token not in stop and (len(token) > 1 or ord(token) > 127)))


@lru_cache(maxsize=4096)
def _weights(title: str, tags: tuple[str, ...], disposition: str) -> Mapping[str, float]:
    counted: Counter[str] = Counter(words(disposition))
    for word in words(title):
        counted[word] += TITLE_WEIGHT
    for tag in tags:
        for word in words(tag):
            counted[word] += TAG_WEIGHT
    weights = {word: 1 + math.log(count) for word, count in counted.items()}
    length = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
    return {word: weight / length for word, weight in weights.items()}


class Corpus:
    """What agents are about: (id, title, tags, disposition) of each. Made for many messages, and cheap to make: the
    index is built by the first question, because agents come and go much more often than somebody asks."""

    def __init__(self, agents: Iterable[tuple[str, str, tuple[str, ...], str]] = ()) -> None:
        self._agents = tuple(agents)

    def prepare(self) -> Iterator[None]:
        """Build the index in small steps, for who has time before the first question."""
        for _, title, tags, disposition in self._agents:
            _weights(title, tags, disposition)
            yield
        assert self._beginnings is not None

    @cached_property
    def _postings(self) -> Mapping[str, Mapping[str, float]]:
        """Term -> {agent: weight}."""
        postings: dict[str, dict[str, float]] = {}
        for agent, title, tags, disposition in self._agents:
            for word, weight in _weights(title, tags, disposition).items():
                postings.setdefault(word, {})[agent] = weight
        return postings

    @cached_property
    def _beginnings(self) -> Mapping[str, tuple[str, ...]]:
        """First letters -> the words that begin so."""
        found: dict[str, list[str]] = {}
        for word in self._postings:
            if len(word) >= SHORTEST_STEM and word.isalpha():
                found.setdefault(word[:SHORTEST_STEM], []).append(word)
        return {letters: tuple(words) for letters, words in found.items()}

    def _holders(self, term: str, among: frozenset[str]) -> dict[str, float]:
        """The candidates that have the word, or another form of it: the best weight of each."""
        found = {agent: weight for agent, weight in self._postings.get(term, {}).items() if agent in among}
        for word in self._beginnings.get(term[:SHORTEST_STEM], ()):
            if word != term and same_word(term, word):
                for agent, weight in self._postings[word].items():
                    if agent in among:
                        found[agent] = max(found.get(agent, 0.0), FORM_WEIGHT * weight)
        return found

    def scores(self, text: str, candidates: Iterable[str]) -> dict[str, float]:
        """Candidate -> score, those above zero only; 1.0 would be a text about exactly the words of the message."""
        among = frozenset(candidates)
        asked = terms(text)
        found: dict[str, float] = {}
        norm = 0.0
        for term in asked:
            holders = self._holders(term, among)
            idf = math.log((len(among) + 1) / (len(holders) + 1)) + 1
            norm += idf * idf
            for agent, weight in holders.items():
                found[agent] = found.get(agent, 0.0) + idf * weight
        scale = math.sqrt(norm) or 1.0
        return {agent: score / scale for agent, score in found.items()}
