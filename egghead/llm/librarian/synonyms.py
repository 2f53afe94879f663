"""Other words for the same thing: a small, general thesaurus. Data and one look-up.

A group belongs here when people who write notes and people who ask about them use different words for one everyday
thing. Nothing of one collection, one product or one question set belongs here.
"""

from __future__ import annotations

import re
from functools import cache

from egghead.llm.librarian.english import ENGLISH, EXPRESSIONS
from egghead.llm.librarian.fold import fold

# By language; each line is one group, a word may be in several.
GROUPS = {
    "en": ENGLISH,
    "de": """
        bild foto grafik
        attest krankschreibung bescheinigung krankmeldung
        krank krankheit krankmeldung
        kaputt defekt störung fehler
        putzen reinigen säubern
        giessen bewässern wasser
        dünger düngen
        heizung heizkessel therme
        miete mieter vermieter
        kündigen kündigung
        rechnung zahlung bezahlen
        termin verabredung besprechung
        besprechung sitzung meeting
        entscheidung beschluss entschieden beschlossen
        zug bahn
        bahnhof station
        flug flughafen
        koffer gepäck
        hütte berghütte
        wandern wanderung tour
        strand meer
        teig hefe
        backen ofen
        schnecken schädlinge
        stinkt riecht geruch
        schlüssel code
        fahrrad rad
        reifen schlauch
        kind kinder
        schule unterricht
        geburtstag geschenk
        schmerzen weh
        medikament tablette arznei
        übung training
        joggen laufen
        ordner verzeichnis
        löschen entfernen
        erstellen anlegen
        auto wagen fahrzeug
        wohnung apartment
        arzt praxis
        urlaub reise ferien
        handy telefon smartphone
        kosten preis teuer
        einkaufen kaufen
        kochen rezept zubereiten
        vorschaubild vorschau miniatur
        maus mauszeiger zeiger
        terminal konsole kommandozeile befehlszeile shell
        programm software anwendung app
        browser firefox chrome
        verlinken verknüpfen link verweis
        verweis link rückverweis
        schlagwort tag stichwort etikett
        überschrift titel abschnitt
        suchen finden durchsuchen
        umbenennen verschieben
        veröffentlichen bereitstellen hosten
        webseite website seite
        einstellung konfiguration option
        sichern sicherung backup
        wiederherstellen rückgängig zurücksetzen
        synchronisieren abgleichen
        tastenkürzel tastenkombination tastatur
        kollege kollegin mitarbeiter gemeinsam zusammen
        verschlüsseln verschlüsselung
        passwort kennwort zugangsdaten
        tagebuch journal täglich
        vorlage muster
        aufgabe todo checkliste
        ausschalten deaktivieren abschalten
        einschalten aktivieren
        importieren übernehmen umziehen
        exportieren umwandeln konvertieren
        drucken ausdrucken papier
        erinnern erinnerung benachrichtigung
    """,
    "fr": """
        panne dépannage
        nettoyer laver
        chaudière chauffage
        loyer locataire bail
        facture paiement payer
        réunion séance
        décision décidé
        adhésion cotisation inscription
        étudiant élève
        train gare
        vol avion aéroport
        valise bagage
        randonnée marche marcher
        plage mer
        limace escargot nuisibles
        jardin potager
        vélo bicyclette
        pneu roue
        enfant enfants
        école cours
        anniversaire cadeau
        douleur mal
        médicament comprimé
        recette préparer
        photo image
        dossier répertoire
        supprimer effacer
        voiture véhicule
        médecin docteur
        vacances voyage
        prix coût coûter tarif
        acheter achat
        cuire cuisson four
        arroser arrosage
        vignette aperçu miniature
        souris pointeur survol
        terminal console commande shell
        programme logiciel application outil
        navigateur firefox chrome
        lien hyperlien référence
        étiquette tag mot-clé
        titre en-tête section
        chercher rechercher trouver
        renommer déplacer
        publier héberger déployer
        site page web
        paramètre réglage configuration option
        sauvegarde sauvegarder copie
        restaurer annuler récupérer
        synchroniser synchronisation
        raccourci touche clavier
        collègue équipe ensemble collaborer
        chiffrer chiffrement crypter
        journal quotidien
        modèle gabarit
        tâche liste todo
        désactiver éteindre arrêter
        activer allumer
        importer migrer
        exporter convertir
        imprimer papier pdf
        rappel rappeler notification
    """,
    "es": """
        averia fallo error
        limpiar lavar
        caldera calefacción
        alquiler inquilino
        factura pago pagar
        reunión junta
        decisión decidido decidimos acordado
        tren estación
        vuelo avión aeropuerto
        maleta equipaje
        caminata senderismo ruta
        playa mar
        huerto jardín
        bicicleta bici
        niño niños
        escuela colegio
        cumpleaños regalo
        dolor migraña
        medicamento pastilla
        receta preparar
        provocar desencadenar causar
        foto imagen
        carpeta directorio
        borrar eliminar
        coche carro auto vehículo
        médico doctor
        vacaciones viaje
        precio coste costo costar
        comprar compra
        regar riego
        miniatura vista previa
        ratón puntero cursor
        terminal consola comando shell
        programa aplicación software herramienta
        navegador firefox chrome
        enlace vínculo referencia
        etiqueta tag
        título encabezado sección
        buscar encontrar búsqueda
        renombrar mover
        publicar alojar desplegar
        sitio página web
        ajuste configuración opción
        copia respaldo backup
        restaurar deshacer recuperar
        sincronizar sincronización
        atajo tecla teclado
        colega compañero equipo juntos colaborar
        cifrar cifrado encriptar
        diario cotidiano
        plantilla modelo
        tarea pendiente lista
        desactivar apagar
        activar encender
        importar migrar
        exportar convertir
        imprimir papel
        recordatorio recordar aviso
    """,
    "it": """
        guasto errore
        pulire lavare
        caldaia riscaldamento
        affitto inquilino
        fattura pagamento pagare
        riunione incontro
        decisione deciso
        treno stazione
        volo aereo aeroporto
        valigia bagaglio
        escursione sentiero tappa
        spiaggia mare
        orto giardino
        bicicletta bici
        bambino bambini
        scuola lezione corso
        compleanno regalo
        dolore male
        medicina farmaco pastiglia
        ricetta preparare
        lezioni corso
        immagine foto
        cancellare eliminare
        macchina auto
        medico dottore
        viaggio vacanza
        prezzo costo costare
        miniatura anteprima
        mouse puntatore
        terminale console comando shell
        programma applicazione software
        collegamento link riferimento
        etichetta tag
        titolo intestazione sezione
        cercare trovare ricerca
        rinominare spostare
        pubblicare ospitare
        sito pagina web
        impostazione configurazione opzione
        copia salvataggio backup
        ripristinare annullare recuperare
        sincronizzare sincronizzazione
        scorciatoia tasto tastiera
        collega squadra insieme collaborare
        cifrare crittografia
        diario giornale quotidiano
        modello
        compito attività lista
        disattivare spegnere
        attivare accendere
        importare migrare
        esportare convertire
        promemoria ricordare notifica
    """,
    "pt": """
        avaria defeito erro
        limpar lavar
        aluguel aluguer renda
        fatura pagamento pagar
        reunião encontro
        comboio trem
        voo avião aeroporto
        mala bagagem
        praia mar
        horta jardim
        bicicleta bike
        criança crianças
        escola aula
        aniversário presente
        dor dores
        remédio medicamento comprimido
        receita preparar
        prova corrida maratona
        miniatura pré-visualização
        rato mouse ponteiro
        terminal consola comando shell
        programa aplicação aplicativo software
        ligação link referência
        etiqueta tag
        título cabeçalho seção secção
        procurar encontrar buscar pesquisar
        renomear mover
        publicar hospedar
        site sítio página
        definição configuração opção
        cópia backup
        restaurar desfazer recuperar
        sincronizar sincronização
        atalho tecla teclado
        colega equipa equipe juntos colaborar
        cifrar criptografia encriptar
        diário cotidiano
        modelo
        tarefa lista
        desativar desligar
        ativar ligar
        importar migrar
        exportar converter
        apagar excluir eliminar
        pasta diretório
        lembrete lembrar aviso
    """,
    "ru": """
        сломался поломка неисправность ошибка
        чистить мыть чистка
        отопление котел
        аренда квартира
        счет оплата платить
        встреча совещание собрание
        решение решили
        поезд вокзал
        самолет рейс аэропорт
        чемодан багаж
        поход маршрут
        пляж море
        огород сад дача
        велосипед
        ребенок дети
        школа урок занятие
        день рождения подарок
        боль болит
        лекарство таблетка таблетки
        рецепт готовить приготовить
        удобрение подкормка подкармливать
        машина автомобиль авто
        врач доктор
        поездка путешествие
        цена стоимость стоит
        поливать полив
        купить покупка
        миниатюра превью предпросмотр
        мышь указатель курсор
        терминал консоль команда оболочка
        программа приложение софт
        браузер firefox chrome
        ссылка отсылка
        тег метка ярлык
        заголовок раздел
        искать найти поиск
        переименовать переместить
        опубликовать публикация разместить
        сайт страница
        настройка параметр опция конфигурация
        резервная копия бэкап
        восстановить отменить вернуть
        синхронизация синхронизировать
        сочетание клавиша клавиатура
        коллега команда вместе совместно
        шифрование зашифровать
        пароль учетные
        дневник журнал ежедневный
        шаблон образец
        задача список дело
        отключить выключить
        включить активировать
        импорт импортировать перенести
        экспорт экспортировать преобразовать
        удалить стереть убрать
        папка каталог
        картинка изображение фото
        напоминание напомнить уведомление
    """,
    "uk": """
        зламався поломка несправність помилка
        рахунок оплата платити
        зустріч нарада
        рішення вирішили
        поїзд потяг вокзал
        літак рейс аеропорт
        дитина діти
        урок заняття
        біль болить
        ліки таблетка
        рецепт готувати
        машина автомобіль авто
        лікар доктор
        подорож поїздка
        ціна вартість коштує
        поливати полив
    """,
    "pl": """
        zepsuty awaria usterka błąd
        czyścić myć
        rachunek płatność
        spotkanie zebranie
        decyzja zdecydowano
        pociąg dworzec
        lot samolot lotnisko
        nocleg spać schronisko
        rower
        lek tabletka
        przepis gotować
        samochód auto
        lekarz doktor wizyta
        koszt cena kosztuje
    """,
}


@cache
def expressions() -> re.Pattern[str]:
    """What matches an expression; the name of the group that matched is the word it stands for."""
    return re.compile("|".join(rf"\b(?P<{word}>{pattern})\b" for word, pattern in EXPRESSIONS.items()), re.IGNORECASE)


@cache
def _table(language: str) -> dict[str, tuple[str, ...]]:
    table: dict[str, dict[str, None]] = {}
    for line in GROUPS.get(language, "").strip().splitlines():
        group = [fold(word) for word in line.split()]
        for word in group:
            table.setdefault(word, {}).update(dict.fromkeys(other for other in group if other != word))
    return {word: tuple(others) for word, others in table.items()}


def synonyms(word: str, language: str) -> tuple[str, ...]:
    """The folded words that may stand for a folded word of that language; in English also for its plural and its -ing
    and -ed forms."""
    table = _table(language)
    forms = [word]
    if language == "en":
        forms += [word.removesuffix(end) for end in ("s", "es", "ing", "ed", "d")] + [word.removesuffix("ing") + "e"]
    return next((table[form] for form in forms if form in table), ())
