use super::authorization::Consent;
use super::error::OAuthError;
use super::fixture::{self, StillClock};
use super::form::Form;
use super::keeper::Expect;
use super::records::{self, Client, ClientProof, LaunchContext, Pending, Record, User};
use super::scope::Scopes;
use super::secret::hash;
use super::server::Server;
use super::token::{TokenAnswer, Told};
use crate::config::Auth;
use crate::tenant::TenantId;
use std::sync::Arc;

const TENANT: TenantId = TenantId::DEFAULT;
const VERIFIER: &str = "0123456789-0123456789-0123456789-0123456789";
const CHALLENGE: &str = "XqV1tflYS9pE1bnDmj-YXExN3vTo8j8ECd_IY8HtNUY";

struct Scene {
    server: Arc<Server>,
    clock: Arc<StillClock>,
    client: Client,
    user: User,
}

impl Scene {
    async fn new() -> Self {
        let (server, clock) = fixture::server(Auth::default());
        let client = serde_json::from_value(serde_json::json!({
            "client_id": "app", "name": "App", "proof": {"method": "none"}, "created": 0,
            "grant_types": ["authorization_code", "refresh_token"],
            "scopes": "launch openid offline_access online_access patient/*.rs"
        }));
        let user = serde_json::from_value(serde_json::json!({
            "id": "eve", "username": "eve", "name": "Eve", "roles": []
        }));
        let scene = Self { server, clock, client: client.unwrap(), user: user.unwrap() };
        scene.keep("app", &scene.client).await;
        scene.keep("eve", &scene.user).await;
        scene
    }

    async fn keep<R: Record>(&self, id: &str, record: &R) {
        let change = records::put(id, record, Expect::Any, None).unwrap();
        self.server.keeper.keep(TENANT, vec![change]).await.unwrap();
    }

    async fn pend(&self, user: Option<&str>) {
        let pending: Pending = serde_json::from_value(serde_json::json!({
            "client_id": "app", "redirect_uri": "https://app.example.org", "code_challenge": CHALLENGE, "user": user,
            "scopes": "openid offline_access online_access patient/Observation.rs"
        }))
        .unwrap();
        self.keep("pending", &pending).await;
    }

    async fn consent(&self, scopes: &str) -> Result<String, OAuthError> {
        let signed_in = self.server.start_session(TENANT, &self.user, false).await.unwrap();
        let consent = Consent {
            pending: "pending",
            user: "eve",
            session: &hash(&signed_in.cookie),
            auth_time: self.server.now_s(),
            scopes: Scopes::parse(scopes),
            context: LaunchContext::default(),
            break_glass: None,
        };
        self.server.issue_code(TENANT, consent).await
    }

    async fn code(&self, scopes: &str) -> String {
        self.pend(None).await;
        self.consent(scopes).await.unwrap()
    }

    async fn ask(&self, fields: &str) -> Result<TokenAnswer, OAuthError> {
        self.server.token(TENANT, &self.client, &Form::parse(fields.as_bytes())?, &mut Told::default()).await
    }

    async fn exchange(&self, code: &str) -> Result<TokenAnswer, OAuthError> {
        let fields = format!("grant_type=authorization_code&code={code}&code_verifier={VERIFIER}");
        self.ask(&format!("{fields}&redirect_uri=https%3A%2F%2Fapp.example.org")).await
    }

    async fn refresh(&self, token: &str) -> Result<TokenAnswer, OAuthError> {
        self.ask(&format!("grant_type=refresh_token&refresh_token={token}")).await
    }
}

fn refused(result: Result<TokenAnswer, OAuthError>) -> &'static str {
    result.expect_err("refused").code
}

#[tokio::test]
async fn consent_is_given_once_by_the_right_user_within_what_was_asked() {
    let scene = Scene::new().await;
    scene.pend(Some("adam")).await;
    assert_eq!(scene.consent("patient/Observation.rs").await.unwrap_err().code, "access_denied");
    scene.pend(Some("eve")).await;
    for more in ["patient/*.rs", "patient/Observation.cruds", "fhirUser"] {
        assert_eq!(scene.consent(more).await.unwrap_err().code, "invalid_scope", "{more}");
    }
    assert_eq!(scene.consent("").await.unwrap_err().code, "access_denied");
    scene.consent("patient/Observation.rs?category=laboratory").await.unwrap();
    assert_eq!(scene.consent("patient/Observation.rs").await.unwrap_err().code, "invalid_request");

    let off = Client { disabled: true, ..scene.client.clone() };
    scene.keep("app", &off).await;
    scene.pend(None).await;
    assert_eq!(scene.consent("patient/Observation.rs").await.unwrap_err().code, "unauthorized_client");
}

#[tokio::test]
async fn two_consents_at_once_make_one_code() {
    let scene = Scene::new().await;
    scene.pend(None).await;
    let (one, other) = tokio::join!(scene.consent("patient/Observation.rs"), scene.consent("patient/Observation.rs"));
    assert_eq!([one.is_ok(), other.is_ok()].iter().filter(|won| **won).count(), 1);
}

#[tokio::test]
async fn a_code_ends_with_its_time() {
    let scene = Scene::new().await;
    let code = scene.code("patient/Observation.rs").await;
    scene.clock.pass(61);
    assert_eq!(refused(scene.exchange(&code).await), "invalid_grant");
    let code = scene.code("patient/Observation.rs").await;
    scene.clock.pass(59);
    scene.exchange(&code).await.unwrap();
}

#[tokio::test]
async fn a_spent_code_is_remembered_as_long_as_its_tokens() {
    let scene = Scene::new().await;
    let code = scene.code("patient/Observation.rs offline_access").await;
    let token = scene.exchange(&code).await.unwrap().refresh_token.unwrap();
    scene.clock.pass(30 * 86_400);
    assert_eq!(refused(scene.exchange(&code).await), "invalid_grant");
    assert_eq!(refused(scene.refresh(&token).await), "invalid_grant");
}

#[tokio::test]
async fn a_refresh_token_ends_when_nobody_uses_it() {
    let scene = Scene::new().await;
    let code = scene.code("patient/Observation.rs offline_access").await;
    let token = scene.exchange(&code).await.unwrap().refresh_token.unwrap();
    scene.clock.pass(89 * 86_400);
    let token = scene.refresh(&token).await.unwrap().refresh_token.unwrap();
    scene.clock.pass(89 * 86_400);
    let token = scene.refresh(&token).await.unwrap().refresh_token.unwrap();
    scene.clock.pass(91 * 86_400);
    assert_eq!(refused(scene.refresh(&token).await), "invalid_grant");
}

#[tokio::test]
async fn online_access_ends_when_the_session_is_not_used() {
    let scene = Scene::new().await;
    let code = scene.code("patient/Observation.rs online_access").await;
    let token = scene.exchange(&code).await.unwrap().refresh_token.unwrap();
    scene.clock.pass(899);
    let token = scene.refresh(&token).await.unwrap().refresh_token.unwrap();
    // A refresh is no use of the session: the app alone can't keep it open.
    scene.clock.pass(2);
    assert_eq!(refused(scene.refresh(&token).await), "invalid_grant");
}

#[tokio::test]
async fn an_access_token_without_refresh_ends_and_leaves_nothing() {
    let scene = Scene::new().await;
    let code = scene.code("patient/Observation.rs").await;
    let answer = scene.exchange(&code).await.unwrap();
    let listed = |scene: &Scene| scene.server.keeper.list(TENANT, "authorization", "eve~", None, 10).unwrap().len();
    scene.server.active(TENANT, &answer.access_token).unwrap();
    assert_eq!((answer.refresh_token, listed(&scene)), (None, 1));
    scene.clock.pass(301);
    assert_eq!(listed(&scene), 0);
    assert_eq!(scene.server.active(TENANT, &answer.access_token).unwrap_err().code, "invalid_token");
}

#[tokio::test]
async fn a_public_client_never_acts_for_itself() {
    let mut scene = Scene::new().await;
    scene.client.grant_types.push("client_credentials".into());
    scene.client.scopes = Scopes::parse("system/*.rs");
    let fields = "grant_type=client_credentials&scope=system/*.rs";
    assert_eq!(refused(scene.ask(fields).await), "unauthorized_client");
    scene.client.proof = ClientProof::Secret { sha256: hash("s") };
    assert_eq!(scene.ask(fields).await.unwrap().scope.to_string(), "system/*.rs");
}
