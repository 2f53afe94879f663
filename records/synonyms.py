"""Words that people use for one another when they ask about things: a small, general table, not a thesaurus.

Data only. A synonym stands for a word at a discount, so that a note with the very word goes first. Groups are kept to
everyday senses; a word with many senses (`run`, `set`) is in none.
"""

from __future__ import annotations

import functools

_GROUPS = """
delete remove trash discard erase
picture image photo illustration figure
phone mobile smartphone iphone android
folder directory
start begin launch
create make add new
change modify edit alter adjust
convert turn transform translate
find search locate lookup
show display view
hide conceal
rename move
error problem issue fault failure trouble
fix repair solve troubleshoot
broken break dead
purchase buy
price cost fee
fast quick speed
car vehicle
laptop computer pc
author writer
picture drawing diagram chart flowchart
math formula equation latex
website site webpage
publish deploy host share
commit save backup sync
automatic automatically
shortcut hotkey keybinding
setting configuration option preference
install setup
extension plugin addon
terminal console shell cli commandline command
history version revision
journal diary daily
today daily
paragraph block
header heading title
frontmatter yaml metadata property properties
tag label keyword
example sample
guide tutorial instruction manual howto
license licence copyright
private privacy hidden secret
telemetry statistics tracking analytics
mention reference backlink
embed include inline transclude
mistake typo
doctor physician
holiday vacation trip
mouse mice
foot feet
tooth teeth
man men
woman women
child children
person people
buy bought
write wrote written
eat ate eaten
drink drank drunk
speak spoke spoken
drive drove driven
take took taken
give gave given
pay paid
send sent
lose lost
sell sold
teach taught
sleep slept
meet met
bok bocker
fot fotter
tand tander
stad stader
vesi veden vetta vesia
lapsi lapsen lapset lasta lapsia
kasi kaden kadet kasia
fa fak fat
lo lovak lovat
pes psi psa psy psem
kun kone konie konia
oeil yeux
φως φωτα φωτοσ
человек люди людей
ребенок дети детей
год лет года
בית בתים בבית הבית
دواء ادويه
دوا ادويه
دوست دوستان
recipe dish
job work
meeting appointment
bike bicycle
fridge refrigerator
movie film
big large
small little tiny
smaller shrink resize
starter template boilerplate
clean tidy
allow permit
forbid prohibit
begin beginner introduction
contribute contributor contributing
release ship
test testing spec
bild foto abbildung
löschen entfernen
ordner verzeichnis
ändern bearbeiten anpassen
fehler problem störung
kaufen erwerben
handy smartphone telefon
auto wagen fahrzeug
rechner computer
erstellen anlegen
arzt doktor
urlaub reise ferien
image photo
supprimer effacer enlever
dossier répertoire
modifier changer
voiture auto
ordinateur pc
médecin docteur
imagen foto
borrar eliminar quitar
carpeta directorio
cambiar modificar editar
coche carro auto
ordenador computadora
médico doctor
eliminare cancellare rimuovere
cartella directory
modificare cambiare
удалить стереть убрать
папка каталог
изменить поменять
фото картинка изображение
машина автомобиль
врач доктор
"""


@functools.cache
def table() -> dict[str, frozenset[str]]:
    """Index term -> index terms that may stand for it. Built at first use."""
    from records.text import fold, stem

    found: dict[str, set[str]] = {}
    for line in _GROUPS.split("\n"):
        group = {stem(fold(word)) for word in line.split()}
        for term in group:
            found.setdefault(term, set()).update(group - {term})
    return {term: frozenset(others) for term, others in found.items()}
