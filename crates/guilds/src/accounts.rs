//! Accounts: registration, signing in, bots, tokens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use client_wire::error::{ApiError, code};
use client_wire::{object, rest};
use cluster_wire::guilds::{Account, Call, CallResult, Event, Json, Op, Origin, Reply, TokenMark};
use model::{GuildId, Permissions, User, UserId};
use store::CreateUserError;

use crate::actor::Question;
use crate::global::{json, ok};
use crate::limits::{
    DISPLAY_NAME_CHARS_MAX, PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN, TOKEN_UNUSED_MAX, TOKEN_USE_NOTED_EVERY,
    TOKENS_PER_USER_MAX, USERNAME_CHARS_MAX, USERNAME_CHARS_MIN,
};
use crate::service::Registration;
use crate::shared::{Shared, lock, now, storage};
use crate::tokens::{hash, mark, new_token, sha256, strip_prefix};

/// Whose token is this?
pub(crate) async fn authenticate(shared: &Shared, token: &str) -> CallResult {
    let token = strip_prefix(token);
    if is_operator_key(shared, token) {
        let nobody = User { id: UserId(0), name: "operator".to_owned(), display_name: None, bot: false };
        return Ok(Reply::Account(account(&nobody, true, TokenMark([0; 8]), Vec::new())));
    }
    let hash = hash(token).ok_or_else(ApiError::unauthorized)?;
    let found = shared.store.token(hash).await.map_err(storage)?;
    let (user, used_at) = found.ok_or_else(ApiError::unauthorized)?;
    let found = shared.store.user(user).await.map_err(storage)?.ok_or_else(ApiError::unauthorized)?;
    let unused_for = Duration::from_millis(now().0.saturating_sub(used_at.0));
    if !found.bot && unused_for > TOKEN_UNUSED_MAX {
        end_token(shared, user, mark(hash)).await?;
        return Err(ApiError::unauthorized());
    }
    if unused_for > TOKEN_USE_NOTED_EVERY {
        shared.store.use_token(hash, now()).await.map_err(storage)?;
    }
    let guilds = shared.store.guilds_of(user).await.map_err(storage)?;
    Ok(Reply::Account(account(&found, false, mark(hash), guilds)))
}

fn account(user: &User, operator: bool, token: TokenMark, guilds: Vec<GuildId>) -> Account {
    let json = json(&object::CurrentUser::from(user));
    Account { user: user.id, bot: user.bot, operator, token, json, guilds }
}

/// The token first, so that whoever hears of its end finds it gone.
async fn end_token(shared: &Shared, user: UserId, token: TokenMark) -> Result<(), ApiError> {
    shared.store.delete_token(user, token.0).await.map_err(storage)?;
    shared.gateways.tell(Event::TokensRevoked { user, token: Some(token) });
    Ok(())
}

/// A person's. A bot has no password to come back with: its owner resets its token.
pub(crate) async fn logout(shared: &Shared, user: UserId, token: TokenMark) -> CallResult {
    let found = shared.store.user(user).await.map_err(storage)?.ok_or_else(ApiError::unauthorized)?;
    if found.bot {
        return Err(ApiError::new(403, code::UNAUTHORIZED, "Bots do not log out; reset the token instead."));
    }
    end_token(shared, user, token).await?;
    Ok(Reply::Empty)
}

/// Compares hashes, so that the time taken says nothing about the key.
fn is_operator_key(shared: &Shared, token: &str) -> bool {
    let key = shared.config.operator_key.as_deref().filter(|key| !key.is_empty());
    key.is_some_and(|key| sha256(key.as_bytes()) == sha256(token.as_bytes()))
}

pub(crate) async fn register(shared: &Arc<Shared>, body: rest::Register, by_operator: bool) -> CallResult {
    let may = match shared.config.registration {
        _ if by_operator => true,
        Registration::Open => true,
        Registration::Invited => body.invite.is_some(),
        Registration::Closed => false,
    };
    if !may {
        return Err(ApiError::new(403, code::UNAUTHORIZED, "Registration is not open to everyone here."));
    }
    let name = checked_name("username", &body.username)?;
    let display_name = checked_display_name(body.global_name.as_deref())?;
    // The operator may make an account that nobody can log in to by name, such as a bot's or a test's.
    let without_password = by_operator && body.password.is_empty();
    if !without_password {
        checked_password(&body.password)?;
    }
    // A wrong invite is told before there is an account.
    if let Some(invite) = &body.invite {
        invite_call(shared, None, Op::GetInvite(invite.clone())).await?;
    }
    let password_hash = match without_password {
        true => None,
        false => Some(shared.passwords.hash(body.password).await?),
    };
    let user = User { id: UserId(shared.next_id()), name, display_name, bot: false };
    create(shared, &user, password_hash.as_deref(), None).await?;
    if let Some(invite) = body.invite
        && let Err(refusal) = invite_call(shared, Some(user.id), Op::AcceptInvite(invite)).await
    {
        // Somebody else was quicker with an invite's last use: there is no account without it.
        shared.store.delete_user(user.id).await.map_err(storage)?;
        return Err(refusal);
    }
    metrics::counter!("guildhall_guilds_accounts_created_total").increment(1);
    Ok(Reply::Json(201, credentials(shared, &user).await?))
}

async fn invite_call(shared: &Arc<Shared>, actor: Option<UserId>, op: Op) -> CallResult {
    let (Op::GetInvite(invite) | Op::AcceptInvite(invite)) = &op else { return Err(ApiError::internal()) };
    let found = shared.store.invite(invite).await.map_err(storage)?;
    let guild = found.ok_or_else(|| ApiError::not_found(code::UNKNOWN_INVITE, "Invite"))?.guild;
    shared.call(guild, Call::Rest { actor, operator: false, reason: None, op }).await
}

/// The same answer for a wrong name and a wrong password.
pub(crate) async fn login(shared: &Shared, origin: Origin, body: rest::Login) -> CallResult {
    // Every attempt counts as wrong until it has proved right, so that guesses made at once are counted as well.
    if let Err(wait) = lock(&shared.throttle).attempt(Instant::now(), &body.login, origin) {
        metrics::counter!("guildhall_guilds_logins_total", "outcome" => "throttled").increment(1);
        let message = format!("Too many wrong passwords. Try again in {} s.", wait.as_secs() + 1);
        return Err(ApiError::new(429, 0, message));
    }
    if body.password.chars().count() > PASSWORD_CHARS_MAX {
        return Err(wrong_login());
    }
    let found = shared.store.password_hash(&body.login).await.map_err(storage)?;
    let (user, hash) = found.unzip();
    let is_right = shared.passwords.verify(body.password, hash).await?;
    let Some(user) = user.filter(|_| is_right) else {
        metrics::counter!("guildhall_guilds_logins_total", "outcome" => "wrong").increment(1);
        return Err(wrong_login());
    };
    lock(&shared.throttle).succeeded(&body.login, origin);
    metrics::counter!("guildhall_guilds_logins_total", "outcome" => "ok").increment(1);
    let user = shared.store.user(user).await.map_err(storage)?.ok_or_else(wrong_login)?;
    Ok(Reply::Json(200, credentials(shared, &user).await?))
}

fn wrong_login() -> ApiError {
    ApiError::field("login", "INVALID_LOGIN", "Login or password is invalid.")
}

/// A bot account of the actor's. Into a guild at once only where the actor manages it.
pub(crate) async fn create_bot(shared: &Arc<Shared>, owner: UserId, body: rest::CreateBot) -> CallResult {
    let name = checked_name("name", &body.name)?;
    if let Some(guild) = body.guild_id {
        require_manager(shared, guild, owner).await?;
    }
    let user = User { id: UserId(shared.next_id()), name, display_name: None, bot: true };
    create(shared, &user, None, Some(owner)).await?;
    if let Some(guild) = body.guild_id {
        let op = Op::AdminAddMember(guild, user.id);
        shared.call(guild, Call::Rest { actor: Some(owner), operator: false, reason: None, op }).await?;
    }
    Ok(Reply::Json(201, credentials(shared, &user).await?))
}

async fn require_manager(shared: &Arc<Shared>, guild: GuildId, user: UserId) -> Result<(), ApiError> {
    let permissions = shared.ask(guild, |answer| Question::Permissions(user, answer)).await?;
    let permissions = permissions.ok_or_else(ApiError::missing_access)?;
    match permissions.contains(Permissions::MANAGE_GUILD) {
        true => Ok(()),
        false => Err(ApiError::missing_permissions()),
    }
}

/// The bot's owner's right, and the operator's over everybody. Sessions under older tokens end.
pub(crate) async fn reset_token(
    shared: &Shared,
    actor: Option<UserId>,
    operator: bool,
    user: UserId,
) -> CallResult {
    let unknown = || ApiError::not_found(code::UNKNOWN_USER, "User");
    let found = shared.store.user(user).await.map_err(storage)?.ok_or_else(unknown)?;
    if !operator {
        let owner = shared.store.bot_owner(user).await.map_err(storage)?;
        if owner.is_none() || owner != actor {
            return Err(ApiError::missing_permissions());
        }
    }
    shared.store.delete_tokens(user).await.map_err(storage)?;
    shared.gateways.tell(Event::TokensRevoked { user, token: None });
    Ok(Reply::Json(200, credentials(shared, &found).await?))
}

pub(crate) async fn get_user(shared: &Shared, user: UserId) -> CallResult {
    let found = shared.store.user(user).await.map_err(storage)?;
    ok(&object::User::from(&found.ok_or_else(|| ApiError::not_found(code::UNKNOWN_USER, "User"))?))
}

async fn create(
    shared: &Shared,
    user: &User,
    password_hash: Option<&str>,
    owner: Option<UserId>,
) -> Result<(), ApiError> {
    match shared.store.create_user(user, password_hash, owner).await {
        Ok(()) => Ok(()),
        Err(CreateUserError::NameTaken) => {
            let field = if user.bot { "name" } else { "username" };
            Err(ApiError::field(field, "USERNAME_ALREADY_TAKEN", "Username is unavailable."))
        }
        Err(CreateUserError::IdTaken(id)) => {
            tracing::error!(?id, "a new id was taken already: two nodes run with one worker number");
            Err(ApiError::internal())
        }
        Err(CreateUserError::Store(error)) => Err(storage(error)),
    }
}

/// A new token for the user, shown this once.
async fn credentials(shared: &Shared, user: &User) -> Result<Json, ApiError> {
    let token = new_token(user.id, now());
    let hash = hash(&token).expect("our own tokens are of a token's form");
    shared.store.put_token(hash, user.id, now()).await.map_err(storage)?;
    for oldest in shared.store.tokens_beyond(user.id, TOKENS_PER_USER_MAX).await.map_err(storage)? {
        end_token(shared, user.id, TokenMark(oldest)).await?;
    }
    Ok(json(&object::Credentials::new(user, token)))
}

fn checked_name(field: &str, name: &str) -> Result<String, ApiError> {
    let name = name.trim();
    if !(USERNAME_CHARS_MIN..=USERNAME_CHARS_MAX).contains(&name.chars().count()) {
        return Err(bad_length(field, USERNAME_CHARS_MIN, USERNAME_CHARS_MAX));
    }
    match name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-')) {
        true => Ok(name.to_owned()),
        false => {
            let message = "Only letters, digits, underscores, dots and dashes.";
            Err(ApiError::field(field, "USERNAME_INVALID_CHARACTERS", message))
        }
    }
}

fn checked_display_name(name: Option<&str>) -> Result<Option<String>, ApiError> {
    let name = name.map(str::trim).filter(|name| !name.is_empty());
    match name.is_none_or(|name| name.chars().count() <= DISPLAY_NAME_CHARS_MAX) {
        true => Ok(name.map(str::to_owned)),
        false => Err(bad_length("global_name", 1, DISPLAY_NAME_CHARS_MAX)),
    }
}

fn checked_password(password: &str) -> Result<(), ApiError> {
    match (PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX).contains(&password.chars().count()) {
        true => Ok(()),
        false => Err(bad_length("password", PASSWORD_CHARS_MIN, PASSWORD_CHARS_MAX)),
    }
}

fn bad_length(field: &str, min: usize, max: usize) -> ApiError {
    ApiError::field(field, "BASE_TYPE_BAD_LENGTH", format!("Must be between {min} and {max} in length."))
}
