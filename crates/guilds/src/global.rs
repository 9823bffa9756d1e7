//! REST operations that are no one guild's: accounts, guilds as a list, regions, the operator's view.

use std::sync::Arc;

use client_wire::error::{ApiError, code};
use client_wire::{object, rest};
use cluster_wire::guilds::{Call, CallResult, Event, Json, Op, Reply};
use cluster_wire::record::{Health, RelayStatus, ServerRecord, Upgrade, UpgradeOutcome};
use guilds_core::found_guild;
use model::{GuildId, RegionId, ServerId, UserId};
use serde::Serialize;

use crate::accounts;
use crate::limits::{GUILDS_PER_BOT_MAX, GUILDS_PER_USER_MAX, USERS_LISTED_MAX};
use crate::shared::{Shared, now, storage};

pub(crate) async fn rest(shared: &Arc<Shared>, actor: Option<UserId>, operator: bool, op: Op) -> CallResult {
    let user = || actor.ok_or_else(|| ApiError::new(403, code::UNAUTHORIZED, "This needs a user"));
    let as_operator = || match operator {
        true => Ok(()),
        false => Err(ApiError::new(403, code::UNAUTHORIZED, "This needs the operator's key")),
    };
    match op {
        Op::Register(body) => accounts::register(shared, body, operator).await,
        Op::Login(origin, body) => accounts::login(shared, origin, body).await,
        Op::Logout(token) => accounts::logout(shared, user()?, token).await,
        Op::GetUser(user) => accounts::get_user(shared, user).await,
        Op::CreateBot(body) => accounts::create_bot(shared, user()?, body).await,
        Op::ResetToken(user) => accounts::reset_token(shared, actor, operator, user).await,
        Op::ListGuilds => list_guilds(shared, user()?).await,
        Op::CreateGuild(body) => create_guild(shared, user()?, body).await,
        Op::ListRegions => list_regions(shared),
        Op::AdminCreateUser(body) => {
            as_operator()?;
            accounts::register(shared, body, true).await
        }
        Op::AdminAddMember(guild, member) => add_member(shared, actor, operator, guild, member).await,
        Op::AdminListUsers => {
            as_operator()?;
            let users = shared.store.list_users(None, USERS_LISTED_MAX).await.map_err(storage)?;
            ok(&users.iter().map(object::User::from).collect::<Vec<_>>())
        }
        Op::AdminServers => {
            as_operator()?;
            ok(&shared.fleet.records().iter().map(server_status).collect::<Vec<_>>())
        }
        Op::AdminModifyServer(server, body) => {
            as_operator()?;
            modify_server(shared, &server, &body)
        }
        // The router sends everything else to a guild.
        _ => Err(ApiError::internal()),
    }
}

async fn list_guilds(shared: &Arc<Shared>, user: UserId) -> CallResult {
    let not_now =
        || ApiError::new(503, code::GENERAL, "Your guilds cannot all be read right now. Try again soon.");
    let mut entries: Vec<Json> = Vec::new();
    for guild in shared.store.guilds_of(user).await.map_err(storage).map_err(|_| not_now())? {
        match shared.call(guild, Call::DescribeTo { guild, user }).await {
            Ok(Reply::Json(_, entry)) => entries.push(entry),
            // A guild, or a membership, that ended meanwhile is not in the list.
            Ok(_) => {}
            Err(error) if error.status == 404 => {}
            Err(_) => {
                return Err(not_now());
            }
        }
    }
    ok(&entries)
}

async fn create_guild(shared: &Arc<Shared>, owner: UserId, body: rest::CreateGuild) -> CallResult {
    let is_known = |region: &String| shared.fleet.regions().iter().any(|known| known.0 == *region);
    if !body.region.as_ref().is_none_or(is_known) {
        return Err(ApiError::field("region", "REGION_UNKNOWN", "No voice server is in this region."));
    }
    // The operator can name anybody as the owner.
    if shared.store.user(owner).await.map_err(storage)?.is_none() {
        return Err(ApiError::not_found(code::UNKNOWN_USER, "User"));
    }
    require_room_for(shared, owner, GUILDS_PER_USER_MAX, GuildId(0)).await?;
    let region = body.region.map(RegionId);
    let (guild, writes) = found_guild(&body.name, region, owner, now(), || shared.next_id())?;
    shared.store.apply(&writes).await.map_err(storage)?;
    shared.gateways.tell(Event::Joined { guild: guild.id, user: owner });
    let op = Op::GetGuild(guild.id);
    match shared.call(guild.id, Call::Rest { actor: Some(owner), operator: false, reason: None, op }).await? {
        Reply::Json(_, body) => Ok(Reply::Json(201, body)),
        other => Ok(other),
    }
}

/// Refuses whoever is in so many guilds already, unless it is in this one.
pub(crate) async fn require_room_for(
    shared: &Shared,
    user: UserId,
    guilds_max: usize,
    guild: GuildId,
) -> Result<(), ApiError> {
    let guilds = shared.store.guilds_of(user).await.map_err(storage)?;
    match guilds.len() < guilds_max || guilds.contains(&guild) {
        true => Ok(()),
        false => {
            let message = format!("Maximum number of guilds reached ({guilds_max})");
            Err(ApiError::new(400, code::TOO_MANY_GUILDS, message))
        }
    }
}

/// The operator adds anybody; who owns a bot adds that bot where it may (which the guild judges) and is not banned.
async fn add_member(
    shared: &Arc<Shared>,
    actor: Option<UserId>,
    operator: bool,
    guild: GuildId,
    member: UserId,
) -> CallResult {
    if !operator {
        let owner = shared.store.bot_owner(member).await.map_err(storage)?;
        if owner.is_none() || owner != actor {
            return Err(ApiError::missing_permissions());
        }
        if shared.store.ban(guild, member).await.map_err(storage)?.is_some() {
            return Err(ApiError::new(403, code::BANNED, "The bot is banned from this guild."));
        }
        require_room_for(shared, member, GUILDS_PER_BOT_MAX, guild).await?;
    }
    let op = Op::AdminAddMember(guild, member);
    shared.call(guild, Call::Rest { actor, operator, reason: None, op }).await
}

fn list_regions(shared: &Shared) -> CallResult {
    ok(&shared.fleet.regions().iter().map(object::Region::new).collect::<Vec<_>>())
}

/// The answer shows what was asked for; the server's own record follows it.
fn modify_server(shared: &Shared, id: &ServerId, body: &rest::ModifyServer) -> CallResult {
    let unknown = || ApiError::new(404, code::GENERAL, "Unknown voice server");
    let mut record = shared.fleet.record(id).ok_or_else(unknown)?;
    let unable = || ApiError::new(503, code::GENERAL, "The voice server takes no orders now");
    if let Some(draining) = body.draining {
        if !shared.fleet.set_draining(id, draining) {
            return Err(unable());
        }
        tracing::info!(server = %id, draining, "the operator's wish for a voice server");
        record.draining = draining;
    }
    if let Some(rest::UpgradeRelay { program }) = &body.upgrade_relay {
        if program.as_ref().is_some_and(|program| !program.starts_with('/')) {
            return Err(ApiError::new(400, code::GENERAL, "The program must be named by its whole path"));
        }
        let number = shared.next_id();
        if !shared.fleet.upgrade_relay(id, number, program.clone()) {
            return Err(unable());
        }
        tracing::info!(server = %id, ?program, number, "the operator's wish for a relay");
        record.relay.upgrade = Some(Upgrade { number, outcome: UpgradeOutcome::Underway });
    }
    ok(&server_status(&record))
}

fn server_status(record: &ServerRecord) -> object::VoiceServerStatus {
    let health = match record.health {
        Health::Ok => "ok",
        Health::NoRelay => "no_relay",
        Health::RelayLost => "relay_lost",
        Health::Flooded => "flooded",
    };
    object::VoiceServerStatus {
        id: record.id.0.clone(),
        region: record.region.0.clone(),
        endpoint: record.endpoint.clone(),
        health: health.to_owned(),
        draining: record.draining,
        version: record.version.clone(),
        capacity: record.capacity,
        guilds: record.load.guilds,
        participants: record.load.participants,
        packets_in_per_s: record.load.packets_in_per_s,
        packets_out_per_s: record.load.packets_out_per_s,
        busiest_shard: record.load.busiest_shard,
        relay: relay_status(&record.relay),
    }
}

fn relay_status(relay: &RelayStatus) -> object::RelayStatus {
    let upgrade = relay.upgrade.as_ref().map(|Upgrade { number, outcome }| {
        let (state, error) = match outcome {
            UpgradeOutcome::Underway => ("underway", None),
            UpgradeOutcome::Done => ("done", None),
            UpgradeOutcome::Failed(why) => ("failed", Some(why.clone())),
        };
        object::UpgradeStatus { number: number.to_string(), state: state.to_owned(), error }
    });
    object::RelayStatus {
        version: relay.version.clone(),
        restarts: relay.restarts,
        last_end: relay.last_end.clone(),
        next_start_in_ms: relay.next_start_in_ms,
        legs_left_out: relay.legs_left_out,
        upgrade,
    }
}

pub(crate) fn json(value: &impl Serialize) -> Json {
    serde_json::value::to_raw_value(value)
        .expect("our objects have string keys and no failing serialisers")
        .into()
}

pub(crate) fn ok(value: &impl Serialize) -> CallResult {
    Ok(Reply::Json(200, json(value)))
}
