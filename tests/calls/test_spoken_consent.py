"""What a caller says to the question whether the call may be recorded: only a plain yes is one."""

from django.test import SimpleTestCase

from calls.phrases import _PHRASES
from calls.spoken_consent import _WORDS, Said, consent_of, hints

YES = {
    "en": "Yes. | yes | Yeah, sure. | Yes please | OK | Okay, that's fine with me. | No problem. | no problem "
    "at all | I don't mind | I don\u2019t mind. | Sure, why not? | Yes, you may record this call. | Go ahead, "
    "please. | Of course you can. | I agree to the recording | YES YES YES | Yes, I do. | um, yes, no "
    "worries",
    "de": "Ja. | ja gerne | Ja, bitte. | Ja, Sie dürfen das Gespräch aufzeichnen. | Kein Problem. | in Ordnung "
    "| Klar, warum nicht? | Ich habe nichts dagegen. | Ich bin damit einverstanden | natürlich | Ja, das "
    "ist okay | Von mir aus. | yes | Meinetwegen gern",
    "es": "Sí. | si | Sí, claro. | Claro que sí | Vale, de acuerdo. | No hay problema | ¡Cómo no! | No me "
    "importa. | Sí, por favor | Está bien, pueden grabar la llamada | Sin problema | Por supuesto",
    "fr": "Oui. | oui bien sûr | D'accord. | Oui, d\u2019accord | Pas de problème | Pas de souci, allez-y | "
    "Pourquoi pas | Je n'y vois pas d'inconvénient. | Oui, vous pouvez enregistrer cet appel | Ça ne me "
    "dérange pas | Volontiers",
}
NO = {
    "en": "No. | no thanks | Nope | No, thank you. | Yes, but please don't record. | I'd rather not | I'd "
    "rather you didn't | Of course not! | Absolutely not. | You may not | Please don't. | I do not agree "
    "| I don't want that, okay? | Sure, but without recording please | No no no | never | I don\u2019t want "
    "to be recorded",
    "de": "Nein. | Nein, danke. | nee | Nö | Lieber nicht. | Ja, aber bitte nicht aufzeichnen. | Auf keinen "
    "Fall | Natürlich nicht | Ich bin nicht einverstanden | Bitte keine Aufnahme | Das möchte ich nicht "
    "| no",
    "es": "No. | No, gracias. | Claro que no. | Mejor no | Sí, pero no graben | No quiero que se grabe | Nunca "
    "| No estoy de acuerdo | Prefiero que no",
    "fr": "Non. | Non, merci. | Bien sûr que non | Oui, mais n'enregistrez pas | Je ne suis pas d'accord | "
    "Surtout pas | Vous ne pouvez pas | Je préfère pas | Je ne veux pas",
}
UNCLEAR = {
    "en": "... | Hello? | I'd like to book a table | Yes, if you delete it afterwards | Do I have to say yes? "
    "| yes no | No, that's fine | What? | I don't know | I'm not sure | I can't hear you | yesterday | "
    "nobody knows | Yes, but only this once | Say yes or press one | I do",
    "de": "Hallo? | Ja, Müller hier | ja nein | Wie bitte? | Weiß ich nicht | Ja, aber nur wenn es gelöscht "
    "wird | Januar | Was passiert, wenn ich ja sage?",
    "es": "Hola | no sé | Sí, pero después lo borran | si me la manda | ¿Cómo dice? | sí no",
    "fr": "Allô ? | Je ne sais pas | Oui, si vous l'effacez | Pardon ? | oui non | ouistiti",
}


class ConsentOfTests(SimpleTestCase):
    def test_what_is_a_yes_a_no_or_neither(self) -> None:
        for said, spoken in ((Said.YES, YES), (Said.NO, NO), (Said.UNCLEAR, UNCLEAR)):
            for language, sentences in spoken.items():
                for speech in sentences.split(" | "):
                    with self.subTest(language=language, speech=speech):
                        self.assertEqual(consent_of(speech, language), said)

    def test_nothing_said_is_neither(self) -> None:
        for speech in ("", "   ", "...", "?!"):
            self.assertEqual(consent_of(speech, "en"), Said.UNCLEAR)

    def test_the_languages_are_those_that_the_question_is_asked_in(self) -> None:
        self.assertEqual(set(_WORDS), set(_PHRASES))
        self.assertEqual(consent_of("Jawohl!", "de-AT"), Said.YES)
        for language in ("", "ja-JP"):  # asked in English, then
            self.assertEqual((consent_of("Yes.", language), consent_of("Jawohl.", language)), (Said.YES, Said.UNCLEAR))
            self.assertEqual(hints(language), hints("en"))

    def test_the_carrier_is_told_to_expect_what_is_understood(self) -> None:
        for language in _WORDS:
            for hint in hints(language):
                self.assertIsNot(consent_of(hint, language), Said.UNCLEAR, hint)
