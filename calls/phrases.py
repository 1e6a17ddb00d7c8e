"""What a caller hears when no agent speaks, and a colleague before taking a call, by language. Said by the carrier's
own voice."""

_PHRASES = {
    "en": {
        "unavailable": "We are sorry. We cannot take your call right now. Please try again in a few minutes.",
        "not_answered": "We are sorry. Nobody can take your call at this number. Goodbye.",
        "hold": "All our lines are busy. Please hold.",
        "all_busy": "We are sorry. All our lines are busy. Please call again later. Goodbye.",
        "cut_off": "We are sorry. The connection was interrupted. Please call again. Goodbye.",
        "resumed": "Sorry, we were cut off for a moment. Please go on.",
        "recorded": "This call is recorded.",
        "closed_message": "We are closed at the moment. Please leave a message after the tone, with your name and your "
        "number. Press the hash key when you are done.",
        "leave_message": "Nobody can take your call right now. Please leave a message after the tone, with your name "
        "and your number. Press the hash key when you are done.",
        "message_kept": "Thank you. We have your message. Goodbye.",
        "nothing_said": "We did not hear anything. Please call again. Goodbye.",
        "may_record": "May we record this call? Say yes or press 1 if you agree. To go on without a recording, say no, "
        "press 2, or just wait.",
        "may_record_again": "I did not get that. May we record this call? Please say only yes or no, or press 1 for "
        "yes or 2 for no.",
        "briefing": "A caller is to be put through to you.",
        "take_it": "Press 1 to take the call, or any other key if you cannot.",
        "caller_gone": "The caller is no longer on the line. Goodbye.",
    },
    "de": {
        "unavailable": "Es tut uns leid. Wir können Ihren Anruf gerade nicht annehmen. Bitte versuchen Sie es später.",
        "not_answered": "Es tut uns leid. Unter dieser Nummer kann niemand Ihren Anruf annehmen. Auf Wiederhören.",
        "hold": "Alle Leitungen sind besetzt. Bitte bleiben Sie am Apparat.",
        "all_busy": "Es tut uns leid. Alle Leitungen sind besetzt. Bitte rufen Sie später noch einmal an.",
        "cut_off": "Es tut uns leid. Die Verbindung wurde unterbrochen. Bitte rufen Sie noch einmal an.",
        "resumed": "Entschuldigung, wir waren kurz unterbrochen. Bitte sprechen Sie weiter.",
        "recorded": "Dieses Gespräch wird aufgezeichnet.",
        "closed_message": "Wir haben gerade geschlossen. Bitte sprechen Sie nach dem Signalton eine Nachricht, mit "
        "Ihrem Namen und Ihrer Nummer. Drücken Sie die Rautetaste, wenn Sie fertig sind.",
        "leave_message": "Im Moment kann niemand Ihren Anruf annehmen. Bitte sprechen Sie nach dem Signalton eine "
        "Nachricht, mit Ihrem Namen und Ihrer Nummer. Drücken Sie die Rautetaste, wenn Sie fertig sind.",
        "message_kept": "Vielen Dank. Wir haben Ihre Nachricht. Auf Wiederhören.",
        "nothing_said": "Wir haben nichts gehört. Bitte rufen Sie noch einmal an. Auf Wiederhören.",
        "may_record": "Dürfen wir dieses Gespräch aufzeichnen? Sagen Sie ja oder drücken Sie die 1, wenn Sie "
        "einverstanden sind. Ohne Aufzeichnung geht es weiter, wenn Sie nein sagen, die 2 drücken oder warten.",
        "may_record_again": "Das habe ich nicht verstanden. Dürfen wir dieses Gespräch aufzeichnen? Bitte sagen Sie "
        "nur ja oder nein, oder drücken Sie die 1 für ja oder die 2 für nein.",
        "briefing": "Ein Anrufer soll zu Ihnen verbunden werden.",
        "take_it": "Drücken Sie die 1, um das Gespräch anzunehmen, oder eine andere Taste, wenn es nicht geht.",
        "caller_gone": "Der Anrufer ist nicht mehr in der Leitung. Auf Wiederhören.",
    },
    "es": {
        "unavailable": "Lo sentimos. No podemos atender su llamada en este momento. Inténtelo de nuevo más tarde.",
        "not_answered": "Lo sentimos. Nadie puede atender su llamada en este número. Adiós.",
        "hold": "Todas nuestras líneas están ocupadas. Por favor, espere.",
        "all_busy": "Lo sentimos. Todas nuestras líneas están ocupadas. Por favor, llame más tarde. Adiós.",
        "cut_off": "Lo sentimos. Se ha interrumpido la conexión. Por favor, vuelva a llamar. Adiós.",
        "resumed": "Disculpe, se cortó un momento. Continúe, por favor.",
        "recorded": "Esta llamada se graba.",
        "closed_message": "Ahora mismo está cerrado. Deje un mensaje después de la señal, con su nombre y su número. "
        "Pulse almohadilla cuando termine.",
        "leave_message": "Nadie puede atender su llamada en este momento. Deje un mensaje después de la señal, con su "
        "nombre y su número. Pulse almohadilla cuando termine.",
        "message_kept": "Gracias. Hemos recibido su mensaje. Adiós.",
        "nothing_said": "No hemos oído nada. Por favor, vuelva a llamar. Adiós.",
        "may_record": "¿Podemos grabar esta llamada? Diga sí o pulse 1 si está de acuerdo. Para continuar sin "
        "grabación, diga no, pulse 2 o simplemente espere.",
        "may_record_again": "No le he entendido. ¿Podemos grabar esta llamada? Por favor, diga solo sí o no, o pulse 1 "
        "para sí o 2 para no.",
        "briefing": "Le queremos pasar una llamada.",
        "take_it": "Pulse 1 para aceptarla, o cualquier otra tecla si no puede.",
        "caller_gone": "La persona que llamaba ya no está en la línea. Adiós.",
    },
    "fr": {
        "unavailable": "Nous sommes désolés. Nous ne pouvons pas prendre votre appel. Veuillez réessayer plus tard.",
        "not_answered": "Nous sommes désolés. Personne ne peut prendre votre appel à ce numéro. Au revoir.",
        "hold": "Toutes nos lignes sont occupées. Veuillez patienter.",
        "all_busy": "Nous sommes désolés. Toutes nos lignes sont occupées. Veuillez rappeler plus tard. Au revoir.",
        "cut_off": "Nous sommes désolés. La communication a été coupée. Veuillez rappeler. Au revoir.",
        "resumed": "Excusez-moi, nous avons été coupés un instant. Je vous en prie, continuez.",
        "recorded": "Cet appel est enregistré.",
        "closed_message": "Nous sommes fermés pour le moment. Laissez un message après le signal sonore, avec votre "
        "nom et votre numéro. Appuyez sur dièse quand vous avez terminé.",
        "leave_message": "Personne ne peut prendre votre appel pour le moment. Laissez un message après le signal "
        "sonore, avec votre nom et votre numéro. Appuyez sur dièse quand vous avez terminé.",
        "message_kept": "Merci. Nous avons bien reçu votre message. Au revoir.",
        "nothing_said": "Nous n'avons rien entendu. Veuillez rappeler. Au revoir.",
        "may_record": "Pouvons-nous enregistrer cet appel ? Dites oui ou appuyez sur 1 si vous êtes d'accord. Pour "
        "continuer sans enregistrement, dites non, appuyez sur 2 ou patientez.",
        "may_record_again": "Je n'ai pas compris. Pouvons-nous enregistrer cet appel ? Dites seulement oui ou non, ou "
        "appuyez sur 1 pour oui ou sur 2 pour non.",
        "briefing": "Nous souhaitons vous passer un appel.",
        "take_it": "Appuyez sur 1 pour le prendre, ou sur une autre touche si vous ne pouvez pas.",
        "caller_gone": "La personne n'est plus en ligne. Au revoir.",
    },
}


def phrase(name: str, language: str) -> str:
    """The sentence in the language of a BCP 47 tag; in English where there is none."""
    return _PHRASES.get(language.partition("-")[0].lower(), _PHRASES["en"])[name]
