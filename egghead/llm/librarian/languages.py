"""Which language a question is in, and what the librarian needs to know of each: function words and fixed phrases.

Data and one detector. The lists are short on purpose: a function word that is missing costs little, a content word
that is wrongly dropped costs the answer. How words are cut and compared is the business of `words`.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache, lru_cache

from egghead.llm.librarian.fold import WORD, fold

# Function words: articles, pronouns, prepositions, auxiliaries, question words, politeness. Nothing a note is about.
STOP = {
    "en": """a about all also am an and any anybody anyone anything are as at be been being but by can cannot could couldn
    did didn do does doesn doing don each either else even ever every everything few for from get gets getting go goes
    going got had has hasn have haven having he hello her here hey hi him his how i if im in instead into is isn it
    its itself ive just let lets like ll many may maybe me might mine more most much must my myself need needs no nor
    not of off oh ok okay on only onto or other our ours out over own please quite rather re really s same shall she
    should shouldn since so some somebody someone something somehow sort still such sure t than thank thanks that
    the their them then there these they thing things think this those though through to too until up upon us ve very
    want wants was wasn way we were what whats whatever when where whether which while who whom whose why will with
    within without won would wouldn yes yet you your yours know tell explain say says give wondering after again already always
    another anymore because before behind below between both does doesnt dont cant isnt wont didnt wasnt wouldnt couldnt
    shouldnt whats hows wheres nothing nobody never often per ago called rather instead tells told exactly properly
    suddenly still once straight supposed anyway am during since until against""",
    "de": """ab aber alle allem allen aller alles als also am an andere anderen auch auf aus bei beim bin bis bist bitte da
    dabei dafür damit danach dann daran das dass dein deine dem den denn der des dich die dies diese diesem diesen
    dieser dieses dir doch dort du durch ein eine einem einen einer eines einige er es etwas euch euer für gegen
    gibt hab habe haben hallo hat hatte hier ich ihm ihn ihnen ihr ihre im in ins ist ja jede jeder jedes jetzt kann
    kannst kein keine keinen könnte können man mein meine meinem meinen meiner mich mir mit mal muss müssen möchte nach
    nicht nichts noch nur ob oder ohne sehr sein seine sich sie sind so soll sollte sollen solche tun über um und uns
    unser unsere unter viel viele vom von vor wann war waren warum was weil welche welchem welchen welcher welches
    wem wen wenn wer werde werden wie wieder wieso will wir wird wo woher wohin wofür wollen worden wurde würde zu zum
    zur zwischen macht mache machen weiß wieviel denen fuer ueber koennen muessen moechte waehrend koennte wuerde darf
    dürfen brauche braucht passiert""",
    "nl": """aan al alle als bij ben bent dan dat de deze die dit doe doen door een en er ga gaan had heb hebben hebt heeft
    het hier hij hoe hun ik in is ja je jij jou jouw jullie kan kun kunnen maar me meer men met mij mijn moet moeten
    mogen na naar nee niet niets nog nu of om omdat ons onze ook op over te tegen toch toen tot u uit uw van veel
    voor waar waarom wanneer want was wat we wel welk welke werd wie wij wil willen word worden wordt zal ze zich zij
    zijn zo zonder zou hoeveel waarmee graag""",
    "sv": """alla allt att av blev bli blir de dem den denna deras dess dessa det detta dig din dina ditt du där då efter ej
    eller en er ert ett finns för från får få gör göra ha hade han har hej hon honom hur här i icke inte ja jag kan
    kommer kunde man med mellan men mig min mina mitt mycket många måste ni nu nej något när och om oss på samma sedan
    sig sin sina sitt ska skall skulle som så till under upp ut utan vad var vara varför varit vem vi vid vilka vilken
    vilket vill vår våra är åt över brukar bör""",
    "da": """af alle alt at blev blive bliver da de dem den denne der deres det dette dig din dine disse du efter eller en
    er et for fra få får gør gøre ham han hans har havde have hej hende hendes her hos hun hvad hvem hver hvilke hvilken
    hvilket hvis hvor hvordan hvorfor hvornår i ikke ind ja jeg jo kan kunne man mange med meget mellem men mig min
    mine mit mod må nej nogen noget nogle nu når og også om op os over på selv sig sin sine sit skal skulle som så til
    ud under uden var ved vi vil ville vor være været""",
    "no": """alle alt at av ble bli blir da de dem den denne der deres det dette deg din dine disse du eller en er et ett
    etter for fra få får gjør gjøre ham han hans har hadde ha hei hennes henne her hos hun hva hvem hver hvilke hvilken
    hvilket hvis hvor hvordan hvorfor når i ikke inn ja jeg kan kunne man mange med meg meget mellom men min mine mitt
    mot må nei noe noen nå og også om opp oss over på selv seg sin sine sitt skal skulle som så til ut under uten var
    ved vi vil ville vår være vært mye""",
    "fi": """ei eivät en et ette että he heidän hei hän hänen ja jo joka jos jossa jota jotka joten jälkeen kai kanssa kuin
    kuinka kun kuka kumpi kyllä me mihin mikä miksi mikäli millainen millä milloin miltä minkä minun minulla minne
    minä missä mistä mitkä miten mitä moni montako muita mutta myös ne niiden niin niitä no nyt näitä nämä ole olen
    olet oli olisi olivat olla on ollut onko ovat paljonko pitää pitäisi saa saako se sen siinä siitä sillä sinun sinä
    sitten sitä tai tarvitsee te teidän tein tuo tähän täytyy tämä tämän tästä tässä tätä vai vain voi voiko voin voisin
    voidaan joita jonka kannattaa""",
    "hu": """a abban ahol aki akkor ahhoz amely ami amikor amit az azok azon azt azzal be belőle bele csak de e egy egyes
    el ez ezek ezen ezt ezzel én fel ha hanem hány hogy hogyan hol honnan hova hová igen is itt ki kell kellene kérem
    kik kit le lehet lesz ma már még meg mely melyik melyek mennyi mennyire mert mi miatt miért mik mikor milyen mit
    mivel minden most nagyon nál ne nekem nem nincs ő oda olyan ott össze pedig saját sem szia szükséges tud tudok te
    után úgy vagy vagyok van vannak volt voltak való és időnként tudom lehetne szokott""",
    "fr": """ai aller alors après as au aucun aussi autre autres aux avant avec avez avoir bien bonjour c ça car ce ceci cela
    ces cet cette chez ci comme comment combien d dans de des deux dit dois doit donc dont du elle elles en encore
    entre es est et étaient était étant être eu eux fait faire faut il ils j je jusque l la là le les leur leurs lui m
    ma mais me même mes moi mon n ne ni non nos notre nous on ont or où ou oui par parce pas peu peut peux plus pour
    pourquoi pourrait puis puisque qu quand que quel quelle quelles quels qui quoi s sa sans se sera ses si son sont
    sous suis sur t ta te tes toi ton tous tout toute toutes très trop tu un une va vers veux voici voilà vont vos votre
    vous y lequel laquelle lesquels lesquelles svp merci""",
    "es": """a al algo alguien algún alguna algunas algunos ante antes aquí así aun aunque bien cada como cómo con contra
    cual cuál cuales cuáles cualquier cuando cuándo cuanto cuánto cuánta cuántas cuántos de debe debería debo del
    desde donde dónde dos el él ella ellas ellos en entre era eres es esa esas ese eso esos esta está están estas este
    esto estos estoy fue fueron ha hace hacen hacer hago han hasta hay he hola la las le les lo los más me mi mis
    mientras mismo mucho muchos muy nada necesito ni no nos nosotros nuestra nuestro o os otra otras otro otros para
    pero poco podemos podría por porque puede pueden puedo que qué quien quién quiero se sea ser si sí sin sobre son soy
    su sus también tan tanto te tengo tiene tienen tengo toda todas todo todos tu tú tus un una uno unas unos usted
    va vamos voy y ya yo""",
    "pt": """a à ao aos algo alguém algum alguma alguns às as até com como contra cada da das de deve devo dela dele deles
    depois do dos e é ela elas ele eles em entre era essa essas esse esses esta está estão estas este estes estou eu fazer
    faço foi foram há isso isto já lhe mais mas me mesmo meu meus minha minhas muito muitos na nas não nem no nos
    nós nossa nosso num numa o olá onde os ou outra outro para pela pelas pelo pelos pode podem podemos posso por porque
    porquê preciso qual quais qualquer quando quanto quanta quantas quantos que quem quero se sem ser será seu seus só
    sobre sou sua suas são também tão te tem têm tenho ter teu tinha toda todas todo todos tu tua um uma umas uns vai
    vamos você vocês vou""",
    "it": """a abbiamo ad agli ai al alla alle allo anche avere che chi ci ciao come con contro cosa cui da dagli dai dal
    dalla dalle dallo degli dei del dell della delle dello deve devo di do dopo dove e è ed era essere fa faccio fare
    fino fra fu gli ha hai hanno ho i il in io la là le lei li lo loro lui ma me mi mia mie miei mio molto ne negli nei nel
    nell nella nelle nello noi non nostra nostro o ogni oppure per perché perchè più po poi posso può puoi qua qual quale
    quali quando quanta quante quanti quanto quella quelle quelli quello questa queste questi questo qui se sei senza si
    sia siamo siete sono sta su sua sue sugli sui sul sulla sulle suo suoi ti tra tu tua tue tuo tuoi tutta tutte tutti
    tutto un una uno va vi vorrei voi voglio l d bisogna serve""",
    "ro": """a acea această aceasta aceste acest acesta ai al ale am ar are as asta atunci au avea bine ca că care când cât
    câte câți ce cel cele cine cu cum da dacă dar de deci deja din dintre după e ea ei el ele era este eu face fac fără
    fi fie fost ia îi îl îmi în își la le li lor lui mai mă mea mei meu mi mine mult multe ne nici niște noi nostru nu o
    ori pe pentru poate pot prin sa să sau se si și sint sunt spre sub sunteți ta te ți toate tot toți tu un una unde
    unei unor unui vă voi vor vreau trebuie""",
    "ca": """a això al als amb aquest aquesta aquests com de del dels des el ella ells els en és i jo la les li lo meu
    meva molt no o on para per però perquè puc pot què que quan quant quants qui quin quina s se seu seva si sobre són
    també té tot tota un una uns unes va he fer cal""",
    "pl": """a aby albo ale ani bardzo bez będzie był była było być chcę ci co czy czym czyli dla dlaczego do dużo dziś gdy
    gdzie go i ich ile im inny iść ja jak jaka jaką jakie jakiego jakich jaki jako je jego jej jest jestem jeśli jeszcze
    już każdy kiedy kto która które którego której którą który których którzy lub ma mam mają mamy mi między mnie moje
    moja mój mogę może można musi muszę my na nad nam nas nasz nasze nie nic nich nim niż no o od on ona one oni oraz
    po pod powinien powinienem powinno proszę przed przez przy raz robić są się skąd sobie swoje ta tak także tam te
    tego tej ten to tu ty tylko tych tym u w we więc wszystko z za ze że żeby trzeba należy zrobić jakimi ten""",
    "cs": """a aby aj ale ani ano asi až bez bude by byl byla byli bylo být co což či další do ho i já jak jaká jaké jaký
    jako je jeho její jej jejich jen jenž jestli ještě ji jsem jsi jsme jsou jste k kam kde kdo kdy když ke která které
    který kteří kolik ku ma má mám mají mé mě mi mít mně moc mohu moje můj může můžu musí musím my na nad nám nás ne
    nebo než nic není o od on ona oni ono pak po pod podle pokud pro proč prosím proto protože před při s se si sice své
    svůj ta tak také takže tam te tedy ten tento to toho tohle tom tomto tu ty tyto u už v vám vás ve více však vy z za
    zda že ze mezi dělat udělat""",
    "sk": """a aby aj ak ako aká aké aký ale alebo ani áno asi až bez bola boli bolo bol budem bude by byť cez čo či do ho i
    iba ich im ja je jeho jej k kam každý kde kedy keď kto ktorá ktoré ktorý ktorí ku koľko ma má mám mať medzi menej mi
    mňa môj moje môže môžem musí musím my na nad nám nás nie než nič o od on ona oni po pod podľa pre prečo pred pri prosím
    s sa seba si sme so som sú svoje ta tak také takže tam ten tento tí to toho tom tu ty tým u už v vám vás viac však vy z
    za že zo treba urobiť""",
    "hr": """a ako ali bi bih bila bili bilo bio biti će ću da do dok ga gdje gde i ih ili im iz ja je jer još jesam kada kad
    kako kao ko koja koje koji koju koliko kod li me mi mogu može moj moja moje mora moram na nad nam nas ne nego neka
    nije nisu ništa no o od on ona oni ono ova ove ovaj ovo po pod pre prema pri sa sam samo se si smo su sve svoje šta
    što ta tako te ti to toga treba tu u uz va vas već vi za zašto zbog""",
    "tr": """acaba ama ancak az bana bazı ben benim beni bile bir biraz biz bizim bu buna bunu bunun burada çok çünkü da
    daha de değil diye en gibi göre hangi hangisi hem hep her hiç için ile ise kaç kadar ki kim kime mı mi mu mü nasıl
    ne neden nerede nereden nereye neler nedir niçin niye o olan olarak oldu olduğu olmalı olur on ona onu onun orada
    sana sen senin siz sizin şey şu tüm var ve veya ya yani yok gerekir gerekiyor gerek lazım yapmalıyım yapılır
    edilir etmeliyim miyim mısın""",
    "id": """ada adalah agar akan aku anda apa apakah apabila atau bagaimana bagi bahwa banyak beberapa belum berapa bila
    bisa boleh bukan dalam dan dapat dari daripada dengan di dia hanya harus hendak ia ini itu jadi jangan jika juga
    kalau kami kamu kapan karena ke kepada ketika kita lagi lah lalu lebih maka mana masih mengapa mereka namun nya oleh
    pada para perlu pernah pun saat saja sama sampai sangat saya sebagai sebuah sedang segera sehingga sejak seperti
    setelah seorang siapa sudah supaya tanpa tapi telah tentang tersebut terhadap tetapi tidak untuk yaitu yang
    dimana gimana kenapa tolong""",
    "vi": """ai bao bạn bằng bị bởi các cách cái cần chỉ cho chưa có của cùng cũng đã đang đâu để đến đều đi điều đó được
    gì hay hơn khi không là lại lên lúc mà mình mỗi một nào này nên nếu những như nhưng nhiêu nhiều nơi nữa ở phải qua
    ra rất rồi sao sau sẽ tại theo thế thì tôi trên trong từ và vào về vì với vẫn xin làm thể nhé ạ hãy""",
    "ru": """а без бы был была были было быть в вам вас весь во вот все всё всего всех вы где да даже для до должен должна
    его ее её ей ему если есть еще ещё ею же за здесь и из или им их к как какая какие какое какой каким каких ко когда
    кто куда ли либо лучше меня мне много может можно мой моя мои моё мы на надо нам нас наш не него нее неё нет ни них
    но ну нужен нужна нужно нужны о об однако он она они оно от откуда очень по под пожалуйста подскажи после потому
    почему при про раз с сам сколько со свой свою своих своя так также такой там тебя тем то тогда того тоже той только
    том ты у уже хочу чего чей чем что чтобы чья эта эти это этого этой этом этот я могу делать сделать какую которые
    который которая""",
    "uk": """а або адже але багато без би був була були було бути в вам вас весь від він вона вони воно все всі всього ви
    во да де для до є її їй їм їх його ж же з за зі і із інших й його коли кого котрий котра котрі ледве лише мав мене
    мені ми мій моя моє мої може можна можу на над нам нас наш не нею ним них ні ніж ніхто нічого ну о об один однак
    от ось по поки при про під після потрібен потрібна потрібно потрібні свій свою своїх себе скільки собі так така
    таке такий там те тебе ти тим тільки то тобі тоді того той тому треба ту тут у хто хіба хочу це цей ця ці цього цьому
    чи чого чому чий чим що щоб щодо я як яка яке який які якщо якого якої яких яким звідки куди зробити робити будь
    ласка варто слід""",
    "bg": """а аз ако ала бе без беше би бил била били било в вас ваш вече ви все всеки всички във върху г ги го да дали до
    докато дори е един една едно за защо защото и из или им има имам й каква какви какво какъв как като кога когато
    която които който кой колко към къде ли ме между ми мие много мога може моя моята мой мен мне на над най нас не
    него нея ни ние никой нищо но някой о обаче освен от отново по под поне после преди при с са само се сега си след
    сме според съм със така такъв там те тези ти то това тогава този той толкова тя тук у че чрез ще я трябва""",
    "el": """ένα ένας έναν έχει έχω έχουν αν από αλλά αυτά αυτή αυτό αυτός αυτών για γιατί δε δεν εάν εγώ είμαι είναι εκεί
    ενώ επί εσύ η θα θέλω ή και κάθε κάνω κάποιος κατά μας με μετά μέσα μη μην μια μία μου μπορεί μπορώ να ο οι όπου όπως
    όσο όταν ότι πάνω παρά περί πια πιο ποια ποιες ποιο ποιοι ποιος ποιον πολύ πόσα πόση πόσο πόσοι πόσες πότε που πού
    πρέπει πριν προς πώς πως σε σαν στα στη στην στις στο στον στους σας σου συ τα τη την της τι τις το τον του τους των
    τώρα χρειάζεται χωρίς ως γίνεται""",
    "ar": """أ أو أي أين أيضا إذا إلا إلى أن إن أنا أنت أنه إنه التي الذي الذين اللذان بعد بعض بل بين تكون ثم حتى حول حيث
    خلال ذلك سوف على عليه عليها عن عند عندما غير فقط في فيه فيها قبل قد كان كانت كل كم كما كيف لا لأن لدي لقد لكن لم لماذا
    لن له لها لو لي ليس ما ماذا متى مثل مع من منذ منه منها نحو نحن هذا هذه هل هم هنا هناك هو هي و وقد ولا وهو وهي يا يجب
    يكون يمكن يمكنني يوجد أفعل أريد بها به تم هي""",
    "fa": """آن آنها آیا از است اگر اما او این اینکه با باید بر برای بود بوده به بین تا چرا چطور چقدر چگونه چند چه چیست
    چی خود در دارد دارم دارند دو را روی شد شده شما شود کجا کجاست کدام کرد کردن کند کنم کنید که کی ما مثل من می میشود نمی
    نیز نیست ها های هر هم همه هنگام هیچ و ولی یا یک توان کردم بدون""",
    "he": """אבל או אולי אותה אותו אותי אותם אז איזה איזו איך אין אינו אי איפה אל אלא אלה אלו אם אני אנחנו את אתה אתם באיזה
    בין בה בו גם האם הוא היא היה היו הייתה הם הן הזה הזאת הזו הנה ואת וגם זאת זה זו יש כבר כדי כי כך כל כמה כמו כן לא
    לאן לה להם לו לי למה לנו לפני מאוד מאיפה מדוע מה מהו מהי מי מאין מן מתי נא על עד עוד עם עבור פה צריך צריכה צריכים רק
    שלה שלו שלי שלך שלנו של שם תחת אפשר ניתן אחרי כיצד אחד""",
    "hi": """अगर अपना अपनी अपने अब अभी आदि आप आपका आपकी आपके इन इस इसका इसकी इसके इसमें इसे इसी उन उनका उनकी उनके उस उसका
    उसकी उसके उसे एक एवं ऐसे और कई कब कभी कर करके करता करते करना करनी करने करूँ करें कहाँ कहां का कितना कितनी कितने किया किस
    किसी किसे की कुछ के कैसा कैसी कैसे को कोई कौन कौनसा क्या क्यों गई गए गया चाहिए चाहता जब जहाँ जा जाता जाती जाते जाना
    जाए जिस जिसे जो तक तब तरह तो था थी थे दिया दें देना न नहीं ना ने पर फिर बहुत बाद बारे बिना भी मुझे मेरा मेरी मेरे
    में मैं यदि यह यहाँ यही या ये रहा रही रहे रखें रखना लिए लिये ले लेकिन वह वहाँ वाला वाली वाले वे सकता सकती सकते सब
    साथ से हम हमारा हमारी हमारे ही हुआ हुई हुए है हैं हो होगा होगी होता होती होते होना होनी""",
    "bn": """আমার আমি আমরা আপনি আপনার এই এক একটি এবং এটা এর ও ওই কখন কত কি কিভাবে কী কীভাবে কে কেন কোথায় কোন করতে করা করব
    করে করেন থেকে জন্য তার তাহলে তুমি দিয়ে না পর বা মধ্যে যদি যা যে সে সঙ্গে সব হবে হয় হয়েছে হচ্ছে হলে আছে""",
    "ko": """가 것 그 그것 그리고 나 나는 내 내가 너 네 누가 누구 는 다 당신 대한 대해 더 도 되나요 되는 된 두 들 때 또 를 무슨 무엇
    무엇을 무엇인가요 뭐 뭐가 뭘 및 방법 방법은 수 수가 어느 어디 어디서 어디에 어디에서 어떤 어떻게 언제 얼마 얼마나 얼마인가요
    없나요 에 에서 왜 우리 은 을 의 이 있나요 있는 있어 있어요 있습니까 있습니다 저 저는 제 제가 좀 주세요 하나요 하는 하려면
    하면 하죠 한 할 합니까 해 해야 해요 알려줘 알려 몇 무엇이 인가요 입니까 대해서 하나 되나 하지""",
    "et": """aga alla at ei ehk ega enam et ette ja juba ju järgi kas kes kelle keda kui kuidas kuhu kus kust kuni kõik ka ma
    mina minu mind mis mida mille millal miks milline millise milles mitu mitte mu mul mulle na need neid nende nii ning nüüd
    oli oled olema olen oleme olete on oma on pea peab pean pole pärast palju saab saan seal see seda selle siin siis sa sinu
    ta tema too või võib välja veel väga üle ühe üks enne iga tuleb vaja""",
    "lt": """ar apie aš bei bet bus buvo būti dar dėl gali galima galiu iki ir iš į jei ji jie jis jo jos jų kad kai kaip kam kas
    kiek kodėl koks kokia kokie kokios kur kuri kurie kuris ką kokį man mano mes mūsų ne nėra nes nors nuo o pagal per po prie
    prieš reikia sau savo su ta tai taip tas tie tik to todėl tu turi turiu tuo už yra kada kokiu kuo kiekvieną daug""",
    "lv": """ar arī bet bez bija būt caur cik ko kā kad kāda kāds kādi kādas kam kas kāpēc kur kuri kura kurš es ir ja jau jo kopš
    līdz man mana manas mans mēs mūsu nav ne no nē nekā pa par pēc pie pirms savu savs šis šī šo tā tad tas te tik to tu un uz
    vai var varu vēl vajag viņa viņš vairāk zem daudz katru""",
    "sl": """a ali bi bil bila bilo biti bo da do ga in iz je jih jo k kaj kako kakšen kakšna kakšne kam kateri katera katere kdaj
    kdo kjer kje ker ki koliko ko lahko le ma me mi moj moja moje mora moram na nad naj nam nas ne ni nič o ob od on ona pa po
    pod pred pri s se sem si smo so svoj ta tam te ti to tu tudi v vas več vse za zakaj z že potem treba""",
    "sr": """а али би био била било бити да до где га и или из их је јер још ја како кад када кога који која које коју колико код ли
    ме ми мој моја моје може могу мора на над не него ни о од он она они по под пре при са сам само се си смо су све шта што та
    тако те то треба у уз ће за зашто због моје""",
    "ur": """آپ اب اس اسے ان اور اگر ایک بھی بعد پر تک تھا تھی تو جب جو چاہیے دیں سے کا کب کتنا کتنی کتنے کر کرنا کرنے کریں کس کسی
    کو کون کونسا کہ کہاں کی کیا کیسے کیوں کے گا گی لیے مجھے میرا میری میرے میں نہیں نے وہ ہم ہو ہوتا ہوتی ہے ہیں یا یہ""",
    "ta": """அது அந்த இது இந்த என் என்ன என்று எப்படி எப்போது எங்கே எவ்வளவு எத்தனை ஏன் யார் எது எந்த ஒரு நான் நாம் வேண்டும் உள்ளது
    செய்ய மற்றும் அல்லது""",
    "sw": """au hadi hata hii hiyo huo hivyo huu ili je kama karibu katika kila kuhusu kutoka kwa kwamba la lakini mimi na
    nani ndani ni nini ninawezaje niweze vipi wa wapi wakati ya yake yangu yao ya za zangu gani ngapi lini""",
}

# Strings that carry no meaning in scripts without spaces: they part the words around them.
UNSPACED_STOP = {
    "zh": """为什么 怎么样 怎么办 怎么 怎样 如何 什么时候 什么 哪里 哪儿 哪些 哪个 哪种 哪 多少 多久 几个 是否 可以 能不能 应该 需要 请问
    告诉 一下 我们 你们 他们 我的 你的 这个 那个 有没有 是不是 的时候 关于 的 了 吗 呢 吧 啊 我 你 他 她 它 在 是 有 和 与 或 把 被 从 到 为 要
    會 会 能 該 为了 為什麼 怎麼 什麼 哪裡 請問 應該 嗎""",
    "ja": """どうやって どうすれば どうしたら どのように どのくらい どれくらい どうして なぜですか について でしょうか ましたか ください
    ありますか いますか できますか ですか ますか ません ました どこで どこに どこ どんな どの どれ いつ なぜ だれ 誰 何を 何が 何の
    何時 すれば したい します する して した いい よい です ます こと もの とき ため から まで より など という この その あの は が を に の
    で と も へ や か""",
    "th": """อย่างไร ยังไง อะไรบ้าง อะไร ที่ไหน เมื่อไหร่ เมื่อไร เท่าไหร่ เท่าไร ทำไม กี่ ใคร ไหน หรือไม่ หรือ ไหม มั้ย ครับ ค่ะ คะ ของฉัน
    ของ และ แล้ว จะ ต้อง ควร ได้ ให้ ที่ ใน กับ จาก เป็น คือ มี ว่า ฉัน ผม เรา นี้ นั้น ก็ บ้าง อยู่ ไป มา ด้วย โดย สำหรับ เพื่อ ถ้า ซึ่ง
    การ""",
}

# Words that occur in every collection of notes and every kind of question: they count, but little.
WEAK = """
    note notes file files page pages use used using make makes making made work works working add set put show shows find
    help best good better possible new one ones first last time times day able start happen happens keep take look list
    example kind type right part different change see mean means there someone people place write written wrote mention
    mentions mentioned say said recommend recommended suggest stuff anything info information project happening
    notiz notizen seite datei nutzen benutzen zeigen finden geht gehen besten note noter fichier page utiliser trouver
    mettre dire meilleur nota notas archivo usar encontrar poner mejor nota note file usare trovare mettere arquivo ficheiro
    заметка заметки файл использовать найти лучше сказано 笔记 ノート メモ
"""

# Everyday English words with so many senses that they tell half as much as others.
LIGHT = """
    able add allow already alone always answer appear around ask away back bad become before begin beginning below beside
    bottom bring call came case certain check choose clear click close come complete contain cover current deal different
    do done down easy effect either else end enough entire fact fall far feel few fill final fine fit follow form found four
    front full general give given go good great group half hand happen hard head hold idea inside instead issue item
    job just keep kind know large later lead learn least leave left let level life like line list little live long look
    lose lot main make manage many matter middle mind miss modern move name near need never next nice nobody normal number
    offer old onto open order original outside own pair part particular pass pick piece place plain plan play point
    position possible press pretty problem program provide pull push put quick quickly quite rather reach read ready real
    reason regular result return right root run running same save second see select send sent separate several short show
    side simple single small soon sort sound special spot stand standard start state stay step stick still stop straight
    stuff support sure system tell ten thing third three title today together top total touch toward try turn two type
    under understand usual wait walk whole wide word work world worth write year yet
"""

PHRASES: dict[str, dict[str, str]] = {
    "en": {"silent": "The notes do not say.", "near": "The nearest:", "also": "See also:"},
    "de": {"silent": "Die Notizen sagen dazu nichts.", "near": "Am nächsten kommt:", "also": "Siehe auch:"},
    "nl": {"silent": "De notities zeggen daar niets over.", "near": "Het dichtst in de buurt:", "also": "Zie ook:"},
    "sv": {"silent": "Anteckningarna säger inget om det.", "near": "Närmast kommer:", "also": "Se även:"},
    "da": {"silent": "Noterne siger ikke noget om det.", "near": "Nærmest kommer:", "also": "Se også:"},
    "no": {"silent": "Notatene sier ikke noe om det.", "near": "Nærmest kommer:", "also": "Se også:"},
    "fi": {"silent": "Muistiinpanot eivät kerro sitä.", "near": "Lähimpänä:", "also": "Katso myös:"},
    "hu": {"silent": "A jegyzetek erről nem írnak.", "near": "A legközelebbi:", "also": "Lásd még:"},
    "fr": {"silent": "Les notes ne le disent pas.", "near": "Le plus proche :", "also": "Voir aussi :"},
    "es": {"silent": "Las notas no lo dicen.", "near": "Lo más cercano:", "also": "Véase también:"},
    "pt": {"silent": "As notas não dizem.", "near": "O mais próximo:", "also": "Veja também:"},
    "it": {"silent": "Le note non lo dicono.", "near": "La più vicina:", "also": "Vedi anche:"},
    "ro": {"silent": "Notițele nu spun asta.", "near": "Cel mai apropiat:", "also": "Vezi și:"},
    "ca": {"silent": "Les notes no ho diuen.", "near": "El més proper:", "also": "Vegeu també:"},
    "pl": {"silent": "Notatki o tym nie mówią.", "near": "Najbliższe:", "also": "Zobacz też:"},
    "cs": {"silent": "Poznámky to neříkají.", "near": "Nejblíže je:", "also": "Viz také:"},
    "sk": {"silent": "Poznámky to nehovoria.", "near": "Najbližšie je:", "also": "Pozri tiež:"},
    "hr": {"silent": "Bilješke to ne govore.", "near": "Najbliže je:", "also": "Vidi i:"},
    "tr": {"silent": "Notlarda bu yazmıyor.", "near": "En yakını:", "also": "Ayrıca bakın:"},
    "id": {"silent": "Catatan tidak menyebutkannya.", "near": "Yang paling dekat:", "also": "Lihat juga:"},
    "vi": {"silent": "Các ghi chú không nói đến điều đó.", "near": "Gần nhất:", "also": "Xem thêm:"},
    "ru": {"silent": "В заметках об этом не сказано.", "near": "Ближе всего:", "also": "См. также:"},
    "uk": {"silent": "У нотатках про це не сказано.", "near": "Найближче:", "also": "Див. також:"},
    "bg": {"silent": "В бележките не пише за това.", "near": "Най-близкото:", "also": "Вижте също:"},
    "el": {"silent": "Οι σημειώσεις δεν το αναφέρουν.", "near": "Το πιο κοντινό:", "also": "Δείτε επίσης:"},
    "ar": {"silent": "الملاحظات لا تذكر ذلك.", "near": "الأقرب:", "also": "انظر أيضا:"},
    "fa": {"silent": "یادداشت‌ها چیزی در این باره نمی‌گویند.", "near": "نزدیک‌ترین:", "also": "همچنین ببینید:"},
    "he": {"silent": "ההערות לא אומרות זאת.", "near": "הקרוב ביותר:", "also": "ראו גם:"},
    "hi": {"silent": "नोट्स में यह नहीं लिखा है।", "near": "सबसे नज़दीक:", "also": "यह भी देखें:"},
    "bn": {"silent": "নোটগুলিতে এটি লেখা নেই।", "near": "সবচেয়ে কাছের:", "also": "আরও দেখুন:"},
    "th": {"silent": "บันทึกไม่ได้กล่าวถึงเรื่องนี้", "near": "ใกล้เคียงที่สุด:", "also": "ดูเพิ่มเติม:"},
    "ko": {"silent": "노트에 나와 있지 않습니다.", "near": "가장 가까운 내용:", "also": "참고:"},
    "zh": {"silent": "笔记中没有提到。", "near": "最接近的是：", "also": "另见："},
    "ja": {"silent": "ノートには書かれていません。", "near": "最も近いもの：", "also": "関連："},
    "et": {"silent": "Märkmed ei ütle seda.", "near": "Lähim:", "also": "Vaata ka:"},
    "lt": {"silent": "Užrašuose to nėra.", "near": "Artimiausia:", "also": "Taip pat žr.:"},
    "lv": {"silent": "Piezīmēs tas nav minēts.", "near": "Tuvākais:", "also": "Skatīt arī:"},
    "sl": {"silent": "Zapiski tega ne povedo.", "near": "Najbližje:", "also": "Glej tudi:"},
    "sr": {"silent": "Белешке то не говоре.", "near": "Најближе:", "also": "Види и:"},
    "ur": {"silent": "نوٹس میں یہ نہیں لکھا۔", "near": "قریب ترین:", "also": "یہ بھی دیکھیں:"},
    "ta": {"silent": "குறிப்புகளில் இது இல்லை.", "near": "மிக அருகில்:", "also": "இதையும் காண்க:"},
    "sw": {"silent": "Maelezo hayasemi hilo.", "near": "Karibu zaidi:", "also": "Angalia pia:"},
}

UNKNOWN = "und"  # ISO 639's own word for it; compared leniently, answered in English

# Scripts that settle the language, or the family, by themselves. Order matters: kana before Han.
_SCRIPTS = (
    ("ja", re.compile("[\u3041-\u30ff]")),
    ("ko", re.compile("[\uac00-\ud7a3]")),
    ("zh", re.compile("[\u3400-\u9fff]")),
    ("th", re.compile("[\u0e00-\u0e7f]")),
    ("hi", re.compile("[\u0900-\u097f]")),
    ("bn", re.compile("[\u0980-\u09ff]")),
    ("he", re.compile("[\u0590-\u05ff]")),
    ("el", re.compile("[\u0370-\u03ff\u1f00-\u1fff]")),
    ("ta", re.compile("[\u0b80-\u0bff]")),
)
_CYRILLIC = re.compile("[\u0400-\u04ff]")
_ARABIC = re.compile("[\u0600-\u06ff]")
# Letters that speak for one language among those of the same script.
_LETTERS = {
    "de": "ßäöü", "es": "ñ¿¡", "pl": "łąęśźżćń", "hu": "őű", "tr": "ğışİ", "sv": "åäö", "da": "åøæ", "no": "åøæ",
    "fi": "äö", "pt": "ãõ", "ro": "țăș", "cs": "řěůčáíý", "sk": "ľĺŕčáíýô", "hr": "đ", "ca": "ŀ", "fr": "œçêà", "it": "ìò",
    "vi": "ạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹđơư", "uk": "іїєґ", "ru": "ыэё", "bg": "ъщ", "fa": "پچژگکی", "ur": "ٹڈڑےںہھ",
    "sr": "ђјљњћџ", "et": "õ", "lt": "ėįųū", "lv": "āēīūļņģķ", "sl": "čšž",
}  # fmt: skip


@cache
def stop_words(language: str) -> frozenset[str]:
    """Folded function words of a language; empty for one we have no list of."""
    return frozenset(fold(word) for word in STOP.get(language, "").split())


@cache
def weak_words() -> frozenset[str]:
    """Folded words that say little in any collection of notes."""
    return frozenset(fold(word) for word in WEAK.split())


@cache
def light_words() -> frozenset[str]:
    """Folded words of many senses."""
    return frozenset(fold(word) for word in LIGHT.split())


@cache
def unspaced_stop(language: str) -> re.Pattern[str] | None:
    """A pattern of the meaningless strings of a script without spaces, longest first; None where there is none."""
    words = sorted(UNSPACED_STOP.get(language, "").split(), key=lambda word: (-len(word), word))
    return re.compile("|".join(map(re.escape, words))) if words else None


@lru_cache(maxsize=512)
def detect(text: str) -> str:
    """The language of a text as an ISO 639-1 code; "en" when plain letters tell nothing, UNKNOWN for a script or accents
    that we have no words of. Total, deterministic."""
    if not text.isascii():
        letters = sum(map(str.isalpha, text)) or 1
        for code, pattern in _SCRIPTS:
            # A single borrowed sign in a Latin sentence does not make it Japanese; Japanese is mostly Han with some kana.
            if len(pattern.findall(text)) * 10 >= letters * (1 if code == "ja" else 3):
                return code
        if len(_CYRILLIC.findall(text)) * 2 > letters:
            return _vote(text, ("ru", "uk", "bg", "sr"))
        if len(_ARABIC.findall(text)) * 2 > letters:
            return _vote(text, ("ar", "fa", "ur"))
        if sum("a" <= char.lower() < "\u0250" or "\u1e00" <= char < "\u1f00" for char in text) * 2 < letters:
            return UNKNOWN
    return _vote(text, _LATIN)


_LATIN = (  # the order settles ties
    *("en", "de", "nl", "fr", "es", "pt", "it", "sv", "da", "no", "fi"),
    *("hu", "ro", "ca", "pl", "cs", "sk", "hr", "tr", "id", "vi", "sw"),
    *("et", "lt", "lv", "sl"),
)


def _vote(text: str, codes: tuple[str, ...]) -> str:
    words, letters = _counted(text)
    votes = {code: _votes(words, letters, code) for code in codes}
    if letters and codes is _LATIN and not any(votes.values()):
        return UNKNOWN
    return max(codes, key=lambda code: (round(votes[code], 6), -codes.index(code)))


def _counted(text: str) -> tuple[Counter[str], Counter[str]]:
    words = Counter(fold(word) for word in WORD.findall(text))
    return words, Counter(char for char in text.lower() if not char.isascii())


def _votes(words: Counter[str], letters: Counter[str], code: str) -> float:
    common = sum(words[word] for word in stop_words(code) & words.keys())
    return common + 0.6 * sum(letters[char] for char in _LETTERS.get(code, "") if char in letters)


def foreign(question: str, asked_in: str, written_in: str) -> bool:
    """Whether a note in one language is surely not in the question's: what they have in common is then chance. A
    question too short to tell is at home everywhere."""
    if asked_in == written_in:
        return False
    if asked_in not in _LATIN or written_in not in _LATIN:
        return (asked_in in _LATIN) == (written_in in _LATIN)  # a name in Latin letters is at home in any script
    words, letters = _counted(question)
    own = _votes(words, letters, asked_in)
    return own >= 2 and _votes(words, letters, written_in) < 0.4 * own


_HOW = (
    r"\bhow (?:do|can|should|would|could|to|does one|might|must)\b|^how\b(?! (?:many|much|long|often|far|old|big|high|deep))"
    r"|\bwie (?:kann|können|mache?|macht|bekomme|geht|muss|soll|richte|stelle|lege|installiere|man)\b|\bcomment\b(?! (?:est|s.app))"
    r"|\bcómo\b|^como\b|\bcome (?:si|posso|faccio|devo)\b|\bhoe (?:kan|moet|doe|maak|krijg)\b|\bhur (?:gör|kan|ska|får|man|tömmer)\b"
    r"|\bhvordan\b|\bmiten\b|\bhogyan\b|\bnasıl\b|\bcum (?:pot|se|fac)\b|\bjak\b(?! (?:często|długo|často|dlouho|daleko))"
    r"|^ako\b|\bkako\b|\bкак\b(?! (?:часто|долго|далеко))|\bяк\b(?! (?:часто|довго))|\bπώς\b|\bكيف\b|\bچگونه\b|\bאיך\b|\bכיצד\b"
    r"|कैसे|อย่างไร|ยังไง|\bbagaimana\b|\bcách\b|làm (?:sao|thế nào)|어떻게|방법|怎么(?!样)|怎樣|如何|怎麼|どうやって|どうすれば|方法"
)


_WHAT = (
    r"^(?:so |and )?(?:what(?:'s| is| are| does)|was (?:ist|sind|bedeutet)|wat (?:is|zijn)|vad är|hvad er|hva er|qu'est-ce que"
    r"|c'est quoi|que signifie|qu[eé] (?:es|son|significa)|o que (?:é|são)|cos(?:'è|a è|a sono)|che cos|co (?:to|je)|czym jest"
    r"|mi az|nedir|mitä (?:on|ovat)|mikä on|ce (?:este|sunt)|что такое|что значит|що таке|какво е|τι είναι|ما هو|ما هي|מה זה|مفهوم"
    r"|apa itu|.* là gì|什么是|什麼是)\b|とは|क्या है|คืออะไร|이란|무엇인가|是什么|是什麼|nedir\b|چیست"
)


def asks_what(question: str) -> bool:
    """Whether somebody wants to know what something is: a sentence that begins with it is the answer then."""
    return re.search(_WHAT, question.strip(), re.IGNORECASE) is not None


# Words between a thing and what it is.
_COPULA = {
    "en": "is are means", "de": "ist sind bedeutet heißt", "nl": "is zijn", "sv": "är", "da": "er", "no": "er",
    "fr": "est sont désigne", "es": "es son", "pt": "é são", "it": "è sono", "ro": "este sunt", "ca": "és són",
    "pl": "to jest są", "cs": "je jsou", "sk": "je sú", "hr": "je su", "fi": "on ovat", "id": "adalah", "vi": "là",
    "ru": "это — –", "uk": "це є — –", "bg": "е са", "sr": "је су", "el": "είναι", "ar": "هو هي", "fa": "است",
    "he": "הוא היא הם", "hi": "है हैं", "zh": "是", "ja": "は", "ko": "은 는 란", "th": "คือ", "tr": "dır dir dur dür",
}  # fmt: skip
_RUN_ON = frozenset({"zh", "ja", "ko", "th", "hi", "tr"})  # the copula is not a word between spaces


def defines(text: str, language: str) -> bool:
    """Whether a sentence seems to say what its first words are."""
    words = _COPULA.get(language, _COPULA["en"]).split()
    head = text[:80].lower()
    return any(word in head for word in words) if language in _RUN_ON else not set(words).isdisjoint(head.split())


def asks_how(question: str) -> bool:
    """Whether somebody wants to know how to do something: steps are the answer then."""
    return re.search(_HOW, question, re.IGNORECASE) is not None


def phrase(language: str, name: str) -> str:
    """A fixed phrase in that language, else in English."""
    return PHRASES.get(language, PHRASES["en"])[name]
