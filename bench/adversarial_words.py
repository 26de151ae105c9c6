"""Words from which adversarial pairs are made: names, opposites, units, negations. Not those that guards use."""

from __future__ import annotations

# Names of one kind stand for one another; a comma parts them.
NAMES = {
    "country": (
        "India,China,Pakistan,Canada,Germany,Japan,Russia,Australia,France,Spain,Italy,Brazil,Mexico,Turkey,Israel,"
        "Singapore,Vietnam,Indonesia,Malaysia,Nepal,Bangladesh,Ukraine,Iran,Iraq,Syria,Egypt,Thailand,Poland,Sweden,"
        "Norway,Switzerland,Ireland,Greece,Portugal,Argentina,Chile,Colombia,Venezuela,Cuba,Kenya,Nigeria,Ghana,"
        "Afghanistan,Taiwan,Belgium,Denmark,Finland,Austria,Hungary,Morocco,Peru"
    ),
    "people": (
        "Indian,Chinese,American,British,German,French,Japanese,Russian,Canadian,Australian,Pakistani,Italian,"
        "Mexican,Korean,Turkish,Israeli,Swedish,Irish,Brazilian,Iranian"
    ),
    "peoples": (
        "Indians,Americans,Russians,Germans,Pakistanis,Canadians,Australians,Italians,Mexicans,Koreans,Israelis,Arabs"
    ),
    "city": (
        "Delhi,Mumbai,Bangalore,Hyderabad,Chennai,Pune,Kolkata,Jaipur,Gurgaon,Noida,Lucknow,Chandigarh,Bhopal,"
        "Nagpur,Mysore,Coimbatore,Ahmedabad,Kochi,London,Paris,Sydney,Melbourne,Toronto,Vancouver,Seattle,Chicago,"
        "Boston,Miami,Dubai,Berlin,Tokyo,Beijing,Shanghai,Moscow,Rome,Madrid,Houston,Dallas,Phoenix,Denver,Atlanta,"
        "Portland,San Francisco,New York,Los Angeles,Las Vegas,San Diego,Philadelphia,Detroit,Orlando,Austin,"
        "Cleveland,Baltimore,Minneapolis,Nashville,Pittsburgh,Sacramento,Boise,Tampa,Barcelona,Amsterdam"
    ),
    "state": (
        "California,Texas,Florida,Alaska,Hawaii,Arizona,Ohio,Illinois,Georgia,Colorado,Oregon,Nevada,Utah,Michigan,"
        "Virginia,Tennessee,Alabama,Montana,Wisconsin,Minnesota"
    ),
    "indian state": "Kerala,Punjab,Karnataka,Gujarat,Maharashtra,Bihar,Rajasthan,Haryana,Assam,Telangana,Odisha,Goa",
    "language": (
        "English,Spanish,Hindi,Tamil,Telugu,Marathi,Urdu,Sanskrit,Arabic,Mandarin,Punjabi,Bengali,Kannada,Swahili"
    ),
    "site": (
        "Facebook,Instagram,Twitter,Snapchat,WhatsApp,YouTube,LinkedIn,Tumblr,Pinterest,Reddit,Tinder,Netflix,"
        "Spotify,Gmail,Skype,WeChat,Telegram,Wikipedia"
    ),
    "company": (
        "Google,Microsoft,Apple,Amazon,IBM,Intel,Oracle,Tesla,Uber,Airbnb,Samsung,Sony,Nokia,Lenovo,Dell,Accenture,"
        "Infosys,TCS,Wipro,Cognizant,Deloitte,Flipkart,Snapdeal,Walmart,Starbucks,Cisco,Adobe,Boeing,Airbus,Honda,"
        "Toyota,BMW,Nike"
    ),
    "programming language": "Java,Python,JavaScript,PHP,Ruby,Perl,Scala,Swift,MATLAB,Haskell,Rust,Kotlin",
    "system": "Windows,Linux,Android,Ubuntu,iOS",
    "data base": "MySQL,MongoDB,PostgreSQL,Cassandra,Redis,SQLite",
    "religion": "Islam,Hinduism,Christianity,Buddhism,Judaism,Sikhism,Jainism",
    "believers": "Muslims,Hindus,Christians,Jews,Buddhists,Sikhs",
    "person": (
        "Donald Trump,Hillary Clinton,Barack Obama,Narendra Modi,Vladimir Putin,Bernie Sanders,Arvind Kejriwal,"
        "Elon Musk,Steve Jobs,Bill Gates,Mark Zuckerberg,Rahul Gandhi,Mahatma Gandhi,Adolf Hitler,Abraham Lincoln,"
        "Edward Snowden,Julian Assange,Justin Bieber,Taylor Swift,Tom Cruise,Brad Pitt,Shah Rukh Khan,Salman Khan,"
        "Sachin Tendulkar,Virat Kohli,Cristiano Ronaldo,Lionel Messi,Roger Federer,Michael Jackson,Albert Einstein,"
        "Stephen Hawking,Isaac Newton,Nikola Tesla,George Bush,Ronald Reagan,Winston Churchill,Joseph Stalin"
    ),
    "surname": (
        "Trump,Clinton,Obama,Modi,Putin,Hitler,Gandhi,Nehru,Stalin,Einstein,Newton,Messi,Ronaldo,Dhoni,Kejriwal"
    ),
    "hero": "Batman,Superman,Spiderman,Thor,Hulk,Deadpool,Wolverine",
    "planet": "Mars,Venus,Jupiter,Saturn,Mercury,Neptune,Uranus,Pluto",
    "examination": "GATE,CAT,GRE,GMAT,SAT,JEE,NEET,UPSC,IELTS,TOEFL,CLAT,IBPS,AIPMT",
    "degree": "MBA,MBBS,BBA,MTech,BSc,MSc,PhD,MCA",
    "university": "Harvard,Stanford,MIT,Yale,Princeton,Oxford,Cambridge,Berkeley,Cornell",
    "sickness": "diabetes,asthma,malaria,cancer,pneumonia,arthritis,epilepsy,leukemia",
    "drug": "Xanax,Adderall,Ibuprofen,Tylenol,Aspirin,Prozac,Zoloft",
    "vitamins": "vitamin A,vitamin C,vitamin D,vitamin E,vitamin K",
    "animal": "dogs,cats,snakes,elephants,tigers,lions,horses,rabbits,whales,dolphins,sharks,spiders",
    "instrument": "guitar,piano,violin,trumpet,flute,ukulele",
    "food": (
        "lasagna,chili,pizza,spaghetti,sushi,tacos,pancakes,meatloaf,brownies,pasta,oatmeal,steak,salmon,shrimp,"
        "broccoli,bananas,apples,oranges,eggs,bacon,cheese,bread,yogurt,avocado"
    ),
    "bank": "chase,wells fargo,bank of america,capital one,citibank,td bank,us bank",
    "card": "visa,mastercard,american express",
    "account": "checking,savings",
    "bill": "electric,water,gas,cable,phone,internet",
    "currency": "dollars,euros,yen,pesos,rupees,rubles,pounds,francs",
}

# Opposites that may stand for one another wherever they are whole words.
OPPOSITES = (
    "best worst,better worse,buy sell,buying selling,increase decrease,increasing decreasing,increases decreases,"
    "gain lose,gaining losing,win lose,start stop,starting stopping,enable disable,lock unlock,activate deactivate,"
    "install uninstall,follow unfollow,block unblock,advantages disadvantages,advantage disadvantage,"
    "benefits drawbacks,love hate,loves hates,remember forget,male female,men women,man woman,boys girls,boy girl,"
    "girlfriend boyfriend,husband wife,mother father,mom dad,brother sister,son daughter,king queen,north south,"
    "east west,democrats republicans,oldest newest,richest poorest,tallest shortest,largest smallest,"
    "biggest smallest,highest lowest,fastest slowest,cheapest costliest,strongest weakest,hottest coldest,"
    "easiest hardest,longest shortest,strengths weaknesses,success failure,attract repel,introvert extrovert,"
    "optimistic pessimistic,import export,lend borrow,encrypt decrypt,minimum maximum,upload download,arrive depart,"
    "arrival departure,inside outside,indoor outdoor,morning evening,winter summer,raise lower,louder quieter,"
    "faster slower,add remove,hire fire,allow forbid,positive negative,left right,ascending descending,"
    "undergraduate postgraduate,beginner expert,rich poor,cheap expensive,hot cold,good bad,happy sad,before after,"
    "accept reject,accepted rejected,credit debit,freeze unfreeze,deposit withdraw,on off,increased decreased,"
    "more less"
)
# Opposites of a plain question for facts say the same: is it safe, is it dangerous. So not where that is asked.
GRADED = "good bad rich poor cheap expensive hot cold happy sad better worse more less positive negative"
# Around an opposite, what makes it something else (a high school, how good, any more).
BLOCKED = (
    r"how (?:good|bad|rich|cheap|hot|cold|happy|much|many|more)|no (?:more|less)|any ?more|more (?:or|and) (?:more|"
    r"less)|good (?:morning|evening|night|luck|bye)|pros and cons|right now|all right|human right|right (?:to|of|"
    r"after|before)|left (?:over|for|in|with|on)|i left|fire (?:stick|tv|fox)|black man|on or off|based on|"
    r"after all|look(?:ing)? after|no better|had better|love (?:story|letter|life)|at (?:least|most|best)|(?:to|be|"
    r"been|is) fire|more than|less than|credit (?:score|card|limit|report|rating|history|union)|direct deposit|"
    r"tak(?:e|es|ing|en) advantage|positive (?:review|energy)|before long|fall in love|in love|even more|once more|"
    r"add up|hot(?:spot| dog| spot)|best (?:friend|buy|western|of luck)|the (?:right|left) (?:way|time|thing|"
    r"person)|man(?:kind|'s)|south (?:africa|korea|indian?|park|carolina|asian?|america)|north (?:korea|america|"
    r"indian?|carolina)|east (?:india|asian?|coast)|west (?:bengal|indies|coast|wing)|west(?:ern)?|middle east|"
    r"far east|morning sickness|win or lose|burger king|king (?:of|size)|iron man|ant man|son of|stop (?:by|over)|"
    r"non stop|one more|some more|add more|order more|more (?:checks|info|information|about|details)|many more|"
    r"what more|tell me more"
)

# Units after a number, as (one, many): each may stand for those next to it.
UNITS = (
    "minute minutes,hour hours,day days,week weeks,month months,year years",
    "mile miles,kilometer kilometers,meter meters,yard yards,foot feet,inch inches",
    "km km,miles miles",
    "pound pounds,kilogram kilograms,ounce ounces",
    "kg kg,lbs lbs",
    "cm cm,inches inches",
    "MB MB,GB GB,TB TB",
    "mb mb,gb gb,tb tb",
    "dollar dollars,euro euros,rupee rupees,peso pesos",
    "USD USD,EUR EUR,INR INR",
    "teaspoon teaspoons,tablespoon tablespoons,ounce ounces,cup cups,pint pints,liter liters,quart quarts,"
    "gallon gallons",
    "volts volts,watts watts,amps amps",
    "lakhs lakhs,crores crores",
)

# What a request of an intent of CLINC150 may end with; {} is the number.
INSERTED = {
    "alarm": " for {} am",
    "timer": " for {} minutes",
    "transfer": ", the amount is {} dollars",
    "restaurant_reservation": " for {} people",
    "accept_reservations": " for {} people",
    "pay_bill": ", the amount is {} dollars",
    "pto_request": " for {} days",
    "schedule_meeting": " for {} pm",
    "roll_dice": " with {} sides",
    "order": ", {} pieces",
    "change_volume": " to {} percent",
    "weather": " in {} days",
    "reminder_update": " in {} hours",
    "calories": " if i eat {} of them",
    "cook_time": " at {}00 degrees",
    "credit_limit_change": " to {}000 dollars",
    "book_hotel": " for {} nights",
    "car_rental": " for {} days",
    "uber": " for {} passengers",
    "insurance": " for {} people",
    "smart_home": " in {} minutes",
    "recipe": " for {} people",
    "meal_suggestion": " for {} people",
    "traffic": " in {} minutes",
    "travel_suggestion": " with {} kids",
    "order_checks": ", {} boxes",
    "spending_history": " in the last {} days",
    "transactions": " in the last {} days",
    "restaurant_suggestion": " for {} people",
    "travel_notification": " for {} weeks",
    "interest_rate": " for {} months",
    "taxes": " for {} children",
}

# With which requests begin.
VERBS = (
    "set turn play add book make send pay cancel remind transfer change call order schedule start stop delete remove "
    "share move put reserve tell read erase activate raise lower switch increase decrease skip roll flip clear use give"
)

# What is asked, and asked with the opposite sense. Every rule works in one way or in both.
_NEVER = r"\bnot\b|n't|\bnever\b"
NEGATIONS: list[tuple[str, str, str | None]] = [  # what is found, what it becomes, where not
    (
        r"^(Why (?:do|does|did|is|are|was|were|should|would|can|could) "
        r"(?:I|you|we|they|people|he|she|it|some people|most people|\w+s)) (?!not\b|n't|only\b)",
        r"\1 not ",
        _NEVER,
    ),
    (
        r"^(Why) (don't|doesn't|didn't|isn't|aren't|can't|couldn't|shouldn't|wouldn't|won't|haven't|hasn't) ",
        "unnot",
        None,
    ),
    (
        r"^(What|Who|Which|Where|When) ((?:\w+ ){0,3}?should) (I|you|we|they|one|people) (?!not\b)",
        r"\1 \2 \3 not ",
        _NEVER,
    ),
    (
        r"^(How (?:can|do|should) (?:I|you|we|people)) "
        r"(?=(?:be|feel|lose|gain|let|fall|waste|look|think|hurt|fail|miss|spend|sleep|eat|care|love|worry|cry|die) )",
        r"\1 not ",
        _NEVER + r"|\bget started|\bmake (?:money|friends)",
    ),
    (r"\b([Hh]ow) to (?!not\b)", r"\1 not to ", _NEVER),
    (
        r"\b([Ww]hat (?:happens|will happen|would happen) (?:if|when) (?:I|you|we|they|people)) "
        r"(?!do|am|are|is|have|has|were|had|could|can|not\b)",
        r"\1 don't ",
        _NEVER,
    ),
    (r"\bwithout\b(?= (?:\w+ing|an?|any|my|the)\b)", "with", None),
    (
        r"(?<!up )\bwith\b(?= (?:an?|any|my) )",
        "without",
        r"\b(?:deal|without|cope|break|not|wrong|meet|talk|comes?|start|happen|sleep|love|wants?|fell?|speak|end|needs?|"
        r"experience|problem|help) ?",
    ),
    (
        r"^((?:please |(?:can|could) you (?:please )?|would you |i need you to |i want you to )?)"
        rf"({'|'.join(VERBS.split())}) ",
        "imperative",
        _NEVER,
    ),
    (r"\bremind me to\b", "remind me not to", _NEVER),
    (r"^i (want|need|wish|intend|plan) ", r"i don't \1 ", _NEVER),
    (
        r"\b(Who|[Ww]hich \w+|[Ww]hat \w+s) (are|can|should|will|would) "
        r"(?!not\b|the|your|my|it\b|you\b|I\b|i\b|we\b|they\b|there\b|some\b|better|best|good)",
        r"\1 \2 not ",
        _NEVER,
    ),
]
