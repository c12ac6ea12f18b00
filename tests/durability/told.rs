//! What administrators, users and apps change, and what the ledger has of it: a process that is killed while it changes accounts,
//! clients, roles, tenants and sessions leaves each change with its entry, and no entry without its change.
//!
//! The version of a record counts its changes, and each entry names one record: so both are counted and compared.

use crate::support::mongodb::new_database;
use crate::support::tokens::block_on;
use pharos::audit::checkpoint::Signer;
use pharos::audit::{Event, Ledger, Record};
use pharos::auth::records::{Role, User};
use pharos::auth::registration::Registrant;
use pharos::auth::scope::Scopes;
use pharos::auth::server::Server;
use pharos::auth::user::NewUser;
use pharos::auth::witness::Deed;
use pharos::clock::{Clock, SystemClock};
use pharos::config;
use pharos::store::embedded::{Embedded, Options};
use pharos::store::mongo::{self, Mongo};
use pharos::store::{Backend, Store};
use pharos::tenant::{State, TenantId};
use serde_json::json;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const TENANT: TenantId = TenantId::DEFAULT;
const ADMINISTRATOR: &str = "PHAROS_TEST_ADMINISTRATOR";
const DATABASE: &str = "PHAROS_TEST_ADMINISTERED";

/// The kinds of records that are counted, each change of which is recorded.
const KINDS: [&str; 4] = ["client", "role", "tenant", "user"];

/// A store, on MongoDB where there is an address.
fn open(folder: &Path, address: Option<&str>) -> Store {
    let clock = Arc::new(SystemClock);
    let backend: Arc<dyn Backend> = match address {
        None => Arc::new(Embedded::open(Options::at(folder.join("store")), clock).unwrap()),
        Some(address) => {
            let options =
                mongo::Options { patience: Duration::from_mins(3), ..mongo::Options::at(address, folder.join("key")) };
            Arc::new(Mongo::open(options, clock).unwrap())
        }
    };
    Store::new(backend)
}

fn server(store: &Store) -> Server {
    Server::new(store.keeper(), Arc::new(SystemClock), config::Auth::default(), "https://pharos.example.org")
}

/// What an entry says of a deed: the kind and the name of what changes.
fn record(deed: &Deed<'_>) -> Option<Record<'static>> {
    let (kind, name) = match deed {
        Deed::Client(client) => ("client", client.client_id.clone()),
        Deed::User(user) => ("user", user.id.clone()),
        Deed::Role(role) => ("role", role.name.clone()),
        Deed::Tenant(tenant, _) => ("tenant", tenant.name.to_string()),
        Deed::SignIn(_) => ("session", "all".to_owned()),
        _ => return None,
    };
    Some(Record::of(Event::Administration(kind.into()), Cow::Owned(pharos::auth::agent::Agent::operator())).named(name))
}

/// The other process; in an ordinary run there is nothing to do. Four threads change what they made themselves.
#[test]
fn administering_process() {
    let Ok(folder) = std::env::var(ADMINISTRATOR) else { return };
    let round = std::env::var("PHAROS_TEST_ROUND").unwrap();
    let store = open(Path::new(&folder), std::env::var(DATABASE).ok().as_deref());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let signer = Signer::new(&[7; 32]).unwrap();
    let ledger = Ledger::new(&config::Audit::default(), false, store.clone(), clock, signer);
    let plain = server(&store);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (plain, ledger, round) = (&plain, &ledger, &round);
            scope.spawn(move || {
                for n in 0.. {
                    block_on(administer(plain, ledger, &format!("{round}-{thread}-{n}")));
                    writeln!(std::io::stdout().lock(), "ack").unwrap();
                }
            });
        }
    });
}

/// Makes and changes one of each; what is refused must leave no entry.
async fn administer(plain: &Server, ledger: &Ledger, name: &str) {
    let witness = ledger.witness(TENANT, record);
    let server = plain.recording(&witness);
    let metadata = json!({
        "client_name": "App", "redirect_uris": ["https://app.example.org/"], "scope": "patient/*.rs",
        "token_endpoint_auth_method": "client_secret_basic",
    });
    server.put_client(TENANT, name, &metadata, Registrant::Admin).await.unwrap();
    server.disable_client(TENANT, name, None, true).await.unwrap();
    server.disable_client(TENANT, name, Some(1), false).await.unwrap_err();
    server.rotate_secret(TENANT, name, None).await.unwrap();
    let new = NewUser { username: name.to_owned(), roles: vec!["Billing".to_owned()], ..NewUser::default() };
    let user = server.add_user(TENANT, new.clone()).await.unwrap();
    server.add_user(TENANT, new).await.unwrap_err();
    let change = |user: &mut User| "N".clone_into(&mut user.name);
    server.change_user(TENANT, &user.id, None, change).await.unwrap();
    server.change_user(TENANT, &user.id, Some(9), change).await.unwrap_err();
    server.start_session(TENANT, &user, false).await.unwrap();
    if name.ends_with("-0") {
        let scopes = Scopes::parse("user/Observation.rs");
        let role = Role {
            name: name.to_owned(),
            scopes,
            own_patients: false,
            break_glass: false,
            is_admin: false,
            purpose_of_use: Vec::new(),
        };
        server.put_role(TENANT, &role, None, &|_| Ok(())).await.unwrap();
        let tenant = format!("t{name}");
        let now = server.clock.now();
        server.tenants.create(&json!({ "name": tenant }), 1_000, now, Some(&witness)).await.unwrap();
        server.tenants.create(&json!({ "name": tenant }), 1_000, now, Some(&witness)).await.unwrap_err();
        server.tenants.set_state(&tenant, None, State::Suspended, Some(&witness)).await.unwrap();
    }
}

fn administer_until_killed(folder: &Path, address: Option<&str>, round: &str, answers: usize) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "told::administering_process", "--nocapture"]).stdout(Stdio::piped());
    command.env(ADMINISTRATOR, folder).env("PHAROS_TEST_ROUND", round).envs(address.map(|address| (DATABASE, address)));
    let mut process = command.spawn().unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    let told = lines.filter(|line| line.ends_with("ack")).take(answers).count();
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(told, answers, "it went on until it was killed");
}

/// How often each record was changed, by the records themselves.
fn changes(store: &Store) -> BTreeMap<String, u64> {
    let keeper = store.keeper();
    let mut found = BTreeMap::new();
    for kind in KINDS {
        let of = if kind == "tenant" { TenantId::INSTALLATION } else { TENANT };
        for kept in keeper.list(of, kind, "", None, 100_000).unwrap() {
            found.insert(format!("{kind} {}", kept.id), kept.version);
        }
    }
    let sessions = keeper.list(TENANT, "session", "", None, 100_000).unwrap().len();
    found.insert("session all".to_owned(), sessions as u64);
    found
}

/// The same by a ledger. A tenant's own has only what happened to the tenant.
fn told(store: &Store, tenant: TenantId) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for block in store.ledger(tenant, 0, true).unwrap() {
        for entry in block.unwrap().entries.unwrap() {
            let shape = Record::read(&entry).unwrap().shape;
            let Event::Administration(kind) = shape.event else { continue };
            *found.entry(format!("{kind} {}", shape.name.unwrap())).or_default() += 1;
        }
    }
    found
}

fn verify(folder: &Path, address: Option<&str>, least: usize) {
    let store = open(folder, address);
    block_on(store.settled()).unwrap();
    let changes = changes(&store);
    assert_eq!(told(&store, TENANT), changes, "each change has its entry, and each entry its change");
    assert!(changes.len() > least, "{changes:?}");
    for registered in server(&store).tenants.all().unwrap().iter().skip(1) {
        let name = format!("tenant {}", registered.tenant.name);
        let own = told(&store, registered.id());
        assert_eq!(own, BTreeMap::from([(name.clone(), changes[&name])]), "its own ledger has it, too");
    }
    println!("{} records, {} changes", changes.len(), changes.values().sum::<u64>());
    store.close().unwrap();
}

#[test]
fn a_kill_leaves_no_change_without_its_entry_and_no_entry_without_its_change() {
    let folder = tempfile::tempdir().unwrap();
    for (round, answers) in [("a", 3), ("b", 40), ("c", 1), ("d", 17)] {
        administer_until_killed(folder.path(), None, round, answers);
        verify(folder.path(), None, answers);
    }
}

#[test]
fn nor_does_one_on_mongodb() {
    let Some(address) = new_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (round, answers) in [("a", 3), ("b", 9)] {
        administer_until_killed(folder.path(), Some(&address), round, answers);
        verify(folder.path(), Some(&address), answers);
    }
}
