//! A server with clients and users, for the tests of authorization.

use super::tokens::block_on;
use super::{Answer, Request, Server};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use pharos::auth::authorization::Consent;
use pharos::auth::records::{Client, ClientProof, LaunchContext, Pending, Session, User};
use pharos::auth::scope::Scopes;
use pharos::auth::secret::hash;
use pharos::tenant::TenantId;
use serde_json::Value;
use std::ops::Deref;

pub const TENANT: TenantId = TenantId::DEFAULT;
pub const REDIRECT: &str = "https://app.example.org/after";
pub const SECRET: &str = "the-secret-of-a-client-that-can-keep-one";
pub const VERIFIER: &str = "0123456789-0123456789-0123456789-0123456789";
/// The S256 challenge of [`VERIFIER`], by `openssl dgst -sha256 -binary | basenc --base64url`.
pub const CHALLENGE: &str = "XqV1tflYS9pE1bnDmj-YXExN3vTo8j8ECd_IY8HtNUY";

/// The user that [`Smart::code`] signs in.
pub const USER: &str = "eve";

/// A server that asks for tokens. Its client is at the root: `/auth/token`, `/fhir/Patient`.
pub struct Smart {
    pub server: Server,
    pub root: super::Client,
}

impl Deref for Smart {
    type Target = super::Client;

    fn deref(&self) -> &super::Client {
        &self.root
    }
}

impl Smart {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    /// The same, with other settings.
    pub fn with(change: impl FnOnce(&mut pharos::config::Config)) -> Self {
        let server = Server::with(|config| {
            config.insecure_open = false;
            change(config);
        });
        let root = super::Client::new(server.base().trim_end_matches("/fhir"));
        let smart = Self { server, root };
        smart.user(USER, &["Provider"]);
        smart
    }

    pub fn base(&self) -> &str {
        self.server.base()
    }

    pub fn user(&self, id: &str, roles: &[&str]) -> User {
        let user = serde_json::json!({
            "id": id, "username": id, "name": "Eve Everywoman", "fhir_user": "Practitioner/eve", "roles": roles
        });
        let user: User = serde_json::from_value(user).unwrap();
        self.server.keep(id, &user);
        user
    }

    /// A client with all grant types.
    pub fn client(&self, id: &str, proof: ClientProof, scopes: &str) -> Client {
        let grant_types = ["authorization_code", "refresh_token", "client_credentials"].map(str::to_owned).into();
        let client = Client {
            client_id: id.into(),
            name: id.into(),
            proof,
            redirect_uris: vec![REDIRECT.into()],
            launch_url: Some("https://app.example.org/launch?a=b".into()),
            origins: vec![format!("https://{id}.example.org")],
            grant_types,
            scopes: Scopes::parse(scopes),
            about: serde_json::Map::new(),
            created: 0,
            disabled: false,
            purpose_of_use: Vec::new(),
            recipient: None,
        };
        self.server.keep(id, &client);
        client
    }

    pub fn public(&self, id: &str, scopes: &str) -> Client {
        self.client(id, ClientProof::None, scopes)
    }

    pub fn confidential(&self, id: &str, scopes: &str) -> Client {
        self.client(id, ClientProof::Secret { sha256: hash(SECRET) }, scopes)
    }

    /// The code that a client gets when the user signs in and grants all that is asked; and the id of the session.
    pub fn code(&self, client: &str, scopes: &str) -> (String, String) {
        self.code_in(client, scopes, LaunchContext { patient: Some("p1".into()), ..LaunchContext::default() })
    }

    pub fn code_in(&self, client: &str, scopes: &str, context: LaunchContext) -> (String, String) {
        let auth = &self.server.app().auth;
        let user = pharos::auth::records::get::<User>(&*auth.keeper, TENANT, USER).unwrap().unwrap().0;
        let signed_in = block_on(auth.start_session(TENANT, &user, false)).ok().unwrap();
        let session = hash(&signed_in.cookie);
        let scopes = Scopes::parse(scopes);
        let pending = serde_json::json!({
            "client_id": client, "redirect_uri": REDIRECT, "scopes": scopes, "nonce": "n-1", "code_challenge": CHALLENGE
        });
        let pending: Pending = serde_json::from_value(pending).unwrap();
        self.server.keep("pending", &pending);
        let auth_time = signed_in.session.created;
        let consent = Consent {
            pending: "pending",
            user: USER,
            session: &session,
            auth_time,
            scopes,
            context,
            break_glass: None,
        };
        (block_on(auth.issue_code(TENANT, consent)).unwrap(), session)
    }

    pub fn sign_out(&self, session: &str) {
        self.server.forget::<Session>(session);
    }

    /// Sends a form to an endpoint: fields in pairs.
    pub fn form(&self, endpoint: &str, fields: &[(&str, &str)]) -> Request<'_> {
        let fields = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.root.post(&format!("/auth/{endpoint}")).form(&fields)
    }

    /// Exchanges a code as the public client would that it was given to.
    pub fn exchange(&self, client: &str, code: &str) -> Request<'_> {
        self.form(
            "token",
            &[
                ("grant_type", "authorization_code"),
                ("code", code),
                ("redirect_uri", REDIRECT),
                ("client_id", client),
                ("code_verifier", VERIFIER),
            ],
        )
    }

    pub fn refresh(&self, client: &str, token: &str) -> Request<'_> {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", client)];
        self.form("token", &fields)
    }

    /// The tokens that a public client gets.
    pub fn tokens(&self, client: &str, scopes: &str) -> Value {
        self.exchange(client, &self.code(client, scopes).0).expect(200).json()
    }

    /// The access token that a confidential client gets for itself.
    pub fn own_token(&self, client: &str, scopes: &str) -> String {
        let fields = [("grant_type", "client_credentials"), ("scope", scopes)];
        let answer = self.form("token", &fields).header("Authorization", &basic(client, SECRET)).expect(200);
        answer.at("/access_token").as_str().unwrap().to_owned()
    }

    /// Whether an access token is good.
    pub fn is_active(&self, token: &str) -> bool {
        let claims = self.server.app().auth.verify_access(TENANT, token).unwrap();
        self.server.app().auth.live(TENANT, &claims).unwrap().is_some()
    }
}

/// The header of HTTP Basic.
pub fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// What a JWT says.
pub fn claims(token: &Value) -> Value {
    let payload = token.as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// A text of the answer's JSON.
pub fn text(answer: &Value, name: &str) -> String {
    answer[name].as_str().unwrap_or_else(|| panic!("no {name} in {answer}")).to_owned()
}

impl Answer {
    /// Fails where the answer is no refusal of OAuth with this code.
    #[track_caller]
    pub fn oauth_error(self, status: u16, code: &str) -> Self {
        let answer = self.status_is(status);
        assert_eq!(answer.at("/error"), code, "{answer}");
        answer.header_is("cache-control", "no-store").header_is("pragma", "no-cache")
    }
}
