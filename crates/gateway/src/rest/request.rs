//! What a route can read of a request.

use axum::extract::RawPathParams;
use axum::http::HeaderMap;
use client_wire::error::{ApiError, code};
use cluster_wire::guilds::{Account, Origin};
use model::UserId;
use serde::de::DeserializeOwned;

use crate::limits::REASON_CHARS_MAX;

pub struct Request<'a> {
    pub params: &'a RawPathParams,
    pub query: &'a str,
    pub body: &'a [u8],
    /// None where the route lets anybody ask.
    pub account: Option<&'a Account>,
    pub gateway_url: String,
    pub origin: Origin,
}

impl Request<'_> {
    /// A parameter of the path, as it is.
    pub fn text(&self, name: &str) -> &str {
        param(self.params, name).expect("the route's path has this parameter")
    }

    /// An id in the path. What is none names nothing that exists.
    pub fn id<T: From<Id>>(&self, name: &str) -> Result<T, ApiError> {
        match self.text(name).parse() {
            Ok(id) => Ok(T::from(Id(id))),
            Err(_) => Err(ApiError::field(name, "NUMBER_TYPE_COERCE", "Value is not a snowflake.")),
        }
    }

    /// A user in the path, where `@me` is whoever asks.
    pub fn user(&self) -> Result<UserId, ApiError> {
        if self.text("user") == "@me" { self.me() } else { self.id("user") }
    }

    /// Whoever asks; the operator's key is nobody.
    pub fn me(&self) -> Result<UserId, ApiError> {
        self.account
            .map(|account| account.user)
            .filter(|user| *user != UserId(0))
            .ok_or_else(|| ApiError::not_found(code::UNKNOWN_USER, "User"))
    }

    pub fn account(&self) -> Result<&Account, ApiError> {
        self.account.ok_or_else(ApiError::unauthorized)
    }

    /// A parameter of the query, if it is there.
    pub fn query<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(value) = self.query_text(name) else { return Ok(None) };
        let parsed = value
            .parse()
            .map_err(|_| ApiError::field(name, "NUMBER_TYPE_COERCE", "Value is not a number."))?;
        Ok(Some(parsed))
    }

    /// The same as text, with what URLs escape unescaped.
    pub fn query_text(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| unescape(&value.replace('+', " "))).next()
    }

    pub fn body<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(self.body).map_err(|error| {
            if error.is_data() {
                ApiError::field("body", "BASE_TYPE_BAD", error.to_string())
            } else {
                ApiError::new(400, 50109, "The request body contains invalid JSON.")
            }
        })
    }

    /// For routes whose body may be left out.
    pub fn body_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, ApiError> {
        if self.body.is_empty() { Ok(T::default()) } else { self.body() }
    }
}

/// A number from a path, on its way into one of the model's id types.
pub struct Id(pub u64);

macro_rules! from_id {
    ($($name:ident)*) => {
        $(impl From<Id> for model::$name {
            fn from(id: Id) -> Self {
                Self(id.0)
            }
        })*
    };
}

from_id!(UserId GuildId ChannelId RoleId MessageId);

impl From<Id> for u64 {
    fn from(id: Id) -> Self {
        id.0
    }
}

fn param<'a>(params: &'a RawPathParams, name: &str) -> Option<&'a str> {
    params.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The channel or guild of a path, by which its requests are counted apart. 0 where there is none.
pub fn major(params: &RawPathParams) -> u64 {
    let id = param(params, "channel").or_else(|| param(params, "guild"));
    id.and_then(|id| id.parse().ok()).unwrap_or(0)
}

/// Why a moderator does something, for the record.
pub fn reason(headers: &HeaderMap) -> Option<String> {
    let reason = unescape(headers.get("x-audit-log-reason")?.to_str().ok()?);
    Some(reason.chars().take(REASON_CHARS_MAX).collect())
}

/// Undoes percent-encoding. What is no valid escape stays as it is, what is no UTF-8 is replaced.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%').then(|| bytes.get(at + 1..at + 3)).flatten().and_then(hex);
        out.push(escaped.unwrap_or(byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let value = digit(digits[0])? * 16 + digit(digits[1])?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_and_everything_else_is_kept() {
        let check = |text: &str, expect: &str| assert_eq!(unescape(text), expect, "{text}");
        check("plain", "plain");
        check("a%20b%C3%A4", "a bä");
        check("100%", "100%");
        check("%4", "%4");
        check("%zz%41", "%zzA");
        check("%ff", "\u{fffd}");
    }

    #[test]
    fn reasons_are_unescaped_and_cut() {
        let mut headers = HeaderMap::new();
        assert_eq!(reason(&headers), None);
        headers.insert("x-audit-log-reason", "too%20loud".parse().unwrap());
        assert_eq!(reason(&headers), Some("too loud".to_owned()));
        headers.insert("x-audit-log-reason", "x".repeat(1_000).parse().unwrap());
        assert_eq!(reason(&headers).map(|r| r.len()), Some(REASON_CHARS_MAX));
    }
}
