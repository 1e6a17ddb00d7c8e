"""What a caller hears when no agent speaks, by language. Said by the carrier's own voice."""

_PHRASES = {
    "en": {
        "unavailable": "We are sorry. We cannot take your call right now. Please try again in a few minutes.",
        "not_answered": "We are sorry. Nobody can take your call at this number. Goodbye.",
        "cut_off": "We are sorry. The connection was interrupted. Please call again. Goodbye.",
    },
    "de": {
        "unavailable": "Es tut uns leid. Wir können Ihren Anruf gerade nicht annehmen. Bitte versuchen Sie es später.",
        "not_answered": "Es tut uns leid. Unter dieser Nummer kann niemand Ihren Anruf annehmen. Auf Wiederhören.",
        "cut_off": "Es tut uns leid. Die Verbindung wurde unterbrochen. Bitte rufen Sie noch einmal an.",
    },
    "es": {
        "unavailable": "Lo sentimos. No podemos atender su llamada en este momento. Inténtelo de nuevo más tarde.",
        "not_answered": "Lo sentimos. Nadie puede atender su llamada en este número. Adiós.",
        "cut_off": "Lo sentimos. Se ha interrumpido la conexión. Por favor, vuelva a llamar. Adiós.",
    },
    "fr": {
        "unavailable": "Nous sommes désolés. Nous ne pouvons pas prendre votre appel. Veuillez réessayer plus tard.",
        "not_answered": "Nous sommes désolés. Personne ne peut prendre votre appel à ce numéro. Au revoir.",
        "cut_off": "Nous sommes désolés. La communication a été coupée. Veuillez rappeler. Au revoir.",
    },
}


def phrase(name: str, language: str) -> str:
    """The sentence in the language of a BCP 47 tag; in English where there is none."""
    return _PHRASES.get(language.partition("-")[0].lower(), _PHRASES["en"])[name]
