"""What a message asks of the librarian: to look something up, about the store itself, or more than it can do.

A table of patterns, tried in order; what no pattern knows is a question to the notes. A message that merely begins
like a greeting but goes on is a question. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

Kind = Literal["ask", "greeting", "help", "thanks", "beyond", "new", "backlinks", "links", "who", "tagged"]


@dataclass(frozen=True)
class Intent:
    """`subject` is the note or tag that is meant, as the person wrote it; the question itself for "ask"."""

    kind: Kind
    subject: str = ""


_MENTION = re.compile(r"(?<![\w`/@.])@[\w][\w/.-]*[:,]?")
_SUBJECT = r"[\"'“”‘’`]*(?:\[\[)?([^\]\"“”`?]+?)(?:\]\])?[\"'“”‘’`]*"
_NOTES = r"(?:notes?|pages?|files?|records?|entries)"

# The only capturing group in a pattern is its subject.
_TABLE: tuple[tuple[Kind, str], ...] = (
        ("greeting", r"(?:hi|hello|hey|hallo|hoi|hej|moi|ciao|hola|ol[áa]|salut|bonjour|guten (?:tag|morgen|abend)|good "
         r"(?:morning|evening|afternoon|day)|привет|здравствуйте|привіт|вітаю|merhaba|cześć|szia|ahoj|γεια(?: σου)?"
         r"|مرحبا|שלום|नमस्ते|สวัสดี|xin chào|halo|안녕(?:하세요)?|你好|您好|こんにちは|yo)(?: (?:there|all|everyone|index))?"),
        ("thanks", r"(?:thanks?(?: you)?(?: (?:a lot|so much|very much))?|thx|ok(?:ay)?|great|cool|danke(?: schön)?|merci"
         r"|gracias|grazie|obrigad[oa]|bedankt|tack|tak|takk|kiitos|dzięki|спасибо|дякую|ありがとう(?:ございます)?|谢谢)"),
        ("help", r"help|(?:and )?what (?:can|do) you do|what are you(?: for)?|who are you|how (?:do i|can i|to) (?:use|ask) "
         r"you|how can you help(?: me)?|was kannst du(?: tun)?|wer bist du|que peux-tu faire|qui es-tu|qu[eé] puedes hacer"
         r"|qui[eé]n eres|cosa (?:puoi|sai) fare|что ты умеешь|кто ты|你能做什么|你是谁|何ができますか"),
        ("who", r"who(?:'s| is| are)? (?:here|there|around|in (?:this|the) room|online|present)(?: (?:now|right now))?"
         r"|who (?:else )?is (?:here|in here)|wer ist (?:hier|da)|qui est (?:ici|là)|qui[eé]n est[áa] aqu[íi]|кто (?:здесь|тут)"
         r"|谁在这里|誰がいますか"),
        ("new", rf"what(?:'s| is| has|s) (?:been )?(?:new|changed|recent|happening)(?: (?:lately|recently|today|this week"
         rf"|in (?:here|the {_NOTES}|my {_NOTES})))?|any(?:thing)? new(?: {_NOTES})?|(?:show|list|give)?(?: me)?(?: the| my)?"
         rf" ?(?:most )?(?:recent|latest|newest|last)(?:ly)?(?: (?:changed|edited|updated|created|modified))? (?:{_NOTES}|changes"
         rf"|edits)|(?:which|what) {_NOTES} (?:were|have been|did i|changed?)(?: \w+){{0,2}} (?:recently|lately|last|today)"
         r"|was (?:ist|gibt es|gibt's) neue?s?|quoi de neuf|qu[eé] hay de nuevo|novit[àa]|что нового|що нового|有什么新(?:的|内容)?"
         r"|最近の(?:変更|ノート)|新着"),
        ("backlinks", rf"(?:what|which(?: {_NOTES})?|who|anything that|{_NOTES}(?: that)?) (?:all )?(?:links?|points?|refers?"
         rf"|linking|pointing) (?:back )?to(?: the (?:note|page))? {_SUBJECT}|(?:show |list |find )?(?:the |all )?backlinks"
         rf" (?:of|to|for) {_SUBJECT}|(?:was|welche notizen) (?:verlinkt|verweis(?:t|en)|verlinken) auf {_SUBJECT}"
         rf"|(?:quelles notes|qui) (?:pointent?|renvoie(?:nt)?) vers {_SUBJECT}|qu[eé] (?:notas )?enlazan? a {_SUBJECT}"
         rf"|(?:что|какие заметки) ссыла(?:ется|ются) на {_SUBJECT}"),
        ("links", rf"(?:what|which {_NOTES}|where) do(?:es)?(?: the (?:note|page))? {_SUBJECT} (?:link|point|refer) to"
         rf"|(?:show |list )?(?:the |all )?(?:outgoing )?links (?:of|from|in) {_SUBJECT}|worauf verweist {_SUBJECT}"),
        ("tagged", rf"(?:(?:list|show|find|give)(?: me)? )?(?:all |the |my |which |what )*{_NOTES}? ?(?:are |is |that are |which are )?"
         r"(?:tagged|with (?:the )?tags?|with hashtag|having (?:the )?tag)(?: as| with)? [\"'`#]*([^\"'`?\s]+)[\"'`]*"
         r"|tag:(\S+)|(?:notizen|einträge) mit (?:dem )?tag [\"'`#]*([^\"'`?\s]+)[\"'`]*"),
)  # fmt: skip


@cache
def _patterns() -> tuple[tuple[Kind, re.Pattern[str]], ...]:
    # Compiled when first needed: 20 ms that no import should cost.
    return tuple((kind, re.compile(rf"^(?:{pattern})\s*[?.!…。！？]*$", re.IGNORECASE)) for kind, pattern in _TABLE)


_BEYOND = (
    r"^(?:(?:please|can you|could you|would you|will you|pls|now|kannst du|peux-tu|puedes)[ ,]+)*(?:"
    r"(?:write|compose|draft|invent|imagine|generate|make up)(?: me| us)? (?:an? |some |the |another )?(?:\w+ )?(?:poem|story|"
    r"song|essay|haiku|email|e-mail|letter|joke|blog|article|text|speech|tweet|code|script|program|function|limerick)"
    r"|(?:summari[sz]e|translate|rewrite|rephrase|paraphrase|brainstorm|proofread)\b"
    r"|tell (?:me|us) (?:an? )?(?:joke|story)"
    r"|schreib(?:e)?(?: mir)? ein(?:e|en)? (?:\w+ )?(?:gedicht|geschichte|e-mail|brief|lied)|fass(?:e)? .* zusammen|übersetze\b"
    r"|(?:écris|rédige)(?:-moi)? une? |résume\b|traduis\b|(?:escribe|redacta|resume|traduce)\b"
    r"|(?:напиши|сочини) (?:\w+ )?(?:стих|стихотворение|рассказ|письмо)|переведи\b"
    r")"
)
_POLITE = re.compile(
    r"^(?:(?:hi|hello|hey|hallo|hola|bonjour|please|ok|okay|so|well|thanks|thank you)\b[ ,!.:]+)+(?=\S)", re.IGNORECASE
)


def clean(message: str) -> str:
    """A message without the names it is addressed to."""
    return re.sub(r"[ \t]+", " ", _MENTION.sub(" ", message)).strip(" \t\n,")


def intent(message: str) -> Intent:
    """What this message asks for. Total: any text has an intent."""
    text = clean(message)
    polite = _POLITE.sub("", text)
    for candidate in dict.fromkeys((text, polite)):
        for kind, pattern in _patterns():
            match = pattern.match(candidate)
            if match:
                subjects = [value for value in match.groups() if value]
                return Intent(kind, subjects[0].strip(" '’‘") if subjects else "")
    if re.match(_BEYOND, polite, re.IGNORECASE):
        return Intent("beyond", text)
    return Intent("ask", polite or text)
