//! REST errors: an HTTP status, a code of the protocol's, and a sentence.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The numbers clients branch on.
pub mod code {
    pub const GENERAL: u32 = 0;
    pub const UNKNOWN_CHANNEL: u32 = 10003;
    pub const UNKNOWN_GUILD: u32 = 10004;
    pub const UNKNOWN_INVITE: u32 = 10006;
    pub const UNKNOWN_MEMBER: u32 = 10007;
    pub const UNKNOWN_MESSAGE: u32 = 10008;
    pub const UNKNOWN_OVERWRITE: u32 = 10009;
    pub const UNKNOWN_ROLE: u32 = 10011;
    pub const UNKNOWN_USER: u32 = 10013;
    pub const UNKNOWN_BAN: u32 = 10026;
    pub const UNKNOWN_VOICE_STATE: u32 = 10065;
    pub const UNKNOWN_STAGE_INSTANCE: u32 = 10067;
    pub const TOO_MANY_GUILDS: u32 = 30001;
    pub const TOO_MANY_ROLES: u32 = 30005;
    pub const TOO_MANY_CHANNELS: u32 = 30013;
    pub const TOO_MANY_INVITES: u32 = 30016;
    pub const TOO_MANY_OVERWRITES: u32 = 30060;
    pub const UNAUTHORIZED: u32 = 40001;
    pub const BANNED: u32 = 40007;
    pub const NOT_IN_VOICE: u32 = 40032;
    pub const MISSING_ACCESS: u32 = 50001;
    pub const NOT_THE_AUTHOR: u32 = 50005;
    pub const EMPTY_MESSAGE: u32 = 50006;
    pub const MISSING_PERMISSIONS: u32 = 50013;
    pub const WRONG_CHANNEL_TYPE: u32 = 50024;
    pub const INVALID_ROLE: u32 = 50028;
    pub const INVALID_FORM: u32 = 50035;
    pub const INVALID_GUILD: u32 = 50055;
    pub const STAGE_ALREADY_OPEN: u32 = 150_006;
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// The HTTP status; not part of the body.
    #[serde(skip)]
    pub status: u16,
    pub code: u32,
    pub message: String,
    /// For each wrong field of a form, what is wrong with it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub errors: BTreeMap<String, FieldErrors>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldErrors {
    #[serde(rename = "_errors")]
    pub errors: Vec<FieldError>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    pub code: String,
    pub message: String,
}

impl ApiError {
    pub fn new(status: u16, code: u32, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), errors: BTreeMap::new() }
    }

    /// A wrong field of a form.
    pub fn field(field: &str, code: &str, message: impl Into<String>) -> Self {
        let error = FieldError { code: code.to_owned(), message: message.into() };
        Self {
            errors: BTreeMap::from([(field.to_owned(), FieldErrors { errors: vec![error] })]),
            ..Self::new(400, code::INVALID_FORM, "Invalid Form Body")
        }
    }

    /// The same with a status, which a body does not carry.
    #[must_use]
    pub fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub fn unauthorized() -> Self {
        Self::new(401, code::GENERAL, "401: Unauthorized")
    }

    pub fn missing_access() -> Self {
        Self::new(403, code::MISSING_ACCESS, "Missing Access")
    }

    pub fn missing_permissions() -> Self {
        Self::new(403, code::MISSING_PERMISSIONS, "Missing Permissions")
    }

    pub fn wrong_channel_type() -> Self {
        Self::new(400, code::WRONG_CHANNEL_TYPE, "Cannot execute action on this channel type")
    }

    pub fn not_found(code: u32, what: &str) -> Self {
        Self::new(404, code, format!("Unknown {what}"))
    }

    pub fn internal() -> Self {
        Self::new(500, code::GENERAL, "500: Internal Server Error")
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (code {})", self.message, self.code)?;
        for (field, errors) in &self.errors {
            for error in &errors.errors {
                write!(f, "; {field}: {}", error.message)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ApiError {}
