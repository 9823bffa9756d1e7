//! What fields of forms may hold.

use client_wire::error::ApiError;
use client_wire::rest::Patch;

/// A text of that many characters after trimming.
pub(crate) fn text(
    field: &str,
    value: &str,
    chars: std::ops::RangeInclusive<usize>,
) -> Result<String, ApiError> {
    let trimmed = value.trim();
    match chars.contains(&trimmed.chars().count()) {
        true => Ok(trimmed.to_owned()),
        false => Err(bad_length(field, *chars.start(), *chars.end())),
    }
}

pub(crate) fn bad_length(field: &str, min: usize, max: usize) -> ApiError {
    ApiError::field(field, "BASE_TYPE_BAD_LENGTH", format!("Must be between {min} and {max} in length."))
}

/// A number within bounds.
pub(crate) fn number<T: PartialOrd + std::fmt::Display>(
    field: &str,
    value: T,
    range: std::ops::RangeInclusive<T>,
) -> Result<T, ApiError> {
    if range.contains(&value) {
        return Ok(value);
    }
    let message = format!("Must be between {} and {}.", range.start(), range.end());
    Err(ApiError::field(field, "NUMBER_TYPE_RANGE", message))
}

/// A field that is required.
pub(crate) fn required<T>(field: &str, value: Option<T>) -> Result<T, ApiError> {
    value.ok_or_else(|| ApiError::field(field, "BASE_TYPE_REQUIRED", "This field is required."))
}

/// Checks the value a patch sets; an empty text clears.
pub(crate) fn patch_text(
    field: &str,
    patch: Patch<String>,
    chars_max: usize,
) -> Result<Patch<String>, ApiError> {
    match patch {
        Patch::Set(value) if value.trim().is_empty() => Ok(Patch::Clear),
        Patch::Set(value) => text(field, &value, 1..=chars_max).map(Patch::Set),
        other => Ok(other),
    }
}
