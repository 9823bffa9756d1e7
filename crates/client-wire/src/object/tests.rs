//! Whole objects, as they go out. What each library dereferences is written in the protocol's description; a field that
//! disappears here breaks some client.

use serde_json::{Value, json, to_value};

use model::{
    ChannelKind, Overwrite as ModelOverwrite, RegionId, SessionId, StageInstanceId, VideoQuality, VoiceFlags,
};

use super::*;

const AT: UnixMs = UnixMs(1_795_381_607_123);
const AT_TEXT: &str = "2026-11-22T21:06:47.123000+00:00";
const GUILD: GuildId = GuildId(10);
const ANN: UserId = UserId(1);

fn ann() -> model::User {
    model::User { id: ANN, name: "ann".to_owned(), display_name: Some("Ann".to_owned()), bot: false }
}

fn ann_json() -> Value {
    json!({
        "id": "1", "username": "ann", "discriminator": "0", "avatar": null, "global_name": "Ann", "bot": false,
        "public_flags": 0,
    })
}

fn member() -> model::Member {
    let mut member = model::Member::new(ANN, AT);
    member.roles = vec![RoleId(11)];
    member
}

fn member_json() -> Value {
    json!({
        "user": ann_json(), "nick": null, "avatar": null, "roles": ["11"], "joined_at": AT_TEXT, "premium_since": null,
        "deaf": false, "mute": false, "flags": 0, "pending": false, "communication_disabled_until": null,
    })
}

fn voice_channel() -> model::Channel {
    let mut channel = model::Channel::new(ChannelId(12), ChannelKind::Voice, "Talk");
    channel.region = Some(RegionId("local".to_owned()));
    channel.video_quality = VideoQuality::Full;
    channel.overwrites = vec![ModelOverwrite {
        target: OverwriteTarget::Member(ANN),
        allow: Permissions::SPEAK,
        deny: Permissions::empty(),
    }];
    channel
}

fn voice_channel_json() -> Value {
    json!({
        "id": "12", "type": 2, "guild_id": "10", "name": "Talk", "position": 0,
        "permission_overwrites": [{"id": "1", "type": 1, "allow": "2097152", "deny": "0"}],
        "parent_id": null, "topic": null, "nsfw": false, "flags": 0, "last_message_id": null, "rate_limit_per_user": 0,
        "bitrate": 64_000, "user_limit": 0, "rtc_region": "local", "video_quality_mode": 2,
    })
}

fn voice_state() -> model::VoiceState {
    model::VoiceState {
        user: ANN,
        channel: ChannelId(12),
        session: SessionId(0xabc),
        flags: VoiceFlags { self_mute: true, ..VoiceFlags::default() },
        mute: false,
        deaf: true,
        suppress: false,
        request_to_speak: None,
        joined_at: AT,
    }
}

fn voice_state_json() -> Value {
    json!({
        "channel_id": "12", "user_id": "1", "session_id": "00000000000000000000000000000abc", "deaf": true,
        "mute": false, "self_deaf": false, "self_mute": true, "self_video": false, "self_stream": false,
        "suppress": false, "request_to_speak_timestamp": null,
    })
}

fn stage_instance() -> StageInstance {
    StageInstance::new(StageInstanceId(20), GUILD, ChannelId(14), "Bees")
}

fn stage_instance_json() -> Value {
    json!({
        "id": "20", "guild_id": "10", "channel_id": "14", "topic": "Bees", "privacy_level": 2,
        "discoverable_disabled": true, "guild_scheduled_event_id": null,
    })
}

fn guild() -> model::Guild {
    let mut guild = model::Guild::new(GUILD, "Guild", ANN);
    guild.roles[0].permissions = Permissions::SPEAK;
    guild.channels = vec![voice_channel()];
    guild.members.insert(ANN, member());
    guild
}

fn guild_object() -> Guild {
    Guild::new(&guild(), GuildLimits { members: 500_000, video_users: 25 })
}

fn guild_json() -> Value {
    json!({
        "id": "10", "name": "Guild", "owner_id": "1", "region": null, "icon": null, "splash": null,
        "discovery_splash": null, "banner": null, "description": null, "afk_channel_id": null, "afk_timeout": 300,
        "verification_level": 0, "default_message_notifications": 0, "explicit_content_filter": 0,
        "roles": [{
            "id": "10", "name": "@everyone", "color": 0,
            "colors": {"primary_color": 0, "secondary_color": null, "tertiary_color": null},
            "hoist": false, "position": 0, "permissions": "2097152", "managed": false, "mentionable": false, "flags": 0,
            "icon": null, "unicode_emoji": null,
        }],
        "emojis": [], "stickers": [], "features": [], "mfa_level": 0, "application_id": null,
        "system_channel_id": null, "system_channel_flags": 0, "rules_channel_id": null,
        "public_updates_channel_id": null, "safety_alerts_channel_id": null, "vanity_url_code": null,
        "widget_enabled": false, "premium_tier": 0, "premium_subscription_count": 0,
        "premium_progress_bar_enabled": false, "preferred_locale": "en-US", "nsfw_level": 0, "max_members": 500_000,
        "max_video_channel_users": 25, "max_stage_video_channel_users": 25,
    })
}

fn with(mut object: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    object.as_object_mut().unwrap().extend(fields);
    object
}

/// The object goes out as expected, and our own clients read back what went out.
fn check<T>(object: &T, expect: Value)
where
    T: Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    assert_eq!(to_value(object).unwrap(), expect);
    assert_eq!(&serde_json::from_value::<T>(expect).unwrap(), object);
}

#[test]
fn users() {
    check(&User::from(&ann()), ann_json());
    let own = json!({"mfa_enabled": false, "verified": true, "email": null, "flags": 0, "locale": "en-US"});
    check(&CurrentUser::from(&ann()), with(ann_json(), own));
    let settings = json!({"locale": "en-US", "theme": "dark"});
    let credentials = json!({"user_id": "1", "token": "t", "user": ann_json(), "user_settings": settings});
    check(&Credentials::new(&ann(), "t".to_owned()), credentials);
}

#[test]
fn members_and_voice_states() {
    let object = Member::new(&member(), &ann());
    check(&object, member_json());
    check(
        &MemberEvent { guild_id: GUILD, member: object.clone() },
        with(member_json(), json!({"guild_id": "10"})),
    );
    let mut without_user = member_json();
    without_user.as_object_mut().unwrap().remove("user");
    check(&Member::without_user(&member()), without_user);
    check(
        &UserEvent { guild_id: GUILD, user: (&ann()).into() },
        json!({"guild_id": "10", "user": ann_json()}),
    );

    let entry = VoiceState::from(&voice_state());
    check(&entry, voice_state_json());
    let event = VoiceState { guild_id: Some(GUILD), member: Some(object), ..entry };
    check(&event, with(voice_state_json(), json!({"guild_id": "10", "member": member_json()})));
    let server = VoiceServer { token: "t".to_owned(), guild_id: GUILD, endpoint: None };
    check(&server, json!({"token": "t", "guild_id": "10", "endpoint": null}));
}

#[test]
fn channels() {
    check(&Channel::new(GUILD, &voice_channel()), voice_channel_json());
    let text = model::Channel::new(ChannelId(13), ChannelKind::Text, "chat");
    check(
        &Channel::new(GUILD, &text),
        json!({
            "id": "13", "type": 0, "guild_id": "10", "name": "chat", "position": 0, "permission_overwrites": [],
            "parent_id": null, "topic": null, "nsfw": false, "flags": 0, "last_message_id": null,
            "rate_limit_per_user": 0,
        }),
    );
}

#[test]
fn guilds() {
    check(&guild_object(), guild_json());
    let presence = Presence::new(GUILD, ANN, PresenceStatus::Dnd);
    let presence_json = json!({
        "user": {"id": "1"}, "guild_id": "10", "status": "dnd", "activities": [], "client_status": {"desktop": "dnd"},
    });
    check(&presence, presence_json.clone());
    check(
        &Presence::new(GUILD, ANN, PresenceStatus::Offline),
        json!({"user": {"id": "1"}, "guild_id": "10", "status": "offline", "activities": [], "client_status": {}}),
    );
    let create = GuildCreate {
        guild: guild_object(),
        unavailable: false,
        joined_at: AT.iso8601(),
        large: false,
        member_count: 1,
        voice_states: vec![(&voice_state()).into()],
        members: vec![Member::new(&member(), &ann())],
        channels: vec![Channel::new(GUILD, &voice_channel())],
        threads: Vec::new(),
        presences: vec![presence],
        stage_instances: vec![stage_instance()],
        guild_scheduled_events: Vec::new(),
        soundboard_sounds: Vec::new(),
    };
    let extras = json!({
        "unavailable": false, "joined_at": AT_TEXT, "large": false, "member_count": 1,
        "voice_states": [voice_state_json()], "members": [member_json()], "channels": [voice_channel_json()],
        "threads": [], "presences": [presence_json], "stage_instances": [stage_instance_json()], "guild_scheduled_events": [],
        "soundboard_sounds": [],
    });
    check(&create, with(guild_json(), extras));
}

#[test]
fn what_is_true_of_a_voice_channel_for_now() {
    check(&stage_instance(), stage_instance_json());
    let id = ChannelId(12);
    check(
        &VoiceChannelStatus { id, guild_id: GUILD, status: None },
        json!({"id": "12", "guild_id": "10", "status": null}),
    );
    check(
        &VoiceChannelStartTime::new(GUILD, id, Some(AT)),
        json!({"id": "12", "guild_id": "10", "voice_start_time": 1_795_381_607}),
    );
    let entry = |status, start| ChannelInfoEntry {
        id,
        status: Asked::when(status, Some("Tea".to_owned())),
        voice_start_time: Asked::when(start, None),
    };
    check(&entry(true, true), json!({"id": "12", "status": "Tea", "voice_start_time": null}));
    check(&entry(true, false), json!({"id": "12", "status": "Tea"}));
    check(
        &ChannelInfo { guild_id: GUILD, channels: vec![entry(false, true)] },
        json!({"guild_id": "10", "channels": [{"id": "12", "voice_start_time": null}]}),
    );
}

#[test]
fn messages() {
    let message = model::Message {
        id: MessageId((AT.0 - model::EPOCH_MS) << 22),
        channel: ChannelId(13),
        author: ANN,
        content: "hello".to_owned(),
        edited_at: None,
    };
    let expect = json!({
        "id": message.id.to_string(), "channel_id": "13", "author": ann_json(), "content": "hello",
        "timestamp": AT_TEXT, "edited_timestamp": null, "tts": false, "mention_everyone": false, "mentions": [],
        "mention_roles": [], "attachments": [], "embeds": [], "pinned": false, "type": 0, "flags": 0, "components": [],
    });
    check(&Message::new(&message, &ann()), expect);
}

#[test]
fn invites_and_regions() {
    let invite = model::Invite {
        code: "abc".to_owned(),
        guild: GUILD,
        channel: ChannelId(12),
        inviter: ANN,
        created_at: AT,
        expires_at: Some(UnixMs(AT.0 + 60_000)),
        uses: 1,
        max_uses: 5,
    };
    check(
        &Invite::new(&invite, &guild(), &voice_channel(), Some(&ann())),
        json!({
            "code": "abc", "type": 0,
            "guild": {
                "id": "10", "name": "Guild", "icon": null, "splash": null, "banner": null, "description": null,
                "features": [], "verification_level": 0, "vanity_url_code": null, "nsfw_level": 0,
            },
            "channel": {"id": "12", "name": "Talk", "type": 2}, "inviter": ann_json(), "uses": 1, "max_uses": 5,
            "max_age": 60, "temporary": false, "created_at": AT_TEXT, "expires_at": "2026-11-22T21:07:47.123000+00:00",
            "approximate_member_count": 1, "approximate_presence_count": 0,
        }),
    );
    check(
        &Region::new(&RegionId("local".to_owned())),
        json!({"id": "local", "name": "local", "optimal": false, "deprecated": false, "custom": false}),
    );
}
