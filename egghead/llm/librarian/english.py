"""English words for the same thing: the largest group of the thesaurus in `synonyms`, and expressions of several words.

A group belongs here when people who write notes and people who ask about them use different words for one everyday
thing. Nothing of one collection, one product or one question set belongs here.
"""

from __future__ import annotations

# English expressions of several words that stand for one; each is looked up with the word's own group.
EXPRESSIONS = {
    "commandline": r"command[ -]lines?",
    "email": r"e[ -]mails?",
    "sso": r"single sign[ -]on",
    "howto": r"how-tos?",
    "realtime": r"real[ -]time",
    "wifi": r"wi[ -]fi",
    "todo": r"to-dos?",
    "hover": r"mouse(?: pointer)? (?:is |moves |goes )?over|mouse-?over",
    "speech": r"text[ -]to[ -]speech|read(?:s|ing)? aloud",
    "disable": r"(?:turn|turns|turned|turning|switch|switched|switching) (?:it |them |this |that |these |the \w+ )?off",
    "enable": r"(?:turn|turns|turned|turning|switch|switched|switching) (?:it |them |this |that |these |the \w+ )?on(?! \w+day)",
    "delete": r"get(?:ting)? rid of",
    "rollback": r"roll(?:ed|ing)? back",
    "toc": r"table of contents",
    "accidentally": r"by (?:accident|mistake)",
    "automatically": r"(?:by itself|by themselves|on (?:its|their) own)",
    "daily": r"(?:every|each) day",
    "weekly": r"(?:every|each) week",
    "monthly": r"(?:every|each) month",
    "login": r"log(?:ged|ging)? in(?:to)?|sign(?:ed|ing)? in(?:to)?",
    "backup": r"back(?:ed|ing)? up",
    "setup": r"set(?:ting)? up",
}

# Each line is one group; a word may be in several, and the groups that come first are asked for first.
ENGLISH = """
    thumbnail preview miniature
    hover mouse pointer tooltip
    program software application app tool
    app application program
    editor ide vscode
    browser chrome firefox safari edge
    word docx doc office
    spreadsheet excel csv table
    document doc docs
    documentation docs manual guide
    date time timestamp day
    timestamp datetime date
    snippet abbreviation expansion
    template boilerplate skeleton starter
    typing type enter input
    autocomplete completion suggestion intellisense
    random shuffle surprise
    arbitrary random
    duplicate double twice identical
    anchor id identifier
    identifier id name
    paragraph block
    heading header section title headline
    heading outline toc
    footnote footer annotation remark reference
    quote quotation blockquote cite
    link hyperlink reference url
    url address link
    backlink mention incoming
    mention refer reference cite
    broken dead dangling missing
    placeholder missing nonexistent
    unlinked orphan isolated disconnected
    tag label keyword hashtag category
    bookmark favourite favorite favorites star pin
    filter restrict narrow limit exclude
    exclude ignore omit skip hide
    hide invisible conceal collapse
    sort order ranking
    count number amount total
    rename retitle
    replace substitute
    merge combine join unite
    split separate divide
    relocate move
    archive archived
    edit modify change alter write
    view display show see
    print pdf paper
    slides presentation powerpoint slideshow
    scan ocr scanner
    voice speech dictate dictation audio spoken
    transcribe transcription transcript dictation
    recording audio record recorded
    video movie clip
    email mail inbox
    newsletter mailing
    chat message messaging
    notification notify alert reminder
    reminder remind alarm
    calendar schedule agenda event
    timer alarm stopwatch
    encrypt encryption encrypted
    security secure safe dangerous safety risk
    permission access authorization authorisation allowed rights
    token secret credential apikey
    sso saml oauth authentication login
    license licence licensing
    opensource license
    free gratis
    subscription plan pricing
    account user profile
    member membership
    version release edition
    downgrade older rollback previous
    update upgrade newer
    changelog release
    log logs logging debug output
    debug debugging troubleshoot diagnose
    crash freeze hang
    report issue bug
    support help
    question faq
    beginner newcomer start introduction tutorial
    tutorial guide walkthrough howto instructions
    recipe howto guide
    instruction instructions guide steps
    principle philosophy idea goal
    contribute contributor contributing contribution
    rule rules policy conduct convention guideline
    behaviour behavior conduct
    harassment conduct abuse
    build compile
    npm node yarn package
    container docker devcontainer
    repository repo git
    commit push
    github git
    pipeline ci workflow action actions
    request fetch http
    server hosting
    domain dns url
    blog website site
    clipboard paste
    clip clipper scrape save
    article webpage clip
    drag drop
    attachment attach file media
    whiteboard canvas draw drawing
    mindmap graph map
    graph network visualization visualisation map
    visualise visualize graph
    node dot vertex
    zoom magnify
    theme appearance dark style colours
    font typeface typography
    spellcheck spelling spell typo
    misspelled spelling typo
    grammar spelling
    language locale
    translate translation language
    statistic statistics usage
    spy telemetry tracking privacy
    query filter condition
    grep search ripgrep
    grep match pattern
    pattern regex regexp
    wildcard glob pattern
    scheduled cron recurring interval
    periodically regularly interval
    daily today day
    yesterday daily
    weekly week
    tomorrow daily
    today todays daily
    diary journal log
    variable placeholder
    script automation automate programmatically
    automate automatic automation
    json machine format
    output format
    flag option parameter argument
    option flag parameter setting
    argument parameter option
    exit status return
    ai llm assistant chatbot gpt claude model
    assistant ai agent
    chatgpt ai llm
    bring import migrate
    transfer migrate move import
    port migrate
    migrate migrating migration
    tablet ipad phone mobile
    iphone ios phone
    multiple several many
    workspace project vault
    vault workspace folder
    location place
    path location
    offline network internet
    cloud online sync
    sync synchronize git
    synchronise synchronize git
    lint linter check health
    check verify validate lint
    validate check lint
    tidy clean lint
    wrong incorrect invalid error
    tree hierarchy outline
    summary overview abstract
    overview introduction
    emoji icon smiley
    math maths mathematics
    formulas formula math
    equation math
    uml diagram mermaid
    flowchart mermaid diagram
    kanban board
    nested sub subfolder child below
    parent above
    top beginning begin
    bottom end
    inside within
    show reveal
    popup tooltip overlay
    window pane tab
    menu palette
    palette command
    click press tap
    key shortcut
    installed install
    uninstall remove
    reload restart
    offer provide
    requirement require prerequisite
    prerequisite requirement need
    comparison compare alternative versus
    compare comparison alternative alternatives
    alternative instead
    reject rejected discarded
    drawback disadvantage downside cons
    advantage benefit pros
    picture image photo screenshot figure gif illustration
    update upgrade
    gather collect record track
    regex regexp regular
    organize organise structure arrange
    document record
    folder directory
    delete remove erase discard trash clear
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
    terminal shell cli console prompt command
    commandline cli terminal shell console command
    accidentally accident mistake undo trash restore recover
    sso saml oauth login
    docx word doc office document
    monthly month
    sidebar panel pane
    import migrate migration convert switch
    switch enable activate toggle
    switch migrate change
    export convert
    layout template
    private secret confidential
    price cost pricing fee expensive cheap pay paid free
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
    automatically automatic auto itself
    disable off stop turn switch
    enable activate turn switch
    configure setting settings setup option preference
    install setup installation
    version history
    undo revert restore
    restore recover
    together collaborate collaboration collaborative team jointly
    simultaneously realtime concurrently together
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
    coffee espresso cappuccino
    maker machine device appliance unit
    leak leaking drip dripping
    hot heat overheat overheated overheating warm
    cold freezing frozen frost freeze
    broken defective faulty damaged
    flat puncture
    tyre tire wheel
    battery charge charging
    lamp light bulb
    fridge refrigerator freezer
    cooker stove hob
    vacuum hoover
    laundry washing
    boiler heating heater furnace
    thermostat temperature
    key code pin
    neighbour neighbor
    tenant landlord rent lease
    contract agreement
    cancel cancellation terminate
    invoice bill receipt payment
    refund reimbursement money
    salary wage pay
    tax taxes
    account bank
    loan credit mortgage
    holiday vacation leave
    employee staff colleague
    colleague coworker teammate collaborator collaborate collaboration team together
    customer client
    supplier vendor
    decide decision decided agreed
    discuss discussed discussion talk
    postpone postponed delay delayed moved
    responsible owner charge
    reason because why
    goal aim objective target
    release launch ship deploy
    rollback revert undo
    outage incident downtime
    server host machine
    database db sql
    backup restore snapshot
    login sign signin account
    slow performance speed
    test tests testing
    branch merge
    lesson class course
    teacher instructor tutor
    exam test
    school university college
    author writer wrote
    novel book story
    chapter section
    read reading
    train railway rail
    station stop
    bus coach
    boat ferry ship
    airport flight plane
    luggage suitcase baggage bag
    visa passport
    museum exhibition gallery
    beach sea coast
    mountain hike hiking trek trail walk
    hut refuge shelter cabin
    tent camping camp
    restaurant eat dinner
    breakfast lunch meal
    vegetarian vegan
    ingredients ingredient
    dough batter
    flour wheat
    sugar sweet
    salt salty
    spicy hot chili
    boil simmer cook
    fry roast
    oven bake baking roast
    freeze frozen freezer
    rise proof prove rest
    soak soaked
    serve servings portions people
    prune cut trim
    seed seeds sow sowing
    soil earth compost
    slug snail slugs pest
    aphid pest insects
    blight disease mildew fungus diseased
    harvest pick ripe
    lawn grass mow
    dog puppy
    cat kitten
    vet veterinarian
    vaccine vaccination jab shot
    headache migraine
    pain ache hurts hurt
    exercise workout training
    run running jog jogging
    knee leg
    surgery operation
    physio physiotherapy
    diet nutrition
    sleep insomnia
    allergy allergic intolerance
    blood pressure
    pregnant pregnancy
    baby newborn infant
    birthday anniversary
    present gift
    guest visitor
    party celebration
    song music
    guitar piano instrument
    camera photo
    paint painting
    knit knitting wool
    wood timber
    screw bolt
    glue adhesive
    noise loud sound
    smell odour odor stink
    stain spot
    limescale descale descaling calcium
    mould mold
    replace change exchange swap
    throw dispose discard trash
    opening hours open
    phone number contact call
    emergency urgent
"""
