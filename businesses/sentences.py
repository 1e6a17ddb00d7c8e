"""What an agent says when no model is asked: sentences rendered in its own voice before any call (businesses.clips).

The carrier's voice says others (calls.phrases): those for callers whom no agent answers.
"""

GREETING = "greeting"

# For people: when each is said. None of them needs the model, so that they can be said when it fails.
PURPOSES = {
    GREETING: "Greeting",
    "filler": "While it looks something up",
    "still_there": "After a silence",
    "silence_goodbye": "After too long a silence",
    "wrap_up": "When the longest call is nearly over",
    "apology": "When something failed, before forwarding",
    "apology_goodbye": "When something failed, and nobody is there",
    "resumed": "After a lost connection",
    "unreached": "When nobody took the call that was put through",
}

_SENTENCES = {
    "en": {
        "filler": "One moment, please.",
        "still_there": "Are you still there?",
        "silence_goodbye": "I cannot hear you. Please call again. Goodbye.",
        "wrap_up": "We have to come to an end soon.",
        "apology": "I am sorry, I am putting you through.",
        "apology_goodbye": "I am sorry, something is wrong on my side.",
        "resumed": "Sorry, we were cut off for a moment. Please go on.",
        "unreached": "I am sorry, nobody could be reached. How else can I help you?",
    },
    "de": {
        "filler": "Einen Moment, bitte.",
        "still_there": "Sind Sie noch da?",
        "silence_goodbye": "Ich kann Sie nicht hören. Bitte rufen Sie noch einmal an. Auf Wiederhören.",
        "wrap_up": "Wir müssen bald zum Ende kommen.",
        "apology": "Es tut mir leid, ich verbinde Sie weiter.",
        "apology_goodbye": "Es tut mir leid, bei mir stimmt etwas nicht.",
        "resumed": "Entschuldigung, wir waren kurz unterbrochen. Bitte sprechen Sie weiter.",
        "unreached": "Es tut mir leid, ich konnte niemanden erreichen. Wie kann ich Ihnen sonst helfen?",
    },
    "es": {
        "filler": "Un momento, por favor.",
        "still_there": "¿Sigue ahí?",
        "silence_goodbye": "No le oigo. Por favor, vuelva a llamar. Adiós.",
        "wrap_up": "Tenemos que terminar pronto.",
        "apology": "Lo siento, le paso con una persona.",
        "apology_goodbye": "Lo siento, algo falla por mi parte.",
        "resumed": "Disculpe, se cortó un momento. Continúe, por favor.",
        "unreached": "Lo siento, no he podido localizar a nadie. ¿En qué más puedo ayudarle?",
    },
    "fr": {
        "filler": "Un instant, s'il vous plaît.",
        "still_there": "Vous êtes toujours là ?",
        "silence_goodbye": "Je ne vous entends pas. Veuillez rappeler. Au revoir.",
        "wrap_up": "Nous devons bientôt terminer.",
        "apology": "Veuillez m'excuser, je vous mets en relation.",
        "apology_goodbye": "Veuillez m'excuser, quelque chose ne va pas de mon côté.",
        "resumed": "Excusez-moi, nous avons été coupés un instant. Je vous en prie, continuez.",
        "unreached": "Je suis désolé, personne n'a pu être joint. Comment puis-je vous aider autrement ?",
    },
}
KEYS = tuple(_SENTENCES["en"])


def sentence(key: str, language: str) -> str:
    """The sentence in the language of a BCP 47 tag; in English where there is none. Raise KeyError for another key."""
    return _SENTENCES.get(language.partition("-")[0].lower(), _SENTENCES["en"])[key]


def of_agent(greeting: str, language: str) -> dict[str, str]:
    """Every sentence of an agent that greets so and speaks this language, by its key; no greeting where it is empty."""
    said = {GREETING: greeting.strip()} if greeting.strip() else {}
    return said | {key: sentence(key, language) for key in KEYS}
