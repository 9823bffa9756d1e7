//! The table of routes.

use axum::http::Method;
use client_wire::error::ApiError;
use client_wire::rest::StageInstanceBody;
use cluster_wire::guilds::{Account, Op};
use model::{MessageId, ServerId, UserId};
use serde::Deserialize;
use serde_json::json;

use super::request::Request;
use crate::limits::{Quota, READS, WRITES};

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    Token,
    Anybody,
    /// Anybody, but seldom: it costs a slow hash.
    SignIn,
}

/// What a route makes of a request.
pub enum Answer {
    Ask(Op),
    /// The gateway knows by itself.
    Text(String),
}

pub struct Route {
    verb: Verb,
    pub path: &'static str,
    pub auth: Auth,
    pub build: fn(&Request<'_>) -> Result<Answer, ApiError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Route {
    pub fn method(&self) -> Method {
        match self.verb {
            Verb::Get => Method::GET,
            Verb::Post => Method::POST,
            Verb::Put => Method::PUT,
            Verb::Patch => Method::PATCH,
            Verb::Delete => Method::DELETE,
        }
    }

    pub fn method_name(&self) -> &'static str {
        match self.verb {
            Verb::Get => "GET",
            Verb::Post => "POST",
            Verb::Put => "PUT",
            Verb::Patch => "PATCH",
            Verb::Delete => "DELETE",
        }
    }

    pub fn quota(&self) -> Quota {
        if self.verb == Verb::Get { READS } else { WRITES }
    }
}

type Build = fn(&Request<'_>) -> Result<Answer, ApiError>;

const fn get(path: &'static str, build: Build) -> Route {
    Route { verb: Verb::Get, path, auth: Auth::Token, build }
}

const fn post(path: &'static str, build: Build) -> Route {
    Route { verb: Verb::Post, path, auth: Auth::Token, build }
}

const fn put(path: &'static str, build: Build) -> Route {
    Route { verb: Verb::Put, path, auth: Auth::Token, build }
}

const fn patch(path: &'static str, build: Build) -> Route {
    Route { verb: Verb::Patch, path, auth: Auth::Token, build }
}

const fn delete(path: &'static str, build: Build) -> Route {
    Route { verb: Verb::Delete, path, auth: Auth::Token, build }
}

const fn open(route: Route, auth: Auth) -> Route {
    Route { auth, ..route }
}

fn ask(op: Op) -> Result<Answer, ApiError> {
    Ok(Answer::Ask(op))
}

/// How many messages or members one request may ask for, and gets if it does not say.
const MESSAGES_DEFAULT: u32 = 50;
const MESSAGES_MAX: u32 = 100;
const MEMBERS_DEFAULT: u32 = 1;
const MEMBERS_MAX: u32 = 1_000;
const BULK_DELETE: std::ops::RangeInclusive<usize> = 2..=100;

pub static ROUTES: &[Route] = &[
    // Coming in.
    open(post("/auth/register", |r| ask(Op::Register(r.body()?))), Auth::SignIn),
    open(post("/auth/login", |r| ask(Op::Login(r.origin, r.body()?))), Auth::SignIn),
    post("/auth/logout", |r| ask(Op::Logout(r.account()?.token))),
    open(get("/gateway", |r| Ok(Answer::Text(json!({ "url": r.gateway_url }).to_string()))), Auth::Anybody),
    get("/gateway/bot", gateway_bot),
    // Accounts.
    get("/users/{user}", |r| if r.text("user") == "@me" { own_user(r) } else { ask(Op::GetUser(r.user()?)) }),
    get("/users/@me/guilds", |_| ask(Op::ListGuilds)),
    delete("/users/@me/guilds/{guild}", |r| ask(Op::RemoveMember(r.id("guild")?, r.me()?))),
    get("/applications/@me", application),
    get("/oauth2/applications/@me", application),
    post("/applications", |r| ask(Op::CreateBot(r.body()?))),
    post("/applications/{user}/bot/reset", |r| ask(Op::ResetToken(r.user()?))),
    // Guilds.
    post("/guilds", |r| ask(Op::CreateGuild(r.body()?))),
    get("/guilds/{guild}", |r| ask(Op::GetGuild(r.id("guild")?))),
    patch("/guilds/{guild}", |r| ask(Op::ModifyGuild(r.id("guild")?, r.body()?))),
    delete("/guilds/{guild}", |r| ask(Op::DeleteGuild(r.id("guild")?))),
    get("/guilds/{guild}/regions", |_| ask(Op::ListRegions)),
    get("/voice/regions", |_| ask(Op::ListRegions)),
    // Channels.
    get("/guilds/{guild}/channels", |r| ask(Op::ListChannels(r.id("guild")?))),
    post("/guilds/{guild}/channels", |r| ask(Op::CreateChannel(r.id("guild")?, r.body()?))),
    patch("/guilds/{guild}/channels", |r| ask(Op::ReorderChannels(r.id("guild")?, r.body()?))),
    get("/channels/{channel}", |r| ask(Op::GetChannel(r.id("channel")?))),
    patch("/channels/{channel}", |r| ask(Op::ModifyChannel(r.id("channel")?, r.body()?))),
    delete("/channels/{channel}", |r| ask(Op::DeleteChannel(r.id("channel")?))),
    put("/channels/{channel}/permissions/{overwrite}", |r| {
        ask(Op::PutOverwrite { channel: r.id("channel")?, id: r.id("overwrite")?, body: r.body()? })
    }),
    delete("/channels/{channel}/permissions/{overwrite}", |r| {
        ask(Op::DeleteOverwrite { channel: r.id("channel")?, id: r.id("overwrite")? })
    }),
    // Roles.
    get("/guilds/{guild}/roles", |r| ask(Op::ListRoles(r.id("guild")?))),
    post("/guilds/{guild}/roles", |r| ask(Op::CreateRole(r.id("guild")?, r.body_or_default()?))),
    patch("/guilds/{guild}/roles", |r| ask(Op::ReorderRoles(r.id("guild")?, r.body()?))),
    get("/guilds/{guild}/roles/{role}", |r| ask(Op::GetRole(r.id("guild")?, r.id("role")?))),
    patch("/guilds/{guild}/roles/{role}", |r| ask(Op::ModifyRole(r.id("guild")?, r.id("role")?, r.body()?))),
    delete("/guilds/{guild}/roles/{role}", |r| ask(Op::DeleteRole(r.id("guild")?, r.id("role")?))),
    // Members.
    get("/guilds/{guild}/members", |r| {
        let limit = r.query("limit")?.unwrap_or(MEMBERS_DEFAULT).clamp(1, MEMBERS_MAX);
        ask(Op::ListMembers { guild: r.id("guild")?, limit, after: r.query("after")?.unwrap_or(UserId(0)) })
    }),
    get("/guilds/{guild}/members/search", |r| {
        let limit = r.query("limit")?.unwrap_or(MEMBERS_DEFAULT).clamp(1, MEMBERS_MAX);
        ask(Op::SearchMembers {
            guild: r.id("guild")?,
            query: r.query_text("query").unwrap_or_default(),
            limit,
        })
    }),
    get("/guilds/{guild}/members/{user}", |r| ask(Op::GetMember(r.id("guild")?, r.user()?))),
    patch("/guilds/{guild}/members/{user}", |r| ask(Op::ModifyMember(r.id("guild")?, r.user()?, r.body()?))),
    // What older libraries use to change their own nickname.
    patch("/guilds/{guild}/members/@me/nick", |r| ask(Op::ModifyMember(r.id("guild")?, r.me()?, r.body()?))),
    delete("/guilds/{guild}/members/{user}", |r| ask(Op::RemoveMember(r.id("guild")?, r.user()?))),
    put("/guilds/{guild}/members/{user}/roles/{role}", |r| {
        ask(Op::AddMemberRole(r.id("guild")?, r.user()?, r.id("role")?))
    }),
    delete("/guilds/{guild}/members/{user}/roles/{role}", |r| {
        ask(Op::RemoveMemberRole(r.id("guild")?, r.user()?, r.id("role")?))
    }),
    get("/guilds/{guild}/bans", |r| ask(Op::ListBans(r.id("guild")?))),
    get("/guilds/{guild}/bans/{user}", |r| ask(Op::GetBan(r.id("guild")?, r.user()?))),
    put("/guilds/{guild}/bans/{user}", |r| ask(Op::Ban(r.id("guild")?, r.user()?, r.body_or_default()?))),
    delete("/guilds/{guild}/bans/{user}", |r| ask(Op::Unban(r.id("guild")?, r.user()?))),
    // Voice.
    get("/guilds/{guild}/voice-states/{user}", |r| ask(Op::GetVoiceState(r.id("guild")?, r.user()?))),
    patch("/guilds/{guild}/voice-states/{user}", |r| {
        ask(Op::ModifyVoiceState(r.id("guild")?, r.user()?, r.body_or_default()?))
    }),
    put("/channels/{channel}/voice-status", |r| ask(Op::SetVoiceStatus(r.id("channel")?, r.body()?))),
    post("/stage-instances", create_stage_instance),
    get("/stage-instances/{channel}", |r| ask(Op::GetStageInstance(r.id("channel")?))),
    patch("/stage-instances/{channel}", |r| ask(Op::ModifyStageInstance(r.id("channel")?, r.body()?))),
    delete("/stage-instances/{channel}", |r| ask(Op::DeleteStageInstance(r.id("channel")?))),
    // Messages.
    get("/channels/{channel}/messages", |r| {
        let limit = r.query("limit")?.unwrap_or(MESSAGES_DEFAULT).clamp(1, MESSAGES_MAX);
        ask(Op::ListMessages {
            channel: r.id("channel")?,
            limit,
            before: r.query("before")?,
            after: r.query("after")?,
        })
    }),
    post("/channels/{channel}/messages", |r| ask(Op::CreateMessage(r.id("channel")?, r.body()?))),
    post("/channels/{channel}/messages/bulk-delete", bulk_delete),
    get("/channels/{channel}/messages/{message}", |r| {
        ask(Op::GetMessage(r.id("channel")?, r.id("message")?))
    }),
    patch("/channels/{channel}/messages/{message}", |r| {
        ask(Op::EditMessage(r.id("channel")?, r.id("message")?, r.body()?))
    }),
    delete("/channels/{channel}/messages/{message}", |r| {
        ask(Op::DeleteMessage(r.id("channel")?, r.id("message")?))
    }),
    post("/channels/{channel}/typing", |r| ask(Op::Typing(r.id("channel")?))),
    // Invites.
    post("/channels/{channel}/invites", |r| ask(Op::CreateInvite(r.id("channel")?, r.body_or_default()?))),
    get("/guilds/{guild}/invites", |r| ask(Op::ListInvites(r.id("guild")?))),
    open(get("/invites/{code}", |r| ask(Op::GetInvite(r.text("code").to_owned()))), Auth::Anybody),
    post("/invites/{code}", |r| ask(Op::AcceptInvite(r.text("code").to_owned()))),
    delete("/invites/{code}", |r| ask(Op::DeleteInvite(r.text("code").to_owned()))),
    // The operator's own; guilds refuses anybody else.
    get("/admin/users", |_| ask(Op::AdminListUsers)),
    post("/admin/users", |r| ask(Op::AdminCreateUser(r.body()?))),
    post("/admin/users/{user}/token", |r| ask(Op::ResetToken(r.user()?))),
    put("/admin/guilds/{guild}/members/{user}", |r| ask(Op::AdminAddMember(r.id("guild")?, r.user()?))),
    get("/admin/servers", |_| ask(Op::AdminServers)),
    patch("/admin/servers/{server}", |r| {
        ask(Op::AdminModifyServer(ServerId(r.text("server").to_owned()), r.body()?))
    }),
];

fn gateway_bot(request: &Request<'_>) -> Result<Answer, ApiError> {
    let text = json!({
        "url": request.gateway_url,
        "shards": 1,
        // Clients refuse to start when too little remains; this server counts frames instead of starts.
        "session_start_limit": { "total": 1_000, "remaining": 1_000, "reset_after": 0, "max_concurrency": 16 },
    });
    Ok(Answer::Text(text.to_string()))
}

fn own_user(request: &Request<'_>) -> Result<Answer, ApiError> {
    request.me()?;
    Ok(Answer::Text(request.account()?.json.get().to_owned()))
}

#[derive(Deserialize)]
struct Name {
    username: String,
}

/// A bot and its application are one here: they share an id. People's accounts have one as well, since
/// libraries made for bots ask for it when they log in, and here anybody may use those.
fn application(request: &Request<'_>) -> Result<Answer, ApiError> {
    let me = request.me()?;
    let Account { json: user, .. } = request.account()?;
    let name: Name = serde_json::from_str(user.get()).map_err(|_| ApiError::internal())?;
    let text = json!({
        "id": me,
        "name": name.username,
        "icon": null,
        "description": "",
        "bot_public": false,
        "bot_require_code_grant": false,
        "verify_key": "",
        "owner": user,
        "team": null,
        "flags": 0,
    });
    Ok(Answer::Text(text.to_string()))
}

#[derive(Deserialize)]
struct BulkDelete {
    messages: Vec<MessageId>,
}

fn bulk_delete(request: &Request<'_>) -> Result<Answer, ApiError> {
    let BulkDelete { messages } = request.body()?;
    if !BULK_DELETE.contains(&messages.len()) {
        return Err(ApiError::field(
            "messages",
            "BASE_TYPE_BAD_LENGTH",
            "Must be between 2 and 100 in length.",
        ));
    }
    ask(Op::BulkDeleteMessages(request.id("channel")?, messages))
}

/// Guilds knows by its channel whose it is, so the channel is needed to ask at all.
fn create_stage_instance(request: &Request<'_>) -> Result<Answer, ApiError> {
    let body: StageInstanceBody = request.body()?;
    let channel = body.channel_id;
    let channel = channel
        .ok_or_else(|| ApiError::field("channel_id", "BASE_TYPE_REQUIRED", "This field is required."))?;
    ask(Op::CreateStageInstance(channel, body))
}
