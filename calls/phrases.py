"""What a caller hears when no agent speaks, by language. Said by the carrier's own voice."""

_PHRASES = {
    "en": {
        "unavailable": "We are sorry. We cannot take your call right now. Please try again in a few minutes.",
        "not_answered": "We are sorry. Nobody can take your call at this number. Goodbye.",
        "hold": "All our lines are busy. Please hold.",
        "all_busy": "We are sorry. All our lines are busy. Please call again later. Goodbye.",
        "cut_off": "We are sorry. The connection was interrupted. Please call again. Goodbye.",
        "resumed": "Sorry, we were cut off for a moment. Please go on.",
        "recorded": "This call is recorded.",
    },
    "de": {
        "unavailable": "Es tut uns leid. Wir können Ihren Anruf gerade nicht annehmen. Bitte versuchen Sie es später.",
        "not_answered": "Es tut uns leid. Unter dieser Nummer kann niemand Ihren Anruf annehmen. Auf Wiederhören.",
        "hold": "Alle Leitungen sind besetzt. Bitte bleiben Sie am Apparat.",
        "all_busy": "Es tut uns leid. Alle Leitungen sind besetzt. Bitte rufen Sie später noch einmal an.",
        "cut_off": "Es tut uns leid. Die Verbindung wurde unterbrochen. Bitte rufen Sie noch einmal an.",
        "resumed": "Entschuldigung, wir waren kurz unterbrochen. Bitte sprechen Sie weiter.",
        "recorded": "Dieses Gespräch wird aufgezeichnet.",
    },
    "es": {
        "unavailable": "Lo sentimos. No podemos atender su llamada en este momento. Inténtelo de nuevo más tarde.",
        "not_answered": "Lo sentimos. Nadie puede atender su llamada en este número. Adiós.",
        "hold": "Todas nuestras líneas están ocupadas. Por favor, espere.",
        "all_busy": "Lo sentimos. Todas nuestras líneas están ocupadas. Por favor, llame más tarde. Adiós.",
        "cut_off": "Lo sentimos. Se ha interrumpido la conexión. Por favor, vuelva a llamar. Adiós.",
        "resumed": "Disculpe, se cortó un momento. Continúe, por favor.",
        "recorded": "Esta llamada se graba.",
    },
    "fr": {
        "unavailable": "Nous sommes désolés. Nous ne pouvons pas prendre votre appel. Veuillez réessayer plus tard.",
        "not_answered": "Nous sommes désolés. Personne ne peut prendre votre appel à ce numéro. Au revoir.",
        "hold": "Toutes nos lignes sont occupées. Veuillez patienter.",
        "all_busy": "Nous sommes désolés. Toutes nos lignes sont occupées. Veuillez rappeler plus tard. Au revoir.",
        "cut_off": "Nous sommes désolés. La communication a été coupée. Veuillez rappeler. Au revoir.",
        "resumed": "Excusez-moi, nous avons été coupés un instant. Je vous en prie, continuez.",
        "recorded": "Cet appel est enregistré.",
    },
}


def phrase(name: str, language: str) -> str:
    """The sentence in the language of a BCP 47 tag; in English where there is none."""
    return _PHRASES.get(language.partition("-")[0].lower(), _PHRASES["en"])[name]
