"""Whether what a caller said is a yes, a no, or neither, to the question whether the call may be recorded.

A no is easily given, a yes is not: it has to be said, and nothing but words that go with it beside it. So "yes, if you
delete it" is none, nor "do I have to say yes", and the caller is asked again.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import Enum


class Said(Enum):
    YES = "yes"
    NO = "no"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Words:
    """Of one language. `refusals` are a no whatever stands beside them, and `doubts` neither; `harmless` sound like a
    no and are a yes. `beside` may stand beside a yes."""

    hints: tuple[str, ...]
    yes: str
    no: str
    harmless: str
    refusals: str
    doubts: str
    beside: str


_WORDS = {
    "en": Words(
        hints=("yes", "yeah", "okay", "sure", "no", "no thanks", "I do not want to be recorded"),
        yes="yes, yeah, yea, yep, yup, sure, okay, ok, fine, alright, all right, absolutely, certainly, "
        "definitely, agreed, I agree, I consent, of course, go ahead, please do, you may, you can",
        no="no, nope, nah, not, never, cannot, dont, refuse, decline, disagree",
        harmless="no problem, not a problem, no worries, do not mind, why not, no objection, no objections",
        refusals="not record, not be recorded, not want, rather not, prefer not, not agree, not okay, not ok, not "
        "fine, not consent, not allowed, you may not, you can not, please do not, of course not, certainly "
        "not, absolutely not, definitely not, without recording, without a recording, without the recording, "
        "no recording",
        doubts="not sure, not know, not understand, not hear, not get that, what, pardon",
        beside="please, thanks, thank, you, that, this, it, is, s, with, by, for, me, record, recording, recorded, "
        "the, call, conversation, i, am, m, do, to, be, being, a, at, all, oh, um, uh, well, totally, very, "
        "good",
    ),
    "de": Words(
        hints=("ja", "ja gerne", "einverstanden", "okay", "nein", "nein danke", "bitte nicht aufzeichnen"),
        yes="ja, jawohl, jo, jep, jepp, klar, gern, gerne, einverstanden, natürlich, sicher, selbstverständlich, "
        "in Ordnung, meinetwegen, von mir aus, okay, ok, passt, stimme zu, Sie dürfen, Sie können",
        no="nein, ne, nee, nö, nicht, nichts, kein, keine, keinen, keinesfalls, niemals, nie, ungern, ablehnen, lehne",
        harmless="kein Problem, nichts dagegen, keine Einwände, warum nicht, wieso nicht, macht nichts",
        refusals="nicht aufzeichnen, nicht aufnehmen, nicht aufgezeichnet, nicht aufgenommen, keine Aufzeichnung, "
        "keine Aufnahme, ohne Aufzeichnung, ohne Aufnahme, nicht einverstanden, lieber nicht, natürlich "
        "nicht, sicher nicht, nicht in Ordnung, auf keinen Fall",
        doubts="weiß nicht, weiß ich nicht, nicht sicher, verstehe nicht, nicht verstanden, was, wie bitte",
        beside="bitte, danke, schön, das, ist, für, mich, mir, dürfen, können, Sie, machen, es, aufzeichnen, "
        "aufnehmen, Gespräch, Anruf, ich, bin, habe, damit, mit, der, die, den, dem, Aufzeichnung, Aufnahme, "
        "äh, ähm, na, geht, schon, nur, auch, sehr, tun",
    ),
    "es": Words(
        hints=("sí", "claro", "vale", "de acuerdo", "no", "no gracias", "no quiero que se grabe"),
        yes="sí, claro, vale, okay, ok, de acuerdo, por supuesto, adelante, acepto, está bien, me parece bien, "
        "perfecto, pueden grabar, puede grabar, desde luego",
        no="no, nunca, jamás, tampoco, rechazo, ni, nada",
        harmless="cómo no, no hay problema, ningún problema, sin problema, no me importa, por qué no, no pasa nada, no "
        "tengo inconveniente, no hay inconveniente, ningún inconveniente",
        refusals="no graben, no grabe, no grabar, no se grabe, no lo graben, no lo grabe, no la graben, no la grabe, "
        "no quiero, sin grabar, sin grabación, sin que se grabe, claro que no, por supuesto que no, desde "
        "luego que no, no estoy de acuerdo, no acepto, mejor no, no está bien, de ninguna manera, prefiero "
        "que no",
        doubts="no sé, no lo sé, no entiendo, no he entendido, no estoy seguro, no estoy segura, cómo dice, perdón",
        beside="por, favor, gracias, muchas, a, mí, me, estoy, pueden, puede, grabar, grabarla, la, llamada, esta, "
        "esto, lo, con, ello, muy, bien, señor, señora, que, pues",
    ),
    "fr": Words(
        hints=("oui", "d'accord", "bien sûr", "non", "non merci", "n'enregistrez pas"),
        yes="oui, ouais, okay, ok, d'accord, volontiers, bien sûr, allez-y, j'accepte, ça marche, tout à fait, "
        "c'est bon, ça me va, ça va, vous pouvez, parfait, absolument, bien entendu",
        no="non, nan, pas, jamais, aucun, aucune, refuse, ne, n",
        harmless="pas de problème, aucun problème, pas de souci, aucun souci, n'y vois pas d'inconvénient, ne vois pas "
        "d'inconvénient, n'y vois aucun inconvénient, pas d'inconvénient, aucun inconvénient, pourquoi pas, "
        "ça ne me dérange pas, ça me dérange pas",
        refusals="pas enregistrer, pas m'enregistrer, enregistrez pas, pas enregistré, pas être enregistré, pas être "
        "enregistrée, sans enregistrement, sans enregistrer, bien sûr que non, pas d'accord, je refuse, "
        "n'accepte pas, vous ne pouvez pas, vous pouvez pas, surtout pas, absolument pas, préfère pas",
        doubts="sais pas, pas sûr, pas sûre, comprends pas, pas compris, quoi, pardon, comment",
        beside="merci, s'il vous plaît, je, suis, vous, enregistrer, l', cet, appel, c'est, ça, moi, pour, avec, y, "
        "tout, beaucoup, monsieur, madame, à, cela, euh, bien, très, la, conversation",
    ),
}
_WORD = re.compile(r"[^\W_]+")


def hints(language: str) -> tuple[str, ...]:
    """What the carrier is told to expect, in the language of a BCP 47 tag."""
    return _of(language)[0].hints


def consent_of(speech: str, language: str) -> Said:
    """What a caller meant who was asked in `language` (a BCP 47 tag); English is understood beside it. Pure."""
    text = _plain(speech)
    spoken = _of(language)
    if any(_has(text, words.refusals) for words in spoken):
        return Said.NO
    if any(_has(text, words.doubts) for words in spoken):
        return Said.UNCLEAR
    for words in spoken:
        text, harmless = _without(text, words.harmless)
        if harmless:
            text = f"{text}yes "  # which is understood in every language
    said_no = any(_has(text, words.no) for words in spoken)
    said_yes = any(_has(text, words.yes) for words in spoken)
    if said_no != said_yes:
        return Said.NO if said_no else _alone(text, spoken)
    return Said.UNCLEAR


def _alone(text: str, spoken: tuple[Words, ...]) -> Said:
    """A yes, unless something else was said beside it."""
    for words in spoken:
        text, _ = _without(text, words.yes)
    for words in spoken:
        text, _ = _without(text, words.beside)
    return Said.UNCLEAR if text.strip() else Said.YES


def _of(language: str) -> tuple[Words, ...]:
    own = _WORDS.get(language.partition("-")[0].lower(), _WORDS["en"])
    return (own,) if own is _WORDS["en"] else (own, _WORDS["en"])


def _plain(speech: str) -> str:
    """Words without case, accents and punctuation, with a space before and after each."""
    text = unicodedata.normalize("NFKD", speech.casefold().replace("\u2019", "'").replace("n't", " not"))
    text = "".join(character for character in text if not unicodedata.combining(character))
    return f" {' '.join(_WORD.findall(text))} "


def _phrases(listed: str) -> list[str]:
    """The longest first: "you may" is more than "you"."""
    return sorted((_plain(phrase) for phrase in listed.split(",")), key=len, reverse=True)


def _has(text: str, listed: str) -> bool:
    return any(phrase in text for phrase in _phrases(listed))


def _without(text: str, listed: str) -> tuple[str, bool]:
    """The text without these phrases, and whether there were any."""
    before = text
    for phrase in _phrases(listed):
        while phrase in text:
            text = text.replace(phrase, " ")
    return text, text != before
