"""Words that carry no subject, by language: articles, pronouns, auxiliaries, prepositions and the words of questions.

Data only, folded when it is read, as `records.text.fold` folds. A search ignores those of the language it seems to be in, when other words remain.
"""

from __future__ import annotations

import functools

_LISTS = {
    "en": """a about above after again all also am an and any anyone anything are aren as at be because been before being
        below between both but by can cannot could couldn did didn do does doesn doing don done down during each either
        else ever every few for from further get gets getting give given go goes going got had hadn has hasn have haven having
        he her here hers him his how however i if in into is isn it its itself just know let like ll m make me might more most must
        my myself need no nor not now of off on once one only or other our out over own please possible re really same say see shall she should
        shouldn show so some somehow someone something such t s d tell than that the their them then there these they thing things this those
        through to too under until up us use using ve very want was wasn way ways we were weren what when where whether which while who whom
        whose why will with within without won would wouldn you your yours best exactly actually anyway possibly able around
        mean means happen happens happened suppose supposed trying try im ive dont doesnt cant isnt whats hows i'm""",
    "de": """ab aber alle allem allen aller alles als also am an andere anderen auch auf aus bei beim bin bis bist da dabei dafur damit
        dann daran darauf das dass davon dazu dein deine dem den denn der des die dies diese diesem diesen dieser dieses doch dort du
        durch eigentlich ein eine einem einen einer eines er es etwas euch euer fur gab geht gegen genau gibt haben habe hab hat hatte hatten her
        hier hin ich ihm ihn ihnen ihr ihre ihrem ihren im immer in ins ist ja jede jedem jeden jeder jedes jetzt kann kannst kein keine
        konnen konnte lang lasst machen mache macht man mehr mein meine meinem meinen meiner mich mir mit muss mussen musste nach nicht nichts noch
        nun nur ob oder ohne schon sehr sein seine seit sich sie sind so soll sollte sollen sondern uber um und uns unser unsere unter
        viel vom von vor wann war waren warum was weg wegen weil welche welchem welchen welcher welches wem wen wenn wer werde werden wessen wie wieder
        wieso wieviel wird wirst wo wobei wodurch wofur woher wohin womit worin woruber wovon wozu wurde wurden zu zum zur zwischen
        moglich bitte brauche braucht""",
    "fr": """a ai au aux avec avoir c ca ce cela ces cet cette ceux chaque chez ci comme comment combien d dans de depuis des dois doit donc dont du
        elle elles en encore entre es est et etait etaient ete etre eu eux fait faire faut il ils j je l la laquelle le lequel les lesquels leur
        leurs lors lui m ma mais me meme mes moi mon n ne ni nos notre nous on ont ou par parce pas peut peux peuvent plus plusieurs pour
        pourquoi pouvoir puis puisje qu quand que quel quelle quelles quels qui quoi s sa sans se sera ses si son sont sous suis sur t ta te tes toi ton
        tous tout toute toutes tres tu un une vers veut veux voici voila vos votre vous y moyen utiliser facon existe""",
    "es": """a acerca al algo alguien algun alguna algunas algunos ante antes aquel asi aun aunque cada como con contra cual cuales cuando cuanta
        cuanto cuantos cuantas de debe debo deben del desde donde dos e el ella ellas ellos en entre era es esa ese eso esta estan estar estas este esto estos fue fueron
        ha hace hacer hago hacen han hasta hay he la las le les lo los mas me mi mis mientras mucho muy nada ni no nos nosotros nuestra nuestro o os otra
        otro otros para pero poco por porque puede puedo pueden pues que quien quienes se sea segun ser si sido sin sobre son soy su
        sus tal tambien tan tanto te tener tengo tiene tienen ti toda todas todo todos tras tu tus un una unas uno unos usar y ya yo sirve""",
    "it": """a ad ai al alla alle allo anche ancora c che chi ci cio come con contro cosa cui d da dai dal dalla dalle dallo degli dei del dell
        della delle dello devo deve di dopo dove due e ed era erano essere fa fare ha hai hanno ho i il in io l la le lei li lo loro lui ma me mi mia
        mio miei mie ne negli nei nel nell nella nelle nello noi non nostro o ogni ora per perche piu po poi posso possono puo qual quale quali quando
        quanto quanta quanti quante quella quelle quelli quello questa queste questi questo se sei si sia siamo sono sopra sotto sta su sua sue
        sugli sui sul sull sulla suo suoi te ti tra fra tu tua tuo tutte tutti tutto un una uno usare vi viene voi vorrei quindi""",
    "pt": """a ao aos aquela aquele aquilo as ate cada com como da das de dela dele depois devo deve do dos e ela elas ele eles em entre era essa
        esse esta estao estar estas este eu faz fazer faco fica foi foram ha isso isto ja la lhe mais mas me mesmo meu meus minha minhas muito na
        nao nas nem no nos nossa nosso num numa o onde os ou para pela pelas pelo pelos por porque pode posso podem preciso qual quais quando quanto quanta
        quantos quantas que quem se seja sem ser seu seus so sobre sua suas tambem te tem tenho ter teu toda todas todo todos tu um uma umas uns usar voce voces""",
    "nl": """aan al alle als andere ben bij daar dan dat de der deze die dit doe doen door dus een en er ga gaat geen had hebben heb heeft hem het
        hier hij hoe hoeveel hun ik in is ja je jij jou jouw kan kun kunnen kon kunt maak maar me mee meer men met mij mijn moet moeten na naar niet nog nu of om omdat ons
        onze ook op over te tegen toch toen tot u uit van veel voor waar waarom waarmee waarvoor wanneer waren was wat we wel welk welke werd wie wij wil willen word worden wordt zal ze
        zelf zich zij zijn zo zonder zou""",
    "pl": """a aby ale albo bez bo byc byl byla bylo byly by bylem ci cie co coś czego czemu czy czym dla do gdy gdzie go i ich ile im ja jak jaka jakie
        jaki jakich jako je jego jej jest jestem jesli juz ja kiedy kogo komu kto ktora ktore ktory ktorych ktorym ktora ma mam maja mi mnie moge mozna moze moj moja moje moim mu my na nad nam nas
        nasz nie niech nim o od on ona one oni ono oraz po pod poniewaz powinienem powinno przed przez przy sa sie skad sobie ta tak tam te tego tej temu ten to tu tym tych ty u w we
        wiec wy z za ze zeby zrobic""",
    "cs": """a aby aj ale ani ano asi az bez bude by byl byla bylo byt co coz da do ho i ja jak jake jaka jaky jako je jeho jej jejich jen jeste ji jich jim jsem jsi jsme jsou k
        kam kde kdo kdy kdyz ke kolik ktera ktere ktery ma mam mame mate me mi mit mne mohu muj muze muzu my na nad nam nas ne nebo nez nic o od on ona oni pak po pod podle pokud potom pro proc proto
        pred pres pri s se si sve svuj ta tak take tam te tento ten to toho tohle tu ty u uz v vam vas ve vsak vy z za ze""",
    "ru": """а без более больше будет будто бы был была были было быть в вам вас ведь во вот все всего всех вы где да даже для до его ее если
        есть еще же за здесь зачем и из или им ими их к как какая какие какой каких каким какую какого ко когда кого кому который которая которые которую кто куда ли лучше между меня мне можно мой мои моя мои мою мы на
        над надо нас наш не него нее нет ни них но ну нужно о об однако он она они оно от откуда по под после потом потому почему при про с
        сам свой свои себя сейчас сколько со так такой такое там тебя тем теперь то тогда того тоже только том тот тут ты у уже чего чем через что
        чтоб чтобы эта эти это этого этой этом этот эту я делать сделать""",
    "uk": """а але без би був була були було бути в вам вас ви від він вона вони воно все всі де для до його йому є же з за зі і із її або які який яка яке яких
        як якщо коли кого кому котрии куди ли лише мене мені ми мій моя мої моє можна може чи на над нам нас наш не нема ним них ні ну о один от по під після потім потрібно при про та так такии там те
        тебе ти тільки то тобі тому тои треба у усі хто це цеи ця ці цього чого чому що щоб ще я скільки зробити""",
    "bg": """а ако ала бе без би бил била били беше в вас ви все във вие всички га да до докато за и из или им има как каква какво какъв кога които които която което колко къде кой към ли ме ми мога може мои моя
        на над не него нея ни ние но нали о от по под при с са само се си след съм със така там те ти това този тази тези то тук ще че я защо""",
    "tr": """acaba ama ancak artik bana bazi belki ben beni benim bir biz bize bu buna bunu bunun burada cok cunku da daha de defa degil diye en eger
        gibi hangi hangisi hem hep her hic icin ile ise kac kadar ki kim kime kimin mi mu nasil ne neden nedir nerede nereye nereden ne zaman nicin niye o olan olarak oldu olur ona onu
        onun orada sana sen siz su sonra tum ve veya ya yani yapmak yapilir yaparim yapabilirim yok var zaman lazim gerek gerekiyor""",
    "sv": """alla allt att av bara blev bli blir da de dem den denna deras dess det detta dig din du efter ej eller en er ett far finns for fran gor gora ha hade han
        har henne hon honom hos hur i icke in ingen inte jag ju kan kunde kommer man manga med mellan men mig min mina mitt mot mycket maste nagon nagot nar ni nu och om oss pa
        sa sig sin ska skulle som till under upp ut vad var vara vart varfor vem vi vid vilka vilken vilket ar over""",
    "da": """af alle andet at blev bliver da de dem den denne der deres det dig din disse dog du efter eller en end er et for fra gor ham han har havde hende her hun
        hvad hvem hver hvilken hvilke hvilket hvis hvor hvordan hvorfor hvornar i ikke ind ja jeg jer jo kan kunne man mange med meget men mig min mine mit mod nar ned noget nogle nu og
        ogsa om op os over pa sa sig skal skulle som til ud under var ved vi vil ville vor være""",
    "no": """alle at av bare ble blir da de deg dem den denne der dere det dette din du eller en er et etter for fra fordi gjor gjore ha hadde han har hun hva hvem hver hvilken hvilke
        hvis hvor hvordan hvorfor i ikke inn ja jeg kan kunne man mange med meg men min mine mitt mot nar noe noen ny og ogsa om opp oss pa sa seg sin skal skulle som til under ut
        var ved vi vil ville være å""",
    "fi": """ei eika en entä etta ettei eli en enemman ennen han hanen he heidan hyvin ja jo joka jos josta jota jonka joten kanssa kai keta kuinka kuka kun kuin koska mika mika mihin miksi milla millainen milloin
        mina minua minun minulle minka missa mista mita miten monta montako me meidan mukaan mutta myos ne nama niin niita nyt oli olen on olla onko ovat paljon paljonko pitaa pitaisi se sen sina sinun siis siita siina sitten
        taas tai tama tassa tata te tuo vai vaan vain voi voin voiko voit voinko""",
    "hu": """a abban ahhoz akkor ami amely amit az azt azok azonban be belul csak de e egy egyes el es ez ezek ezt fel ha hany hanyan hogy hogyan hol hova honnan ide igy is itt kell kellene kerul ki kell
        le lehet lesz ma majd meg melyik mely mennyi mennyit mert mi miatt miert mikor mikent milyen mit mivel most nagyon ne nekem nem nincs o ok olyan ossze ott pedig s sem szamara szerint tud tudok tudom van
        vagy vagyok vannak volt""",
    "ro": """a ai al ale am ar are as au avea ca cand care ce cel cea cei cele cine cu cum da daca dar de deci despre din dintre doar dupa e ea ei el ele este eu fi fie fost
        i ii il in intre isi la le li lui ma mai mea mele meu mi mult n ne ni nici noi nostru nu o ori pe pentru pot poate prin sa sai se si sunt sub sus ta te ti tot toate tu un una unde
        unei unui va voi vom vreau cat cata cati cate""",
    "el": """α αν αλλα αλλο απο αυτα αυτη αυτο αυτος αυτους γι για γιατι δε δεν δια εαν εγω ειμαι ειναι ειχε εκει ενα ενας εναν εν εχει εχω εχουν η ηταν θα ι κ και κανω κανει κατα κι με μετα μεχρι μη μην μια μας μου μπορω
        μπορει να ο οι ολα ομως οπως οποια οποιο οταν οτι ου παρα περι πιο ποια ποιο ποιοι ποιος ποιον ποσα ποσες ποσο ποση ποσους ποτε που πρεπει προς πως σαν σας σε στα στη στην στις στο στον στους συ συν τα τι τη την της τις το τον του τους
        των τωρα υπαρχει χωρις ως""",
    "ar": """في من على الى عن مع هذا هذه ذلك تلك التي الذي الذين هو هي هم نحن انا انت كيف ماذا ما متى اين لماذا هل كم اي من كان كانت يكون تكون قد لا لم لن ليس او ثم ان إن اذا كل بعض غير بين بعد قبل عند حتى لكن و
        يمكن يمكنني استطيع يجب علي لي به بها فيه فيها له لها منه عليه ايضا هناك الي علي ف ب ل اللي شو ليش وين عندما حول الا""",
    "he": """של את על עם אל אם כי לא כן אני אתה את הוא היא הם הן אנחנו זה זו זאת אלה אלו מה מי איך איפה מתי למה מדוע כמה האם איזה איזו היכן יש אין היה היתה הייתה היו להיות או גם רק כל כדי אבל אז עד בין לפני אחרי שלי שלך
        שלו שלה לי לך לו לה אותו אותה צריך צריכה אפשר ניתן יכול יכולה עוד מאוד ב ל ה מ ש ו כ לעשות עושים""",
    "fa": """از به در با برای را که این آن ان است بود شد هم یا و تا اگر من تو او ما شما انها چه چرا چگونه چطور کجا کی کدام ایا چند می نمی های ها هر همه یک کنم کند کنیم کرد دارد دارم باید شود شده چیست توانم می‌توانم""",
    "hi": """का के की को में से पर ने और या है हैं था थी थे हो होता होती होते हुआ हुई रहा रही रहे यह ये वह वे इस उस इन उन जो कि तो भी ही न नहीं मैं मुझे मेरा मेरी मेरे हम हमें हमारे आप तुम अपना अपनी अपने
        क्या क्यों कैसे कब कहाँ कहां कौन किस किसे किसने कितना कितनी कितने कौनसा कौनसी लिए साथ बाद तक एक कर करें करना करने करता करते करूँ करूं किया सकता सकते सकती चाहिए जाता जाए जब तब अगर लेकिन कोई कुछ सब बहुत""",
    "vi": """là và của có cho các những nhưng một trong khi với để đến từ tại trên dưới thì mà này đó kia ấy tôi bạn mình chúng ta nó họ làm nào thế gì sao ai đâu bao nhiêu mấy không được bị sẽ đã đang rồi cũng như hay hoặc
        nên vì nếu phải cần muốn ra vào lên xuống về theo bởi ở giờ""",
    "id": """ada adalah agar akan aku anda apa apakah atau bagaimana bagaimanakah bagi bahwa berapa bisa bisakah boleh caranya cara dalam dan dapat dari dengan di dia dimana harus hanya ia ini itu jadi jika juga kalau
        kami kamu kapan karena ke kepada kita lagi lalu lebih mana mengapa kenapa mereka namun oleh pada para perlu saat saja sangat satu saya sebagai sebuah secara sehingga seperti serta siapa sudah supaya tentang tidak
        tetapi tersebut untuk yaitu yang""",
    "ko": """어떻게 무엇 무엇을 무엇인가요 뭐 뭐가 뭐를 뭐야 뭔가요 뭘 왜 어디 어디서 어디에 어디에서 언제 누가 누구 누구의 몇 얼마 얼마나 어느 어떤 하나요 있나요 없나요 인가요 되나요 할까요 합니까 입니까 있습니까 해요 하는 하는지 해야 하려면 할 수 있는 있어 있어요
        그 이 저 것 것은 것이 및 또는 그리고 때 위해 위한 대해 대한 나는 내 내가 우리 좀 방법은 무슨""",
    "ca": """a al als amb aquest aquesta com de del dels des el els en es esta hi i jo la les li lo mes meu no o on per pero perque pot puc que qui quan quin quina quines quins se sense si son sobre un una uns unes""",
    "hr": """a ali bez bi bih bilo bio biti će da do dok ga gdje i ih ili im iz ja je jer jesam jesu joj k kad kada kako kakav kakva kako koja koje koji koliko kod li me mene mi mogu moj moja moze na ne nego ni nije o od ona oni
        ono pa po pod pri s sa sam se si smo su sta sto što ta te ti to tko u uz vas vi za zasto zašto""",
    "sk": """a aby aj ako ake aka aky ale alebo ani bez bol bola bolo by byt co čo do ho i ich je jeho jej kam kde kto ktora ktore ktory kedy kolko ked ma mam mi moj moja moje moze mozem na nad nie o od on ona po pod podla pre
        preco pri s sa som su svoj ta tak to toto tu ty u uz v vo z za ze""",
    "sl": """a ali ampak bi bil bila bilo biti bo bodo brez če da do ga in iz ja je jaz jih jo k kaj kako kakšen kakšna kakšno kam kateri katera katero kdaj kdo ker ki kje ko koliko lahko me med mene mi
        moj moja moje moram mu na nad naj ne ni nisem o ob od oziroma pa po pod pri s samo se sem si smo so sta ste svoj ta te to tudi tukaj u v vse z za zakaj že""",
    "sr": """а али без би бити било биће да до док због га где гдје или им има их из ја је јер јесам јесу још к ка кад када како какав каква какво која које који којим коју колико код кроз ли ме мене мени ми могу може
        можемо мој моја моје мора морам на над не него нема није о од око он она они оно па по под поред после пре при с са сам само се своје свој смо су ста сте та те ти то тај треба ту у уз за зашто што шта""",
    "lt": """ar arba aš be bet bus buvo būti dar dėl gali galiu iki ir iš į ja jei jie jis jo jos jų ką kad kai kaip kada kas kiek kodėl koks kokia kokie kur kuri kurie kuris kurį man mane mano mes mūsų nė ne nėra nes nuo o
        pagal per po prie prieš reikia sau savo su ši šis šio tai taip tas tarp toks tu už yra""",
    "lv": """ar arī bet bez bija būs būt bieži cik daudz cik dažas ir ja jā jo jau jūs ka kā kad kāda kāds kādas kādi kam kāpēc kas kādēļ ko kur kura kuras kurš kuri lai līdz man mana manas manu mans manā mani mēs mums ne nē nav nevaru nevar no
        par pa pēc pie pirms savu savs šī šis šo tā tad tam tas tie to tu un uz vai var varu viņa viņš vajag vēl""",
    "et": """aga ega ei ehk et ette ja jah juba ju ka kas kes kell keda kuhu kui kuidas kus kust kuni küll kõik ma me mida mille millal milline millised mina minu mis miks mitu mulle mul mõni nad need nende ning nii nüüd oli olen oleks olema on
        oma palju pea peab peale pean sa saab saan see seda selle siin siis sinu ta teda tema teie tuleb vaid veel või välja ära üle""",
    "mk": """а ако ама без би биде беше да до додека е за зошто и или им има имам их како каква каков кога кого кој која кое кои колку ли ме мене ми може можам мојата мој моја мое мора на над не него нема ни но ние о од оваа овој ова
        по под после пред при со само се си сите сме сум сте та таа те тие тоа той ти треба ту тука ќе што ја""",
    "bn": """আমি আমার আমাকে আমরা আমাদের আপনি আপনার আর এই এবং এক একটি একটা এটা এর ও ওই কখন কত কতটা করা করে করতে করব করবেন করি কি কিভাবে কীভাবে কী কে কেন কোথায় কোন কোনো জন্য তা তার তুমি তোমার থেকে না নিয়ে পর পারি পারে বা মধ্যে যে যায় যদি
        সঙ্গে সাথে সব সে হয় হবে হতে হল হলে""",
    "ta": """அது அந்த அவர் ஆகும் ஆனால் இது இந்த இல்லை இருந்து இருக்கிறது இருக்கும் உள்ள உள்ளது எங்கு எங்கே எது எதை எந்த எனது எனக்கு என் என்ன என்று எப்படி எப்போது எவ்வளவு ஏன் ஒரு ஒருமுறை தான் நான் நாம் மற்றும் மிக முடியும் முடியாது யார் வேண்டும் வேண்டுமா செய்வது செய்ய""",
    "ur": """میں میرا میری میرے کا کی کے کو سے پر نے اور یا ہے ہیں تھا تھی تھے ہو ہوتا ہوتی یہ وہ اس ان جو کہ تو بھی ہی نہ نہیں کیا کیوں کیسے کب کہاں کون کس کتنا کتنی کتنے لیے ساتھ بعد تک ایک کر کریں کرنا کرنے کرتا سکتا سکتے چاہیے جب اگر لیکن کوئی کچھ سب""",
    "tl": """ako ang ano ba bakit gaano hindi ito iyon ka kailan kailangan ko kung lang may mayroon mga mo na nang ng ni nila nito pa paano para po rin sa saan si sila sino siya upang aking""",
    "sw": """au gani hii hiyo huu ili je juu katika kila kwa kutoka lakini langu lini mimi na namna nani nini ni ngapi sana tu vipi wa wapi wangu ya yangu yake yangu za""",
    "is": """að af allt alltaf á ef eða eftir ekki en er ert eru erum ég frá fyrir geta get getur hafa hann hans hef hefur hennar hér hjá hún hvað hvaða hvaðan hvar hvenær hver hverju hvernig hversu hvert hvort í já
        líka með mér mig mín minn mitt mun nú og okkar okkur sem sér sig sinn skal svo til um var vera verið við vil vill það þar þarf þau þá þær þeir þeirra þess þessi þetta þú""",
    "eu": """ahal bai baina bat batzuk beharko behar bere beti da dago dela den dena dira direla ditu ditut dit dizu du duen dugu dut dute duzu edo egin egon ere eta ez ezin gara gaude gu guk gure han hau hauek hemen hor hori
        horiek hura izan nago nahi naiz ni nik nire noiz nola non nondik nor nora noren nork nuen oso zara zegoen zein zen zenbat zer zergatik zertarako ziren zu zuek zuen zuk zure daude""",
    "sq": """a ai ajo apo ata cila cilat cili cilët çfarë dhe do duhet e është i im ime janë jemi jam ju juve ka kam ke kemi kjo ku kur kush ky këta këto këtë me mund në nga ne një nuk për pse që sa së si tek të ti unë yt""",
    "af": """aan as by daar dat die dit ek en het hierdie hoe hoekom hoeveel hulle hy in is jou jou jy kan maar met moet my nie of om ons op sal sy te van vir waar wanneer was wat watter wie wil""",
    "az": """amma bizim biz bu bunu çox da daha də edim edir etmək əgər hansı hara harada haradan həm hər idi ilə kim kimi kimin ki lazım lazımdır mən mənə mənim mümkün nə neçə necə niyə o olan olar olur onlar onu onun
        sən sənin siz sizin üçün üzrə və var vaxt ya yox""",
    "hy": """այդ այն այնտեղ այո այս այստեղ ամեն անել անեմ անում առանց արդեն բայց բոլոր դա դեռ դու դուք ենք եմ են ես եք երբ եթե է էի էին էր ընդ թե իմ ին ինձ ինչ ինչի ինչու ինչպես իր իսկ կա կամ կան կարելի կարող
        հետ համար հիմա ձեզ ձեր մասին մեզ մեծ մեջ մեր մենք մի միայն մինչև մոտ նա նաև նրա նրան նրանց նրանք շատ չէ չի չկա ոչ ով որ որը որի որից որտեղ որքան ու ուզում ում ունեմ ունեն ունենք ունի ուր պետք սա վրա տակ
        քանի քեզ քո և""",
    "ka": """ამ ამის ან არ არა არის არიან ასე აქ აქვს გვაქვს და ეს ვარ ვინ ვის ვისი თან თუ თქვენ თქვენი იმ იმის ის ისინი იქ იყო იქნება კი მათ მათი მაქვს მას მაგრამ მე მერე მინდა მისი მხოლოდ რა რამდენი რას
        რატომ რის რისთვის როგორ როდის რომ რომელი საიდან საით სად სხვა უკვე უნდა უფრო ყველა ყოველი შენ შენი შესახებ შეიძლება შემიძლია ჩემი ჩემს ჩვენ ჩვენი ჩვენს ძალიან ხარ ხდება ჰქვია""",
    "am": """ለምን ላይ ማን ማንን መቼ ምን ምንድን ምንድነው ሁሉ በጣም ብቻ ነው ነኝ ነን ናት ናቸው ነበር ነበረ ነገር እና እንደ እንዴት እኔ አንተ አንቺ እሱ እሷ እኛ እናንተ እነሱ እባክህ እችላለሁ አለ አለብኝ አለኝ አለው አይደለም ወይም ወደ ውስጥ ዘንድ የማን የት የትኛው
        የትኛዋ የእኔ የኔ የሆነ ያለ ያ ይህ ይህን ይቻላል ጋር ግን ስለ ስንት""",
    "te": """ఆ అది ఇది ఈ ఉంది ఉన్నాయి ఉన్నారు ఎందుకు ఎంత ఎక్కడ ఎన్ని ఎప్పుడు ఎలా ఎవరు ఏ ఏది ఏమి ఏమిటి కానీ కావాలి కోసం చేయాలి తో నా నీ నుండి నేను మరియు మా మీ మీరు మేము లేదా లో""",
    "ml": """അത് ആ ആണ് ആര് ഇത് ഈ ഉണ്ട് എത്ര എങ്ങനെ എന്ത് എന്തുകൊണ്ട് എന്ന് എന്റെ എപ്പോൾ എവിടെ ഏത് ഒരു ഞങ്ങളുടെ ഞാൻ നമ്മുടെ നിങ്ങളുടെ വേണം""",
    "kn": """ಅಥವಾ ಅದು ಆ ಆದರೆ ಇದು ಇದೆ ಇವೆ ಈ ಎಲ್ಲಿ ಎಷ್ಟು ಏಕೆ ಏನು ನನ್ನ ನಮ್ಮ ನಾನು ನಾವು ನಿಮ್ಮ ನೀವು ಬೇಕು ಮತ್ತು ಯಾರು ಯಾವ ಯಾವಾಗ ಹೇಗೆ""",
    "gu": """અથવા અને અમારું અમારી અમે આ કઈ કયો કેટલા કેટલું કેમ કેવી રીતે કોણ ક્યાં ક્યારે છું છે તમારું તમે તે થી ને પણ પર માં માટે મારી મારું મારો શું હતી હતું હતો હું""",
    "pa": """ਅਤੇ ਅਸੀਂ ਇਹ ਉਹ ਕਦੋਂ ਕਿਉਂ ਕਿਹੜਾ ਕਿਹੜੀ ਕਿਵੇਂ ਕਿੰਨਾ ਕਿੰਨੇ ਕਿੱਥੇ ਕੀ ਕੌਣ ਜਾਂ ਤੁਸੀਂ ਤੇ ਤੋਂ ਦਾ ਦੀ ਦੇ ਨੂੰ ਪਰ ਮੇਰਾ ਮੇਰੀ ਮੇਰੇ ਮੈਂ ਲਈ ਵਿੱਚ ਸਾਡਾ ਸਾਡੀ ਸੀ ਹਨ ਹੈ""",
}  # fmt: skip

SPELLED = frozenset(("en", "id", "sw", "tl", "vi"))  # whose words stand above with all their accents

# Scripts without spaces: these are cut out of a query before it is cut into n-grams. Longest first.
PHRASES = tuple(
    sorted(
        [
            "怎么样",
            "怎么办",
            "怎么",
            "怎样",
            "如何",
            "什么时候",
            "为什么",
            "什么",
            "哪里",
            "哪儿",
            "哪个",
            "哪些",
            "多少",
            "几个",
            "是不是",
            "有没有",
            "能不能",
            "可以",
            "可不可以",
            "应该",
            "需要",
            "请问",
            "我的",
            "我们",
            "我",
            "你",
            "的",
            "了",
            "吗",
            "呢",
            "是",
            "在",
            "有",
            "和",
            "与",
            "要",
            "用",
            "怎麼",
            "怎麼辦",
            "如何",
            "什麼",
            "為什麼",
            "哪裡",
            "嗎",
            "時候",
            "どうやって",
            "どのように",
            "どうすれば",
            "どうしたら",
            "どんな",
            "どこに",
            "どこで",
            "どこ",
            "どう",
            "いつ",
            "なぜ",
            "なんで",
            "何ですか",
            "何を",
            "何が",
            "何",
            "誰",
            "どれくらい",
            "どのくらい",
            "いくら",
            "いくつ",
            "ですか",
            "ますか",
            "でしょうか",
            "ください",
            "ました",
            "ません",
            "ます",
            "です",
            "する",
            "した",
            "して",
            "できる",
            "できますか",
            "について",
            "とは",
            "には",
            "では",
            "から",
            "まで",
            "よいですか",
            "いいですか",
            "方法は",
            "あります",
            "ありますか",
            "います",
            "の",
            "を",
            "に",
            "は",
            "が",
            "で",
            "と",
            "も",
            "へ",
            "や",
            "อย่างไร",
            "ยังไง",
            "อะไร",
            "ที่ไหน",
            "เมื่อไหร่",
            "เมื่อไร",
            "ทำไม",
            "เท่าไหร่",
            "เท่าไร",
            "หรือไม่",
            "หรือเปล่า",
            "ไหม",
            "ได้ไหม",
            "บ้าง",
            "ใคร",
            "กี่",
            "คือ",
            "ของ",
            "ที่",
            "และ",
            "หรือ",
            "เป็น",
            "ใน",
            "ให้",
            "ได้",
            "ต้อง",
            "ควร",
            "ฉัน",
            "ผม",
            "จะ",
            "มี",
            "กับ",
            "ครับ",
            "ค่ะ",
        ],
        key=lambda phrase: (-len(phrase), phrase),
    )
)


@functools.cache
def languages() -> dict[str, frozenset[str]]:
    """Stop words of each language, folded. Built at first use."""
    from records.text import fold

    return {name: frozenset(fold(word) for word in words.split()) for name, words in _LISTS.items()}


@functools.cache
def written() -> dict[str, frozenset[str]]:
    """Stop words of each language of `SPELLED`, as they are written."""
    return {name: frozenset(_LISTS[name].split()) for name in SPELLED}


@functools.cache
def membership() -> dict[str, frozenset[str]]:
    """Languages in which a folded word is a stop word."""
    table: dict[str, set[str]] = {}
    for name, words in languages().items():
        for word in words:
            table.setdefault(word, set()).add(name)
    return {word: frozenset(names) for word, names in table.items()}


@functools.cache
def stop_terms() -> frozenset[str]:
    """The index terms of the stop words of all languages."""
    from records.text import stem

    return frozenset(map(stem, membership()))


def ignorable(words: list[str], folded: list[str]) -> list[bool]:
    """For each word of a query, as it is written and folded, whether it is a stop word of the language that the query seems to
    be in."""
    table = membership()
    said = [
        table.get(plain, frozenset()) if word.isascii() else _as_written(word, table.get(plain, frozenset()))
        for word, plain in zip(words, folded, strict=True)
    ]
    score: dict[str, float] = {}
    for found in dict(zip(folded, said, strict=True)).values():
        for name in found:
            # A word of one language says more than one of ten.
            score[name] = score.get(name, 0.0) + 1.0 / len(found) ** 0.5
    if not score:
        return [False] * len(words)
    best = max(score.values())
    likely = {name for name, value in score.items() if value >= 0.6 * best}
    return [not found.isdisjoint(likely) for found in said]


def _as_written(word: str, found: frozenset[str]) -> frozenset[str]:
    """Of the languages of a folded stop word those of the word with its accents: `máy` is neither `may` nor `mấy`."""
    if found.isdisjoint(SPELLED):
        return found
    word = word.casefold()
    return frozenset(name for name in found if name not in SPELLED or word in written()[name])
