import re
def sub(path, old, new, count=1):
    s=open(path).read()
    assert old in s, (path, old)
    s=s.replace(old,new,count)
    open(path,'w').write(s)

# record.rs
p='src/audit/record.rs'
sub(p,'''    /// Somebody signed out.
    SignOut,
    /// A token was given, or refused.
    Token,
    /// A token or an authorization was taken back.
    Revocation,
''','''    /// Somebody signed out.
    SignOut,
    /// Somebody has to wait, after too many failures in a row.
    Lockout,
    /// A token was given, or refused.
    Token,
    /// A code or a refresh token was used a second time, so that all that came from it was taken back.
    Reuse,
    /// What a token says was refused to who asked.
    Introspection,
    /// A token or an authorization was taken back.
    Revocation,
''')
sub(p,'''    /// Somebody asked for access in an emergency.
    Emergency,
''','''    /// Somebody asked for access in an emergency.
    Emergency,
    /// Somebody gave it up again.
    EmergencyEnd,
''')
sub(p,'''        Self { shape, content }
    }

    /// The entry that is kept.
''','''        Self { shape, content }
    }

    /// It ended with this HTTP status.
    #[must_use]
    pub const fn ended(mut self, status: u16) -> Self {
        self.shape.status = status;
        self
    }

    /// It was done to what has this name.
    #[must_use]
    pub fn named(mut self, name: impl Into<Cow<'a, str>>) -> Self {
        self.shape.name = Some(name.into());
        self
    }

    /// A sentence for who reads it.
    #[must_use]
    pub fn saying(mut self, note: impl Into<Cow<'a, str>>) -> Self {
        self.content.note = Some(note.into());
        self
    }

    /// The entry that is kept.
''')

# event.rs
p='src/audit/event.rs'
sub(p,'''        Event::Token => of(authentication, vec![(IHE, "ITI-71")], 'E'),
''','''        Event::Lockout => of(alert, vec![(DCM, "110122"), (OWN, "lockout")], 'E'),
        Event::Token => of(authentication, vec![(IHE, "ITI-71")], 'E'),
        Event::Reuse => of(alert, vec![(IHE, "ITI-71"), (OWN, "reuse")], 'E'),
        Event::Introspection => of(authentication, vec![(IHE, "ITI-102")], 'E'),
''')
sub(p,'''        Event::Emergency => of(alert, vec![(DCM, "110127")], 'E'),
        Event::Account => of(alert, vec![(DCM, "110137"), (OWN, "account")], 'U'),
        Event::Administration(what) => of(alert, vec![(DCM, "110137"), (OWN, what)], 'U'),
''','''        Event::Emergency => of(alert, vec![(DCM, "110127")], 'E'),
        Event::EmergencyEnd => of(alert, vec![(DCM, "110138")], 'E'),
        Event::Account => of(alert, vec![(DCM, "110137"), (OWN, "account")], 'U'),
        Event::Administration(what) => of(alert, vec![(DCM, configuration(what)), (OWN, what)], 'U'),
''')
sub(p,'''fn interaction(code: &str)''','''/// What was configured, in the codes of DICOM (part 16, context group 401): attributes of a user, roles, software, or security.
fn configuration(what: &str) -> &'static str {
    match what {
        "user" => "110137",
        "role" => "110136",
        "package" => "110131",
        _ => "110129",
    }
}

fn interaction(code: &str)''')
sub(p,'''fn kind(event: &Event) -> Kind<'_> {''','''/// The codes of the events: of DICOM those of context groups 400 and 401, of IHE the transactions of IUA.
fn kind(event: &Event) -> Kind<'_> {''')
sub(p,'''    let kind = kind(&shape.event);
    let mut event''','''    let mut kind = kind(&shape.event);
    if shape.agent.emergency.is_some() {
        // No search parameter of R4 looks at `purposeOfEvent`.
        kind.subtypes.push((OWN, "emergency"));
    }
    let mut event''')

# token.rs
p='src/auth/token.rs'
sub(p,'''use super::authorization::{may, wants_refresh};''','''use super::agent::Agent;
use super::authorization::{may, wants_refresh};''')
sub(p,'''/// What the token endpoint answers.
#[derive(Debug, Serialize)]
pub struct TokenAnswer {''','''/// What a request of a client turns out to be about, for the audit ledger: as far as it was understood, however it ends.
#[derive(Debug, Default)]
pub struct Told {
    /// The client, and the user for whom it acts.
    pub agent: Agent,
    /// What a token was asked with.
    pub grant_type: Option<&'static str>,
    /// Whether a code or refresh token was used a second time.
    pub is_reuse: bool,
}

/// The ways to get a token.
const GRANT_TYPES: [&str; 3] = ["authorization_code", "refresh_token", "client_credentials"];

/// What the token endpoint answers.
#[derive(Debug, Serialize)]
pub struct TokenAnswer {
    /// `jti` of the access token.
    #[serde(skip)]
    pub jti: String,''')
sub(p,'''    pub async fn token(&self, tenant: TenantId, client: &Client, form: &Form) -> Result<TokenAnswer, OAuthError> {
        let grant_type = form.required("grant_type")?;
        if !["authorization_code", "refresh_token", "client_credentials"].contains(&grant_type) {
            return Err(OAuthError::new("unsupported_grant_type", "This grant_type is not known here."));
        }
''','''    pub async fn token(
        &self,
        tenant: TenantId,
        client: &Client,
        form: &Form,
        told: &mut Told,
    ) -> Result<TokenAnswer, OAuthError> {
        let grant_type = form.required("grant_type")?;
        let Some(grant_type) = GRANT_TYPES.into_iter().find(|known| *known == grant_type) else {
            return Err(OAuthError::new("unsupported_grant_type", "This grant_type is not known here."));
        };
        told.grant_type = Some(grant_type);
''')
sub(p,'''self.by_code(tenant, client, form).await,
                "refresh_token" => self.by_refresh(tenant, client, form).await,''','''self.by_code(tenant, client, form, told).await,
                "refresh_token" => self.by_refresh(tenant, client, form, told).await,''')
sub(p,'''    async fn by_code(&self, tenant: TenantId, client: &Client, form: &Form) -> Result<Option<TokenAnswer>, OAuthError> {''','''    async fn by_code(
        &self,
        tenant: TenantId,
        client: &Client,
        form: &Form,
        told: &mut Told,
    ) -> Result<Option<TokenAnswer>, OAuthError> {''')
sub(p,'''        if code.used {
            self.revoke''','''        self.tell(tenant, &code.authorization, told)?;
        if code.used {
            told.is_reuse = true;
            self.revoke''')
sub(p,'''        client: &Client,
        form: &Form,
    ) -> Result<Option<TokenAnswer>, OAuthError> {
        let bad = || OAuthError::grant("The refresh''','''        client: &Client,
        form: &Form,
        told: &mut Told,
    ) -> Result<Option<TokenAnswer>, OAuthError> {
        let bad = || OAuthError::grant("The refresh''')
sub(p,'''        if token.generation < authorization.refresh {
            self''','''        self.tell(tenant, &authorization.id, told)?;
        if token.generation < authorization.refresh {
            told.is_reuse = true;
            self''')
sub(p,'''        Ok(TokenAnswer {
            access_token: self.sign_access(tenant, &claims).await?,
            token_type: "Bearer",
            expires_in: self.config.access_token_lifetime_s,
            scope,
            refresh_token: None,''','''        Ok(TokenAnswer {
            access_token: self.sign_access(tenant, &claims).await?,
            jti: claims.jti,
            token_type: "Bearer",
            expires_in: self.config.access_token_lifetime_s,
            scope,
            refresh_token: None,''')
sub(p,'''        Ok(TokenAnswer {
            access_token: self.sign_access(tenant, &claims).await?,
            token_type: "Bearer",
            expires_in: self.config.access_token_lifetime_s,
            refresh_token: refresh''','''        Ok(TokenAnswer {
            access_token: self.sign_access(tenant, &claims).await?,
            jti: claims.jti,
            token_type: "Bearer",
            expires_in: self.config.access_token_lifetime_s,
            refresh_token: refresh''')
sub(p,'''    async fn answer(
        &self,
        tenant: TenantId,
        authorization: &Authorization,''','''    /// Tells whose an authorization is, be it there still or not: its id says so.
    pub(super) fn tell(&self, tenant: TenantId, authorization: &str, told: &mut Told) -> Result<(), KeeperError> {
        let kept = get::<Authorization>(&*self.keeper, tenant, authorization)?;
        let user = authorization.rsplit_once('~').map(|(user, _)| self.user(tenant, user)).transpose()?.flatten();
        told.agent = Agent {
            client: told.agent.client.take(),
            authorization: Some(authorization.into()),
            emergency: kept.and_then(|(kept, _)| kept.break_glass).map(Into::into),
            ..user.map_or_else(Agent::default, |(user, _)| Agent::user(&user))
        };
        Ok(())
    }

    async fn answer(
        &self,
        tenant: TenantId,
        authorization: &Authorization,''')
sub('src/auth/token_tests.rs','self.server.token(TENANT, &self.client, &Form::parse(fields.as_bytes())?).await','self.server.token(TENANT, &self.client, &Form::parse(fields.as_bytes())?, &mut Told::default()).await')

# revoke.rs
p='src/auth/revoke.rs'
sub(p,'''    pub async fn revoke(&self, tenant: TenantId, client: &Client, form: &Form) -> Result<(), OAuthError> {''','''    pub async fn revoke(
        &self,
        tenant: TenantId,
        client: &Client,
        form: &Form,
        told: &mut Told,
    ) -> Result<(), OAuthError> {''')
sub(p,'''            check(&authorization.client_id)?;
            return''','''            self.tell(tenant, &authorization.id, told)?;
            check(&authorization.client_id)?;
            return''')
sub(p,'''        check(&claims.client_id)?;
        let until''','''        if let Some(sid) = &claims.sid {
            self.tell(tenant, sid, told)?;
        }
        told.agent.token = Some(claims.jti.as_str().into());
        check(&claims.client_id)?;
        let until''')
sub(p,'''use super::server::Server;
''','''use super::server::Server;
use super::token::Told;
''')

# error.rs
p='src/auth/error.rs'
sub(p,'''impl From<crate::error::Error> for OAuthError {
    fn from(error: crate::error::Error) -> Self {
        Self::server(error)
    }
}''','''/// 503 is `temporarily_unavailable`; all else is the server's fault.
impl From<crate::error::Error> for OAuthError {
    fn from(error: crate::error::Error) -> Self {
        if error.category != crate::error::Category::Unavailable {
            return Self::server(error);
        }
        let text = error.issues.first().map(|issue| issue.diagnostics.clone()).unwrap_or_default();
        Self { log: error.log, ..Self::new("temporarily_unavailable", text) }
    }
}''')

# app.rs
p='src/app.rs'
sub(p,'''    /// Whether a request with this token may manage users, roles and clients. Nobody may without, on an open server neither.
    ///
    /// # Errors
    /// 401 without a good token; 403 for one that is not for the administration, or not of an administrator.
    pub async fn authorize_admin(&self, tenant: TenantId, token: Option<&str>) -> Result<()> {
        let token = token.ok_or_else(|| unauthenticated("This needs an administrator's access token."))?;
        if self.bearer(tenant, token).await?.is_admin() {
            return Ok(());
        }
        let text = "This needs an access token with the scope admin, of a user who is an administrator.";
        Err(Error::new(Category::Forbidden, "forbidden", text))
    }
''','''    /// Whether a request with this token may manage users, roles and clients. Nobody may without, on an open server neither.
    /// `agent` hears who it is, where that is known.
    ///
    /// # Errors
    /// 401 without a good token; 403 for one that is not for the administration, or not of an administrator.
    pub async fn authorize_admin(
        &self,
        tenant: TenantId,
        token: Option<&str>,
        agent: &mut Arc<Agent>,
    ) -> Result<()> {
        let token = token.ok_or_else(|| unauthenticated("This needs an administrator's access token."))?;
        let bearer = self.bearer(tenant, token).await?;
        *agent = Arc::clone(&bearer.agent);
        if bearer.is_admin() {
            return Ok(());
        }
        let text = "This needs an access token with the scope admin, of a user who is an administrator.";
        Err(Error::new(Category::Forbidden, "forbidden", text))
    }
''')
