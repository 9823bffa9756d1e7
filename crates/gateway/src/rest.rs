//! REST: from an HTTP request to an operation, and from guilds' reply to an HTTP response.
//!
//! The routes are a table in `routes`; what they do with a request is the same for all and stands here.

mod quota;
mod request;
mod routes;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, RawPathParams, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::routing::{MethodFilter, on};
use client_wire::error::ApiError;
use cluster_wire::guilds::{Account, Call, Origin, Reply};
use model::UserId;

pub use self::quota::Quotas;
use self::quota::{Count, Subject, What};
use self::request::{Request, reason};
use self::routes::{Answer, Auth, ROUTES, Route};
use crate::limits::{ALL_ROUTES, BODY_BYTES_MAX, Quota, WRONG_TOKENS};
use crate::{App, observe};

/// Where clients look for the routes: the version we speak, the one before, which differs in nothing here,
/// and none.
const PREFIXES: [&str; 3] = ["/api/v10", "/api/v9", "/api"];

pub fn routes(router: Router<Arc<App>>) -> Router<Arc<App>> {
    let places = PREFIXES.iter().flat_map(|prefix| ROUTES.iter().map(move |route| (prefix, route)));
    places.fold(router, |router, (prefix, route)| {
        let handler = move |State(app): State<Arc<App>>,
                            ConnectInfo(peer): ConnectInfo<SocketAddr>,
                            params: RawPathParams,
                            request: axum::extract::Request| async move {
            let client = app.client(peer, request.headers());
            let response = Exchange { app: &app, route, peer, client }.serve(&params, request).await;
            observe::rest(route.method_name(), route.path, response.status().as_u16());
            response
        };
        let filter =
            MethodFilter::try_from(route.method()).expect("the table has only methods that the router knows");
        router.route(&format!("{prefix}{}", route.path), on(filter, handler))
    })
}

/// One request on its way through a route.
struct Exchange<'a> {
    app: &'a App,
    route: &'static Route,
    peer: SocketAddr,
    /// Whom the peer speaks for.
    client: IpAddr,
}

impl Exchange<'_> {
    async fn serve(&self, params: &RawPathParams, request: axum::extract::Request) -> Response<Body> {
        let (head, body) = request.into_parts();
        let account = match self.account(&head.headers).await {
            Ok(account) => account,
            Err(refusal) => return refusal,
        };
        let count = match self.count(account.as_ref(), params) {
            Ok(count) => count,
            Err(refusal) => return *refusal,
        };
        let result = match axum::body::to_bytes(body, BODY_BYTES_MAX).await {
            Ok(body) => {
                let request = Request {
                    params,
                    query: head.uri.query().unwrap_or_default(),
                    body: &body,
                    account: account.as_ref(),
                    origin: Origin::of(self.client),
                    gateway_url: self.app.gateway_url(self.peer, &head.headers),
                };
                self.answer(&request, &head.headers).await
            }
            Err(_) => Err(ApiError::new(413, 40005, "Request entity too large")),
        };
        let mut response = result.unwrap_or_else(error);
        if let Some(count) = count {
            count.describe(response.headers_mut());
        }
        response
    }

    /// Who asks. None where the route lets anybody ask.
    async fn account(&self, headers: &HeaderMap) -> Result<Option<Account>, Response<Body>> {
        if self.route.auth != Auth::Token {
            return Ok(None);
        }
        let wrong = (Subject::Address(self.client), What::WrongTokens, 0);
        let is_suspect = self.app.quotas.look(Instant::now(), wrong, WRONG_TOKENS).is_err();
        let _turn = match is_suspect {
            true => self.app.suspects.acquire().await.ok(),
            false => None,
        };
        let token = headers.get(header::AUTHORIZATION).and_then(|token| token.to_str().ok()).map(str::trim);
        let reply = match token {
            Some(token) if token.len() <= gateway_core::limits::TOKEN_CHARS_MAX => {
                self.app.guilds.call(Call::Authenticate { token: token.to_owned() }).await
            }
            _ => Err(ApiError::unauthorized()),
        };
        match reply {
            Ok(Reply::Account(account)) => Ok(Some(account)),
            Ok(_) => Err(error(ApiError::internal())),
            Err(refusal) => {
                let counted = match refusal.status {
                    401 => self.app.quotas.take(Instant::now(), wrong, WRONG_TOKENS).map(drop),
                    _ => Ok(()),
                };
                Err(counted.map_or_else(|count| too_many(&count, "user", false), |()| error(refusal)))
            }
        }
    }

    /// Counts the request, or refuses it. The operator's own tools are not limited.
    fn count(
        &self,
        account: Option<&Account>,
        params: &RawPathParams,
    ) -> Result<Option<Count>, Box<Response<Body>>> {
        let now = Instant::now();
        let subject = match account {
            Some(account) if account.operator => return Ok(None),
            Some(account) => Subject::User(account.user),
            None => Subject::Address(self.client),
        };
        let everything = (subject, What::Everything, 0);
        self.app
            .quotas
            .take(now, everything, ALL_ROUTES)
            .map_err(|count| Box::new(too_many(&count, "global", true)))?;
        let what = What::Route(self.route.method_name(), self.route.path);
        let bucket = (subject, what, request::major(params));
        let quota = self.quota();
        let count = self.app.quotas.take(now, bucket, quota).map_err(|count| {
            let mut response = too_many(&count, "user", false);
            count.describe(response.headers_mut());
            Box::new(response)
        })?;
        Ok(Some(count))
    }

    fn quota(&self) -> Quota {
        if self.route.auth == Auth::SignIn { self.app.config.sign_ins } else { self.route.quota() }
    }

    async fn answer(&self, request: &Request<'_>, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
        let op = match (self.route.build)(request)? {
            Answer::Text(text) => return Ok(json(StatusCode::OK, text)),
            Answer::Ask(op) => op,
        };
        let account = request.account;
        let call = Call::Rest {
            actor: match account {
                Some(account) if account.operator => acting_as(headers)?,
                account => account.map(|account| account.user),
            },
            operator: account.is_some_and(|account| account.operator),
            reason: reason(headers),
            op,
        };
        match self.app.guilds.call(call).await? {
            Reply::Json(status, body) => {
                let status = StatusCode::from_u16(status).map_err(|_| ApiError::internal())?;
                Ok(json(status, body.get().to_owned()))
            }
            Reply::Empty | Reply::Done => Ok(empty()),
            Reply::Account(_) | Reply::Refused(_) | Reply::Terms(_) | Reply::NotHere { .. } => {
                Err(ApiError::internal())
            }
        }
    }
}

/// The operator may do something in an account's name: found a guild for it, speak for it.
fn acting_as(headers: &HeaderMap) -> Result<Option<UserId>, ApiError> {
    let Some(header) = headers.get(ACT_AS) else { return Ok(None) };
    let user = header.to_str().ok().and_then(|text| text.parse().ok());
    user.map(Some).ok_or_else(|| ApiError::field(ACT_AS, "NUMBER_TYPE_COERCE", "Value is not a snowflake."))
}

/// Names the account in whose name the operator acts.
const ACT_AS: &str = "x-guildhall-act-as";

/// The content type is exactly this: discord.py compares the whole string and gives up on any other.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub fn json(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

fn empty() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

pub fn error(error: ApiError) -> Response<Body> {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json(status, serde_json::to_string(&error).expect("an error has string keys and no failing serialisers"))
}

fn too_many(count: &Count, scope: &'static str, is_global: bool) -> Response<Body> {
    observe::rest_limited(scope);
    let wait = count.resets_after(Instant::now()).as_secs_f64();
    let text = format!(
        r#"{{"message":"You are being rate limited.","retry_after":{wait:.3},"global":{is_global},"code":0}}"#
    );
    let mut response = json(StatusCode::TOO_MANY_REQUESTS, text);
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.ceil() as u64));
    headers.insert("x-ratelimit-scope", HeaderValue::from_static(scope));
    if is_global {
        headers.insert("x-ratelimit-global", HeaderValue::from_static("true"));
    }
    // discord.py takes a 429 without it for a ban by somebody in between, and gives up.
    headers.insert(header::VIA, HeaderValue::from_static("1.1 guildhall"));
    response
}

/// Seconds since the epoch, for the one header that wants them.
fn epoch_seconds() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
