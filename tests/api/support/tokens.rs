//! Access tokens without a browser: the records that they rest on are kept directly, as the pages and endpoints would.

use super::{Client, Server};
use pharos::auth::keeper::Expect;
use pharos::auth::records::{self, AccessClaims, Authorization, ClientProof, LaunchContext, Record, User};
use pharos::auth::scope::Scopes;
use pharos::tenant::TenantId;

/// Whom a token of a user is for.
#[derive(Default, Clone)]
pub struct Person<'t> {
    /// The user's resource: `Practitioner/p`.
    pub fhir_user: Option<&'t str>,
    /// Names of roles, built in or put before.
    pub roles: &'t [&'t str],
    /// The patient in context.
    pub patient: Option<&'t str>,
    /// Why emergency access was asked for.
    pub break_glass: Option<&'t str>,
}

impl Server {
    /// A client that acts for itself, with these scopes.
    pub fn as_system(&self, scopes: &str) -> Client {
        self.bearing(&self.token(scopes, None))
    }

    /// The same, with what its registration says to patients' consents.
    pub fn as_registered(&self, scopes: &str, recipient: Option<&str>, purposes: &[String]) -> Client {
        self.bearing(&self.token_of(TenantId::DEFAULT, scopes, None, (recipient, purposes)))
    }

    /// A client that acts for a user, who granted these scopes.
    pub fn as_user(&self, scopes: &str, person: &Person<'_>) -> Client {
        self.bearing(&self.token(scopes, Some(person)))
    }

    /// Sends this access token with each request.
    pub fn bearing(&self, token: &str) -> Client {
        Client::bearing(self.base(), token)
    }

    /// Keeps a record, whatever was there before.
    pub fn keep<R: Record>(&self, id: &str, record: &R) {
        self.keep_in(TenantId::DEFAULT, id, record);
    }

    /// The same in any tenant.
    pub fn keep_in<R: Record>(&self, tenant: TenantId, id: &str, record: &R) {
        let change = records::put(id, record, Expect::Any, None).unwrap();
        block_on(self.app().auth.keeper.keep(tenant, vec![change])).unwrap();
    }

    /// Removes a record.
    pub fn forget<R: Record>(&self, id: &str) {
        let change = records::remove::<R>(id, Expect::Any);
        block_on(self.app().auth.keeper.keep(TenantId::DEFAULT, vec![change])).unwrap();
    }

    /// An access token with these scopes.
    pub fn token(&self, scopes: &str, person: Option<&Person<'_>>) -> String {
        self.token_in(TenantId::DEFAULT, scopes, person)
    }

    /// The same of any tenant.
    pub fn token_in(&self, tenant: TenantId, scopes: &str, person: Option<&Person<'_>>) -> String {
        self.token_of(tenant, scopes, person, (None, &[]))
    }

    fn token_of(
        &self,
        tenant: TenantId,
        scopes: &str,
        person: Option<&Person<'_>>,
        (recipient, purposes): (Option<&str>, &[String]),
    ) -> String {
        let auth = &self.app().auth;
        let scopes = Scopes::parse(scopes);
        let id = auth.clock.new_id();
        let client = records::Client {
            client_id: format!("client-{id}"),
            name: "A client of a test".into(),
            proof: ClientProof::None,
            redirect_uris: Vec::new(),
            launch_url: None,
            origins: Vec::new(),
            grant_types: vec!["authorization_code".into()],
            scopes: scopes.clone(),
            about: serde_json::Map::new(),
            created: 0,
            disabled: false,
            purpose_of_use: purposes.to_vec(),
            recipient: recipient.map(str::to_owned),
        };
        self.keep_in(tenant, &client.client_id, &client);
        let base = auth.base(tenant);
        let now = auth.now_s();
        let mut claims = AccessClaims {
            iss: base.clone(),
            aud: base,
            sub: client.client_id.clone(),
            client_id: client.client_id.clone(),
            scope: scopes.clone(),
            iat: now,
            exp: now + 3600,
            jti: format!("jti-{id}"),
            sid: None,
            tenant: tenant.0,
            patient: person.and_then(|person| person.patient).map(str::to_owned),
            encounter: None,
            fhir_user: None,
        };
        if let Some(person) = person {
            let user = User {
                id: format!("user-{id}"),
                username: format!("name-{id}"),
                name: "A person of a test".into(),
                fhir_user: person.fhir_user.map(str::to_owned),
                password: None,
                totp: None,
                totp_step: 0,
                roles: person.roles.iter().map(|role| (*role).to_owned()).collect(),
                disabled: false,
                must_change_password: false,
            };
            let authorization = Authorization {
                id: format!("{}~{id}", user.id),
                client_id: client.client_id,
                user: user.id.clone(),
                scopes,
                context: LaunchContext { patient: claims.patient.clone(), ..LaunchContext::default() },
                created: now,
                auth_time: now,
                nonce: None,
                session: None,
                refresh: 0,
                refresh_secret: String::new(),
                break_glass: person.break_glass.map(str::to_owned),
            };
            self.keep_in(tenant, &user.id, &user);
            self.keep_in(tenant, &authorization.id, &authorization);
            claims.sub = user.id;
            claims.sid = Some(authorization.id);
        }
        block_on(auth.sign_access(tenant, &claims)).unwrap()
    }
}

/// Waits for a future of the store's, which needs no runtime of its own.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
