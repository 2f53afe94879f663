"""Other words for the same thing: a small, general thesaurus. Data and one look-up.

A group belongs here when people who write notes and people who ask about them use different words for one everyday
thing. Nothing of one collection, one product or one question set belongs here.
"""

from __future__ import annotations

from functools import cache

from egghead.llm.librarian.fold import fold

# Each line is one group; a word may be in several.
GROUPS = """
picture image photo screenshot figure
document record
folder directory
delete remove erase discard trash
create make new generate
mobile phone smartphone android iphone ios
telephone phone
laptop computer machine pc desktop
publish host hosting deploy website site online
site website webpage web
sync synchronize synchronise backup
shortcut hotkey keybinding keyboard
bind keybinding shortcut
search find query lookup look
rename move
error problem issue fail failure bug wrong broken
fix repair solve troubleshoot
chart diagram flowchart drawing graph
network graph
math formula equation latex
journal daily diary
statistics telemetry analytics tracking
terminal console cli shell command
sidebar panel pane
import migrate migration convert switch
switch enable activate toggle
switch migrate change
export convert
layout template
private secret confidential
price cost pricing fee expensive cheap pay
doctor physician
car vehicle
trip travel journey
meeting call appointment
wifi network internet wireless
clean wash cleaning
medicine drug pill medication
dose dosage
begin start
launch start open startup
finish end complete
holiday vacation
size bigger smaller resize width
include embed insert
contents content
saved save store stored
automatic automatically auto itself
disable stop off turn
enable turn activate
configure setting settings setup option preference
install setup installation
version history
undo revert restore
restore recover
collaborate collaboration together team
todo task checklist
nested hierarchy hierarchical
colour color
customize customise custom personalise
frontmatter metadata property properties yaml
yaml frontmatter
style css
preview rendered render
plugin extension addon
copy duplicate
quick fast
buy purchase shop
cook recipe bake
money budget finance
insurance policy
flat apartment
rubbish garbage waste trash
film movie
boss manager
job work position
deadline due
address location where
feed fertilize fertilizer fertiliser
water watering irrigation
plant planting sow
oven bake
length long duration
weight heavy
height tall high
temperature degrees hot warm
password passphrase credential
login signin
bicycle bike
kid child children
ill sick illness
hospital clinic
flight plane airport
hotel accommodation stay booking
ticket booking reservation book
bild foto grafik
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
foto imagen
carpeta directorio
borrar eliminar
coche carro auto vehículo
médico doctor
vacaciones viaje
precio coste costo costar
comprar compra
regar riego
immagine foto
cancellare eliminare
macchina auto
medico dottore
viaggio vacanza
prezzo costo costare
машина автомобиль авто
врач доктор
поездка путешествие
цена стоимость стоит
поливать полив
купить покупка
машина автомобіль авто
лікар доктор
подорож поїздка
ціна вартість коштує
поливати полив
"""


@cache
def _table() -> dict[str, tuple[str, ...]]:
    table: dict[str, dict[str, None]] = {}
    for line in GROUPS.strip().splitlines():
        group = [fold(word) for word in line.split()]
        for word in group:
            table.setdefault(word, {}).update(dict.fromkeys(other for other in group if other != word))
    return {word: tuple(others) for word, others in table.items()}


def synonyms(word: str) -> tuple[str, ...]:
    """The folded words that may stand for a folded word; also for its plural and -ing, -ed forms in English."""
    table = _table()
    for form in (word, word.removesuffix("s"), word.removesuffix("es"), word.removesuffix("ing"),
                 word.removesuffix("ed"), word.removesuffix("d"), word.removesuffix("ing") + "e"):  # fmt: skip
        if form in table:
            return table[form]
    return ()
