"""Everyday words of four languages: what `data synthesize` makes sentences of.

Few words in many combinations: a tiny model can learn the sounds in minutes, and a sentence it has never
seen still tests it.
"""

from typing import Final

WORDS: Final[dict[str, tuple[str, ...]]] = {
    "te": tuple(
        "నమస్కారం రోజు వాతావరణం బాగుంది పుస్తకం నీరు అన్నం పాలు ఇల్లు చెట్టు పువ్వు ఆకాశం సూర్యుడు చంద్రుడు "
        "నక్షత్రం సముద్రం నది కొండ గ్రామం నగరం బడి గురువు స్నేహితుడు అమ్మ నాన్న అక్క తమ్ముడు పాట మాట ఆట "
        "బంతి కుక్క పిల్లి ఏనుగు గుర్రం పక్షి చేప రంగు ఎరుపు నీలం పచ్చ తెలుపు ఉదయం సాయంత్రం రాత్రి పగలు "
        "వర్షం గాలి".split()
    ),
    "hi": tuple(
        "नमस्ते आज मौसम अच्छा किताब पानी खाना दूध घर पेड़ फूल आसमान सूरज चाँद तारा समुद्र नदी पहाड़ गाँव शहर "
        "स्कूल गुरु दोस्त माँ पिता बहन भाई गाना बात खेल गेंद कुत्ता बिल्ली हाथी घोड़ा पक्षी मछली रंग लाल नीला "
        "हरा सफेद सुबह शाम रात दिन बारिश हवा".split()
    ),
    "en": tuple(
        "hello today weather lovely book water dinner milk house tree flower heaven sunlight moon star ocean "
        "river mountain village city school teacher friend mother father sister brother song story game ball "
        "dog cat elephant horse bird fish colour red blue green white morning evening night daytime rain "
        "wind".split()
    ),
    "de": tuple(
        "hallo heute wetter schön buch wasser essen milch haus baum blume himmel sonne mond stern meer fluss "
        "berg dorf stadt schule lehrer freund mutter vater schwester bruder lied geschichte spiel ball hund "
        "katze elefant pferd vogel fisch farbe rot blau grün weiß morgen abend nacht tag regen wind".split()
    ),
}
