//! Who cannot see what: random tokens, roles and requests over random resources, held against a model of the rules.
//!
//! For each seed there are two servers. One has everything. Its twin lacks what the token may not see: resources that no letter
//! reaches are not there, and of the others each old version that it may not see holds something else that it may not see either.
//! The same request must get the same answer from both, but for times, ids that the server gives out, and page links. Beside that,
//! statuses and contents of many answers are those that the model expects, no answer shows the mark of a version that is not to be seen,
//! and nothing is changed that the model says may not be changed.

mod consents;
mod directives;
mod model;
mod population;
mod requests;
mod writes;

use crate::support::server::rounds as of_rounds;
use crate::support::{Answer, Client, Person, Server};
use model::{Name, Rights, World, text};
use pharos::auth::records;
use pharos::auth::scope::Scopes;
use population::{Rng, Token, blank, mark_of, resource};
use regex::Regex;
use requests::{Ask, Expect, Maker, all_names};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const SEEDS: usize = 30;
/// As many on MongoDB.
const FEW_SEEDS: usize = 1;
const READS: usize = 45;
const WRITES: usize = 14;
const CREATES: usize = 5;
/// Pages that are followed.
const PAGES: usize = 60;
const LETTERS: [char; 4] = ['r', 's', 'u', 'd'];

#[test]
fn nobody_learns_of_what_is_not_to_be_seen() {
    rounds(population::token);
}

#[test]
fn nobody_learns_of_what_patients_do_not_consent_to() {
    let counts = rounds(population::wide_token);
    assert!(counts.narrowed > 0 && counts.hidden > 0 && counts.shown > 0);
}

/// Runs the seeds with tokens that `draw` draws.
fn rounds(draw: fn(&mut Rng) -> Token) -> Counts {
    let first = std::env::var("PHAROS_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let count = std::env::var("PHAROS_TEST_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(of_rounds(SEEDS, FEW_SEEDS) as u64);
    let first: u64 = first.unwrap_or(1);
    let mut counts = Counts::default();
    let mut failed = Vec::new();
    for seed in first..first + count {
        let round = std::panic::AssertUnwindSafe(|| Round::new(seed, draw).run(&mut counts));
        if std::panic::catch_unwind(round).is_err() {
            failed.push(seed);
        }
    }
    println!("{count} tokens: {counts:?}");
    assert!(failed.is_empty(), "each of PHAROS_TEST_SEED={failed:?} fails");
    counts
}

/// What was looked at, so that a run shows that it did look.
#[derive(Debug, Default)]
struct Counts {
    versions: usize,
    hidden: usize,
    requests: usize,
    refused: usize,
    absent: usize,
    shown: usize,
    changed: usize,
    parted: usize,
    /// Tokens for which consents counted.
    narrowed: usize,
    explained: usize,
}

struct Round {
    rng: Rng,
    /// The one with everything, and its twin, which end with this.
    _servers: [Server; 2],
    admins: [Client; 2],
    clients: [Client; 2],
    rights: Rights,
    world: World,
    /// The marks of each version, and the letters that see it.
    marks: BTreeMap<String, String>,
    masks: Masks,
    story: String,
}

impl Round {
    fn new(seed: u64, draw: fn(&mut Rng) -> Token) -> Self {
        let mut rng = Rng(seed);
        let token = draw(&mut rng);
        let guarded = || Server::with(|config| (config.insecure_open, config.audit.enabled) = (false, Some(false)));
        let (full, twin) = (guarded(), guarded());
        let admins = [&full, &twin].map(operator);
        let rounds = populate(&mut rng, &admins[0], token.with_consents);
        let world = load(&admins[0]);
        let clients = [&full, &twin].map(|server| mint(server, &token));
        let user = token.user.as_ref().map(|(roles, user)| (&roles[..], user.as_deref(), token.break_glass));
        let registered = (token.registered.as_deref(), &token.purposes[..]);
        let rights = Rights::new(&token.scopes, token.patient.as_deref(), user, registered);
        fill_twin(&admins[1], &world, &rights, &rounds);
        let story = format!("PHAROS_TEST_SEED={seed} {token:#?}");
        Self {
            rng,
            _servers: [full, twin],
            admins,
            clients,
            marks: marks(&rights, &world),
            rights,
            world,
            masks: Masks::new(),
            story,
        }
    }

    fn run(mut self, counts: &mut Counts) {
        let versions = || self.world.0.iter().flat_map(|(name, all)| (1..=all.len()).map(move |number| (name, number)));
        let is_hidden = |(name, number): &(&Name, usize)| !is_seen(&self.rights, &self.world, name, *number);
        counts.versions += versions().count();
        counts.hidden += versions().filter(is_hidden).count();
        counts.narrowed += usize::from(self.rights.is_narrowed(&self.world));
        self.explain(counts);
        for _ in 0..of_rounds(READS, 15) {
            let ask = self.maker().read();
            self.ask(&ask, counts);
        }
        for _ in 0..of_rounds(WRITES, 6) {
            let ask = self.maker().write();
            self.ask(&ask, counts);
            if self.settle(&ask, counts) && self.have_parted() {
                counts.parted += 1;
                return;
            }
            let ask = self.maker().read();
            self.ask(&ask, counts);
        }
        for _ in 0..CREATES {
            let ask = self.maker().create();
            self.ask(&ask, counts);
            if self.settle(&ask, counts) && self.have_parted() {
                counts.parted += 1;
                return;
            }
        }
    }

    /// `$consent-explain` says of each resource what the model says.
    fn explain(&self, counts: &mut Counts) {
        let Some(who) = self.rights.recipient.as_ref().filter(|_| self.rights.is_narrowed(&self.world)) else { return };
        let recipient = who.reference.iter().map(|reference| format!("recipient={reference}"));
        let roles = who.roles.iter().map(|role| format!("role=urn:pharos:role|{}", role.replace(' ', "%20")));
        let purposes = who.purposes.iter().map(|purpose| format!("purpose={purpose}"));
        let query = recipient.chain(roles).chain(purposes).collect::<Vec<_>>().join("&");
        let live = || self.world.0.values().filter_map(|versions| versions.last()?.as_ref());
        for patient in (1..=4).map(|number| format!("pat{number}")) {
            let about: Vec<_> = live().filter(|content| consents::patients(content).contains(&patient)).collect();
            let name = |content: &Value| format!("{}/{}", text(content, "resourceType"), text(content, "id"));
            let asked: String = about.iter().flat_map(|content| ["&resource=".to_owned(), name(content)]).collect();
            // Who gets their own data needs no consent, and hears so once.
            if about.is_empty() || who.reference == Some(format!("Patient/{patient}")) {
                continue;
            }
            let answer = self.admins[0].get(&format!("/Patient/{patient}/$consent-explain?{query}{asked}")).expect(200);
            for (content, found) in about.iter().zip(answer.at("/parameter").as_array().unwrap()) {
                let permits = consents::permits(&self.world, who, "access", content, &patient);
                let decision = if permits { "permit" } else { "deny" };
                let is_told = found["part"][1]["valueCode"] == decision;
                assert!(is_told, "{}\n{} of {patient} should be {decision}: {found:#}", self.story, name(content));
                counts.explained += 1;
            }
        }
    }

    fn maker(&mut self) -> Maker<'_> {
        Maker { rng: &mut self.rng, world: &self.world, rights: &self.rights }
    }

    /// Asks both, and holds the answers against each other and against the model.
    fn ask(&self, ask: &Ask, counts: &mut Counts) {
        let [full, twin] = [0, 1].map(|which| pages(&self.clients[which], ask));
        let [shown, twins] = [(&full, &self.clients[0]), (&twin, &self.clients[1])].map(|(pages, client)| {
            let mask = |answer: &Answer| self.masks.apply(answer, client.base());
            pages.iter().map(mask).collect::<Vec<_>>().join("\n-- next page --\n")
        });
        assert!(shown == twins, "{}\n{ask:#?}\n-- all --\n{shown}\n-- without what is hidden --\n{twins}", self.story);
        self.no_hidden_mark(ask, &full);
        if let Some(why) = differs(ask, &full) {
            panic!("{}\n{ask:#?}\n{why}\n{shown}", self.story);
        }
        counts.requests += 1;
        match full[0].status() {
            401 | 403 => counts.refused += 1,
            404 | 410 => counts.absent += 1,
            _ if full.iter().any(|page| page.text().contains("mark.")) => counts.shown += 1,
            _ => {}
        }
    }

    /// A mark stands in every version that was made from the same content: one of them has to be seen.
    fn no_hidden_mark(&self, ask: &Ask, pages: &[Answer]) {
        for page in pages {
            let is_hidden = |letters: &str| !letters.chars().any(|letter| ask.letters.contains(letter));
            let shown = self.marks.iter().find(|(mark, letters)| is_hidden(letters) && page.text().contains(*mark));
            assert!(shown.is_none(), "{}\n{ask:#?}\nshows {shown:?}\n{page}", self.story);
        }
    }

    /// Looks at all that the request changed: each change has to be allowed, by what was there before. Tells whether
    /// there is one.
    fn settle(&mut self, ask: &Ask, counts: &mut Counts) -> bool {
        let before = counts.changed;
        let after = load(&self.admins[0]);
        for (name, versions) in &after.0 {
            let before = self.world.0.get(name).map_or(&[][..], Vec::as_slice);
            assert_eq!(versions.get(..before.len()), Some(before), "{}\n{ask:#?}\nchanged the past", self.story);
            for content in &versions[before.len()..] {
                let allowed = match content {
                    None => self.rights.reaches(&self.world, 'd', name),
                    Some(content) if before.is_empty() => {
                        self.rights.may(&self.world, 'c', content)
                            && (name.1.starts_with("id-") || self.rights.all_by_scopes('u', &name.0))
                    }
                    Some(content) => {
                        self.rights.reaches(&self.world, 'u', name) && self.rights.may(&self.world, 'u', content)
                    }
                };
                assert!(allowed, "{}\n{ask:#?}\nmay not change {name:?}", self.story);
                counts.changed += 1;
            }
        }
        if counts.changed == before {
            return false;
        }
        self.world = after;
        self.marks = marks(&self.rights, &self.world);
        true
    }

    /// Whether a change made something be seen that the twin does not have, or something that the twin has be seen no more.
    fn have_parted(&self) -> bool {
        let twin = load(&self.admins[1]);
        let plain = |content: &Option<Value>| {
            content.clone().map(|mut content| {
                content["meta"].as_object_mut().unwrap().remove("lastUpdated");
                content
            })
        };
        let is_named = |name: &Name| !name.1.starts_with("id-");
        let shows_more = self.world.0.iter().filter(|(name, _)| is_named(name)).any(|(name, versions)| {
            let twins = twin.0.get(name);
            let is_same = |at: usize| twins.and_then(|twins| twins.get(at)).map(plain) == Some(plain(&versions[at]));
            (0..versions.len()).any(|at| is_seen(&self.rights, &self.world, name, at + 1) && !is_same(at))
        });
        // A Binary that nothing has attached any more is seen, unless there is a document that is not.
        let sees = |world: &World, name: &Name| LETTERS.iter().any(|letter| self.rights.reaches(world, *letter, name));
        shows_more
            || twin.0.keys().filter(|name| is_named(name)).any(|name| sees(&twin, name) && !sees(&self.world, name))
    }
}

fn is_seen(rights: &Rights, world: &World, name: &Name, number: usize) -> bool {
    LETTERS.iter().any(|letter| rights.sees(world, *letter, name, number))
}

/// The mark of each version, with the letters that see one that has it.
fn marks(rights: &Rights, world: &World) -> BTreeMap<String, String> {
    let mut marks: BTreeMap<String, String> = BTreeMap::new();
    for (name, versions) in &world.0 {
        for (at, content) in versions.iter().enumerate() {
            if let Some(mark) = content.as_ref().and_then(mark_of) {
                let letters = LETTERS.iter().filter(|letter| rights.sees(world, **letter, name, at + 1));
                marks.entry(mark.to_owned()).or_default().extend(letters);
            }
        }
    }
    marks
}

/// Somebody who may do everything, whatever patients consent to.
fn operator(server: &Server) -> Client {
    let role = records::Role {
        name: "Operator".into(),
        scopes: Scopes::parse("user/*.cruds"),
        own_patients: false,
        break_glass: true,
        is_admin: false,
        purpose_of_use: Vec::new(),
    };
    server.keep(&role.name, &role);
    server.as_user("user/*.cruds", &Person { roles: &["Operator"], break_glass: Some("a test"), ..Person::default() })
}

/// Makes a few rounds of changes, each in one transaction, and tells what each of them touched.
fn populate(rng: &mut Rng, admin: &Client, with_consents: bool) -> Vec<Vec<Name>> {
    let mut names: Vec<_> = all_names().filter(|name| with_consents || name.0 != "Consent").collect();
    let mut live = BTreeSet::new();
    let mut rounds = Vec::new();
    for round in 0..4 {
        let (mut touched, mut entries) = (Vec::new(), Vec::new());
        for at in (1..names.len()).rev() {
            names.swap(at, rng.below(at + 1));
        }
        for name in &names {
            if rng.chance(if round == 0 { 5 } else { 60 }) {
                continue;
            }
            let removes = rng.chance(20) && live.remove(name);
            if !removes {
                live.insert(name.clone());
            }
            entries.push(entry(name, (!removes).then(|| resource(rng, &name.0, &name.1))));
            touched.push(name.clone());
        }
        admin.post("").json(bundle(&entries)).expect(200);
        rounds.push(touched);
    }
    rounds
}

fn entry((type_name, id): &Name, content: Option<Value>) -> Value {
    let method = if content.is_some() { "PUT" } else { "DELETE" };
    let mut entry = json!({"request": {"method": method, "url": format!("{type_name}/{id}")}});
    if let Some(content) = content {
        entry["resource"] = content;
    }
    entry
}

fn bundle(entries: &[Value]) -> Value {
    json!({"resourceType": "Bundle", "type": "transaction", "entry": entries})
}

/// All versions that a server has.
fn load(admin: &Client) -> World {
    let mut world = World::default();
    let mut page = admin.get("/_history?_count=1000").expect(200);
    let mut newest_first = Vec::new();
    loop {
        for mut entry in page.at("/entry").as_array().cloned().unwrap_or_default() {
            let location = text(&entry["response"], "location").to_owned();
            newest_first.push((version_of(&location).0, Some(entry["resource"].take()).filter(Value::is_object)));
        }
        let Some(next) = page.link("next") else { break };
        page = admin.get(&next).expect(200);
    }
    for (name, content) in newest_first.into_iter().rev() {
        world.0.entry(name).or_default().push(content);
    }
    world
}

/// The name and version in `…/Patient/1/_history/2`.
fn version_of(location: &str) -> (Name, usize) {
    let parts: Vec<_> = location.rsplitn(5, '/').collect();
    ((parts[3].to_owned(), parts[2].to_owned()), parts[0].parse().unwrap())
}

/// The same history without what is hidden.
fn fill_twin(admin: &Client, world: &World, rights: &Rights, rounds: &[Vec<Name>]) {
    let mut made: BTreeMap<&Name, usize> = BTreeMap::new();
    for round in rounds {
        let mut entries = Vec::new();
        for name in round {
            let number = made.entry(name).or_default();
            *number += 1;
            let is_basis = rights.rests_on(world, name);
            let is_there = is_basis || LETTERS.iter().any(|letter| rights.reaches(world, *letter, name));
            let content = &world.0[name][*number - 1];
            let is_whole = is_basis || is_seen(rights, world, name, *number);
            if is_there {
                let content = content
                    .as_ref()
                    .map(|content| if is_whole { content.clone() } else { other(rights, world, content) });
                entries.push(entry(name, content.map(unstamped)));
            }
        }
        admin.post("").json(bundle(&entries)).expect(200);
    }
}

fn unstamped(mut content: Value) -> Value {
    if let Some(meta) = content.get_mut("meta").and_then(Value::as_object_mut) {
        meta.remove("versionId");
        meta.remove("lastUpdated");
        if meta.is_empty() {
            content.as_object_mut().unwrap().remove("meta");
        }
    }
    content
}

/// Some content that no letter reaches either; the same where there is none.
fn other(rights: &Rights, world: &World, content: &Value) -> Value {
    let bare = blank(text(content, "resourceType"), text(content, "id"));
    let mut labelled = bare.clone();
    labelled["meta"] = content["meta"].clone();
    let is_hidden = |content: &Value| !LETTERS.iter().any(|letter| rights.may(world, *letter, content));
    [bare, labelled].into_iter().find(is_hidden).unwrap_or_else(|| content.clone())
}

/// A client with the token, its roles kept before.
fn mint(server: &Server, token: &Token) -> Client {
    let Some((roles, fhir_user)) = &token.user else {
        return server.as_registered(&token.scopes, token.registered.as_deref(), &token.purposes);
    };
    for role in roles.iter().filter(|role| role.name != "Provider") {
        let kept = records::Role {
            name: role.name.clone(),
            scopes: Scopes::parse(&role.scopes),
            own_patients: role.own_patients,
            break_glass: role.break_glass,
            is_admin: false,
            purpose_of_use: role.purposes.clone(),
        };
        server.keep(&role.name, &kept);
    }
    let names: Vec<_> = roles.iter().map(|role| role.name.as_str()).collect();
    let person = Person {
        fhir_user: fhir_user.as_deref(),
        roles: &names,
        patient: token.patient.as_deref(),
        break_glass: token.break_glass.then_some("found unconscious"),
    };
    server.as_user(&token.scopes, &person)
}

/// The answer, and the pages that follow.
fn pages(client: &Client, ask: &Ask) -> Vec<Answer> {
    let mut request = client.request(ask.method, &ask.path);
    for (name, value) in &ask.headers {
        request = request.header(name, value);
    }
    if let Some((kind, body)) = &ask.body {
        let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        request = request.body(kind, text);
    }
    let mut pages = vec![request.send()];
    while pages.len() < PAGES {
        let last = &pages[pages.len() - 1];
        let is_bundle = last.status() == 200 && last.text().starts_with("{\"resourceType\":\"Bundle\"");
        let Some(next) = Some(last).filter(|_| is_bundle).and_then(|last| last.link("next")) else { break };
        pages.push(client.get(&next).send());
    }
    pages
}

/// Why an answer is not what the model expects.
fn differs(ask: &Ask, pages: &[Answer]) -> Option<String> {
    let status = pages[0].status();
    let entries = || pages.iter().flat_map(|page| page.at("/entry").as_array().cloned().unwrap_or_default());
    let (is_right, expected) = match &ask.expect {
        Expect::Any => (status < 500, "no failure".to_owned()),
        Expect::Status(wanted) => (status == *wanted, wanted.to_string()),
        Expect::Written => (status == 200 || status == 201, "200 or 201".to_owned()),
        Expect::Total(total) => (status == 200 && pages[0].at("/total") == *total, format!("a total of {total}")),
        Expect::Matches(wanted) => {
            let names = || {
                entries().map(|entry| {
                    (text(&entry["resource"], "resourceType").to_owned(), text(&entry["resource"], "id").to_owned())
                })
            };
            let found: BTreeSet<Name> = names().collect();
            (status == 200 && found == *wanted && names().count() == found.len(), format!("{wanted:?}"))
        }
        Expect::Versions(wanted) => {
            let found: BTreeSet<_> = entries().map(|entry| version_of(text(&entry["response"], "location"))).collect();
            (status == 200 && found == *wanted && entries().count() == found.len(), format!("{wanted:?}"))
        }
    };
    (!is_right).then(|| format!("answered {status}, expected {expected}"))
}

/// What two servers with the same answer may have different.
struct Masks(Vec<(Regex, &'static str)>);

impl Masks {
    fn new() -> Self {
        let masks =
            [(r"20\d\d-\d\d-\d\dT[0-9:.]+Z", "(time)"), (r"_cursor=[^&\x22]+", "(cursor)"), (r"\bid-\d+\b", "(id)")];
        Self(masks.into_iter().map(|(pattern, name)| (Regex::new(pattern).unwrap(), name)).collect())
    }

    fn apply(&self, answer: &Answer, base: &str) -> String {
        let names =
            ["etag", "location", "content-location", "content-type", "www-authenticate", "allow", "retry-after"];
        let headers: Vec<_> = names.iter().map(|name| format!("{name}={:?}", answer.header(name))).collect();
        let is_dated = answer.header("last-modified").is_some();
        // As the model writes what it read, members are in an order of their own.
        let body =
            serde_json::from_str(answer.text()).map_or_else(|_| answer.text().into(), |body: Value| body.to_string());
        let text = format!("{} {} last-modified={is_dated}\n{body}", answer.status(), headers.join(" "));
        let text = text.replace(base, "(base)");
        self.0.iter().fold(text, |text, (pattern, name)| pattern.replace_all(&text, *name).into_owned())
    }
}
