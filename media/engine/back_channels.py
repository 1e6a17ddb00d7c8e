"""What people say while they listen, by language: words that neither answer nor interrupt. Lower case."""

_WORDS = {
    "en": "mhm mm mmm hm hmm uh huh uh-huh mm-hmm mhmm ah aha oh ok okay right sure yeah yep yes i see good great",
    "de": "mhm mm hm hmm ah aha achso ach so oh ok okay ja jaja genau gut klar stimmt richtig verstehe jo",
    "es": "mhm mm hm hmm ajá aja ah oh ok okay vale sí si ya claro bien bueno entiendo",
    "fr": "mhm mm hm hmm ah oh ok okay d'accord oui ouais bien bon voilà je vois",
}


def back_channels(language: str) -> frozenset[str]:
    """The words of a BCP 47 language; for one that is not in the table, sounds that mean it nearly everywhere."""
    words = _WORDS.get(language.partition("-")[0].lower(), "mhm mm hm hmm ah aha oh ok okay")
    return frozenset(words.split())
