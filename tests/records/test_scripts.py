"""Search in the scripts and languages of the world: accents, endings, pieces of words, as they are typed, with slips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from records import Notes

COLLECTION = {
    "zh": "# 图书馆借书证\n\n每次最多借五本，逾期每天罚款一角。自行车停在后门。\n",
    "zh-tw": "# 圖書館開放時間\n\n週一休館。\n",
    "ja": "# 引っ越しチェックリスト\n\n電気ガス水道の住所変更をする。ダンボールは二十箱。\n",
    "ko": "# 자전거 수리\n\n브레이크를 조이고 체인에 기름칠을 한다. 도서관에서 책을 빌렸다.\n",
    "th": "# วิธีทำแกงเขียวหวาน\n\nใส่กะทิแล้วเคี่ยวไฟอ่อน\n",
    "ar": "# مَكْتَبَةُ المدينة\n\nتُفتح المكتبة صباحًا. الكتب الجديدة في الطابق الأول.\n",
    "fa": "# کتابخانه شهر\n\nکتاب‌ها را تا پنجشنبه پس بدهید.\n",
    "he": "# סִפְרִיָּה עירונית\n\nהספרים מוחזרים ביום שלישי.\n",
    "hi": "# पुस्तकालय का समय\n\nसोमवार को बंद रहता है। ज़रूरी काग़ज़ साथ लाएँ।\n",
    "bn": "# গ্রন্থাগার\n\nশুক্রবার বন্ধ থাকে।\n",
    "ta": "# நூலகம்\n\nஞாயிறு விடுமுறை.\n",
    "el": "# Βιβλιοθήκη της πόλης\n\nΟι άνθρωποι επιστρέφουν βιβλία. Ο δρόμος είναι κλειστός.\n",
    "ru": "# Ёлочные игрушки\n\nКупили в магазине, лежат в коробках на антресолях.\n",
    "uk": "# Їжа для їжака\n\nЇжачок п'є воду.\n",
    "bg": "# Разписание на влаковете\n\nВлакът тръгва в осем.\n",
    "sr": "# Рецепт за ајвар\n\nПаприке испећи и ољуштити.\n",
    "vi": "# Công thức phở bò\n\nHầm xương mười hai tiếng. Đường phèn một ít.\n",
    "tr": "# Kışlık lastik değişimi\n\nIğdır'da İstanbul plakalı araç. Ağaçların altına park etme.\n",
    "de": "# Dachrinnenreinigung\n\nDie Straße ist gesperrt. Donaudampfschifffahrtsgesellschaft. Bücherregale aufbauen.\n",
    "pl": "# Złota rączka\n\nŁazienka: wymienić uszczelkę. Książki oddać do biblioteki.\n",
    "cs": "# Příliš žluťoučký kůň\n\nŘidičský průkaz prodloužit v květnu.\n",
    "fi": "# Kesämökin katto\n\nTalossamme on uusi katto. Kirjastosta lainatut kirjat.\n",
    "et": "# Õunamahl\n\nÕunad pesta ja purustada.\n",
    "hu": "# Gyümölcsfák metszése\n\nA könyvtárban kölcsönzött könyvek.\n",
    "da": "# Rødgrød med fløde\n\nKøb jordbær på øen.\n",
    "is": "# Þjóðvegur\n\nBílaþvottur á laugardögum.\n",
    "fr": "# Œufs à la coque\n\nL'été dernier, les élèves ont planté des chênes. Aujourd'hui.\n",
    "es": "# Año nuevo en el pueblo\n\nCigüeñas en el tejado. ¿Cuándo volvemos?\n",
    "pt": "# Pão de ló\n\nAs maçãs não são necessárias.\n",
    "ro": "# Țuică și sarmale\n\nÎn fiecare toamnă.\n",
    "hr": "# Čišćenje dimnjaka\n\nĐak ide u školu.\n",
    "lt": "# Šaltibarščiai\n\nAgurkų reikia trijų.\n",
    "ca": "# Col·legi i excursió\n\nL'autobús surt a les vuit.\n",
    "sw": "# Kitabu cha mapishi\n\nTumia nazi mbili.\n",
    "ka": "# ბიბლიოთეკა\n\nწიგნები დააბრუნე.\n",
    "hy": "# Գրադարան\n\nԳրքերը վերադարձնել։\n",
    "km": "# បណ្ណាល័យ\n\nបិទថ្ងៃអាទិត្យ\n",
    "am": "# የመጻሕፍት ቤት\n\nቤተ መጻሕፍቱ እሑድ ዝግ ነው። ሐኪም ቤት ከጎኑ ነው።\n",
    "az": "# Kitabxana üzvlüyü\n\nPəncərə yanında oturmaq olar.\n",
    "ne": "# सम्बन्ध र बिजुली\n\nबिल १४ गते तिर्ने।\n",
    "ur": "# گھریلو نسخے\n\nہلدی والا دودھ۔ ۲۷ تاریخ۔\n",
    "kk": "# Қазақ әліпбиі\n\nҮйге тапсырма.\n",
    "en": "# Naïve café résumé\n\nCo-operate with O'Brien about the e-mail, ﬁle and ２０２４ plan.\n",
}

FOUND = [
    # whole words and pieces of text without spaces
    ("借书证", "zh"), ("罚款", "zh"), ("自行车", "zh"), ("图书馆", "zh"), ("開放時間", "zh-tw"), ("引っ越し", "ja"), ("住所変更", "ja"), ("ダンボール", "ja"),
    ("ﾀﾞﾝﾎﾞｰﾙ", "ja"), ("자전거", "ko"), ("자전거를 수리", "ko"), ("도서관에 책", "ko"), ("แกงเขียวหวาน", "th"), ("กะทิ", "th"), ("បណ្ណាល័យ", "km"),
    # without the signs that writers leave out
    ("مكتبة", "ar"), ("المكتبه", "ar"), ("كتب جديدة", "ar"), ("کتابخانه", "fa"), ("كتابخانه", "fa"), ("ספריה", "he"), ("ספרים", "he"), ("पुस्तकालय", "hi"),
    ("जरूरी कागज", "hi"), ("গ্রন্থাগার", "bn"), ("நூலகம்", "ta"), ("βιβλιοθηκη", "el"), ("ΒΙΒΛΙΟΘΉΚΗΣ", "el"), ("δρομοσ", "el"), ("ανθρωπος", "el"),
    ("елочные", "ru"), ("Елка игрушка", "ru"), ("коробка магазин", "ru"), ("їжак", "uk"), ("влакове", "bg"), ("рецепт ајвар", "sr"),
    ("cong thuc pho", "vi"), ("duong phen", "vi"), ("Đường", "vi"), ("kislik lastik", "tr"), ("KIŞLIK", "tr"), ("igdir", "tr"), ("istanbul", "tr"), ("ağaç", "tr"),
    ("strasse", "de"), ("Straße", "de"), ("dachrinne", "de"), ("Donaudampfschiff", "de"), ("bucherregal", "de"), ("buecher", "de"),
    ("zlota raczka", "pl"), ("lazienka", "pl"), ("książka", "pl"), ("zlutoucky kun", "cs"), ("ridicsky prukaz", "cs"), ("talo katto", "fi"), ("kirja", "fi"),
    ("kesamokki", "fi"), ("ounamahl", "et"), ("gyumolcsfa", "hu"), ("könyv", "hu"), ("rodgrod", "da"), ("jordbaer", "da"), ("koeb", "da"), ("thjodvegur", "is"),
    ("oeufs", "fr"), ("ete", "fr"), ("eleve chene", "fr"), ("aujourdhui", "fr"), ("ano nuevo", "es"), ("ciguena", "es"), ("pao de lo", "pt"), ("maca", "pt"),
    ("tuica", "ro"), ("Ţuică", "ro"), ("ciscenje", "hr"), ("djak", "hr"), ("saltibarsciai", "lt"), ("collegi", "ca"), ("autobus", "ca"), ("kitabu", "sw"),
    ("ბიბლიოთეკა", "ka"), ("გრადარან", None), ("գրադարան", "hy"), ("ԳՐԱԴԱՐԱՆ", "hy"), ("naive cafe resume", "en"), ("cooperate", "en"), ("obrien", "en"), ("email", "en"),
    ("file", "en"), ("2024", "en"),
    # one character for another: Han, kana, digits, syllables that sound the same
    ("圖書館", "zh-tw"), ("借書證", "zh"), ("開放时间", "zh-tw"), ("図書館", "zh"), ("だんぼーる", "ja"), ("チェックりすと", "ja"), ("መፃህፍት", "am"), ("ለሀኪም", "am"),
    ("pencere", "az"), ("संबंध", "ne"), ("14", "ne"), ("ھلدی", "ur"), ("27", "ur"), ("Казак алипби", "kk"),
    # as it is typed
    ("dachri", "de"), ("βιβλι", "el"), ("игруш", "ru"), ("자전", "ko"), ("借书", "zh"), ("引っ", "ja"), ("معك", None), ("المكت", "ar"), ("पुस्त", "hi"), ("kışl", "tr"),
    # with a slip in a title
    ("dachrinenreinigung", "de"), ("βιβλιοθικη", "el"), ("игрушик", "ru"), ("kislk lastik", "tr"), ("gyümölcfák", "hu"), ("saltibarščai", "lt"),
]  # fmt: skip


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notes]:
    root: Path = tmp_path_factory.mktemp("scripts")
    for name, text in COLLECTION.items():
        (root / f"{name}.md").write_text(text, encoding="utf-8")
    with Notes(root) as made:
        yield made


@pytest.mark.parametrize(("query", "id_"), FOUND, ids=[f"{id_}-{query}" for query, id_ in FOUND])
def test_the_note_is_found_first(notes: Notes, query: str, id_: str | None) -> None:
    """However its writer and its reader spell."""
    hits = notes.search(query)
    assert (hits[0].id if hits else None) == id_
