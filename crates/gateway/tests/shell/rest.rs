//! REST, header by header.

use std::sync::Arc;
use std::time::Duration;

use gateway::{GatewayConfig, Quota};

use super::http::{get, request};
use super::server::Server;

#[tokio::test]
async fn every_route_asks_for_its_operation() {
    let server = Server::start().await;
    let check = async |method: &str, path: &str, body: &str, expect: &str| {
        let path = format!("/api/v10{path}");
        let response = request(server.addr, method, &path, &[("Authorization", "Bot alice")], body).await;
        assert_eq!(response.status, 200, "{method} {path}: {response:?}");
        let json = response.json();
        let op = json["op"].as_str().unwrap();
        assert!(op.starts_with(expect), "{method} {path}: {op} instead of {expect}");
    };
    check("POST", "/auth/register", r#"{"username":"a","password":"b"}"#, "Register(").await;
    check("POST", "/auth/login", r#"{"login":"a","password":"b"}"#, "Login(").await;
    check("GET", "/users/5", "", "GetUser(UserId(5))").await;
    check("GET", "/users/@me/guilds", "", "ListGuilds").await;
    check("DELETE", "/users/@me/guilds/3", "", "RemoveMember(GuildId(3), UserId(1))").await;
    check("POST", "/applications", r#"{"name":"bot"}"#, "CreateBot(").await;
    check("POST", "/applications/8/bot/reset", "", "ResetToken(UserId(8))").await;
    check("POST", "/applications/@me/bot/reset", "", "ResetToken(UserId(1))").await;
    check("GET", "/guilds/3", "", "GetGuild(GuildId(3))").await;
    check("PATCH", "/guilds/3", r#"{"region":null}"#, "ModifyGuild(GuildId(3)").await;
    check("DELETE", "/guilds/3", "", "DeleteGuild(GuildId(3))").await;
    check("GET", "/guilds/3/regions", "", "ListRegions").await;
    check("GET", "/voice/regions", "", "ListRegions").await;
    check("GET", "/guilds/3/channels", "", "ListChannels(GuildId(3))").await;
    check("POST", "/guilds/3/channels", r#"{"name":"a","type":2,"unknown":1}"#, "CreateChannel(GuildId(3)")
        .await;
    check("PATCH", "/guilds/3/channels", r#"[{"id":"4"}]"#, "ReorderChannels(GuildId(3)").await;
    check("GET", "/channels/4", "", "GetChannel(ChannelId(4))").await;
    check("PATCH", "/channels/4", r#"{"user_limit":5}"#, "ModifyChannel(ChannelId(4)").await;
    check(
        "PUT",
        "/channels/4/permissions/9",
        r#"{"type":1,"allow":"8"}"#,
        "PutOverwrite { channel: ChannelId(4), id: 9",
    )
    .await;
    check("DELETE", "/channels/4/permissions/9", "", "DeleteOverwrite { channel: ChannelId(4), id: 9").await;
    check("GET", "/guilds/3/roles", "", "ListRoles(GuildId(3))").await;
    check("POST", "/guilds/3/roles", "", "CreateRole(GuildId(3)").await;
    check("PATCH", "/guilds/3/roles", r#"[{"id":"6","position":1}]"#, "ReorderRoles(GuildId(3)").await;
    check("GET", "/guilds/3/roles/6", "", "GetRole(GuildId(3), RoleId(6))").await;
    check("PATCH", "/guilds/3/roles/6", r#"{"name":"x"}"#, "ModifyRole(GuildId(3), RoleId(6)").await;
    check("DELETE", "/guilds/3/roles/6", "", "DeleteRole(GuildId(3), RoleId(6))").await;
    let members = "ListMembers { guild: GuildId(3), limit: 1000, after: UserId(7) }";
    check("GET", "/guilds/3/members?limit=5000&after=7", "", members).await;
    let search = r#"SearchMembers { guild: GuildId(3), query: "a b", limit: 2 }"#;
    check("GET", "/guilds/3/members/search?query=a%20b&limit=2", "", search).await;
    check("GET", "/guilds/3/members/5", "", "GetMember(GuildId(3), UserId(5))").await;
    check("PATCH", "/guilds/3/members/5", r#"{"channel_id":null}"#, "ModifyMember(GuildId(3), UserId(5)")
        .await;
    check("PATCH", "/guilds/3/members/@me", r#"{"nick":"x"}"#, "ModifyMember(GuildId(3), UserId(1)").await;
    check("PATCH", "/guilds/3/members/@me/nick", r#"{"nick":"x"}"#, "ModifyMember(GuildId(3), UserId(1)")
        .await;
    check("DELETE", "/guilds/3/members/5", "", "RemoveMember(GuildId(3), UserId(5))").await;
    check("PUT", "/guilds/3/members/5/roles/6", "", "AddMemberRole(GuildId(3), UserId(5), RoleId(6))").await;
    check("DELETE", "/guilds/3/members/5/roles/6", "", "RemoveMemberRole(GuildId(3), UserId(5), RoleId(6))")
        .await;
    check("GET", "/guilds/3/bans", "", "ListBans(GuildId(3))").await;
    check("GET", "/guilds/3/bans/5", "", "GetBan(GuildId(3), UserId(5))").await;
    check("PUT", "/guilds/3/bans/5", "", "Ban(GuildId(3), UserId(5)").await;
    check("DELETE", "/guilds/3/bans/5", "", "Unban(GuildId(3), UserId(5))").await;
    check("GET", "/guilds/3/voice-states/@me", "", "GetVoiceState(GuildId(3), UserId(1))").await;
    check(
        "PATCH",
        "/guilds/3/voice-states/5",
        r#"{"suppress":true}"#,
        "ModifyVoiceState(GuildId(3), UserId(5)",
    )
    .await;
    check("PUT", "/channels/4/voice-status", r#"{"status":null}"#, "SetVoiceStatus(ChannelId(4)").await;
    let stage = r#"{"channel_id":"4","topic":"Bees","send_start_notification":true}"#;
    check("POST", "/stage-instances", stage, "CreateStageInstance(ChannelId(4)").await;
    check("GET", "/stage-instances/4", "", "GetStageInstance(ChannelId(4))").await;
    check("PATCH", "/stage-instances/4", r#"{"topic":"x"}"#, "ModifyStageInstance(ChannelId(4)").await;
    check("DELETE", "/stage-instances/4", "", "DeleteStageInstance(ChannelId(4))").await;
    let messages =
        "ListMessages { channel: ChannelId(4), limit: 50, before: Some(MessageId(9)), after: None }";
    check("GET", "/channels/4/messages?before=9", "", messages).await;
    check("POST", "/channels/4/messages", r#"{"content":"hi"}"#, "CreateMessage(ChannelId(4)").await;
    let bulk = "BulkDeleteMessages(ChannelId(4), [MessageId(1), MessageId(2)])";
    check("POST", "/channels/4/messages/bulk-delete", r#"{"messages":["1","2"]}"#, bulk).await;
    check("GET", "/channels/4/messages/9", "", "GetMessage(ChannelId(4), MessageId(9))").await;
    check("PATCH", "/channels/4/messages/9", r#"{"content":"ho"}"#, "EditMessage(ChannelId(4), MessageId(9)")
        .await;
    check("DELETE", "/channels/4/messages/9", "", "DeleteMessage(ChannelId(4), MessageId(9))").await;
    check("POST", "/channels/4/invites", "", "CreateInvite(ChannelId(4)").await;
    check("GET", "/guilds/3/invites", "", "ListInvites(GuildId(3))").await;
    check("GET", "/invites/abc", "", r#"GetInvite("abc")"#).await;
    check("POST", "/invites/abc", "{}", r#"AcceptInvite("abc")"#).await;
    check("DELETE", "/invites/abc", "", r#"DeleteInvite("abc")"#).await;
    check("GET", "/admin/users", "", "AdminListUsers").await;
    check("POST", "/admin/users", r#"{"username":"a","password":"b"}"#, "AdminCreateUser(").await;
    check("POST", "/admin/users/5/token", "", "ResetToken(UserId(5))").await;
    check("PUT", "/admin/guilds/3/members/5", "", "AdminAddMember(GuildId(3), UserId(5))").await;
    check("GET", "/admin/servers", "", "AdminServers").await;
    let modify =
        r#"AdminModifyServer(ServerId("eu-0"), ModifyServer { draining: Some(true), upgrade_relay: None })"#;
    check("PATCH", "/admin/servers/eu-0", r#"{"draining":true}"#, modify).await;
    server.handle.shutdown().await;
}

#[tokio::test]
async fn who_asks_and_why_reaches_guilds_by_every_prefix() {
    let server = Server::start().await;
    for prefix in ["/api/v10", "/api/v9", "/api"] {
        let headers = [("Authorization", "Bot alice"), ("X-Audit-Log-Reason", "too%20loud")];
        let response = request(server.addr, "DELETE", &format!("{prefix}/guilds/3"), &headers, "").await;
        let json = response.json();
        assert_eq!((&json["actor"], &json["operator"]), (&1.into(), &false.into()), "{prefix}");
        assert_eq!(json["reason"], "too loud");
    }
    let json = get(server.addr, "/api/admin/users", "operator").await.json();
    assert_eq!((&json["actor"], &json["operator"]), (&serde_json::Value::Null, &true.into()));
    server.handle.shutdown().await;
}

#[tokio::test]
async fn errors_are_json_with_the_protocols_numbers() {
    let server = Server::start().await;
    let check = async |method: &str, path: &str, token: &str, body: &str, status: u16, code: u32| {
        let response = request(server.addr, method, path, &[("Authorization", token)], body).await;
        let shown = format!("{method} {path}: {response:?}");
        assert_eq!(
            (response.status, response.header("content-type")),
            (status, Some("application/json")),
            "{shown}"
        );
        let json = response.json();
        assert_eq!(json["code"], code, "{shown}");
        assert!(json["message"].is_string(), "{shown}");
    };
    check("GET", "/api/v10/users/@me", "", "", 401, 0).await;
    check("GET", "/api/v10/users/@me", "Bot wrong", "", 401, 0).await;
    check("GET", "/api/v10/users/@me", &"x".repeat(2_000), "", 401, 0).await;
    check("GET", "/api/v10/users/@me", "operator", "", 404, 10013).await;
    check("GET", "/api/v10/nothing", "alice", "", 404, 0).await;
    check("GET", "/api/v3/users/@me", "alice", "", 404, 0).await;
    check("PUT", "/api/v10/users/@me", "alice", "", 405, 0).await;
    check("GET", "/api/v10/guilds/404", "alice", "", 404, 10004).await;
    check("GET", "/api/v10/guilds/abc", "alice", "", 400, 50035).await;
    check("GET", "/api/v10/guilds/3/members?limit=x", "alice", "", 400, 50035).await;
    check("POST", "/api/v10/guilds", "alice", "{", 400, 50109).await;
    check("POST", "/api/v10/guilds", "alice", "", 400, 50109).await;
    check("POST", "/api/v10/guilds", "alice", r#"{"name":5}"#, 400, 50035).await;
    check("POST", "/api/v10/channels/4/messages/bulk-delete", "alice", r#"{"messages":["1"]}"#, 400, 50035)
        .await;
    check("POST", "/api/v10/stage-instances", "alice", r#"{"topic":"Bees"}"#, 400, 50035).await;
    check("GET", "/metrics", "", "", 404, 0).await;
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(129 * 1024));
    check("POST", "/api/v10/guilds", "alice", &large, 413, 40005).await;
    server.handle.shutdown().await;
}

#[tokio::test]
async fn replies_carry_their_status_and_exactly_the_type_libraries_compare() {
    let server = Server::start().await;
    let headers = [("Authorization", "alice")];
    let created = request(server.addr, "POST", "/api/v10/guilds", &headers, r#"{"name":"x"}"#).await;
    assert_eq!((created.status, created.header("content-type")), (201, Some("application/json")));
    assert_eq!(created.body, r#"{"id":"7"}"#);
    let empty = request(server.addr, "POST", "/api/v10/channels/4/typing", &headers, "").await;
    assert_eq!((empty.status, empty.header("content-type"), empty.body.as_str()), (204, None, ""));
    server.handle.shutdown().await;
}

#[tokio::test]
async fn the_gateway_answers_for_itself_where_it_can() {
    let server = Server::start().await;
    let url = get(server.addr, "/api/v10/gateway", "").await.json();
    assert_eq!(url["url"], format!("ws://{}", server.addr));
    let named =
        request(server.addr, "GET", "/api/v10/gateway", &[("Host", "voice.example.org:81")], "").await.json();
    assert_eq!(named["url"], "ws://voice.example.org:81");
    let bot = get(server.addr, "/api/v10/gateway/bot", "Bot alice").await.json();
    assert_eq!((&bot["shards"], &bot["session_start_limit"]["remaining"]), (&1.into(), &1_000.into()));
    assert_eq!(get(server.addr, "/api/v10/gateway/bot", "").await.status, 401);
    let me = get(server.addr, "/api/v10/users/@me", "Bot alice").await.json();
    assert_eq!((&me["id"], &me["username"]), (&"1".into(), &"user 1".into()));
    // People's accounts may use bot libraries, which ask for it too.
    assert_eq!(get(server.addr, "/api/v10/applications/@me", "person").await.json()["id"], "2");
    let application = get(server.addr, "/api/v10/oauth2/applications/@me", "Bot alice").await.json();
    assert_eq!((&application["id"], &application["name"]), (&"1".into(), &"user 1".into()));
    assert_eq!(application["owner"]["id"], "1");
    for key in ["icon", "description", "bot_public", "bot_require_code_grant", "verify_key", "team", "flags"]
    {
        assert!(application.get(key).is_some(), "{key}");
    }
    server.handle.shutdown().await;
}

#[tokio::test]
async fn a_configured_url_is_told_to_everybody_without_its_path() {
    let config =
        GatewayConfig { public_url: Some("wss://voice.example.org/".to_owned()), ..GatewayConfig::default() };
    let server = Server::with(config).await;
    assert_eq!(get(server.addr, "/api/v10/gateway", "").await.json()["url"], "wss://voice.example.org");
    let (_, ready) = server.live().await;
    assert_eq!(ready.resume_gateway_url, "wss://voice.example.org");
    server.handle.shutdown().await;
}

#[tokio::test]
async fn limits_are_told_in_headers_and_kept() {
    let sign_ins = Quota { requests: 2, window: Duration::from_secs(60) };
    let server = Server::with(GatewayConfig { sign_ins, ..GatewayConfig::default() }).await;
    let login = async || {
        request(server.addr, "POST", "/api/v10/auth/login", &[], r#"{"login":"a","password":"b"}"#).await
    };
    let first = login().await;
    assert_eq!(first.status, 200);
    assert_eq!(
        (first.header("x-ratelimit-limit"), first.header("x-ratelimit-remaining")),
        (Some("2"), Some("1"))
    );
    assert_eq!(first.header("x-ratelimit-bucket"), login().await.header("x-ratelimit-bucket"));
    let third = login().await;
    assert_eq!((third.status, third.header("x-ratelimit-remaining")), (429, Some("0")));
    assert_eq!(
        (third.header("x-ratelimit-scope"), third.header("via")),
        (Some("user"), Some("1.1 guildhall"))
    );
    let wait: f64 = third.header("x-ratelimit-reset-after").unwrap().parse().unwrap();
    assert!((1.0..=60.0).contains(&wait), "{wait}");
    let retry_after: u64 = third.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&retry_after), "{retry_after}");
    let json = third.json();
    assert_eq!(json["global"], false);
    assert!(json["retry_after"].as_f64().unwrap() > 0.0, "{json}");
    server.handle.shutdown().await;
}

#[tokio::test]
async fn one_user_is_stopped_by_route_and_by_channel_and_the_operator_never() {
    let server = Server::start().await;
    let typing = async |channel: u64, token: &str| {
        let path = format!("/api/v10/channels/{channel}/typing");
        request(server.addr, "POST", &path, &[("Authorization", token)], "").await
    };
    let mut refusal = None;
    for _ in 0..61 {
        refusal = Some(typing(4, "alice").await);
    }
    assert_eq!(refusal.unwrap().status, 429);
    assert_eq!(typing(5, "alice").await.status, 204, "another channel has its own count");
    assert_eq!(typing(4, "person").await.status, 204, "another user too");
    for _ in 0..70 {
        let response = typing(4, "operator").await;
        assert_eq!((response.status, response.header("x-ratelimit-limit")), (204, None));
    }
    server.handle.shutdown().await;
}

#[tokio::test]
async fn what_is_read_uses_up_nothing_of_what_may_be_written() {
    let server = Server::start().await;
    let ask = async |method: &str, body: &str| {
        let headers = [("Authorization", "alice")];
        request(server.addr, method, "/api/v10/channels/4/messages", &headers, body).await
    };
    let mut read = ask("GET", "").await;
    for _ in 0..60 {
        read = ask("GET", "").await;
    }
    assert_eq!(read.header("x-ratelimit-remaining"), Some("139"));
    let written = ask("POST", r#"{"content":"hi"}"#).await;
    assert_eq!((written.status, written.header("x-ratelimit-remaining")), (200, Some("59")));
    assert_ne!(written.header("x-ratelimit-bucket"), read.header("x-ratelimit-bucket"));
    server.handle.shutdown().await;
}

#[tokio::test]
async fn guessing_tokens_ends_in_a_limit() {
    let server = Server::start().await;
    let mut last = 0;
    for _ in 0..301 {
        last = get(server.addr, "/api/v10/users/@me", "wrong").await.status;
    }
    assert_eq!(last, 429);
    // Others behind the same address have done nothing.
    assert_eq!(get(server.addr, "/api/v10/users/@me", "Bot alice").await.status, 200);
    assert_eq!(get(server.addr, "/api/v10/users/@me", "wrong").await.status, 429);
    server.handle.shutdown().await;
}

#[tokio::test]
async fn clients_of_a_trusted_proxy_are_counted_apart() {
    let sign_ins = Quota { requests: 2, window: Duration::from_secs(60) };
    let behind = async |proxies: &[&str]| {
        let trusted_proxies = proxies.iter().map(|network| network.parse().unwrap()).collect();
        let config = GatewayConfig { sign_ins, trusted_proxies, ..GatewayConfig::default() };
        let server = Server::with(config).await;
        let login = async |client: &str| {
            let headers = [("X-Forwarded-For", client), ("X-Forwarded-Proto", "https")];
            let body = r#"{"login":"a","password":"b"}"#;
            request(server.addr, "POST", "/api/v10/auth/login", &headers, body).await.status
        };
        let one =
            [login("198.51.100.1").await, login("7.7.7.7, 198.51.100.1").await, login("198.51.100.1").await];
        let other = login("198.51.100.2").await;
        let headers = [("X-Forwarded-Proto", "https"), ("Host", "voice.test")];
        let url = request(server.addr, "GET", "/api/v10/gateway", &headers, "").await.json()["url"].clone();
        server.handle.shutdown().await;
        (one, other, url)
    };
    assert_eq!(behind(&["127.0.0.0/8"]).await, ([200, 200, 429], 200, "wss://voice.test".into()));
    assert_eq!(behind(&[]).await, ([200, 200, 429], 429, "ws://voice.test".into()));
    assert_eq!(behind(&["10.0.0.1"]).await, ([200, 200, 429], 429, "ws://voice.test".into()));
}

#[tokio::test]
async fn metrics_are_served_where_there_are_any() {
    let metrics: gateway::MetricsPage = Arc::new(|| "guildhall_up 1\n".to_owned());
    let server = Server::with(GatewayConfig { metrics: Some(metrics), ..GatewayConfig::default() }).await;
    let page = get(server.addr, "/metrics", "").await;
    assert_eq!((page.status, page.body.as_str()), (200, "guildhall_up 1\n"));
    server.handle.shutdown().await;
}
